//! One token after the other (section 4.3).

use burn::prelude::*;

use super::Inputs;
use crate::error::MemoryError;
use crate::settings::Rule;

/// Read-outs `[batch, time, heads, value width]` and the state after the last token, `s`
/// `[batch, groups, value width, key width]` the state before the first one.
///
/// # Errors
/// When a shape does not fit.
pub fn recurrent(inputs: Inputs, s: Tensor<4>, rule: Rule) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    let sizes = inputs.sizes(&s)?;
    let Inputs { q, k, v, beta, log_a, starts } = inputs;
    let (b, g, share) = (sizes.batch, sizes.groups, sizes.heads / sizes.groups);
    let mut s = s;
    let mut out = Vec::with_capacity(sizes.time);
    for t in 0..sizes.time {
        // [batch, groups, width, 1] columns.
        let column = |x: &Tensor<4>, width: usize| x.clone().narrow(1, t, 1).reshape([b, g, width, 1]);
        let scalar = |x: &Tensor<3>| x.clone().narrow(1, t, 1).reshape([b, g, 1, 1]);
        let (k, v, beta) = (column(&k, sizes.key), column(&v, sizes.value), scalar(&beta));
        let kept = match (&log_a, &starts) {
            (None, None) => s,
            (log_a, starts) => {
                let mut a = match log_a {
                    Some(log_a) => scalar(log_a).exp(),
                    None => beta.ones_like(),
                };
                if let Some(starts) = starts {
                    a = a * (starts.clone().narrow(1, t, 1).reshape([b, 1, 1, 1]).neg() + 1.0);
                }
                s * a
            }
        };
        let written = match rule {
            Rule::Delta => v - kept.clone().matmul(k.clone()),
            Rule::Hebbian => v,
        };
        s = kept + (written * beta).matmul(k.transpose());
        // Every head of a group is a column: [batch, groups, key width, heads / groups].
        let q = q.clone().narrow(1, t, 1).reshape([b, g, share, sizes.key]).swap_dims(2, 3);
        let read = s.clone().matmul(q).swap_dims(2, 3);
        out.push(read.reshape([b, 1, sizes.heads, sizes.value]));
    }
    Ok((Tensor::cat(out, 1), s))
}
