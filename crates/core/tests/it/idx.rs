//! The IDX reader: what is written is read back, and what lies is refused.

use std::path::Path;

use plasticity_core::data::idx::{Idx, Values, header_bytes, read, write};
use plasticity_core::error::DataError;
use proptest::prelude::*;

use crate::small_set::gzip;

fn bytes_of(idx: &Idx) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(idx, &mut bytes).unwrap();
    bytes
}

fn header(kind: u8, dims: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend_from_slice(&dim.to_be_bytes()));
    bytes
}

/// The offset and the words of the error that `bytes` give.
fn fault(bytes: &[u8], limit: u64) -> (u64, String) {
    match read(bytes, Path::new("x-idx"), limit, None) {
        Err(DataError::Malformed { offset, what, .. }) => (offset, what),
        other => panic!("{other:?}"),
    }
}

/// Bytes that the values of an array take.
fn allocated(idx: &Idx) -> u64 {
    match &idx.values {
        Values::U8(values) => values.capacity() as u64,
        Values::F32(values) => 4 * values.capacity() as u64,
    }
}

#[test]
fn a_lying_header_is_refused_at_its_place() {
    let with = |mut head: Vec<u8>, tail: &[u8]| {
        head.extend_from_slice(tail);
        head
    };
    let cases = [
        (vec![], 0, "4 bytes too early"),
        (vec![0, 0, 8], 3, "1 bytes too early"),
        (with(vec![0, 7, 8, 1], &[0; 8]), 0, "two zero bytes"),
        (with(vec![0, 0, 9, 1], &[0; 8]), 2, "type 0x09"),
        (with(vec![0, 0, 8, 0], &[0; 8]), 3, "0 dimensions"),
        (with(vec![0, 0, 8, 200], &[0; 8]), 3, "200 dimensions"),
        (vec![0, 0, 8, 2, 0, 0, 0, 1, 0], 9, "3 bytes too early"),
        (header(8, &[u32::MAX]), 4, "promises more"),
        (header(8, &[100, 11]), 8, "promises more"),
        (header(8, &[u32::MAX, u32::MAX, u32::MAX, u32::MAX]), 4, "promises more"),
        // A zero must not hide the size of the others.
        (header(8, &[0, u32::MAX, u32::MAX]), 8, "promises more"),
        (header(13, &[500]), 4, "promises more"),
        (with(header(8, &[2, 3]), &[1, 2, 3, 4, 5]), 17, "1 bytes too early"),
        (with(header(8, &[2, 3]), &[1, 2, 3, 4, 5, 6, 7]), 18, "after the end"),
        (with(header(13, &[2]), &[1, 2, 3, 4, 5, 6]), 14, "2 bytes too early"),
    ];
    for (bytes, offset, words) in cases {
        for bytes in [bytes.clone(), gzip(&bytes)] {
            let (found, what) = fault(&bytes, 1000);
            assert_eq!(found, offset, "{what}");
            assert!(what.contains(words), "{what}");
        }
    }
}

#[test]
fn a_broken_gzip_stream_is_malformed() {
    let whole =
        gzip(&bytes_of(&Idx { dims: vec![300], values: Values::U8((0..300).map(|i| (i * 7) as u8).collect()) }));
    assert!(read(whole.as_slice(), Path::new("x"), 1000, None).is_ok());
    assert!(fault(&whole[..whole.len() / 2], 1000).1.contains("gzip"));
    let mut crc = whole.clone();
    let at = crc.len() - 6;
    crc[at] ^= 1;
    assert!(fault(&crc, 1000).1.contains("gzip"));
}

#[test]
fn a_gzip_file_of_several_members_is_one_content_and_nothing_may_follow() {
    let idx = Idx { dims: vec![3, 2], values: Values::U8(vec![1, 2, 3, 4, 5, 6]) };
    let bytes = bytes_of(&idx);
    let read = |stored: &[u8]| read(stored, Path::new("x"), 100, None);
    for cut in 0..=bytes.len() {
        let members = [gzip(&bytes[..cut]), gzip(&[]), gzip(&bytes[cut..])].concat();
        assert_eq!(read(&members).unwrap(), idx, "cut at {cut}");
    }
    let one = gzip(&bytes);
    for end in [b"x".as_slice(), b"\0\0\0\0", b"<html>", &[0x1f, 0x8b], &bytes, &one[..one.len() - 3]] {
        let what = fault(&[one.as_slice(), end].concat(), 100).1;
        // A piece of a member may give content before it breaks.
        assert!(what.contains("gzip") || what.contains("after the end"), "{what}");
    }
    // A whole member more is content after the end.
    assert!(fault(&[one.clone(), gzip(&[7])].concat(), 100).1.contains("after the end"));
}

