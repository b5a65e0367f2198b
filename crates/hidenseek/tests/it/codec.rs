//! Oracles O19 to O22 and O34: bits, coder, messages, bytes.

mod fuzz;
mod ledger;
mod wire;

use hidenseek::codec::bits::{pack, pack_fields, unpack, unpack_fields};
use hidenseek::codec::coder::{Contexts, decode, encode, entropy};
use hidenseek::codec::payload::{read_coded, read_ternary, write_coded, write_ternary};
use hidenseek::codec::{Coding, HEADER, Known, Stamp, Upload, WireError};
use plasticity_core::rng::Stream;
use proptest::prelude::*;

/// `n` bits of which `ones` (a share) are set, at random places.
fn flips(n: usize, ones: f64, seed: u64) -> Vec<bool> {
    let mut stream = Stream::new(seed, "flips", n as u64);
    (0..n).map(|_| stream.bernoulli(ones)).collect()
}

/// n H(ones / n), the zeroth-order entropy in bits.
fn ideal(bits: &[bool]) -> f64 {
    let (n, ones) = (bits.len() as f64, bits.iter().filter(|bit| **bit).count() as f64);
    n * entropy(ones / n)
}

/// -log2 of the product of Krichevsky and Trofimov's probabilities, bit by bit.
fn kt_bits(bits: &[bool]) -> f64 {
    let mut seen = [0.5, 0.5];
    let code = |bit: &bool| {
        let p: f64 = seen[usize::from(*bit)] / (seen[0] + seen[1]);
        seen[usize::from(*bit)] += 1.0;
        -p.log2()
    };
    bits.iter().map(code).sum()
}

/// O19: sizes, the hand value, round trips, and fields of any width.
#[test]
fn o19_packing() {
    let hand = "+--+++-+-++".chars().map(|c| c == '+').collect::<Vec<_>>();
    assert_eq!(pack(&hand), [185, 6]);
    for n in [0, 1, 7, 8, 9, 4350, 5020, 21750] {
        let bits = flips(n, 0.5, 19);
        let bytes = pack(&bits);
        assert_eq!(bytes.len(), n.div_ceil(8));
        assert_eq!(unpack(&bytes, n), Ok(bits));
    }
    // Fields of 4 bits, least significant bit first: 0x3 then 0xA in one byte, 0x1 in the next.
    assert_eq!(pack_fields(&[3, 10, 1], 4), [0xA3, 0x01]);
    for width in 1..=32u32 {
        let mut stream = Stream::new(19, "fields", u64::from(width));
        let values: Vec<u32> = (0..77).map(|_| (stream.bits() >> (64 - width)) as u32).collect();
        let bytes = pack_fields(&values, width);
        assert_eq!(bytes.len(), (77 * width as usize).div_ceil(8));
        assert_eq!(unpack_fields(&bytes, 77, width), Ok(values));
    }
    assert_eq!(unpack_fields(&[0xA3, 0x11], 3, 4), Err(WireError::Padding));
    // A field of no bits takes no room, and none is wider than its number.
    assert_eq!((pack_fields(&[3, 10], 0), unpack_fields(&[], 2, 0)), (vec![], Ok(vec![0, 0])));
    assert_eq!(unpack_fields(&pack_fields(&[7, u32::MAX], 90), 2, 90), Ok(vec![7, u32::MAX]));
}

