//! O22: a typed error for each way in which a message can be wrong.

use hidenseek::codec::message::{declared_payload, kind_of};
use hidenseek::codec::payload::{read_bitmap, read_coded, read_sign_delta, read_ternary, read_votes, write_votes};
use hidenseek::codec::{Downlink, Expect, Form, HEADER, Kind, Known, Message, Stamp, Upload, WireError};
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;

use super::fuzz::{Reader, Scene, seal};

const EXPECT: Expect =
    Expect { kind: Kind::RawSigns, round: 3, client: 9, n: 11, mask_hash: 0xABCD, layers: 3, voters: 0 };

fn message() -> Vec<u8> {
    let payload = vec![185, 6];
    Message { kind: Kind::RawSigns, round: 3, client: 9, n: 11, mask_hash: 0xABCD, payload }.encode()
}

/// The error of the valid message after a change, sealed again.
fn error_of(change: impl Fn(&mut Vec<u8>)) -> WireError {
    let mut bytes = message();
    change(&mut bytes);
    seal(&mut bytes);
    Message::decode(&bytes, &EXPECT).expect_err("a changed message is refused")
}

/// Section 3.7: every byte of the header in its place.
#[test]
fn o22_the_header_is_laid_out_as_specified() {
    let bytes = message();
    let mut expected = b"HNS1\x01\x01\0\0".to_vec();
    expected.extend([3, 0, 0, 0, 9, 0, 0, 0, 11, 0, 0, 0, 0xCD, 0xAB, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(bytes[..32], expected);
    assert_eq!(bytes[36..], [185, 6]);
    let mut zeroed = bytes.clone();
    zeroed[32..36].fill(0);
    assert_eq!(bytes[32..36], crc32fast::hash(&zeroed).to_le_bytes());
    // The polynomial is IEEE's: its check value.
    assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    assert_eq!(Kind::ALL.map(|kind| kind as u8), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Message::decode(&bytes, &EXPECT).unwrap().payload, [185, 6]);
}

#[test]
fn o22_each_field_has_its_error() {
    let bytes = message();
    for cut in 0..bytes.len() {
        let needed = if cut < HEADER { HEADER } else { bytes.len() } as u64;
        let error = WireError::Truncated { needed, found: cut as u64 };
        assert_eq!(Message::decode(&bytes[..cut], &EXPECT), Err(error));
    }
    assert_eq!(error_of(|b| b.push(0)), WireError::OverLong { needed: 38, found: 39 });
    assert_eq!(error_of(|b| b[0] = b'h'), WireError::Magic);
    assert_eq!(error_of(|b| b[4] = 2), WireError::Version(2));
    assert_eq!(error_of(|b| b[5] = 9), WireError::UnknownKind(9));
    assert_eq!(error_of(|b| b[5] = 0), WireError::UnknownKind(0));
    assert_eq!(error_of(|b| b[5] = 4), WireError::WrongKind { expected: Kind::RawSigns, found: Kind::Scores });
    assert_eq!(error_of(|b| b[7] = 1), WireError::Reserved);
    assert_eq!(error_of(|b| b[16] = 12), WireError::Count { expected: 11, found: 12 });
    let hash = WireError::MaskHash { expected: 0xABCD, found: 0x0100_0000_0000_ABCD };
    assert_eq!(error_of(|b| b[27] = 1), hash);
    let replayed = |round, client| WireError::Replayed { expected_round: 3, expected_client: 9, round, client };
    assert_eq!(error_of(|b| b[8] = 2), replayed(2, 9));
    assert_eq!(error_of(|b| b[12] = 8), replayed(3, 8));
    let mut damaged = message();
    damaged[36] ^= 1;
    assert!(matches!(Message::decode(&damaged, &EXPECT), Err(WireError::Crc { .. })));
    // The checksum covers round and client too.
    let mut moved = message();
    moved[8] = 2;
    assert!(matches!(Message::decode(&moved, &EXPECT), Err(WireError::Crc { .. })));
}

/// A length is refused from the header alone, before there is a payload to make room for.
#[test]
fn o22_impossible_lengths_are_refused_by_the_header() {
    let mut header = message()[..HEADER].to_vec();
    assert_eq!(declared_payload(&header, &EXPECT), Ok(2));
    for declared in [0, 1, 3, u32::MAX] {
        header[28..32].copy_from_slice(&declared.to_le_bytes());
        let error = WireError::Length { declared: u64::from(declared), least: 2, most: 2 };
        assert_eq!(declared_payload(&header, &EXPECT), Err(error.clone()));
        assert_eq!(Message::decode(&header, &EXPECT), Err(error));
    }
    assert_eq!(kind_of(&header), Ok(Kind::RawSigns));
    // An n in the header changes nothing: the receiver's own counts.
    header[16..20].fill(0xFF);
    assert!(matches!(declared_payload(&header, &EXPECT), Err(WireError::Length { most: 2, .. })));
}

#[test]
fn o22_each_payload_has_its_error() {
    let known = Known::new(&[8, 3], &[0.1; 11], 0.1).unwrap();
    let stamp = Stamp { round: 1, client: 2, mask_hash: 5 };
    let mut mask = Upload::Signs(vec![true; 11]).encode(stamp, hidenseek::codec::Coding::Raw, &known);
    mask[37] |= 0b1000;
    seal(&mut mask);
    assert_eq!(Upload::decode(&mask, Kind::RawSigns, stamp, &known), Err(WireError::Padding));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = Downlink::Scores(vec![0.5, value]).encode(stamp);
        assert_eq!(Downlink::decode(&bytes, Form::Scores, 2, stamp), Err(WireError::NotFinite { index: 1 }));
    }
    let one = Known::new(&[3], &[0.1; 3], 0.1).unwrap().contexts;
    assert_eq!(read_coded(&[3, 0], 3, &one), Err(WireError::Scheme(3)));
    assert_eq!(read_coded(&[0, 0b1000], 3, &one), Err(WireError::Padding));
    assert_eq!(read_coded(&[1, 0], 3, &one), Err(WireError::NotCanonical));
    assert_eq!(read_coded(&[], 3, &one), Err(WireError::Truncated { needed: 1, found: 0 }));
    for (scale, index) in [(f32::NAN, 0), (-1.0, 0), (-0.0, 0)] {
        let mut payload = scale.to_le_bytes().to_vec();
        payload.push(1);
        assert_eq!(read_sign_delta(&payload, 1, 1), Err(WireError::NotFinite { index }));
        payload.insert(4, 0);
        assert_eq!(read_ternary(&payload, &[1]), Err(WireError::NotFinite { index }));
    }
    assert_eq!(read_sign_delta(&[0; 3], 1, 1), Err(WireError::Truncated { needed: 4, found: 3 }));
    assert_eq!(read_ternary(&[0, 0, 0, 0, 0, 3], &[1]), Err(WireError::Symbol { index: 0, found: 3, most: 2 }));
    assert_eq!(read_ternary(&[0, 0, 0, 0, 7, 3], &[1]), Err(WireError::Scheme(7)));
    // Odd voters: counts up to their number. Even ones: a code more, for a tie whose old sign is minus.
    assert_eq!(read_votes(&write_votes(&[5, 6], 5), 2, 5), Err(WireError::Symbol { index: 1, found: 6, most: 5 }));
    assert_eq!(read_votes(&write_votes(&[4, 5], 4), 2, 4), Ok(vec![4, 5]));
    assert_eq!(read_votes(&write_votes(&[6], 4), 1, 4), Err(WireError::Symbol { index: 0, found: 6, most: 5 }));
}

/// The prune mask travels as its own bitmap, and is the one that its hash names.
#[test]
fn o22_prune_bitmaps_answer_to_their_hash() {
    let architecture = Architecture::mlp(&[3, 2, 1]).unwrap();
    let keep = [true, false, true, true, false, false, true, true];
    let mask = PruneMask::new(&architecture, keep.to_vec()).unwrap();
    let stamp = Stamp::broadcast(0, mask.hash());
    let bytes = hidenseek::codec::exchange::encode_bitmap(&mask.bitmap(), 8, stamp);
    assert_eq!(hidenseek::codec::exchange::decode_bitmap(&bytes, 8, stamp), Ok(keep.to_vec()));
    let found = mask.hash();
    assert_eq!(read_bitmap(&mask.bitmap(), 8, 1), Err(WireError::MaskHash { expected: 1, found }));
}

/// Every single flipped bit and every cut of a message of each kind is noticed.
#[test]
fn o22_no_single_bit_passes() {
    let scene = Scene::new(22, &[30, 9, 2]);
    assert_eq!(scene.messages.len(), 11);
    for (reader, bytes) in &scene.messages {
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(scene.read(*reader, &changed).is_err(), "{reader:?}, bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(matches!(scene.read(*reader, &bytes[..cut]), Err(WireError::Truncated { .. })));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(scene.read(*reader, &longer), Err(WireError::OverLong { .. })));
        assert_eq!(scene.read(*reader, bytes).as_ref(), Ok(bytes));
    }
    // A receiver that expects another number of survivors, round or mask refuses them all.
    for (reader, bytes) in &scene.messages {
        let Reader::Up(kind) = *reader else { continue };
        let other = Stamp { round: 8, ..scene.stamp };
        assert!(matches!(Upload::decode(bytes, kind, other, &scene.known), Err(WireError::Replayed { .. })));
    }
}
