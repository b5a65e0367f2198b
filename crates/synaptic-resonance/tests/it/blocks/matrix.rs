//! Products of blocks: against sums in f64, and every form against every other.

use plasticity_core::nn::vector::Isa;
use plasticity_core::testing::peer::Lcg;
use proptest::prelude::*;
use synaptic_resonance::blocks::{BlockError, BlockType, Matrix};

struct Case {
    matrix: Matrix,
    /// Its numbers, `[rows, columns]`.
    w: Vec<f32>,
    x: Vec<f32>,
}

/// Numbers of a seed, of sizes that differ from row to row.
fn case(kind: BlockType, rows: usize, columns: usize, batch: usize, seed: u64) -> Case {
    let mut lcg = Lcg(seed);
    let values: Vec<f32> =
        (0..rows * columns).map(|i| (lcg.signed() * 3f64.powi((i / columns.max(1) % 5) as i32 - 2)) as f32).collect();
    let bytes = kind.quantise(&values).unwrap();
    let mut w = values;
    kind.dequantise(&bytes, &mut w).unwrap();
    let matrix = Matrix::new(kind, rows, columns, &bytes).unwrap();
    Case { matrix, w, x: lcg.vector(batch * columns, 2.0) }
}

fn product(case: &Case, isa: Isa, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / case.matrix.columns() * case.matrix.rows()];
    case.matrix.product_with(isa, x, &mut y).unwrap();
    y
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn kinds() -> impl Strategy<Value = BlockType> {
    prop::sample::select(BlockType::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn products_are_those_of_the_numbers_and_the_same_in_every_form(
        kind in kinds(),
        rows in 1usize..150,
        blocks in 1usize..70,
        less in 0usize..32,
        batch in 1usize..10,
        seed: u64,
    ) {
        let columns = if kind.values() == 1 { blocks * 32 - less } else { blocks * 32 };
        let case = case(kind, rows, columns, batch, seed);
        let all: Vec<Vec<f32>> = Isa::all().map(|isa| product(&case, isa, &case.x)).collect();
        for (i, found) in all[0].iter().enumerate() {
            let (x, w) = (&case.x[i / rows * columns..][..columns], &case.w[i % rows * columns..][..columns]);
            let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let (exact, amount): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
            // A lane adds up a sixteenth of the terms, then four sums: each rounds once or, unfused, twice.
            let bound = amount * f64::from(f32::EPSILON) * (columns as f64 / 16.0 + 6.0);
            for (isa, y) in Isa::all().zip(&all) {
                let off = (f64::from(y[i]) - exact).abs();
                prop_assert!(off <= bound, "{isa:?}, {kind}: {} for {exact}, off by {off:e} of {bound:e}", y[i]);
            }
            prop_assert!(f64::from((found - all[all.len() - 1][i]).abs()) <= 2.0 * bound);
        }
        // With fused products the registers' width does not matter.
        let fused: Vec<&Vec<f32>> = Isa::all().zip(&all).filter(|(isa, _)| !matches!(isa, Isa::Plain(_))).map(|(_, y)| y).collect();
        for pair in fused.windows(2) {
            prop_assert_eq!(bits(pair[0]), bits(pair[1]));
        }
        // Nor does what is multiplied beside a row.
        for isa in Isa::all() {
            let whole = product(&case, isa, &case.x);
            for (x, y) in case.x.chunks(columns).zip(whole.chunks(rows)) {
                prop_assert_eq!(bits(&product(&case, isa, x)), bits(y));
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_format(kind in kinds(), rows in 1usize..12, blocks in 1usize..5, seed: u64) {
        let columns = 32 * blocks;
        let case = case(kind, rows, columns, 0, seed);
        for (r, expected) in case.w.chunks(columns).enumerate() {
            let mut row = vec![0.0; columns];
            case.matrix.row(r, &mut row).unwrap();
            prop_assert_eq!(bits(&row), bits(expected));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let case = case(BlockType::Q4_1, 1001, 576, 3, 5);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bits(&product(&case, Isa::widest(), &case.x)))
    };
    let one = with(1);
    assert_eq!(with(2), one);
    assert_eq!(with(3), one);
}

#[test]
fn a_matrix_takes_the_bytes_of_its_blocks() {
    for (kind, bytes) in [(BlockType::Q4_1, 8 * 2 * 20), (BlockType::Q4_0, 8 * 2 * 18), (BlockType::Q8_0, 8 * 2 * 34)] {
        let matrix = case(kind, 8, 64, 0, 1).matrix;
        assert_eq!((matrix.bytes(), matrix.rows(), matrix.columns(), matrix.kind()), (bytes, 8, 64, kind));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let matrix = case(BlockType::Q8_0, 6, 64, 0, 1).matrix;
    let length = |field, expected, found| Err(BlockError::Length { field, expected, found });
    assert_eq!(matrix.product(&[0.0; 65], &mut [0.0; 6]), length("x", 64, 65));
    assert_eq!(matrix.product(&[0.0; 128], &mut [0.0; 11]), length("y", 12, 11));
    assert_eq!(matrix.row(5, &mut [0.0; 63]), length("to", 64, 63));
    assert_eq!(matrix.row(6, &mut [0.0; 64]), Err(BlockError::Row { row: 6, rows: 6 }));
    assert_eq!(matrix.product(&[], &mut []), Ok(()));
    let short = Matrix::new(BlockType::Q4_1, 6, 64, &[0; 239]).unwrap_err();
    assert_eq!(short, BlockError::Bytes { kind: "Q4_1", values: 384, expected: 240, found: 239 });
    assert!(matches!(Matrix::new(BlockType::Q4_1, 6, 65, &[]), Err(BlockError::Partial { .. })));
    assert!(matches!(Matrix::new(BlockType::F32, usize::MAX, 65, &[]), Err(BlockError::TooMany { .. })));
    // 0x7c00 is infinity in halves, 0x7f80 in the upper half of single precision.
    for (kind, at, byte) in [
        (BlockType::Q4_1, 20 + 1, 0x7c),
        (BlockType::Q4_1, 20 + 3, 0x7c),
        (BlockType::Q4_0, 18 + 1, 0xfc),
        (BlockType::Q8_0, 34 + 1, 0x7e),
        (BlockType::F16, 3, 0x7c),
    ] {
        let mut bytes = vec![0; kind.bytes_of_rows(2, 32).unwrap()];
        bytes[at] = byte;
        let error = Matrix::new(kind, 2, 32, &bytes).unwrap_err();
        assert_eq!(error, BlockError::NotFinite { kind: kind.name(), block: 1 });
    }
}
