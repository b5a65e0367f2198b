//! Gradients of attention on slices: weights are computed anew from the logarithms of their sums.

use super::kernel::{
    Scratch, Seen, Slices, TILE, Tile, Unit, each_unit, load_queries, scores, sees, turn_key, weigh, weight,
};
use super::product::{Product, multiply};
use super::{Plan, Sizes};
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::settings::Pairs;
use crate::shared::Shared;

/// What the forward pass has left, and the gradient of its outputs.
#[derive(Clone, Copy)]
pub(super) struct Outcome<'a> {
    pub(super) sums: &'a [f32],
    pub(super) grad: &'a [f32],
}

/// What a thread works in, beside [`Scratch`].
struct More {
    forward: Scratch,
    /// Rotated keys, `[columns, padded]`.
    keys: Vec<f32>,
    /// `[width, stride]`.
    values_t: Vec<f32>,
    /// Gradients of the outputs, `[TILE, padded]`.
    grads: Vec<f32>,
    /// Gradients of the weights, then of the scores, `[TILE, stride]`.
    slopes: Vec<f32>,
    /// Gradients of rotated keys and of values, `[columns + TILE, padded]`.
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl More {
    fn new(plan: &Plan) -> Self {
        let forward = Scratch::new(plan);
        let (columns, padded, stride) = (plan.sight.before + plan.sizes.time, forward.padded, forward.stride);
        Self {
            keys: vec![0.0; columns * padded],
            values_t: vec![0.0; plan.sizes.width * stride],
            grads: vec![0.0; TILE * padded],
            slopes: vec![0.0; TILE * stride],
            dk: vec![0.0; (columns + TILE) * padded],
            dv: vec![0.0; (columns + TILE) * padded],
            forward,
        }
    }
}

/// Gradients of queries, keys and values, in the layouts of these.
pub(super) fn backward(isa: Isa, plan: &Plan, x: Slices<'_>, of: Outcome<'_>) -> [Vec<f32>; 3] {
    x.check(plan);
    let Sizes { batch, time, heads, .. } = plan.sizes;
    assert!(of.grad.len() == x.q.len(), "gradients of the outputs");
    assert!(of.sums.len() == batch * time * heads, "sums of the queries");
    let mut grads = [vec![0.0; x.q.len()], vec![0.0; x.k.len()], vec![0.0; x.v.len()]];
    let to = grads.each_mut().map(|grad| Shared::new(grad));
    each_unit(
        plan,
        || More::new(plan),
        |more, unit| {
            let job = Backward { plan, x, of, unit: Unit::new(plan, unit), more, to };
            isa.run16(job)
        },
    );
    grads
}

struct Backward<'a> {
    plan: &'a Plan,
    x: Slices<'a>,
    of: Outcome<'a>,
    unit: Unit,
    more: &'a mut More,
    to: [Shared; 3],
}

impl Job16 for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { plan, x, of, unit, more, to: [dq_to, dk_to, dv_to] } = self;
        let Sizes { time, heads, groups, width, .. } = plan.sizes;
        let (padded, stride) = (more.forward.padded, more.forward.stride);
        load(plan, x, unit, more);
        let share = heads / groups;
        for head in unit.group * share..(unit.group + 1) * share {
            for tile in Tile::all(plan, unit.row) {
                let place = |i: usize| (unit.row * time + tile.time + i) * heads + head;
                load_queries(plan, x.q, unit.row, tile, place, &mut more.forward);
                for i in 0..tile.rows {
                    more.grads[i * padded..][..width].copy_from_slice(&of.grad[place(i) * width..][..width]);
                }
                let (weights, slopes) = (more.forward.scores.as_mut_ptr(), more.slopes.as_mut_ptr());
                let (queries, grads) = (more.forward.queries.as_ptr(), more.grads.as_ptr());
                unsafe {
                    let keys_t = &more.forward.keys_t;
                    scores(s, tile, &more.forward.queries, keys_t, width, [padded, stride], weights);
                    scores(s, tile, &more.grads, &more.values_t, width, [padded, stride], slopes);
                    for i in 0..tile.rows {
                        let row = |from: usize| from..from + tile.scores();
                        let (weights, slopes) =
                            (&mut more.forward.scores[row(i * stride)], &mut more.slopes[row(i * stride)]);
                        softmax_grad(s, weights, slopes, tile.seen(plan, unit.row, i), of.sums[place(i)]);
                    }
                    weigh(s, tile, &more.slopes, &more.keys, [padded, stride], more.forward.out.as_mut_ptr());
                    for i in 0..tile.rows {
                        let dq = &more.forward.out[i * padded..][..width];
                        let turn = plan.sight.turn(unit.row, plan.sight.before + tile.time + i, width);
                        rotate_back(plan.sight.pairs, dq, turn, plan.sight.scale, dq_to, place(i) * width);
                    }
                    let (lead, (begin, sinks)) = (tile.lead() * LANES, tile.sinks);
                    for (from, columns, at) in [(begin, sinks, 0), (tile.from, tile.columns, lead)] {
                        // Columns after the last one have weight zero, and there is room for them.
                        let rows = columns.next_multiple_of(TILE);
                        let spread = Product { rows, inner: tile.rows, vectors: padded / LANES, add: true };
                        let (weights, slopes) = (weights.add(at), slopes.add(at));
                        let (dk, dv) = (&mut more.dk[from * padded..], &mut more.dv[from * padded..]);
                        multiply(s, spread, slopes, [1, stride], queries, padded, dk.as_mut_ptr(), padded);
                        multiply(s, spread, weights, [1, stride], grads, padded, dv.as_mut_ptr(), padded);
                    }
                }
            }
        }
        for column in 0..plan.sight.before + time {
            let at = unit.keys + column * unit.step;
            // SAFETY: the group's columns are nobody else's.
            unsafe {
                let turn = plan.sight.turn(unit.row, column, width);
                rotate_back(plan.sight.pairs, &more.dk[column * padded..][..width], turn, 1.0, dk_to, at);
                let dv = more.dv[column * padded..].as_ptr();
                std::ptr::copy_nonoverlapping(dv, dv_to.at(at), width);
            }
        }
    }
}

