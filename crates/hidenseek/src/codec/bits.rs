//! Bits in bytes, least significant first; the bits after the last one are 0 (section 3.7).

use super::error::WireError;

/// `ceil(n width / 8)`: bytes of `n` fields of `width` bits.
pub fn bytes_for(n: u64, width: u32) -> u64 {
    n.saturating_mul(u64::from(width)).div_ceil(8)
}

/// Refuses more entries than the 32 bits of a message's count can hold, before they are given room: entropy-coded, any
/// number of them fits into a byte.
pub(crate) fn countable(n: usize) -> Result<(), WireError> {
    if n > u32::MAX as usize { Err(WireError::TooMany { found: n as u64 }) } else { Ok(()) }
}

/// Refuses a payload of another length than `needed`.
pub(crate) fn exactly(bytes: &[u8], needed: u64) -> Result<(), WireError> {
    let found = bytes.len() as u64;
    match found.cmp(&needed) {
        std::cmp::Ordering::Less => Err(WireError::Truncated { needed, found }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(WireError::OverLong { needed, found }),
    }
}

/// The signs of scores: true where the score is at least 0 (section 2, sgn).
pub fn signs(scores: &[f32]) -> Vec<bool> {
    scores.iter().map(|s| *s >= 0.0).collect()
}

/// `ceil(n / 8)` bytes; a plus is a 1.
pub fn pack(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().enumerate().fold(0u8, |byte, (i, bit)| byte | (u8::from(*bit) << i));
    bits.chunks(8).map(byte).collect()
}

/// The `n` bits of [`pack`].
///
/// # Errors
/// When the length is not `ceil(n / 8)`, or a bit after the last is set.
pub fn unpack(bytes: &[u8], n: usize) -> Result<Vec<bool>, WireError> {
    exactly(bytes, bytes_for(n as u64, 1))?;
    if !n.is_multiple_of(8) && bytes.last().is_some_and(|last| last >> (n % 8) != 0) {
        return Err(WireError::Padding);
    }
    let mut bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1 == 1)).collect();
    bits.truncate(n);
    Ok(bits)
}

/// Fields of `width` bits (32 at most: more count as 32) one after another, each least significant bit first; higher
/// bits of a value are lost.
pub fn pack_fields(values: &[u32], width: u32) -> Vec<u8> {
    let width = width.min(u32::BITS);
    let mut out = Vec::with_capacity(bytes_for(values.len() as u64, width) as usize);
    let (mut buffer, mut held) = (0u64, 0);
    for value in values {
        buffer |= (u64::from(*value) & ((1u64 << width) - 1)) << held;
        held += width;
        while held >= 8 {
            out.push(buffer as u8);
            buffer >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(buffer as u8);
    }
    out
}

/// The `n` fields of [`pack_fields`].
///
/// # Errors
/// When the length is not `ceil(n width / 8)`, a bit after the last is set, or `n` is more than a message can count.
pub fn unpack_fields(bytes: &[u8], n: usize, width: u32) -> Result<Vec<u32>, WireError> {
    let width = width.min(u32::BITS);
    countable(n)?;
    exactly(bytes, bytes_for(n as u64, width))?;
    let mut rest = bytes.iter();
    let (mut buffer, mut held) = (0u64, 0);
    let mut values = Vec::with_capacity(n);
    for _ in 0..n {
        while held < width {
            buffer |= u64::from(rest.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        values.push((buffer & ((1u64 << width) - 1)) as u32);
        buffer >>= width;
        held -= width;
    }
    if buffer == 0 { Ok(values) } else { Err(WireError::Padding) }
}
