//! Attention on slices, a group of keys and values of a row of the batch after the other.
//!
//! Queries go in tiles of eight against the columns that any of them sees: rotated keys lie transposed, so that a
//! score is no sum across a vector, and a tile reads every column once. All sums run in one order, along the width
//! for scores and along the columns for outputs.

// Loops over registers and rows in step.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::product::{Product, multiply};
use super::{Plan, Sight, Sizes};
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::settings::Pairs;
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
        let Sight { before, first, turns, sinks, kept, kept_turns, .. } = &*plan.sight;
        assert!(groups > 0 && heads.is_multiple_of(groups), "{heads} heads in {groups} groups");
        let half = width / 2;
        let table =
            turns.len() == (before - kept + time) * half && kept_turns.len().is_multiple_of((kept * half).max(1));
        assert!(width.is_multiple_of(2) && table, "a table for heads of {width}");
        assert!(plan.sight.time == time, "the pass is one of {} tokens, not {time}", plan.sight.time);
        assert!(first.len() == time || first.len() == batch * time, "rows of the pass");
        assert!(sinks.is_empty() || sinks.len() == first.len(), "sinks of the pass");
        assert!(self.q.len() == batch * time * heads * width, "queries");
        let columns = batch * (before + time) * groups * width;
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
        let columns = plan.sight.before + time;
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
    /// First tokens of the document that a window has passed: where they begin, and how many. In a row of scores they
    /// stand before the others, in whole vectors.
    pub(super) sinks: (usize, usize),
}

/// What a query sees of a row of scores: of its sinks, and of what is near.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Vectors of sinks.
    lead: usize,
    sinks: (usize, usize),
    near: (usize, usize),
}

impl Seen {
    /// The columns that are seen, where a vector of the row is.
    #[inline(always)]
    pub(super) fn of(&self, vector: usize) -> (usize, usize) {
        if vector < self.lead { self.sinks } else { self.near }
    }
}

impl Tile {
    /// Vectors of sinks in a row of scores.
    pub(super) fn lead(&self) -> usize {
        self.sinks.1.div_ceil(LANES)
    }

    /// Vectors of scores of a query, without those of sinks.
    pub(super) fn near(&self) -> usize {
        self.columns.div_ceil(LANES)
    }

    /// Numbers of a row of scores, in whole vectors.
    pub(super) fn scores(&self) -> usize {
        (self.lead() + self.near()) * LANES
    }

    /// What query `i` sees.
    #[inline(always)]
    pub(super) fn seen(&self, plan: &Plan, row: usize, i: usize) -> Seen {
        let (lead, own) = (self.lead(), plan.sight.before + self.time + i);
        let near = |column: usize| column - self.from + lead * LANES;
        let (from, to) = plan.sight.sinks(row, self.time + i);
        Seen {
            lead,
            sinks: (from - self.sinks.0, to - self.sinks.0),
            near: (near(plan.sight.first(row, self.time + i)), near(own + 1)),
        }
    }

