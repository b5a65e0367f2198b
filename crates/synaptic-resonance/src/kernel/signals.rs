//! What can be seen of a memory at work (sections 7.1 and 12.4).

use burn::prelude::*;

use super::chunked::Chunks;
use super::recurrent::{Token, walk};
use super::{Inputs, Sizes};
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
/// The error is `v_t - S'_t k_t` for both rules, though the Hebbian one does not write it, nor does one with gates of
/// channels as it is. `f` is the row that the constant value 1 writes beside the values, with the mean of their gates
/// where they have some; neither error nor norm count it.
///
/// # Errors
/// When a shape does not fit.
pub fn signals(
    inputs: Inputs,
    s: Tensor<4>,
    f: Tensor<3>,
    rule: Rule,
) -> Result<(Signals, Tensor<4>, Tensor<3>), MemoryError> {
    let Sizes { batch, groups, key, value, .. } = inputs.sizes(&s)?;
    MemoryError::shape("f", &f.dims(), &[batch, groups, key])?;
    let (mut inputs, s) = inputs.widened(s);
    let f = f.cast(s.dtype()).unsqueeze_dim(2);
    let ones = inputs.v.clone().narrow(3, 0, 1).ones_like();
    inputs.v = Tensor::cat(vec![inputs.v, ones], 3);
    inputs.channels.write = inputs.channels.write.map(|write| {
        let mean = write.clone().mean_dim(3);
        Tensor::cat(vec![write, mean], 3)
    });
    let length = |x: Tensor<4>| x.powi_scalar(2).sum_dim(2).sum_dim(3).sqrt().reshape([batch, 1, groups]);
    let (mut surprise, mut norm) = (Vec::new(), Vec::new());
    let (read, s) = walk(inputs, Tensor::cat(vec![s, f], 2), rule, |Token { kept, k, v, s }: Token| {
        let error = v.clone() - kept.clone().matmul(k.clone());
        surprise.push(length(error.narrow(2, 0, value)));
        norm.push(length(s.clone().narrow(2, 0, value)));
    })?;
    let signals = Signals {
        surprise: Tensor::cat(surprise, 1),
        familiarity: read.clone().narrow(3, value, 1).squeeze_dim(3),
        norm: Tensor::cat(norm, 1),
        read: read.narrow(3, 0, value),
    };
    let f = s.clone().narrow(2, value, 1).squeeze_dim(2);
    Ok((signals, s.narrow(2, 0, value), f))
}

/// The implicit attention map `[batch, heads, time, time]` from an empty memory: row t holds the weights with which
/// the read-out of token t is a sum of values; they are signed, and 0 above the diagonal (section 12.4). Where single
/// channels of the values have gates, it is a sum of the gated values. Memory and time grow with the square of the number
/// of tokens, which is one chunk.
///
/// # Errors
/// When a shape does not fit.
pub fn attention_map(inputs: Inputs, rule: Rule) -> Result<Tensor<4>, MemoryError> {
    let [batch, time, groups, value] = inputs.v.dims();
    let [.., heads, key] = inputs.q.dims();
    let empty = Tensor::zeros([batch, groups, value, key], (&inputs.v.device(), inputs.v.dtype()));
    let sizes = inputs.sizes(&empty)?;
    let (inputs, _) = inputs.widened(empty);
    let c = time.next_power_of_two();
    let map = Chunks::new(inputs, sizes, c).map(rule);
    Ok(map.reshape([batch, heads, c, c]).narrow(2, 0, time).narrow(3, 0, time))
}
