//! Windowed attention with rotary positions and its ring of unrotated keys (sections 3 and 6).

use burn::module::Param;
use burn::prelude::*;

/// Projections of one layer (shared with the memory), and the blend of its keys.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[d, heads D]`.
    pub q: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub k: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub v: Param<Tensor<2>>,
    /// `[heads D, d]`.
    pub o: Param<Tensor<2>>,
    /// `[groups, D]`; where attention keys are blended (A10, A11).
    pub mu: Option<Param<Tensor<2>>>,
}
