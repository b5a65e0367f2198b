//! Numbers of blocks in single precision, and back.

use burn::tensor::{bf16, f16};

use super::{BlockError, BlockType};

/// A number in half precision.
pub(super) fn half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// The number in half precision at the start of a block.
fn first(block: &[u8]) -> f32 {
    half(u16::from_le_bytes([block[0], block[1]]))
}

/// # Errors
/// [`BlockError::NotFinite`] for a number or a scale that is not.
pub(super) fn finite(kind: BlockType, bytes: &[u8]) -> Result<(), BlockError> {
    let scales = |block: &[u8]| match kind {
        BlockType::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]).is_finite(),
        BlockType::BF16 => bf16::from_le_bytes([block[0], block[1]]).is_finite(),
        BlockType::F16 | BlockType::Q8_0 | BlockType::Q4_0 => first(block).is_finite(),
        BlockType::Q4_1 => first(block).is_finite() && first(&block[2..]).is_finite(),
    };
    match bytes.chunks_exact(kind.bytes()).position(|block| !scales(block)) {
        Some(block) => Err(BlockError::NotFinite { kind: kind.name(), block }),
        None => Ok(()),
    }
}

impl BlockType {
    /// The values of blocks: all are exact, a scale has 11 bits and what it multiplies at most 8.
    ///
    /// # Errors
    /// [`BlockError::Bytes`] where the bytes are not those of as many values as `to` has, [`BlockError::Partial`] where
    /// `to` ends within a block.
    pub fn dequantise(self, bytes: &[u8], to: &mut [f32]) -> Result<(), BlockError> {
        let expected = self.bytes_of(to.len())?;
        if bytes.len() != expected {
            let (kind, values, found) = (self.name(), to.len(), bytes.len());
            return Err(BlockError::Bytes { kind, values, expected, found });
        }
        let blocks = bytes.chunks_exact(self.bytes()).zip(to.chunks_exact_mut(self.values()));
        match self {
            Self::F32 => blocks.for_each(|(b, x)| x[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Self::F16 => blocks.for_each(|(b, x)| x[0] = first(b)),
            Self::BF16 => blocks.for_each(|(b, x)| x[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Self::Q8_0 => blocks.for_each(|(b, x)| {
                let d = first(b);
                x.iter_mut().zip(&b[2..]).for_each(|(x, q)| *x = d * f32::from(q.cast_signed()));
            }),
            Self::Q4_0 => blocks.for_each(|(b, x)| {
                let d = first(b);
                nibbles(&b[2..], x, |q| d * (q - 8.0));
            }),
            Self::Q4_1 => blocks.for_each(|(b, x)| {
                let (d, m) = (first(b), first(&b[2..]));
                nibbles(&b[4..], x, |q| d * q + m);
            }),
        }
        Ok(())
    }

    /// The values in blocks. Those of 4 and 8 bits are rounded as the format's reference does: to the nearest multiple
    /// of a scale that the largest value sets, halves away from zero or up, the scale itself to half precision after
    /// that.
    ///
    /// # Errors
    /// [`BlockError::Partial`] for a part of a block; [`BlockError::Range`] for a value that is not finite, or with
    /// which the value or the scale of its block would not be.
    pub fn quantise(self, values: &[f32]) -> Result<Vec<u8>, BlockError> {
        let mut bytes = Vec::with_capacity(self.bytes_of(values.len())?);
        for (i, block) in values.chunks_exact(self.values()).enumerate() {
            if let Err(at) = self.put(block, &mut bytes) {
                let (kind, index, value) = (self.name(), i * self.values() + at, block[at].to_string());
                return Err(BlockError::Range { kind, index, value });
            }
        }
        Ok(bytes)
    }

    /// Appends a block; the place of the value that it cannot hold.
    fn put(self, x: &[f32], to: &mut Vec<u8>) -> Result<(), usize> {
        if let Some(at) = x.iter().position(|x| !x.is_finite()) {
            return Err(at);
        }
        let largest = largest(x);
        let mut halves = |scales: &[f32]| {
            for scale in scales.iter().map(|scale| f16::from_f32(*scale)) {
                if !scale.is_finite() {
                    return Err(largest);
                }
                to.extend_from_slice(&scale.to_le_bytes());
            }
            Ok(())
        };
        match self {
            Self::F32 => to.extend_from_slice(&x[0].to_le_bytes()),
            Self::F16 => halves(x)?,
            Self::BF16 => match bf16::from_f32(x[0]) {
                x if x.is_finite() => to.extend_from_slice(&x.to_le_bytes()),
                _ => return Err(0),
            },
            Self::Q8_0 => {
                let d = x[largest].abs() / 127.0;
                halves(&[d])?;
                let by = inverse(d);
                to.extend(x.iter().map(|x| (x * by).round() as i8 as u8));
            }
            Self::Q4_0 => {
                let d = x[largest] / -8.0;
                halves(&[d])?;
                let by = inverse(d);
                put_nibbles(x, to, |x| x * by + 8.5);
            }
            Self::Q4_1 => {
                let (low, high) = x.iter().fold((x[0], x[0]), |(low, high), x| (low.min(*x), high.max(*x)));
                let d = (high - low) / 15.0;
                halves(&[d, low])?;
                let by = inverse(d);
                put_nibbles(x, to, |x| (x - low) * by + 0.5);
            }
        }
        Ok(())
    }
}

/// Gives `f` of the low nibbles, then of the high ones.
fn nibbles(bytes: &[u8], to: &mut [f32], f: impl Fn(f32) -> f32) {
    let (low, high) = to.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (f(f32::from(byte & 15)), f(f32::from(byte >> 4)));
    }
}

/// Appends the whole parts of `f` as nibbles, low ones first.
fn put_nibbles(x: &[f32], to: &mut Vec<u8>, f: impl Fn(f32) -> f32) {
    let (low, high) = x.split_at(x.len() / 2);
    let nibble = |x: &f32| (f(*x) as u8).min(15);
    to.extend(low.iter().zip(high).map(|(low, high)| nibble(low) | (nibble(high) << 4)));
}

/// Which value is the largest by amount, the first of equals.
fn largest(x: &[f32]) -> usize {
    (1..x.len()).fold(0, |best, i| if x[i].abs() > x[best].abs() { i } else { best })
}

/// 1 / d, 0 for 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}
