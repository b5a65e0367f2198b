//! Windowed attention with rotary positions and its ring of unrotated keys (sections 3 and 6).

mod fused;
mod geometry;
mod span;

pub use geometry::{Geometry, Sinks};
pub use span::Span;

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use plasticity_core::nn::product::matmul;

use crate::memory::split;
use crate::state::Ring;
use span::{Blocks, Way, pad};

/// Projections of one layer (shared with the memory), and the blend of its keys.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[d, heads D]`.
    pub q: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub k: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub v: Param<Tensor<2>>,
    /// `[heads D, d]`.
    pub o: Param<Tensor<2>>,
    /// `[groups, D]`; where attention keys are blended (A10, A11).
    pub mu: Option<Param<Tensor<2>>>,
    /// Added to queries, keys and values; where they have biases.
    pub biases: Option<Biases>,
}

/// What is added to the projections of one layer.
#[derive(Module, Debug)]
pub struct Biases {
    /// `[heads D]`.
    pub q: Param<Tensor<1>>,
    /// `[groups D]`.
    pub k: Param<Tensor<1>>,
    /// `[groups D]`.
    pub v: Param<Tensor<1>>,
}

impl Attention {
    /// Queries `[batch, time, heads, D]`, keys and values `[batch, time, groups, D]` of the normalised input `n`
    /// `[batch, time, d]`.
    ///
    /// # Panics
    /// When a shape does not fit, as operations on tensors do.
    pub fn project(&self, n: &Tensor<3>, heads: usize, groups: usize) -> [Tensor<4>; 3] {
        let [q, k, v] = [(&self.q, heads), (&self.k, groups), (&self.v, groups)]
            .map(|(matrix, count)| split(n, matrix.val(), count));
        match &self.biases {
            None => [q, k, v],
            Some(Biases { q: of_q, k: of_k, v: of_v }) => [(q, of_q), (k, of_k), (v, of_v)].map(|(x, bias)| {
                let [_, _, count, width] = x.dims();
                x + bias.val().reshape([1, 1, count, width])
            }),
        }
    }

    /// Heads `[batch, time, heads, D]` side by side through the output matrix, `[batch, time, d]`.
    ///
    /// # Panics
    /// When a shape does not fit, as operations on tensors do.
    pub fn output(&self, heads: Tensor<4>) -> Tensor<3> {
        let [batch, time, count, width] = heads.dims();
        let y = matmul(heads.reshape([batch * time, count * width]), self.o.val());
        let d = y.dims()[1];
        y.reshape([batch, time, d])
    }
}

/// Attention of queries `[batch, time, heads, D]` to the keys and values `[batch, time, groups, D]` of the same tokens
/// and to those in the ring, as `span` allows; also the ring after the last token of each row.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, ring: Option<Ring>, span: &Span) -> (Tensor<4>, Option<Ring>) {
    let (k, v) = (k.swap_dims(1, 2), v.swap_dims(1, 2));
    let (k, v) = match ring {
        Some(Ring { keys, values, sinks: None, .. }) => {
            (Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2))
        }
        Some(Ring { keys, values, sinks: Some(sinks), .. }) => {
            (Tensor::cat(vec![sinks.keys, keys, k], 2), Tensor::cat(vec![sinks.values, values, v], 2))
        }
        None => (k, v),
    };
    let y = match &span.way {
        Way::Fused(sight) => fused::attend(q, k.clone(), v.clone(), sight),
        Way::Composed(blocks) => look(q, k.clone(), v.clone(), blocks),
    };
    (y, span.keep(k, v))
}

/// Queries in blocks of rows against the columns that a block can see. `k` and `v` are
/// `[batch, groups, columns, D]`.
fn look(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, span: &Blocks) -> Tensor<4> {
    let [batch, time, heads, width] = q.dims();
    let groups = k.dims()[1];
    let share = heads / groups;
    let (blocks, rows, columns) = (span.blocks, span.rows, span.block_columns());
    let q = span.queries.rotate(q.swap_dims(1, 2), span.before);
    let k = span.keys.rotate(k, 0);
    // The heads of a group stand below each other: they see the same keys.
    let q = pad(q, 0, blocks * rows - time)
        .reshape([batch, groups, share, blocks, rows, width])
        .swap_dims(2, 3)
        .reshape([batch * groups, blocks, share * rows, width]);
    let (k, v) = (span.cut(k), span.cut(v));
    let scores = q.matmul(k.swap_dims(2, 3)).reshape([batch, groups, blocks, share, rows, columns]);
    let scores = match &span.mask {
        Some(mask) => scores + mask.clone(),
        None => scores,
    };
    let weights = softmax(scores, 5).reshape([batch * groups, blocks, share * rows, columns]);
    let y = weights.matmul(v).reshape([batch, groups, blocks, share, rows, width]).swap_dims(2, 3).reshape([
        batch,
        heads,
        blocks * rows,
        width,
    ]);
    y.narrow(2, 0, time).swap_dims(1, 2)
}
