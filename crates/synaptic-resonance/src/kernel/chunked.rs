//! A chunk at a time (section 5.2).

use burn::prelude::*;

use super::decay::{Decay, after, decayed_products};
use super::{Inputs, Sizes, inverse_unit_lower, recurrent};
use crate::error::MemoryError;
use crate::settings::Rule;

/// As [`recurrent`], in chunks of `chunk` tokens; differentiable. Any number of tokens: the last chunk is padded, and
/// a sequence shorter than a chunk makes one of the next power of two.
///
/// # Errors
/// When a shape does not fit, or `chunk` is no power of two.
pub fn chunked(inputs: Inputs, s: Tensor<4>, rule: Rule, chunk: usize) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    check(chunk)?;
    let sizes = inputs.sizes(&s)?;
    if sizes.time == 1 {
        return recurrent(inputs, s, rule);
    }
    let narrow = inputs.q.dtype();
    let (inputs, s) = inputs.widened(s);
    let chunks = Chunks::new(inputs, sizes, chunk.min(sizes.time.next_power_of_two()));
    let (out, s) = chunks.run(s, rule);
    Ok((out.cast(narrow), s))
}

pub(super) fn check(chunk: usize) -> Result<(), MemoryError> {
    match chunk.is_power_of_two() {
        true => Ok(()),
        false => Err(MemoryError::setting("chunk", chunk, "must be a power of two, such as 32")),
    }
}

/// [`Inputs`] cut into N chunks of C tokens; `rows` are batch x groups.
pub(super) struct Chunks {
    sizes: Sizes,
    c: usize,
    n: usize,
    /// `[rows, N, share C, key]`: the heads that share a group, one after the other.
    q: Tensor<4>,
    /// `[rows, N, C, key]`.
    k: Tensor<4>,
    /// b o k, what reads the old value, `[rows, N, C, key]`.
    asks: Tensor<4>,
    /// w o v, `[rows, N, C, value]`.
    v: Tensor<4>,
    /// `[rows, N, C, 1]`.
    beta: Tensor<4>,
    decay: Decay,
}

impl Chunks {
    /// Chunks of `c` tokens, padded with tokens that do nothing.
    pub(super) fn new(inputs: Inputs, sizes: Sizes, c: usize) -> Self {
        let n = sizes.time.div_ceil(c);
        let Inputs { q, k, v, beta, log_a, starts, channels } = inputs;
        let cut = |x: Tensor<4>| cut(x, sizes.groups, n, c);
        let beta: Tensor<4> = cut(beta.unsqueeze_dim(3));
        let log_a = log_a.map(|x| cut(x.unsqueeze_dim(3)));
        let starts = starts.map(|starts| {
            let starts: Tensor<3> = starts.unsqueeze_dim(2);
            cut(starts.repeat_dim(2, sizes.groups).unsqueeze_dim(3))
        });
        let decay = Decay::new(log_a, channels.log_decay.map(cut), starts, &beta);
        let (k, v) = (cut(k), cut(v));
        let asks = channels.erase.map_or_else(|| k.clone(), |erase| k.clone() * cut(erase));
        let v = channels.write.map_or_else(|| v.clone(), |write| v.clone() * cut(write));
        Self { sizes, c, n, q: cut(q), k, asks, v, beta, decay }
    }

    /// A value of every token for the heads that share its group.
    fn shared(&self, x: Tensor<4>) -> Tensor<4> {
        match self.sizes.heads / self.sizes.groups {
            1 => x,
            share => x.repeat_dim(2, share),
        }
    }

    /// M o Q K^T, `[rows, N, share C, C]`.
    pub(super) fn scores(&self) -> Tensor<4> {
        match &self.decay {
            Decay::Heads { ratio, .. } => {
                self.q.clone().matmul(self.k.clone().transpose()) * self.shared(ratio.clone())
            }
            Decay::Channels { log_a, .. } => {
                let heads = (0..self.sizes.heads / self.sizes.groups).map(|h| {
                    let q = self.q.clone().narrow(2, h * self.c, self.c);
                    decayed_products(q, self.k.clone(), log_a.clone())
                });
                Tensor::cat(heads.collect(), 2)
            }
        }
    }

    /// (I + A)^-1, `[rows, N, C, C]`, from what reads the old values, times beta.
    fn inverse(&self, asked: Tensor<4>) -> Tensor<4> {
        inverse_unit_lower(match &self.decay {
            Decay::Heads { ratio, .. } => asked.matmul(self.k.clone().transpose()) * ratio.clone(),
            Decay::Channels { log_a, .. } => decayed_products(asked, self.k.clone(), log_a.clone()),
        })
    }

    /// What is left of the incoming state: of a head `[rows, N, C, 1]`, or of each channel `[rows, N, C, key]`; none: all
    /// of it.
    fn left(&self) -> Option<&Tensor<4>> {
        match &self.decay {
            Decay::Heads { left, .. } => left.as_ref(),
            Decay::Channels { left, .. } => Some(left),
        }
    }