/// Keys, rotated, and values, both as they are and transposed; their gradients are zero.
#[inline(always)]
fn load(plan: &Plan, x: Slices<'_>, unit: Unit, more: &mut More) {
    let width = plan.sizes.width;
    let (padded, stride) = (more.forward.padded, more.forward.stride);
    let (keys, values) = (&x.k[unit.keys..], &x.v[unit.keys..]);
    for column in 0..plan.sight.before + plan.sizes.time {
        let turn = plan.sight.turn(unit.row, column, width);
        let to = &mut more.keys[column * padded..][..width];
        turn_key(plan.sight.pairs, &keys[column * unit.step..][..width], turn, to);
        for (i, k) in to.iter().enumerate() {
            more.forward.keys_t[i * stride + column] = *k;
        }
        for (i, v) in values[column * unit.step..][..width].iter().enumerate() {
            more.values_t[i * stride + column] = *v;
        }
    }
    more.dk.fill(0.0);
    more.dv.fill(0.0);
}

/// Scores to weights, gradients of the weights to those of the scores, in whole vectors; both 0 where the query does not
/// see.
#[inline(always)]
fn softmax_grad<S: Simd16>(s: S, p: &mut [f32], d: &mut [f32], seen: Seen, sum: f32) {
    let mut along = s.zero();
    for (v, (p, d)) in p.chunks_exact_mut(LANES).zip(d.chunks_exact_mut(LANES)).enumerate() {
        let (from, to) = seen.of(v);
        for (i, (p, d)) in p.iter_mut().zip(&mut *d).enumerate() {
            let seen = sees(v * LANES + i, from, to);
            *p = if seen { weight(s, *p - sum) } else { 0.0 };
            *d = if seen { *d } else { 0.0 };
        }
        along = s.fma(s.read(p), s.read(d), along);
    }
    let along = s.splat(-s.total(along));
    for (p, d) in p.chunks_exact(LANES).zip(d.chunks_exact_mut(LANES)) {
        let slope = s.add(s.read(d), along);
        s.write(d, s.mul(s.read(p), slope));
    }
}

/// A gradient turned against the rotation, times `scale`, to its place.
///
/// # Safety
/// The place is inside, and nobody else's.
#[inline(always)]
unsafe fn rotate_back(pairs: Pairs, d: &[f32], turn: &[(f32, f32)], scale: f32, to: Shared, at: usize) {
    // SAFETY: the caller's promise.
    let to = unsafe { to.part(at, d.len()) };
    match pairs {
        Pairs::Interleaved => {
            for ((to, d), (sin, cos)) in to.chunks_exact_mut(2).zip(d.chunks_exact(2)).zip(turn) {
                to[0] = (d[0] * cos + d[1] * sin) * scale;
                to[1] = (d[1] * cos - d[0] * sin) * scale;
            }
        }
        Pairs::Halves => {
            let (first, second) = to.split_at_mut(d.len() / 2);
            for (((x, y), d), (sin, cos)) in first.iter_mut().zip(second).zip(d.chunks_exact(2)).zip(turn) {
                *x = (d[0] * cos + d[1] * sin) * scale;
                *y = (d[1] * cos - d[0] * sin) * scale;
            }
        }
    }
}
