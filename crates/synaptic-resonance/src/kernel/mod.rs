//! The rule of the memory as pure functions of tensors: no parameters (sections 4.3 and 5).
//!
//! [`recurrent`] takes one token after the other, [`chunked`] a chunk at a time; both give the same. [`forward`] is
//! what the model calls: the [`fused`] form where it can, chunks elsewhere. All return the read-out
//! without its norm.
//!
//! With gates of single channels ([`Channels`]) the rule is, for a state S `[value width, key width]`, a key k, a query q,
//! a value v, the head's decay a and write rate beta, and decay c `[key width]`, erasing b `[key width]` and writing w
//! `[value width]` of channels,
//!
//! ```text
//! S' = S Diag(a c)                     every key channel forgets at its own rate
//! e  = w o v - S' (b o k)              a key channel with b = 0 is not asked for the old value, and so erases nothing
//! S  = S' + beta e k^T,  r = S q
//! ```
//!
//! | rule | a | beta | c | b | w |
//! | --- | --- | --- | --- | --- | --- |
//! | DeltaNet (arXiv 2406.06484) | 1 | given | 1 | 1 | 1 |
//! | Gated DeltaNet (arXiv 2412.06464), section 4.3 | given | given | 1 | 1 | 1 |
//! | Kimi Delta Attention (arXiv 2510.26692) | 1 | given | given | 1 | 1 |
//! | Gated DeltaNet-2 (arXiv 2605.22791) | 1 | 1 | given | given | given |
//!
//! In each form the head's gates stay factors of their own. So channels that are all 1 give the read-outs of the rule
//! without them bit for bit, fused and token by token; channels that are equal and another number give them within
//! rounding, since a product is then rounded before a sum that it was rounded after (powers of two round nothing, and
//! give the same bits).

mod chunked;
mod decay;
mod inverse;
mod recurrent;
mod signals;

pub use crate::inputs::{Channels, Inputs, Sizes};
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
