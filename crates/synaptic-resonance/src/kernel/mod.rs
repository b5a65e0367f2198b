//! The rule of the memory as pure functions of tensors: no parameters (sections 4.3 and 5).
//!
//! [`recurrent`] takes one token after the other, [`chunked`] a chunk at a time; both give the same. [`forward`] is
//! what the model calls: the [`fused`] form where it can, chunks elsewhere. All return the read-out
//! without its norm.

mod chunked;
mod inverse;
mod recurrent;
mod signals;

pub use crate::inputs::{Inputs, Sizes};
pub use chunked::chunked;
pub use inverse::inverse_unit_lower;
pub use recurrent::recurrent;
pub use signals::{Signals, attention_map, signals};

use burn::prelude::*;
use plasticity_core::device::takes_kernels;

use crate::error::MemoryError;
use crate::fused;
use crate::settings::Rule;

/// Read-outs `[batch, time, heads, value width]` and the state after the last token: fused on the CPU in f32, in
/// chunks of `chunk` tokens elsewhere. Computed in the type of the queries, at least in f32 (section 5.5): the state
/// comes in that type, the read-out in the queries' own.
///
/// # Errors
/// When a shape does not fit, or `chunk` is no power of two.
pub fn forward(inputs: Inputs, s: Tensor<4>, rule: Rule, chunk: usize) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    chunked::check(chunk)?;
    let sizes = inputs.sizes(&s)?;
    let narrow = inputs.q.dtype();
    let (inputs, s) = inputs.widened(s);
    let (read, s) = match takes_kernels(&inputs.q) {
        true => fused::rule(inputs, s, rule, sizes),
        false => chunked(inputs, s, rule, chunk)?,
    };
    Ok((read.cast(narrow), s))
}