    /// The keys times what is left of them at the end of the chunk, `[rows, N, C, key]`.
    fn to_end(&self) -> Tensor<4> {
        match &self.decay {
            Decay::Heads { left: None, .. } => self.k.clone(),
            Decay::Heads { ratio, .. } => self.k.clone() * ratio.clone().narrow(2, self.c - 1, 1).transpose(),
            Decay::Channels { log_a, .. } => self.k.clone() * after(log_a.clone()).exp(),
        }
    }

    /// G = (M o Q K^T) (I + A)^-1 diag(beta), `[rows, N, share C, C]`.
    pub(super) fn map(&self, rule: Rule) -> Tensor<4> {
        let scores = self.scores();
        let scores = match rule {
            Rule::Delta => scores.matmul(self.inverse(self.asks.clone() * self.beta.clone())),
            Rule::Hebbian => scores,
        };
        scores * self.beta.clone().transpose()
    }

    fn run(self, s: Tensor<4>, rule: Rule) -> (Tensor<4>, Tensor<4>) {
        let Sizes { batch, groups, heads, key, value, time } = self.sizes;
        let (rows, n, c, share) = (batch * groups, self.n, self.c, heads / groups);
        let scale = |x: Tensor<4>| match self.left() {
            Some(left) => x * left.clone(),
            None => x,
        };
        // U = u - w S: the pseudo values, but for the incoming state S [key, value].
        let u = self.v.clone() * self.beta.clone();
        let (u, w) = match rule {
            Rule::Delta => {
                let asked = self.asks.clone() * self.beta.clone();
                let inverse = self.inverse(asked.clone());
                (inverse.clone().matmul(u), Some(inverse.matmul(scale(asked))))
            }
            Rule::Hebbian => (u, None),
        };
        // After a chunk S is whole S + gain - loss S: one product to wait for. The state itself passes through no
        // product, so that one that nothing is written to stays as it is, to the bit, on every device.
        let to_end = self.to_end().transpose();
        let gain = to_end.clone().matmul(u.clone());
        let loss = w.clone().map(|w| to_end.matmul(w));
        // A number for the whole state, or one for each of its rows.
        let whole = self.left().map(|left| left.clone().narrow(2, c - 1, 1).transpose());
        let mut s = s.reshape([rows, 1, value, key]).transpose();
        let mut before = Vec::with_capacity(n);
        let (gains, losses, wholes) = (apart(gain), loss.map(apart), whole.map(apart));
        for (i, gain) in gains.into_iter().enumerate() {
            before.push(s.clone());
            let mut kept = match &wholes {
                Some(wholes) => s.clone() * wholes[i].clone(),
                None => s.clone(),
            };
            if let Some(losses) = &losses {
                kept = kept - losses[i].clone().matmul(s);
            }
            s = kept + gain;
        }
        let before = Tensor::cat(before, 1);
        let u = match w {
            Some(w) => u - w.matmul(before.clone()),
            None => u,
        };
        let q = match self.left() {
            Some(left) => self.q.clone() * self.shared(left.clone()),
            None => self.q.clone(),
        };
        let out = q.matmul(before) + self.scores().matmul(u);
        let out = out.reshape([batch, groups, n, share, c, value]).permute([0, 2, 4, 1, 3, 5]);
        let out = out.reshape([batch, n * c, heads, value]).narrow(1, 0, time);
        (out, s.transpose().reshape([batch, groups, value, key]))
    }
}

/// `[batch, time, heads, width]` to `[batch x groups, N, heads / groups C, width]`.
fn cut(x: Tensor<4>, groups: usize, n: usize, c: usize) -> Tensor<4> {
    let [batch, time, heads, width] = x.dims();
    let x = match n * c - time {
        0 => x,
        more => {
            let zeros = Tensor::zeros([batch, more, heads, width], (&x.device(), x.dtype()));
            Tensor::cat(vec![x, zeros], 1)
        }
    };
    let share = heads / groups;
    let x = x.reshape([batch, n, c, groups, share, width]).permute([0, 3, 1, 4, 2, 5]);
    x.reshape([batch * groups, n, share * c, width])
}

/// The N slices of `[rows, N, ..]`. The derivative of a slice is as large as what it was cut from, so many slices are
/// cut from the pieces of a first cut: N sqrt(N) values instead of N^2.
fn apart(x: Tensor<4>) -> Vec<Tensor<4>> {
    let slices = |x: Tensor<4>, length: usize| -> Vec<Tensor<4>> {
        let n = x.dims()[1];
        let cut = |from: usize| x.clone().narrow(1, from, length.min(n - from));
        (0..n).step_by(length).map(cut).collect()
    };
    match x.dims()[1] {
        0..=8 => slices(x, 1),
        n => slices(x, n.isqrt()).into_iter().flat_map(|piece| slices(piece, 1)).collect(),
    }
}
