//! Attention on slices, a group of keys and values of a row of the batch after the other.
//!
//! Queries go in tiles of eight against the columns that any of them sees: rotated keys lie transposed, so that a
//! score is no sum across a vector, and a tile reads every column once. All sums run in one order, along the width
//! for scores and along the columns for outputs.

// Loops over registers and rows in step.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::{Plan, Sight, Sizes};
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// Queries of a tile.
pub(super) const TILE: usize = 8;
/// Weights below e to this are 0.
const SMALLEST: f32 = -87.0;

/// Dense inputs.
#[derive(Clone, Copy)]
pub(super) struct Slices<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl Slices<'_> {
    /// What the kernels' pointers rely on.
    pub(super) fn check(&self, plan: &Plan) {
        let Sizes { batch, time, heads, groups, width } = plan.sizes;
        let Sight { ring, first, turns, .. } = &*plan.sight;
        assert!(groups > 0 && heads.is_multiple_of(groups), "{heads} heads in {groups} groups");
        assert!(width.is_multiple_of(2) && turns.len() == (ring + time) * width / 2, "a table for heads of {width}");
        assert!(plan.sight.time == time, "the pass is one of {} tokens, not {time}", plan.sight.time);
        assert!(first.len() == time || first.len() == batch * time, "rows of the pass");
        assert!(self.q.len() == batch * time * heads * width, "queries");
        let columns = batch * (ring + time) * groups * width;
        assert!(self.k.len() == columns && self.v.len() == columns, "keys and values");
    }
}

/// Places of a group's numbers.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub(super) row: usize,
    pub(super) group: usize,
    /// Of the group's first column in the keys, and from one column to the next.
    pub(super) keys: usize,
    pub(super) step: usize,
}

impl Unit {
    pub(super) fn new(plan: &Plan, unit: usize) -> Self {
        let Sizes { time, groups, width, .. } = plan.sizes;
        let columns = plan.sight.ring + time;
        let (row, group) = (unit / groups, unit % groups);
        let (keys, step) = match plan.by_token() {
            true => ((row * columns * groups + group) * width, groups * width),
            false => (unit * columns * width, width),
        };
        Self { row, group, keys, step }
    }
}

/// A tile: its queries, and the columns that any of them sees.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) time: usize,
    pub(super) rows: usize,
    pub(super) from: usize,
    pub(super) columns: usize,
}

impl Tile {
    /// Vectors of scores of a query.
    pub(super) fn vectors(&self) -> usize {
        self.columns.div_ceil(LANES)
    }

    /// Columns of the tile that query `i` sees.
    #[inline(always)]
    pub(super) fn seen(&self, plan: &Plan, row: usize, i: usize) -> (usize, usize) {
        let own = plan.sight.ring + self.time + i;
        (plan.sight.first(row, self.time + i) - self.from, own + 1 - self.from)
    }

    pub(super) fn all(plan: &Plan, row: usize) -> impl Iterator<Item = Self> {
        let time = plan.sizes.time;
        (0..time).step_by(TILE).map(move |t| {
            let rows = TILE.min(time - t);
            let own = plan.sight.ring + t + rows - 1;
            let from = (t..t + rows).map(|t| plan.sight.first(row, t)).min().unwrap_or(own);
            Self { time: t, rows, from, columns: own + 1 - from }
        })
    }
}

/// What a thread works in. Whatever is not written stays zero: ends of padded rows, columns after the last one.
pub(super) struct Scratch {
    /// Width up to whole vectors.
    pub(super) padded: usize,
    /// Numbers of a row of scores, and of a transposed row.
    pub(super) stride: usize,
    /// Rotated keys, `[width, stride]`.
    pub(super) keys_t: Vec<f32>,
    /// `[columns, padded]`.
    pub(super) values: Vec<f32>,
    /// `[TILE, padded]`, rotated and divided by the root of the width.
    pub(super) queries: Vec<f32>,
    /// `[TILE, stride]`.
    pub(super) scores: Vec<f32>,
    /// `[TILE, padded]`.
    pub(super) out: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(plan: &Plan) -> Self {
        let width = plan.sizes.width;
        let columns = plan.sight.ring + plan.sizes.time;
        let (padded, stride) = (width.next_multiple_of(LANES), columns.next_multiple_of(LANES) + LANES);
        Self {
            padded,
            stride,
            keys_t: vec![0.0; width * stride],
            values: vec![0.0; columns * padded],
            queries: vec![0.0; TILE * padded],
            scores: vec![0.0; TILE * stride],
            out: vec![0.0; TILE * padded],
        }
    }
}

