//! Weights in blocks: against the package `gguf` (`fixtures/blocks.py`), and by what rounding allows.

mod matrix;

use std::path::Path;

use plasticity_core::testing::Golden;
use proptest::prelude::*;
use synaptic_resonance::blocks::{BlockError, BlockType};

fn golden() -> Golden {
    Golden::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/blocks.json"))
}

fn bytes(golden: &Golden, path: &str) -> Vec<u8> {
    golden.numbers(path).into_iter().map(|x| x as u8).collect()
}

fn floats(golden: &Golden, path: &str) -> Vec<f32> {
    golden.numbers(path).into_iter().map(|x| x as f32).collect()
}

fn dequantised(kind: BlockType, bytes: &[u8]) -> Vec<f32> {
    let mut x = vec![0.0; bytes.len() / kind.bytes() * kind.values()];
    kind.dequantise(bytes, &mut x).unwrap();
    x
}

#[test]
fn blocks_are_those_of_the_format() {
    let golden = golden();
    let values = floats(&golden, "values");
    for kind in BlockType::ALL {
        let at = |what: &str| format!("types.{kind}.{what}");
        assert_eq!(golden.numbers(&at("block")), [kind.values() as f64, kind.bytes() as f64], "{kind}");
        let id = golden.number(&at("id")) as u32;
        assert_eq!((kind.id(), BlockType::of_id(id)), (id, Some(kind)));
        assert_eq!(kind.quantise(&values).unwrap(), bytes(&golden, &at("quantised")), "{kind} quantised");
        let found = dequantised(kind, &bytes(&golden, &at("bytes")));
        let expected = floats(&golden, &at("dequantised"));
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&expected), "{kind} dequantised");
    }
    assert_eq!(BlockType::of_id(14), None);
}

#[test]
fn sizes_that_cannot_be_are_errors() {
    let partial = BlockType::Q4_1.bytes_of(33).unwrap_err();
    assert_eq!(partial.to_string(), "33 values are no whole number of Q4_1 blocks, which have 32 each");
    assert_eq!(BlockType::Q4_1.bytes_of(64), Ok(40));
    assert_eq!(BlockType::Q8_0.bytes_of_rows(3, 64), Ok(204));
    assert_eq!(BlockType::F32.bytes_of(0), Ok(0));
    for (rows, columns) in [(1, usize::MAX & !31), (usize::MAX, 32), (usize::MAX / 40, 64)] {
        let error = BlockType::Q8_0.bytes_of_rows(rows, columns).unwrap_err();
        assert_eq!(error, BlockError::TooMany { kind: "Q8_0", rows, columns });
    }
    let mut x = [0.0; 32];
    for length in [0, 17, 19, 36] {
        let error = BlockType::Q4_0.dequantise(&vec![0; length], &mut x).unwrap_err();
        assert_eq!(error, BlockError::Bytes { kind: "Q4_0", values: 32, expected: 18, found: length });
    }
    assert!(matches!(BlockType::Q4_0.dequantise(&[0; 18], &mut x[..31]), Err(BlockError::Partial { .. })));
}

#[test]
fn numbers_that_a_block_cannot_hold_are_errors() {
    for kind in BlockType::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            let error = kind.quantise(&x).unwrap_err();
            let value = bad.to_string();
            assert_eq!(error, BlockError::Range { kind: kind.name(), index: 40, value });
        }
        let mut x = [1.0; 64];
        x[33] = f32::MAX;
        match kind {
            BlockType::F32 => assert_eq!(dequantised(kind, &kind.quantise(&x).unwrap()), x),
            _ => assert!(matches!(kind.quantise(&x), Err(BlockError::Range { index: 33, .. })), "{kind}"),
        }
    }
}

proptest! {
    #[test]
    fn rounding_moves_a_value_by_half_a_step(
        x in prop::collection::vec(-2.0f32..2.0, 96),
        scale in prop::sample::select(vec![1.0f32, 0.01, 100.0]),
    ) {
        let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
        for kind in BlockType::ALL {
            let y = dequantised(kind, &kind.quantise(&x).unwrap());
            for (x, y) in x.chunks(32).zip(y.chunks(32)) {
                let largest = x.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                let (low, high) = x.iter().fold((x[0], x[0]), |(a, b), x| (a.min(*x), b.max(*x)));
                // A step of the block, and of what the scale's own rounding moves.
                let bound = match kind {
                    BlockType::F32 => 0.0,
                    BlockType::F16 => largest / 2048.0,
                    BlockType::BF16 => largest / 256.0,
                    BlockType::Q8_0 => largest / 254.0 + largest / 2048.0,
                    // The value opposite the largest has no nibble of its own and lies up to a step off.
                    BlockType::Q4_0 => largest / 8.0 + largest / 2048.0,
                    BlockType::Q4_1 => (high - low) / 30.0 + (high - low + low.abs()) / 2048.0,
                };
                for (x, y) in x.iter().zip(y) {
                    prop_assert!((x - y).abs() <= bound * 1.001 + 1e-7, "{kind}: {x} became {y}, bound {bound}");
                }
            }
        }
    }
}