/// O20: one context. The measured sizes are those of one random draw: the bounds are of the bits at hand.
#[test]
fn o20_one_context_costs_the_entropy_and_a_logarithm() {
    let one = Contexts::one();
    for n in [5020, 100_000] {
        for p in [0.5, 0.2, 0.1, 0.05, 0.03, 0.01] {
            let bits = flips(n, p, 20);
            let bytes = encode(&bits, &one);
            let coded = 8.0 * bytes.len() as f64;
            assert!(coded <= ideal(&bits) + 0.5 * (n as f64).log2() + 16.0, "n {n} p {p}: {coded} bits");
            // No more than the end digit and the last byte's rest above the definition, and not below it either.
            let kt = kt_bits(&bits);
            assert!(coded <= kt + 9.0 && coded >= kt - 16.0, "n {n} p {p}: {coded} bits, {kt} by definition");
            assert_eq!(decode(&bytes, n, &one), Ok(bits));
        }
        for bit in [false, true] {
            let bytes = encode(&vec![bit; n], &one);
            // Ones cost log2(n) / 2 + 1 bits, 7.1 and 9.3; zeros nothing.
            let most = if bit { (kt_bits(&vec![bit; n]) / 8.0).ceil() as usize } else { 0 };
            assert!(bytes.len() <= most && (n > 5020 || most <= 1), "{} bytes for {n} equal bits", bytes.len());
            assert_eq!(decode(&bytes, n, &one), Ok(vec![bit; n]));
        }
    }
    // The table's first row: exactly half the bits set.
    let half: Vec<bool> = Stream::new(20, "half", 0).permutation(5020).iter().map(|i| i % 2 == 0).collect();
    assert_eq!(encode(&half, &one).len(), 629);
}

/// O20: contexts cost a logarithm each where they say nothing, and pay where they do.
#[test]
fn o20_contexts() {
    let layers = [3920, 1000, 100];
    let n = 5020;
    let means: Vec<f32> = Stream::new(20, "means", 0).uniform_vec(n, 0.0, 1.0);
    let contexts = Contexts::new(&layers, means.iter().copied()).unwrap();
    assert_eq!(contexts.count(), 24);
    let cost = |bits: &[bool]| {
        let bytes = encode(bits, &contexts);
        assert_eq!(decode(&bytes, n, &contexts).as_deref(), Ok(bits));
        8.0 * bytes.len() as f64
    };
    let bound = |bits: &[bool]| {
        let mut parts = vec![Vec::new(); 24];
        bits.iter().enumerate().for_each(|(j, bit)| parts[contexts.of(j)].push(*bit));
        let parts = parts.iter().filter(|part| !part.is_empty());
        parts.map(|part| ideal(part) + 0.5 * (part.len() as f64).log2() + 1.0).sum::<f64>() + 16.0
    };
    let blind = flips(n, 0.05, 21);
    assert!(cost(&blind) <= bound(&blind));
    let single = 8.0 * encode(&blind, &Contexts::one()).len() as f64;
    assert!(cost(&blind) > single);
    // Contested entries flip, the others do not.
    let mut stream = Stream::new(20, "contested", 0);
    let contested: Vec<bool> = means.iter().map(|m| stream.bernoulli(if *m < 0.125 { 0.4 } else { 0.005 })).collect();
    let single = 8.0 * encode(&contested, &Contexts::one()).len() as f64;
    assert!(cost(&contested) <= bound(&contested));
    assert!(cost(&contested) < 0.6 * single, "{} against {single} bits", cost(&contested));
    // The writer takes whichever is shorter, and its tag costs one byte.
    assert_eq!(write_coded(&contested, &contexts).len(), 1 + encode(&contested, &contexts).len());
    assert_eq!(write_coded(&blind, &contexts).len(), 1 + encode(&blind, &Contexts::one()).len());
}

/// Section 13.2: a mask near the broadcast signs costs its flips, where by itself it costs all its bits.
#[test]
fn o20_flips_of_the_broadcast_signs() {
    let n = 5020;
    let state = Stream::new(20, "state", 0).uniform_vec(n, -0.1, 0.1);
    let known = Known::new(&[n], &state, 0.1).unwrap();
    let flipped = flips(n, 0.03, 23);
    let mask = Upload::Signs(known.xor(&flipped));
    let stamp = Stamp { round: 1, client: 1, mask_hash: 1 };
    let payload = |coding| mask.encode(stamp, coding, &known).len() - HEADER;
    assert_eq!((payload(Coding::Raw), payload(Coding::Coded)), (628, 629));
    let bound = 1.0 + (ideal(&flipped) + 0.5 * (n as f64).log2() + 16.0) / 8.0;
    assert!(payload(Coding::Xor) as f64 <= bound, "{} bytes, at most {bound}", payload(Coding::Xor));
}

