//! The memory with its parameters (section 4).

use burn::module::Param;
use burn::prelude::*;

use crate::error::MemoryError;
use crate::fused;
use crate::kernel::{self, Inputs};
use crate::settings::{MemoryConfig, ModelConfig};

/// Projections of a memory that has its own (A5): `[width, heads or groups x head width]`.
#[derive(Module, Debug)]
pub struct Projections {
    /// `[d, heads D]`.
    pub q: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub k: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub v: Param<Tensor<2>>,
}

/// The parameters of one layer's memory (section 4.2). A variant has only those that it uses.
#[derive(Module, Debug)]
pub struct Memory {
    /// w_b, `[d, groups]`.
    pub write: Param<Tensor<2>>,
    /// b_b, `[groups]`.
    pub write_bias: Param<Tensor<1>>,
    /// w_l, `[d, groups]`; with decay.
    pub forget: Option<Param<Tensor<2>>>,
    /// b_l, `[groups]`; with decay.
    pub forget_bias: Option<Param<Tensor<1>>>,
    /// w_g, `[d, heads]`.
    pub gate: Param<Tensor<2>>,
    /// b_g, `[heads]`.
    pub gate_bias: Param<Tensor<1>>,
    /// `[heads]`: 0 is the model without memory.
    pub gamma: Param<Tensor<1>>,
    /// `[groups, D]`; with blended keys.
    pub mu: Option<Param<Tensor<2>>>,
    /// `[heads, D]`; with a normalised read-out.
    pub c: Option<Param<Tensor<2>>>,
    /// With projections of its own.
    pub projections: Option<Projections>,
    /// What the memory does.
    #[module(skip)]
    pub config: MemoryConfig,
}

/// What a memory reads of its layer.
pub struct Read {
    /// The attention's normalised input, `[batch, time, d]`.
    pub n: Tensor<3>,
    /// Unrotated queries, `[batch, time, heads, D]`.
    pub q: Tensor<4>,
    /// Unrotated, unblended keys, `[batch, time, groups, D]`.
    pub k: Tensor<4>,
    /// `[batch, time, groups, D]`.
    pub v: Tensor<4>,
    /// 1 at the first token of a document, else 0, `[batch, time]`.
    pub starts: Option<Tensor<2>>,
    /// 1 where a token may change the memory, 0 at padding and everywhere when frozen, `[batch, time]`; none: all may.
    pub writes: Option<Tensor<2>>,
}

impl Memory {
    /// The parameters of section 4.2 at their initial values; own projections are drawn from `normal`, which gives
    /// `n` standard normal numbers.
    pub fn new(
        config: &MemoryConfig,
        model: &ModelConfig,
        normal: &mut dyn FnMut(usize) -> Vec<f32>,
        device: &Device,
    ) -> Self {
        let _ = (config, model, normal, device);
        unreachable!("not here yet")
    }

    /// What is added to the attention's output, `[batch, time, heads, D]`, and the state after the last token, from the
    /// state `s` `[batch, groups, D, D]` and the key before the first token `[batch, groups, D]`.
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn forward(
        &self,
        read: Read,
        s: Tensor<4>,
        prev_key: Option<Tensor<3>>,
    ) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
        let _ = (read, s, prev_key, kernel::forward as fn(_, _, _, _) -> _);
        Err(MemoryError::State("not here yet".into()))
    }

    /// The rule's inputs: blended keys, rates, decay.
    pub fn inputs(&self, read: &Read, prev_key: Option<Tensor<3>>) -> Inputs {
        let _ = (read, prev_key);
        unreachable!("not here yet")
    }
}

/// The composition of [`fused::blend`], of tensor operations.
pub fn blend_keys(
    k: Tensor<4>,
    prev: Option<Tensor<3>>,
    mu: Option<Tensor<2>>,
    starts: Option<Tensor<2>>,
    normalise: bool,
) -> Tensor<4> {
    if fused::runs_on(&k) {
        return fused::blend(k, prev, mu, starts, normalise);
    }
    k
}

/// The composition of [`fused::gate`], of tensor operations.
pub fn gate_read(r: Tensor<4>, gate: Tensor<3>, gamma: Tensor<1>, c: Option<Tensor<2>>) -> Tensor<4> {
    let _ = (gate, gamma, c);
    r
}
