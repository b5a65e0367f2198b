//! Attention between the projections and the output matrix as a single operation on the CPU, with its derivative
//! written out. The composition beside [`super::attend`] is what the tests compare with.

// The ndarray backend is deprecated as a whole.
#![allow(deprecated)]
// Without a CPU backend nothing calls the kernels.
#![cfg_attr(not(any(feature = "flex", feature = "ndarray")), allow(dead_code))]

mod grad;
mod kernel;
#[cfg(feature = "flex")]
mod on_flex;
#[cfg(feature = "ndarray")]
mod on_ndarray;
mod product;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;

use super::geometry::{Geometry, Seen};
use crate::rope::{Rope, angles};
use crate::settings::Pairs;

/// What the queries of a pass see, and the rotations: the same for all layers.
#[derive(Debug)]
pub struct Sight {
    /// Columns before the tokens: of sinks that have left the ring, and of the ring.
    before: usize,
    time: usize,
    /// First column (of ring and tokens) that a query sees, and it sees all from there to its own: `[time]` where all
    /// rows are alike, else `[batch, time]`.
    first: Vec<usize>,
    /// The sinks that it sees beside those, from and to, for every one of `first`; empty without.
    sinks: Vec<(usize, usize)>,
    /// Sinks of a document, at most.
    most: usize,
    /// Sine and cosine, `[columns of ring and tokens, width / 2]`.
    turns: Vec<(f32, f32)>,
    /// Columns of sinks that have left the ring.
    kept: usize,
    /// Sine and cosine of these, `[1 or batch, kept, width / 2]`.
    kept_turns: Vec<(f32, f32)>,
    /// What the numbers of a pair are.
    pairs: Pairs,
    /// 1 / sqrt(width)
    scale: f32,
}

impl Sight {
    /// Of heads of an even `width`.
    pub(super) fn new(geometry: &Geometry<'_>, width: usize, rope: Rope) -> Self {
        let (before, time, kept) = (geometry.before(), geometry.time, geometry.before() - geometry.ring);
        let seen: Vec<Seen> = (0..geometry.kinds()).flat_map(|row| geometry.seen(row, time)).collect();
        let first = seen.iter().map(|seen| seen.first).collect();
        let most = geometry.sinks.map_or(0, |sinks| sinks.most);
        let sinks = if most > 0 { seen.iter().map(|seen| seen.sinks).collect() } else { Vec::new() };
        let narrow = |turns: Vec<(f64, f64)>| turns.into_iter().map(|(sin, cos)| (sin as f32, cos as f32)).collect();
        let turns = narrow(angles(geometry.ring + time, width, rope.base));
        let kept_turns = narrow(geometry.kept_angles(width, rope.base));
        Self {
            before,
            time,
            first,
            sinks,
            most,
            turns,
            kept,
            kept_turns,
            pairs: rope.pairs,
            scale: (width as f64).sqrt().recip() as f32,
        }
    }

    #[inline(always)]
    fn first(&self, row: usize, time: usize) -> usize {
        let row = if self.first.len() == self.time { 0 } else { row };
        self.first[row * self.time + time]
    }

    /// From and to; the same where there are none.
    #[inline(always)]
    fn sinks(&self, row: usize, time: usize) -> (usize, usize) {
        if self.sinks.is_empty() {
            return (0, 0);
        }
        let row = if self.sinks.len() == self.time { 0 } else { row };
        self.sinks[row * self.time + time]
    }

    #[inline(always)]
    fn turn(&self, row: usize, column: usize, width: usize) -> &[(f32, f32)] {
        let half = width / 2;
        match column.checked_sub(self.kept) {
            Some(column) => &self.turns[column * half..][..half],
            None => {
                let row = if self.kept_turns.len() == self.kept * half { 0 } else { row };
                &self.kept_turns[(row * self.kept + column) * half..][..half]
            }
        }
    }
}

/// Sizes of the operation.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    time: usize,
    heads: usize,
    groups: usize,
    width: usize,
}

/// What the kernels need to know beside the tensors.
#[derive(Debug, Clone)]
pub struct Plan {
    sight: Arc<Sight>,
    sizes: Sizes,
}

impl Plan {
    /// Keys and values are `[batch, time, groups, width]`, as the projections make them; with columns before them
    /// `[batch, groups, before + time, width]`.
    fn by_token(&self) -> bool {
        self.sight.before == 0
    }

    fn of_queries(&self) -> [usize; 4] {
        let Sizes { batch, time, heads, width, .. } = self.sizes;
        [batch, time, heads, width]
    }

    fn of_keys(&self) -> [usize; 4] {
        let Sizes { batch, time, groups, width, .. } = self.sizes;
        match self.by_token() {
            true => [batch, time, groups, width],
            false => [batch, groups, self.sight.before + time, width],
        }
    }
}

/// Attention of `q` `[batch, time, heads, width]` to `k` and `v` `[batch, groups, before + time, width]`, all unrotated.
pub(super) fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, sight: &Arc<Sight>) -> Tensor<4> {
    let ([batch, time, heads, width], groups) = (q.dims(), k.dims()[1]);
    let plan = Plan { sight: sight.clone(), sizes: Sizes { batch, time, heads, groups, width } };
    let layout = |x: Tensor<4>| if plan.by_token() { x.swap_dims(1, 2) } else { x };
    let (k, v) = (layout(k), layout(v));
    let y = <Dispatch as AttentionOps>::attend(q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), plan);
    Tensor::from_dispatch(y)
}

/// The operation on a backend; layouts are those of [`Plan`]. `attend_parts` and `attend_grad` are for inner backends
/// only.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait AttentionOps: Backend {
    /// Outputs `[batch, time, heads, width]`.
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, plan: Plan) -> FloatTensor<Self>;

    /// Outputs, and the logarithm of each query's sum of exponentials `[batch, time, heads]`.
    fn attend_parts(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of q, k and v from that of the outputs.
    fn attend_grad(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        plan: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct AttendBackward;

impl<B: AttentionOps> Backward<B, 3> for AttendBackward {
    type State = ([FloatTensor<B>; 4], Plan);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([q, k, v, sums], plan) = ops.state;
        let (q, k, v) = B::attend_grad(q, k, v, sums, grad, plan);
        for (parent, grad) in ops.parents.into_iter().zip([q, k, v]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, plan: Plan) -> FloatTensor<Self> {
        let ((q, of_q), (k, of_k), (v, of_v)) = (q.into_parts(), k.into_parts(), v.into_parts());
        match Backward::<B, 3>::prepare::<C>(AttendBackward, [of_q, of_k, of_v]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, sums) = B::attend_parts(q.clone(), k.clone(), v.clone(), plan.clone());
                prep.finish(([q, k, v, sums], plan), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::attend(q, k, v, plan)),
        }
    }

    fn attend_parts(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("inner backends only")
    }

    fn attend_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }
}
