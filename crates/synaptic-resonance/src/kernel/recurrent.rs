//! One token after the other (section 4.3).

use burn::prelude::*;

use super::Inputs;
use crate::error::MemoryError;
use crate::settings::Rule;

/// Read-outs `[batch, time, heads, value width]` and the state after the last token, `s`
/// `[batch, groups, value width, key width]` the state before the first one.
///
/// This is the definition, as it is written in section 4.3, that the other forms are compared with. Everything is
/// computed in the type of the queries, at least in f32 (section 5.5): the state comes in that type, the read-out in
/// the queries' own. A state that is not finite stays so at a start, and where everything is forgotten.
///
/// # Errors
/// When a shape does not fit.
pub fn recurrent(inputs: Inputs, s: Tensor<4>, rule: Rule) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    walk(inputs, s, rule, |_| ())
}

/// What happens at a token, by matrices of `[batch, groups]`.
pub(super) struct Token<'a> {
    /// S', the state after the decays, `[.., value width, key width]`.
    pub kept: &'a Tensor<4>,
    /// `[.., key width, 1]`.
    pub k: &'a Tensor<4>,
    /// `[.., value width, 1]`.
    pub v: &'a Tensor<4>,
    /// The state after the write.
    pub s: &'a Tensor<4>,
}

/// [`recurrent`], with a look at every token.
pub(super) fn walk(
    inputs: Inputs,
    s: Tensor<4>,
    rule: Rule,
    mut look: impl FnMut(Token),
) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    let sizes = inputs.sizes(&s)?;
    let narrow = inputs.q.dtype();
    let (Inputs { q, k, v, beta, log_a, starts, channels }, mut s) = inputs.widened(s);
    let (b, g, share) = (sizes.batch, sizes.groups, sizes.heads / sizes.groups);
    let mut out = Vec::with_capacity(sizes.time);
    for t in 0..sizes.time {
        // [batch, groups, width, 1] columns.
        let column = |x: &Tensor<4>, width: usize| x.clone().narrow(1, t, 1).reshape([b, g, width, 1]);
        let scalar = |x: &Tensor<3>| x.clone().narrow(1, t, 1).reshape([b, g, 1, 1]);
        let (k, v, beta) = (column(&k, sizes.key), column(&v, sizes.value), scalar(&beta));
        let mut kept = s;
        if let Some(log_a) = &log_a {
            kept = kept * scalar(log_a).exp();
        }
        if let Some(starts) = &starts {
            kept = kept * (starts.clone().narrow(1, t, 1).reshape([b, 1, 1, 1]).neg() + 1.0);
        }
        if let Some(log_decay) = &channels.log_decay {
            kept = kept * log_decay.clone().narrow(1, t, 1).reshape([b, g, 1, sizes.key]).exp();
        }
        let new = match &channels.write {
            Some(write) => v.clone() * column(write, sizes.value),
            None => v.clone(),
        };
        let written = match (rule, &channels.erase) {
            (Rule::Delta, Some(erase)) => new - kept.clone().matmul(k.clone() * column(erase, sizes.key)),
            (Rule::Delta, None) => new - kept.clone().matmul(k.clone()),
            (Rule::Hebbian, _) => new,
        };
        s = kept.clone() + (written * beta).matmul(k.clone().transpose());
        look(Token { kept: &kept, k: &k, v: &v, s: &s });
        // Every head of a group is a column: [batch, groups, key width, heads / groups].
        let q = q.clone().narrow(1, t, 1).reshape([b, g, share, sizes.key]).swap_dims(2, 3);
        let read = s.clone().matmul(q).swap_dims(2, 3);
        out.push(read.reshape([b, 1, sizes.heads, sizes.value]));
    }
    Ok((Tensor::cat(out, 1).cast(narrow), s))
}
