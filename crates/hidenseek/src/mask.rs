//! The prune mask and what it leaves: positions in canonical order.

use crate::codec::bits::pack;
use crate::codec::payload::bitmap_hash;
use crate::error::FederationError;
use crate::network::Architecture;

/// Which weights survive pruning; fixed for a run and the same for all clients (section 2, P).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneMask {
    keep: Vec<bool>,
    sizes: Vec<usize>,
}

impl PruneMask {
    /// A mask over the weights of a network, in canonical order.
    ///
    /// # Errors
    /// When it has another length.
    pub fn new(architecture: &Architecture, keep: Vec<bool>) -> Result<Self, FederationError> {
        let sizes = architecture.sizes();
        let expected = sizes.iter().sum();
        FederationError::length("mask", expected, keep.len())?;
        Ok(Self { keep, sizes })
    }

    /// The mask that keeps everything.
    pub fn dense(architecture: &Architecture) -> Self {
        let sizes = architecture.sizes();
        Self { keep: vec![true; sizes.iter().sum()], sizes }
    }

    /// One flag per weight.
    pub fn keep(&self) -> &[bool] {
        &self.keep
    }

    /// Number of weights of each layer.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// n, the number of survivors.
    pub fn survivors(&self) -> usize {
        self.keep.iter().filter(|k| **k).count()
    }

    /// Positions of the survivors, rising.
    pub fn positions(&self) -> Vec<u32> {
        (0u32..).zip(&self.keep).filter(|(_, keep)| **keep).map(|(i, _)| i).collect()
    }

    /// Survivors of each layer.
    pub fn per_layer(&self) -> Vec<usize> {
        let mut rest = self.keep.as_slice();
        self.sizes
            .iter()
            .map(|size| {
                let (layer, tail) = rest.split_at(*size);
                rest = tail;
                layer.iter().filter(|k| **k).count()
            })
            .collect()
    }

    /// The bitmap, least significant bit first, `ceil(N / 8)` bytes (section 3.7).
    pub fn bitmap(&self) -> Vec<u8> {
        pack(&self.keep)
    }

    /// The first 8 bytes of BLAKE3 over the bitmap, little-endian (section 3.7).
    pub fn hash(&self) -> u64 {
        bitmap_hash(&self.bitmap())
    }
}