/// Calls `f` for every group of every row of the batch, on several threads where it pays.
pub(super) fn each_unit<T>(
    plan: &Plan,
    scratch: impl Fn() -> T + Send + Sync,
    f: impl Fn(&mut T, usize) + Send + Sync,
) {
    let Sizes { batch, time, heads, groups, width } = plan.sizes;
    let units = batch * groups;
    if units < 2 || batch * time * heads * width < 1 << 14 || rayon::current_num_threads() == 1 {
        let mut scratch = scratch();
        (0..units).for_each(|unit| f(&mut scratch, unit));
    } else {
        (0..units).into_par_iter().for_each_init(scratch, f);
    }
}

/// Outputs `[batch, time, heads, width]`, and, where `keep` is set, the logarithm of each query's sum of exponentials
/// `[batch, time, heads]` (else nothing).
pub(super) fn forward(isa: Isa, plan: &Plan, x: Slices<'_>, keep: bool) -> (Vec<f32>, Vec<f32>) {
    x.check(plan);
    let Sizes { batch, time, heads, .. } = plan.sizes;
    let (mut out, mut sums) = (vec![0.0; x.q.len()], vec![0.0; if keep { batch * time * heads } else { 0 }]);
    let (to, sums_to) = (Shared::new(&mut out), Shared::new(&mut sums));
    each_unit(
        plan,
        || Scratch::new(plan),
        |scratch, unit| {
            let unit = Unit::new(plan, unit);
            let job = Forward { plan, x, unit, scratch, out: to, sums: keep.then_some(sums_to) };
            isa.run16(job)
        },
    );
    (out, sums)
}

struct Forward<'a> {
    plan: &'a Plan,
    x: Slices<'a>,
    unit: Unit,
    scratch: &'a mut Scratch,
    out: Shared,
    sums: Option<Shared>,
}

impl Job16 for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { plan, x, unit, scratch, out, sums } = self;
        let Sizes { time, heads, groups, width, .. } = plan.sizes;
        let (padded, stride) = (scratch.padded, scratch.stride);
        let (keys, values) = (&x.k[unit.keys..], &x.v[unit.keys..]);
        for column in 0..plan.sight.ring + time {
            let turn = plan.sight.turn(column, width);
            for (pair, (k, (sin, cos))) in keys[column * unit.step..][..width].chunks_exact(2).zip(turn).enumerate() {
                scratch.keys_t[2 * pair * stride + column] = k[0] * cos - k[1] * sin;
                scratch.keys_t[(2 * pair + 1) * stride + column] = k[0] * sin + k[1] * cos;
            }
            scratch.values[column * padded..][..width].copy_from_slice(&values[column * unit.step..][..width]);
        }
        let share = heads / groups;
        for head in unit.group * share..(unit.group + 1) * share {
            for tile in Tile::all(plan, unit.row) {
                let place = |i: usize| (unit.row * time + tile.time + i) * heads + head;
                load_queries(plan, x.q, tile, place, scratch);
                // SAFETY: the rooms have the sizes of a tile; a unit's places are nobody else's.
                unsafe {
                    let to = scratch.scores.as_mut_ptr();
                    scores(s, tile, &scratch.queries, &scratch.keys_t, width, [padded, stride], to);
                    let mut gains = [0.0; TILE];
                    for i in 0..tile.rows {
                        let row = &mut scratch.scores[i * stride..][..tile.vectors() * LANES];
                        let (max, sum) = softmax(s, row, tile.seen(plan, unit.row, i));
                        gains[i] = 1.0 / sum;
                        if let Some(sums) = sums {
                            *sums.at(place(i)) = max + sum.ln();
                        }
                    }
                    let y = scratch.out.as_mut_ptr();
                    let of = Product { rows: tile.rows, inner: tile.columns, vectors: padded / LANES, add: false };
                    let values = scratch.values.as_ptr().add(tile.from * padded);
                    multiply(s, of, scratch.scores.as_ptr(), [stride, 1], values, padded, y, padded);
                    for i in 0..tile.rows {
                        let (y, to) = (&scratch.out[i * padded..][..padded], out.part(place(i) * width, width));
                        for d in (0..width).step_by(LANES) {
                            s.write(&mut to[d..], s.mul(s.splat(gains[i]), s.read(&y[d..])));
                        }
                    }
                }
            }
        }
    }
}

