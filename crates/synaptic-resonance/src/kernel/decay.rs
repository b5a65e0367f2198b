//! What is left, within a chunk, of what was written before (section 5.2).
//!
//! What is left at token t of what token s wrote is the exponential of a sum of logarithms, each at most 0, of the tokens
//! after s up to t. That sum is always taken on its own: as a difference of sums from the chunk's beginning it would lose
//! what a large one in front of s has rounded away, and as a quotient of their exponentials it would overflow.

use burn::prelude::*;

/// Below every sum of logarithms in a chunk, and finite in every type. Added before the exponential: what is masked is
/// exactly 0, with the derivative 0.
const MASKED: f32 = -1e36;
/// The logarithm of a decay below which nothing is left, in f64 too, and of which the sums in a chunk are finite: what
/// is smaller is taken as this, -inf with it.
const NOTHING_LEFT: f32 = -1e4;

/// Decays of N chunks of C tokens; `rows` are batch x groups.
pub(super) enum Decay {
    /// Of heads.
    Heads {
        /// M, `[rows or 1, N or 1, C, C]`: what is left at a token (row) of what an earlier one (column) wrote.
        ratio: Tensor<4>,
        /// exp(lb), `[rows, N, C, 1]`: what is left of the incoming state; none: all of it.
        left: Option<Tensor<4>>,
    },
    /// Of single key channels: M is another one for each of them, and is never made (see [`decayed_products`]).
    Channels {
        /// `[rows, N, C, key]`, of a head and its channels together, no less than [`NOTHING_LEFT`].
        log_a: Tensor<4>,
        /// exp(lb), `[rows, N, C, key]`.
        left: Tensor<4>,
    },
}

impl Decay {
    /// From the logarithms of the decays of heads `[rows, N, C, 1]` and of channels `[rows, N, C, key]`, and the starts
    /// of documents `[rows, N, C, 1]`: tokens that leave nothing (section 4.3).
    pub(super) fn new(
        heads: Option<Tensor<4>>,
        channels: Option<Tensor<4>>,
        starts: Option<Tensor<4>>,
        like: &Tensor<4>,
    ) -> Self {
        let Some(channels) = channels else {
            let (ratio, left) = of_heads(heads, starts, like);
            return Self::Heads { ratio, left };
        };
        // Each on its own: a sum with -inf has no derivative.
        let least = |log_a: Tensor<4>| log_a.clamp_min(NOTHING_LEFT);
        let mut log_a = least(channels);
        if let Some(heads) = heads {
            log_a = log_a + least(heads);
        }
        if let Some(starts) = starts {
            let shape = log_a.dims();
            log_a = log_a.mask_fill(starts.not_equal_elem(0.0).expand(shape), NOTHING_LEFT);
        }
        let left = up_to(log_a.clone()).exp();
        Self::Channels { log_a, left }
    }
}

/// `[1, 1, C, C]` from row and column.
fn constant(c: usize, like: &Tensor<4>, value: impl Fn(usize, usize) -> f32) -> Tensor<4> {
    let values: Vec<f32> = (0..c * c).map(|i| value(i / c, i % c)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, c, c]), (&like.device(), like.dtype()))
}

/// M and exp(lb) of heads.
fn of_heads(log_a: Option<Tensor<4>>, starts: Option<Tensor<4>>, like: &Tensor<4>) -> (Tensor<4>, Option<Tensor<4>>) {
    let c = like.dims()[2];
    let upper = constant(c, like, |row, column| if column > row { MASKED } else { 0.0 });
    let log_a = match (log_a, starts) {
        (None, None) => return (upper.exp(), None),
        (log_a, starts) => {
            let log_a = log_a.map(|log_a| log_a.clamp_min(NOTHING_LEFT));
            let log_a = log_a.unwrap_or_else(|| like.zeros_like());
            match starts {
                Some(starts) => log_a.mask_fill(starts.not_equal_elem(0.0), NOTHING_LEFT),
                None => log_a,
            }
        }
    };
    let after = constant(c, like, |row, column| if row > column { 1.0 } else { 0.0 });
    let ratio = ((log_a.clone() * after).cumsum(2) + upper).exp();
    (ratio, Some(log_a.cumsum(2).exp()))
}

/// Sums of `[.., C, key]` over the tokens up to each, itself included.
fn up_to(log_a: Tensor<4>) -> Tensor<4> {
    match log_a.dims()[2] {
        1 => log_a,
        c => constant(c, &log_a, |row, column| if column <= row { 1.0 } else { 0.0 }).matmul(log_a),
    }
}

/// Sums of `[.., C, key]` over the tokens after each.
pub(super) fn after(log_a: Tensor<4>) -> Tensor<4> {
    match log_a.dims()[2] {
        1 => log_a.zeros_like(),
        c => constant(c, &log_a, |row, column| if column > row { 1.0 } else { 0.0 }).matmul(log_a),
    }
}

/// `sum_i left_ti right_si exp(sum of log_a_i over the tokens after s up to t)` for s up to t, and 0 above the diagonal,
/// `[rows, N, C, C]` from three of `[rows, N, C, key]`; C is a power of two.
///
/// Blocks on the diagonal are merged two and two. Between two of them the border is a token that no pair looks past: what
/// is left from s to the border, times what is left from the border to t, both at most 1. So all pairs of two blocks are
/// one product of matrices, and nothing is divided.
pub(super) fn decayed_products(left: Tensor<4>, right: Tensor<4>, log_a: Tensor<4>) -> Tensor<4> {
    let [rows, n, c, key] = left.dims();
    let mut blocks = (left.clone() * right.clone()).sum_dim(3).reshape([rows * n * c, 1, 1, 1]);
    let mut b = 1;
    while b < c {
        let pairs = rows * n * c / (2 * b);
        let half = |x: &Tensor<4>, i: usize| x.clone().reshape([pairs, 2, b, key]).narrow(1, i, 1);
        let to_border = half(&right, 0) * after(half(&log_a, 0)).exp();
        let from_border = half(&left, 1) * up_to(half(&log_a, 1)).exp();
        let corner = from_border.matmul(to_border.transpose());
        let halves = blocks.reshape([pairs, 2, b, b]);
        let (upper, lower) = (halves.clone().narrow(1, 0, 1), halves.narrow(1, 1, 1));
        let upper = Tensor::cat(vec![upper.clone(), upper.zeros_like()], 3);
        blocks = Tensor::cat(vec![upper, Tensor::cat(vec![corner, lower], 3)], 2);
        b *= 2;
    }
    blocks.reshape([rows, n, c, c])
}
