//! A batch of token sequences on the host.

use burn::prelude::*;

use crate::error::MemoryError;

/// Ids and places are uploaded in 32 bits with a sign.
const MOST: usize = i32::MAX as usize;

/// `batch x time`, checked before anything is allocated.
pub(crate) fn count(batch: usize, time: usize) -> Result<usize, MemoryError> {
    let wrong = |expected: &str| Err(MemoryError::setting("tokens", format!("{batch} x {time}"), expected));
    match batch.checked_mul(time) {
        Some(0) => wrong("must hold at least one token"),
        Some(n) if n <= MOST => Ok(n),
        _ => wrong("must be at most 2^31 - 1 tokens at once"),
    }
}

/// Token ids `[batch, time]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    batch: usize,
    time: usize,
}

impl Tokens {
    /// `ids` row by row.
    ///
    /// # Errors
    /// When they are not `batch x time`, there are none, or there are more than 2^31 - 1.
    pub fn new(ids: Vec<u32>, batch: usize, time: usize) -> Result<Self, MemoryError> {
        MemoryError::shape("tokens", &[ids.len()], &[count(batch, time)?])?;
        Ok(Self { ids, batch, time })
    }

    /// B.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// T.
    pub fn time(&self) -> usize {
        self.time
    }

    /// Row-major.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// One sequence. Panics if `row >= batch()`, as a slice does.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.ids[row * self.time..(row + 1) * self.time]
    }

    /// The ids as a tensor `[batch, time]`.
    ///
    /// # Errors
    /// When one is not below `vocabulary`, nor below 2^31.
    pub fn upload(&self, vocabulary: usize, device: &Device) -> Result<Tensor<2, Int>, MemoryError> {
        let vocabulary = vocabulary.min(MOST);
        if let Some(at) = self.ids.iter().position(|id| *id as usize >= vocabulary) {
            let (row, position) = (at / self.time, at % self.time);
            return Err(MemoryError::Token { token: self.ids[at], row, position, vocabulary });
        }
        let ids: Vec<i32> = self.ids.iter().map(|id| *id as i32).collect();
        Ok(Tensor::from_data(TensorData::new(ids, [self.batch, self.time]), device))
    }
}