/// The queries of a tile, rotated and scaled.
#[inline(always)]
pub(super) fn load_queries(plan: &Plan, q: &[f32], tile: Tile, place: impl Fn(usize) -> usize, scratch: &mut Scratch) {
    let width = plan.sizes.width;
    for i in 0..tile.rows {
        let q = &q[place(i) * width..][..width];
        let to = scratch.queries[i * scratch.padded..][..width].chunks_exact_mut(2);
        let turn = plan.sight.turn(plan.sight.ring + tile.time + i, width);
        for ((to, q), (sin, cos)) in to.zip(q.chunks_exact(2)).zip(turn) {
            to[0] = (q[0] * cos - q[1] * sin) * plan.sight.scale;
            to[1] = (q[0] * sin + q[1] * cos) * plan.sight.scale;
        }
    }
}

/// Products of the rows `x` `[rows, padded]` of a tile with its columns of `t` `[width, stride]`.
///
/// # Safety
/// `to` is valid for `[rows, stride]`.
#[inline(always)]
pub(super) unsafe fn scores<S: Simd16>(
    s: S,
    tile: Tile,
    x: &[f32],
    t: &[f32],
    width: usize,
    [padded, stride]: [usize; 2],
    to: *mut f32,
) {
    let of = Product { rows: tile.rows, inner: width, vectors: tile.vectors(), add: false };
    unsafe { multiply(s, of, x.as_ptr(), [padded, 1], t.as_ptr().add(tile.from), stride, to, stride) }
}

/// Scores, in whole vectors, to exponentials below the largest one, 0 where a query does not see; the largest score,
/// and the sum.
#[inline(always)]
fn softmax<S: Simd16>(s: S, scores: &mut [f32], (from, to): (usize, usize)) -> (f32, f32) {
    let mut top = [f32::NEG_INFINITY; LANES];
    for (v, scores) in scores.chunks_exact_mut(LANES).enumerate() {
        for (i, (x, top)) in scores.iter_mut().zip(&mut top).enumerate() {
            *x = if sees(v * LANES + i, from, to) { *x } else { f32::NEG_INFINITY };
            *top = if *x > *top { *x } else { *top };
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            top[i] = if top[i + half] > top[i] { top[i + half] } else { top[i] };
        }
    }
    let mut sum = s.zero();
    for scores in scores.chunks_exact_mut(LANES) {
        scores.iter_mut().for_each(|x| *x = weight(s, *x - top[0]));
        sum = s.add(sum, s.read(scores));
    }
    (top[0], s.total(sum))
}

#[inline(always)]
pub(super) fn sees(column: usize, from: usize, to: usize) -> bool {
    (column as u32).wrapping_sub(from as u32) < (to - from) as u32
}

/// exp where that is not next to nothing. What is not a number stays so.
#[inline(always)]
pub(super) fn weight<S: Simd16>(s: S, x: f32) -> f32 {
    if x < SMALLEST { 0.0 } else { s.exp(x) }
}

/// Sizes of a product.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) inner: usize,
    /// Columns of the result.
    pub(super) vectors: usize,
    /// To what is there.
    pub(super) add: bool,
}

/// `to[r][n] = sum over i of x[r][i] t[i][n]`: steps of x from row to row and along the sum, of t and of the result
/// from row to row.
///
/// # Safety
/// The pointers are valid for these sizes, and the result does not overlap.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn multiply<S: Simd16>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    let mut v = 0;
    while v < of.vectors {
        unsafe {
            let (t, to) = (t.add(v * LANES), to.add(v * LANES));
            if S::WIDE && of.vectors - v >= 2 {
                rows::<S, 2>(s, of, x, x_steps, t, t_step, to, to_step);
                v += 2;
            } else {
                rows::<S, 1>(s, of, x, x_steps, t, t_step, to, to_step);
                v += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn rows<S: Simd16, const V: usize>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    let mut r = 0;
    while r < of.rows {
        let left = of.rows - r;
        unsafe {
            let (x, to) = (x.add(r * x_steps[0]), to.add(r * to_step));
            if S::WIDE && left >= 8 {
                block::<S, 8, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 8;
            } else if left >= 4 {
                block::<S, 4, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 4;
            } else {
                block::<S, 1, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn block<S: Simd16, const R: usize, const V: usize>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    unsafe {
        let mut sums = [[s.splat(0.0); V]; R];
        if of.add {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = s.load(to.add(r * to_step + v * LANES));
                }
            }
        }
        for i in 0..of.inner {
            let mut t_here = [s.splat(0.0); V];
            for v in 0..V {
                t_here[v] = s.load(t.add(i * t_step + v * LANES));
            }
            for r in 0..R {
                let x = s.splat(*x.add(r * x_steps[0] + i * x_steps[1]));
                for v in 0..V {
                    sums[r][v] = s.fma(x, t_here[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                s.store(to.add(r * to_step + v * LANES), sums[r][v]);
            }
        }
    }
}