    /// All tiles of a row. With sinks a tile is within a document.
    pub(super) fn all(plan: &Plan, row: usize) -> impl Iterator<Item = Self> {
        let (sight, time) = (&plan.sight, plan.sizes.time);
        let mut t = 0;
        std::iter::from_fn(move || {
            let (start, begin) = (t, sight.sinks(row, t.min(time - 1)).0);
            if start == time {
                return None;
            }
            t += 1;
            while t < time && t - start < TILE && (sight.sinks.is_empty() || sight.sinks(row, t).0 == begin) {
                t += 1;
            }
            let own = sight.before + t - 1;
            let from = (start..t).map(|t| sight.first(row, t)).min().unwrap_or(own);
            let sinks = (start..t).map(|t| sight.sinks(row, t).1).max().unwrap_or(begin) - begin;
            Some(Self { time: start, rows: t - start, from, columns: own + 1 - from, sinks: (begin, sinks) })
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
    /// A rotated key, `[width]`.
    pub(super) key: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(plan: &Plan) -> Self {
        let width = plan.sizes.width;
        let columns = plan.sight.before + plan.sizes.time;
        let (padded, stride) = (width.next_multiple_of(LANES), columns.next_multiple_of(LANES) + LANES);
        let stride = stride + plan.sight.most.min(columns).next_multiple_of(LANES);
        Self {
            padded,
            stride,
            keys_t: vec![0.0; width * stride],
            values: vec![0.0; columns * padded],
            queries: vec![0.0; TILE * padded],
            scores: vec![0.0; TILE * stride],
            out: vec![0.0; TILE * padded],
            key: vec![0.0; width],
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
        for column in 0..plan.sight.before + time {
            let turn = plan.sight.turn(unit.row, column, width);
            turn_key(plan.sight.pairs, &keys[column * unit.step..][..width], turn, &mut scratch.key);
            for (i, k) in scratch.key.iter().enumerate() {
                scratch.keys_t[i * stride + column] = *k;
            }
            scratch.values[column * padded..][..width].copy_from_slice(&values[column * unit.step..][..width]);
        }
        let share = heads / groups;
        for head in unit.group * share..(unit.group + 1) * share {
            for tile in Tile::all(plan, unit.row) {
                let place = |i: usize| (unit.row * time + tile.time + i) * heads + head;
                load_queries(plan, x.q, unit.row, tile, place, scratch);
                // SAFETY: the rooms have the sizes of a tile; a unit's places are nobody else's.
                unsafe {
                    let to = scratch.scores.as_mut_ptr();
                    scores(s, tile, &scratch.queries, &scratch.keys_t, width, [padded, stride], to);
                    let mut gains = [0.0; TILE];
                    for i in 0..tile.rows {
                        let row = &mut scratch.scores[i * stride..][..tile.scores()];
                        let (max, sum) = softmax(s, row, tile.seen(plan, unit.row, i));
                        gains[i] = 1.0 / sum;
                        if let Some(sums) = sums {
                            *sums.at(place(i)) = max + sum.ln();
                        }
                    }
                    let y = scratch.out.as_mut_ptr();
                    weigh(s, tile, &scratch.scores, &scratch.values, [padded, stride], y);
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
pub(super) fn load_queries(
    plan: &Plan,
    q: &[f32],
    row: usize,
    tile: Tile,
    place: impl Fn(usize) -> usize,
    scratch: &mut Scratch,
) {
    let width = plan.sizes.width;
    for i in 0..tile.rows {
        let q = &q[place(i) * width..][..width];
        let turn = plan.sight.turn(row, plan.sight.before + tile.time + i, width);
        let to = &mut scratch.queries[i * scratch.padded..][..width];
        turn_key(plan.sight.pairs, q, turn, to);
        to.iter_mut().for_each(|q| *q *= plan.sight.scale);
    }
}

/// `x` with every pair turned, to `to`, where the numbers of a pair are neighbours whatever they are in `x`: products of
/// queries and keys do not depend on the order.
#[inline(always)]
pub(super) fn turn_key(pairs: Pairs, x: &[f32], turn: &[(f32, f32)], to: &mut [f32]) {
    match pairs {
        Pairs::Interleaved => {
            for ((to, x), (sin, cos)) in to.chunks_exact_mut(2).zip(x.chunks_exact(2)).zip(turn) {
                to[0] = x[0] * cos - x[1] * sin;
                to[1] = x[0] * sin + x[1] * cos;
            }
        }
        Pairs::Halves => {
            let (first, second) = x.split_at(x.len() / 2);
            for (((to, x), y), (sin, cos)) in to.chunks_exact_mut(2).zip(first).zip(second).zip(turn) {
                to[0] = x * cos - y * sin;
                to[1] = x * sin + y * cos;
            }
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
    let of = |vectors: usize| Product { rows: tile.rows, inner: width, vectors, add: false };
    // SAFETY: the caller's promise; both parts lie within a row of `t`, and of `to`.
    unsafe {
        let (sinks, near) = (t.as_ptr().add(tile.sinks.0), t.as_ptr().add(tile.from));
        multiply(s, of(tile.lead()), x.as_ptr(), [padded, 1], sinks, stride, to, stride);
        multiply(s, of(tile.near()), x.as_ptr(), [padded, 1], near, stride, to.add(tile.lead() * LANES), stride);
    }
}

/// Sums of the tile's columns of `values` `[columns, padded]` by the weights `x` `[rows, stride]`.
///
/// # Safety
/// `to` is valid for `[rows, padded]`.
#[inline(always)]
pub(super) unsafe fn weigh<S: Simd16>(
    s: S,
    tile: Tile,
    x: &[f32],
    values: &[f32],
    [padded, stride]: [usize; 2],
    to: *mut f32,
) {
    let of = |inner: usize, add: bool| Product { rows: tile.rows, inner, vectors: padded / LANES, add };
    let ((from, sinks), lead) = (tile.sinks, tile.lead());
    // SAFETY: the caller's promise; the columns of a tile lie within `values`.
    unsafe {
        if sinks > 0 {
            let values = values.as_ptr().add(from * padded);
            multiply(s, of(sinks, false), x.as_ptr(), [stride, 1], values, padded, to, padded);
        }
        let (x, values) = (x.as_ptr().add(lead * LANES), values.as_ptr().add(tile.from * padded));
        multiply(s, of(tile.columns, sinks > 0), x, [stride, 1], values, padded, to, padded);
    }
}

/// Scores, in whole vectors, to exponentials below the largest one, 0 where a query does not see; the largest score,
/// and the sum.
#[inline(always)]
fn softmax<S: Simd16>(s: S, scores: &mut [f32], seen: Seen) -> (f32, f32) {
    let mut top = [f32::NEG_INFINITY; LANES];
    for (v, scores) in scores.chunks_exact_mut(LANES).enumerate() {
        let (from, to) = seen.of(v);
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