/// Classes of |mean|: eight equal ones, by layer.
#[test]
fn contexts_are_layers_and_classes() {
    let means = [0.0, -0.124, 0.125, 0.99, -1.0, 7.0, f32::NAN];
    let contexts = Contexts::new(&[4, 3], means.into_iter()).unwrap();
    assert_eq!((0..7).map(|j| contexts.of(j)).collect::<Vec<_>>(), [0, 0, 1, 7, 15, 15, 8]);
    assert!(Contexts::new(&[4, 4], means.into_iter()).is_err());
}

/// O21.
#[test]
fn o21_entropy_values() {
    for (p, h) in [(0.5, 1.0), (0.2, 0.7219), (0.1, 0.4690), (0.05, 0.2864), (0.03, 0.1944), (0.01, 0.0808)] {
        assert!((entropy(p) - h).abs() < 5e-5, "H({p})");
        assert!((entropy(p) - entropy(1.0 - p)).abs() < 1e-15);
    }
    assert_eq!(entropy(0.0), 0.0);
}

/// A ternary delta with runs of zeros costs less than two bits each, and never more than that and a byte.
#[test]
fn ternary_symbols_code_their_runs() {
    let mut stream = Stream::new(22, "ternary", 0);
    let random: Vec<i8> = (0..5020).map(|_| if stream.bernoulli(0.5) { 1 } else { -1 }).collect();
    let dead: Vec<i8> = random.iter().enumerate().map(|(j, s)| if j / 40 % 16 == 0 { 0 } else { *s }).collect();
    let layers = [3920, 1000, 100];
    let scales = [0.5, 0.25, 1.0];
    let bytes = |symbols: &[i8]| {
        let payload = write_ternary(&scales, symbols, &layers);
        assert_eq!(read_ternary(&payload, &layers), Ok((scales.to_vec(), symbols.to_vec())));
        payload.len() - 12
    };
    let nonzero = dead.iter().filter(|s| **s != 0).count();
    assert!(bytes(&random) <= 628 + 8, "{}", bytes(&random));
    // One bit for each sign; runs of 40 zeros cost little more.
    assert!(bytes(&dead) <= nonzero / 8 + 50, "{} bytes for {nonzero} signs", bytes(&dead));
}

proptest! {
    /// The coder inverts itself in any contexts, and no other bytes stand for the same bits.
    #[test]
    fn coder_round_trip(seed: u64, n in 0usize..600, p in 0.0f64..=1.0, split in 0usize..600, extra: u8) {
        let split = split.min(n);
        let means = Stream::new(seed, "means", 0).uniform_vec(n, -1.0, 1.0);
        let contexts = Contexts::new(&[split, n - split], means.into_iter()).unwrap();
        let bits = flips(n, p, seed);
        for contexts in [&contexts, &Contexts::one()] {
            let mut bytes = encode(&bits, contexts);
            prop_assert_eq!(decode(&bytes, n, contexts), Ok(bits.clone()));
            bytes.push(extra);
            if let Ok(other) = decode(&bytes, n, contexts) {
                prop_assert_ne!(&other, &bits);
            }
        }
    }

    /// Whatever the decoder accepts is what the encoder writes.
    #[test]
    fn coder_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..12), n in 0usize..90) {
        if let Ok(bits) = decode(&bytes, n, &Contexts::one()) {
            prop_assert_eq!(encode(&bits, &Contexts::one()), bytes);
        }
    }

    /// Never more than raw and one byte; the payload reads back.
    #[test]
    fn coded_masks_fall_back_to_raw(seed: u64, n in 0usize..900, p in 0.0f64..=1.0) {
        let state = Stream::new(seed, "state", 0).uniform_vec(n, -1.0, 1.0);
        let known = Known::new(&[n], &state, 1.0).unwrap();
        let mask = flips(n, p, seed);
        for bits in [mask.clone(), known.xor(&mask)] {
            let payload = write_coded(&bits, &known.contexts);
            prop_assert!(payload.len() <= n.div_ceil(8) + 1);
            prop_assert_eq!(read_coded(&payload, n, &known.contexts), Ok(bits));
        }
        prop_assert_eq!(known.xor(&known.xor(&mask)), mask);
    }
}
