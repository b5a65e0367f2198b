//! A batch of token sequences on the host.

use burn::prelude::*;

use crate::error::MemoryError;

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
    /// When they are not `batch x time`, or there are none.
    pub fn new(ids: Vec<u32>, batch: usize, time: usize) -> Result<Self, MemoryError> {
        if batch == 0 || time == 0 {
            return Err(MemoryError::setting("tokens", format!("{batch} x {time}"), "must hold at least one token"));
        }
        MemoryError::shape("tokens", &[ids.len()], &[batch * time])?;
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
    /// When one is not below `vocabulary`.
    pub fn upload(&self, vocabulary: usize, device: &Device) -> Result<Tensor<2, Int>, MemoryError> {
        if let Some(at) = self.ids.iter().position(|id| *id as usize >= vocabulary) {
            let (row, position) = (at / self.time, at % self.time);
            return Err(MemoryError::Token { token: self.ids[at], row, position, vocabulary });
        }
        let ids: Vec<i32> = self.ids.iter().map(|id| *id as i32).collect();
        Ok(Tensor::from_data(TensorData::new(ids, [self.batch, self.time]), device))
    }
}
