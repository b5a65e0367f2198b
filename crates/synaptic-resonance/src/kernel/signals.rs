//! What can be seen of a memory at work (sections 7.1 and 12.4).

use burn::prelude::*;

use super::Inputs;
use crate::error::MemoryError;
use crate::settings::Rule;

/// Signals of every token.
#[derive(Debug, Clone)]
pub struct Signals {
    /// |e|, length of the error before the write, `[batch, time, groups]`.
    pub surprise: Tensor<3>,
    /// rho, how well the query is covered by stored keys: 1 for a stored, undisturbed one, `[batch, time, heads]`.
    pub familiarity: Tensor<3>,
    /// ||S||_F after the write, `[batch, time, groups]`.
    pub norm: Tensor<3>,
    /// The read-outs, `[batch, time, heads, value width]`.
    pub read: Tensor<4>,
}

/// The signals of every token, from the state `s` and the familiarity row `f` `[batch, groups, key width]` (zeros for
/// an empty memory), token by token. Also returns state and row after the last token.
///
/// # Errors
/// When a shape does not fit.
pub fn signals(
    inputs: Inputs,
    s: Tensor<4>,
    f: Tensor<3>,
    rule: Rule,
) -> Result<(Signals, Tensor<4>, Tensor<3>), MemoryError> {
    let _ = (inputs, s, f, rule);
    Err(MemoryError::State("not here yet".into()))
}

/// The implicit attention map `[batch, groups, time, time]` from an empty memory: times the values it is the read-out
/// (section 12.4). One head per group.
///
/// # Errors
/// When a shape does not fit.
pub fn attention_map(inputs: Inputs, rule: Rule) -> Result<Tensor<4>, MemoryError> {
    let _ = (inputs, rule);
    Err(MemoryError::State("not here yet".into()))
}
