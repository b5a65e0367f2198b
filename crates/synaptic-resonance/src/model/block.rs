//! One layer.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use plasticity_core::device::takes_kernels;
use plasticity_core::nn::product::matmul;

use super::pass::Frame;
use crate::attention::{Attention, attend};
use crate::error::MemoryError;
use crate::fused;
use crate::memory::{Memory, Read, blend_keys};
use crate::settings::ModelConfig;
use crate::state::LayerState;

/// One layer.
#[derive(Module, Debug)]
pub struct Block {
    /// Scale of the norm before attention, `[d]`.
    pub norm1: Param<Tensor<1>>,
    /// Attention.
    pub attention: Attention,
    /// The memory.
    pub memory: Option<Memory>,
    /// Scale of the norm before the MLP, `[d]`.
    pub norm2: Param<Tensor<1>>,
    /// `[d, mlp]`.
    pub up: Param<Tensor<2>>,
    /// `[mlp, d]`.
    pub down: Param<Tensor<2>>,
    /// `[d, mlp]`; of SwiGLU.
    pub gate: Option<Param<Tensor<2>>>,
}

impl Block {
    /// `[batch, time, d]` to the same, with the state after the last token of each row (section 3).
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        state: LayerState,
        config: &ModelConfig,
        frame: &Frame,
    ) -> Result<(Tensor<3>, LayerState), MemoryError> {
        let n = rms_norm(x.clone(), self.norm1.val(), config.norm_epsilon);
        let [q, k, v] = self.attention.project(&n, config.heads, config.groups());
        let shared = [q.clone(), k.clone(), v.clone()];
        let read = self.memory.as_ref().map(|memory| Self::read_of(memory, n, shared, frame));
        // A memory with projections of its own and blended keys remembers its own last key, see `LayerState`.
        let own = read.as_ref().filter(|_| self.attention.mu.is_none());
        let prev_key = state.prev_key.clone().map(|before| frame.last_key(own.map_or(&k, |read| &read.k), before));

        let k = match &self.attention.mu {
            Some(mu) => blend_keys(k, state.prev_key.clone(), Some(mu.val()), frame.starts.clone(), false),
            None => k,
        };
        let (mut y, ring) = attend(q, k, v, state.ring, &frame.span);
        let mut s = state.s;
        if let (Some(memory), Some(read), Some(before)) = (&self.memory, read, s.take()) {
            let (added, after) = memory.pass(read, before, state.prev_key)?;
            y = y + added;
            s = Some(after);
        }
        let x = x + self.attention.output(y);
        let [batch, time, d] = x.dims();
        let n = rms_norm(x.clone(), self.norm2.val(), config.norm_epsilon).reshape([batch * time, d]);
        let hidden = match &self.gate {
            None => gelu(matmul(n, self.up.val())),
            Some(gate) => swiglu(matmul(n.clone(), gate.val()), matmul(n, self.up.val())),
        };
        let added = matmul(hidden, self.down.val()).reshape([batch, time, d]);
        Ok((x + added, LayerState { s, prev_key, ring }))
    }

    /// What the memory reads of the layer's input `x` `[batch, time, d]`.
    pub(super) fn read(&self, memory: &Memory, x: Tensor<3>, config: &ModelConfig, frame: &Frame) -> Read {
        let n = rms_norm(x, self.norm1.val(), config.norm_epsilon);
        let shared = self.attention.project(&n, config.heads, config.groups());
        Self::read_of(memory, n, shared, frame)
    }

    /// What the memory reads of the normalised input `n` and of the layer's projections.
    fn read_of(memory: &Memory, n: Tensor<3>, shared: [Tensor<4>; 3], frame: &Frame) -> Read {
        let [q, k, v] = memory.projected(&n).unwrap_or(shared);
        // Padding is among what may not write.
        Read { n, q, k, v, starts: frame.starts.clone(), writes: frame.writes.clone(), lengths: None }
    }
}

/// `x / sqrt(mean(x^2) + epsilon) scale` along the last dimension.
pub(super) fn rms_norm(x: Tensor<3>, scale: Tensor<1>, epsilon: f64) -> Tensor<3> {
    if takes_kernels(&x) {
        return fused::rms_norm(x, scale, epsilon);
    }
    let rms = (x.clone().powi_scalar(2).mean_dim(2) + epsilon).sqrt();
    x * rms.recip() * scale.unsqueeze()
}

/// `x Phi(x)`, Phi the normal distribution function. Burn's own takes the derivative of the tanh form outside flex, and
/// a slower one on it.
fn gelu(x: Tensor<2>) -> Tensor<2> {
    if takes_kernels(&x) {
        return fused::gelu(x);
    }
    let phi = ((x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * phi
}

/// [`swiglu_composed`], or [`fused::swiglu`] where the kernels run.
fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if takes_kernels(&gate) {
        return fused::swiglu(gate, up);
    }
    swiglu_composed(gate, up)
}

/// The composition of [`fused::swiglu`], of tensor operations: `gate sigmoid(gate) up`.
///
/// # Panics
/// When the shapes differ, as operations on tensors do.
pub fn swiglu_composed<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    gate.clone() * sigmoid(gate) * up
}