#[test]
fn a_float_that_is_not_finite_is_refused_at_its_place() {
    let good = bytes_of(&Idx { dims: vec![3], values: Values::F32(vec![1.0, f32::MAX, -0.0]) });
    assert!(read(good.as_slice(), Path::new("x"), 100, None).is_ok());
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = bytes_of(&Idx { dims: vec![3], values: Values::F32(vec![1.0, value, 2.0]) });
        let (at, what) = fault(&bytes, 100);
        assert!(at == header_bytes(1) + 4 && what.ends_with("is not a finite number"), "{what} at {at}");
    }
}

#[test]
fn a_gzip_bomb_is_not_unpacked() {
    // Ten megabytes of zeros behind a header of three bytes' worth.
    let mut bytes = header(8, &[3]);
    bytes.resize(10 << 20, 0);
    assert_eq!(fault(&gzip(&bytes), 100).0, header_bytes(1) + 3);
}

#[test]
fn the_first_items_alone_can_be_read() {
    let idx = Idx { dims: vec![3, 2], values: Values::U8(vec![1, 2, 3, 4, 5, 6]) };
    let bytes = bytes_of(&idx);
    let first = |n| read(bytes.as_slice(), Path::new("x"), 100, Some(n)).unwrap();
    assert_eq!(first(2), Idx { dims: vec![3, 2], values: Values::U8(vec![1, 2, 3, 4]) });
    assert_eq!(first(0).values, Values::U8(vec![]));
    assert_eq!(first(9), idx);
}

#[test]
fn dimensions_that_do_not_fit_are_not_written() {
    let bad = |dims: Vec<usize>| write(&Idx { dims, values: Values::U8(vec![0; 6]) }, &mut Vec::new()).is_err();
    assert!(bad(vec![5]) && bad(vec![]) && bad(vec![1, 1, 1, 1, 6]) && bad(vec![usize::MAX, 2]));
    assert!(!bad(vec![2, 3]));
}

fn arrays() -> impl Strategy<Value = Idx> {
    prop::collection::vec(0usize..6, 1..=4).prop_flat_map(|dims| {
        let n = dims.iter().product::<usize>();
        let bytes = prop::collection::vec(any::<u8>(), n).prop_map(Values::U8);
        let floats = prop::collection::vec(-1e6f32..1e6, n).prop_map(Values::F32);
        (Just(dims), prop_oneof![bytes, floats]).prop_map(|(dims, values)| Idx { dims, values })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(idx in arrays(), compressed: bool) {
        let bytes = bytes_of(&idx);
        // Room for the largest product that counts zeros as ones.
        let limit = 20 + 4 * idx.dims.iter().map(|dim| (*dim).max(1) as u64).product::<u64>();
        let stored = if compressed { gzip(&bytes) } else { bytes };
        prop_assert_eq!(read(stored.as_slice(), Path::new("x"), limit, None).unwrap(), idx);
    }

    #[test]
    fn a_truncated_file_never_passes(idx in arrays(), cut: prop::sample::Index) {
        let bytes = bytes_of(&idx);
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(read(short, Path::new("x"), 10_000, None).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic_or_exceed_the_limit(
        head in prop_oneof![Just(vec![]), (0u8..6).prop_map(|n| vec![0, 0, 8, n]), (0u8..6).prop_map(|n| vec![0, 0, 13, n]), Just(vec![0x1f, 0x8b, 8, 0])],
        dims in prop::collection::vec(prop_oneof![0u32..9, any::<u32>()], 0..5),
        tail in prop::collection::vec(any::<u8>(), 0..300),
        limit in 0u64..400,
        first in prop::option::of(0usize..20),
    ) {
        let mut bytes = head;
        dims.iter().for_each(|dim| bytes.extend_from_slice(&dim.to_be_bytes()));
        bytes.extend_from_slice(&tail);
        if let Ok(idx) = read(bytes.as_slice(), Path::new("x"), limit, first) {
            prop_assert!(allocated(&idx) <= limit);
            let count = match &idx.values { Values::U8(v) => v.len(), Values::F32(v) => v.len() };
            let items = first.map_or(idx.dims[0], |first| first.min(idx.dims[0]));
            prop_assert_eq!(count, items * idx.dims[1..].iter().product::<usize>());
        }
    }
}
