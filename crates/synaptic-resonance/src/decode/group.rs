//! What a group of heads keeps of a stream, and its attention to it.

// Loops over registers in step.
#![allow(clippy::needless_range_loop)]

use std::sync::{Mutex, PoisonError};

use plasticity_core::nn::vector::{Job16, LANES, Simd16};

use super::remember::Trace;
use super::weights::Host;

/// Tokens after which keys are turned anew, so that angles do not grow with a stream.
const TURN: u64 = 1 << 16;
/// Tokens that there is room for at the beginning.
const FIRST: usize = 256;
/// Vectors of scores that are added up side by side.
const SIDE: usize = 4;

/// Keys, values and memory of a group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    width: usize,
    /// D in whole vectors.
    wide: usize,
    window: Option<usize>,
    sinks: usize,
    halves: bool,
    /// Angle of each pair from token to token.
    steps: Vec<f64>,
    /// Places for tokens, whole vectors of them.
    room: usize,
    /// Turned keys, `[D][room]`.
    keys: Vec<f32>,
    /// `[room][wide]`.
    values: Vec<f32>,
    /// The memory, `[D, the keys'][wide, the values']`; empty without.
    pub(super) s: Vec<f32>,
    /// The previous token's key, `[D]`.
    pub(super) before: Vec<f32>,
    /// While somebody looks.
    pub(super) trace: Option<Trace>,
    scores: Vec<f32>,
}

/// The group behind a lock that nobody holds for long; what a panic left is as good as any other state.
pub(super) fn of(group: &mut Mutex<Group>) -> &mut Group {
    group.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    pub(super) fn new(host: &Host, memory: bool) -> Self {
        let width = host.head_width;
        let wide = width.next_multiple_of(LANES);
        let pair = |i: usize| host.rope_base.powf(-2.0 * i as f64 / width as f64);
        let mut group = Self {
            width,
            wide,
            window: host.window,
            sinks: host.sinks,
            halves: host.rope_halves,
            steps: (0..width / 2).map(pair).collect(),
            room: 0,
            keys: Vec::new(),
            values: Vec::new(),
            s: if memory { vec![0.0; width * wide] } else { Vec::new() },
            before: vec![0.0; width],
            trace: None,
            scores: Vec::new(),
        };
        // It begins small: few streams fill a long window.
        group.grow(FIRST.min(group.most()));
        group
    }

    /// Tokens that it keeps at most.
    fn most(&self) -> usize {
        self.window.map_or(usize::MAX, |window| window + self.sinks)
    }

    /// Forgets everything, and leaves nothing of it where it was.
    pub(super) fn clear(&mut self) {
        [&mut self.keys, &mut self.values, &mut self.s, &mut self.before, &mut self.scores]
            .into_iter()
            .for_each(|part| part.fill(0.0));
    }

    pub(super) fn bytes(&self) -> usize {
        let parts = [&self.keys, &self.values, &self.s, &self.before, &self.scores];
        parts.iter().map(|part| size_of_val(part.as_slice())).sum()
    }

    /// Room for `tokens` tokens.
    fn grow(&mut self, tokens: usize) {
        let room = tokens.next_multiple_of(LANES);
        let mut keys = vec![0.0; self.width * room];
        if self.room > 0 {
            for (to, from) in keys.chunks_exact_mut(room).zip(self.keys.chunks_exact(self.room)) {
                to[..self.room].copy_from_slice(from);
            }
        }
        self.keys = keys;
        self.values.resize(room * self.wide, 0.0);
        self.scores.resize(room, 0.0);
        self.room = room;
    }

    /// Makes sure that there is a place.
    fn reserve(&mut self, place: usize) {
        if place >= self.room {
            self.grow((2 * self.room).max(place + 1).min(self.most()));
        }
    }

    /// Where the token of a position lies: the first ones for ever, the others in turns.
    fn place(&self, position: u64) -> usize {
        match self.window {
            Some(window) if position >= self.sinks as u64 => {
                self.sinks + ((position - self.sinks as u64) % window as u64) as usize
            }
            _ => position as usize,
        }
    }

    /// Tokens that are kept when `tokens` have been seen: they lie in the first places.
    pub(super) fn kept(&self, tokens: u64) -> usize {
        usize::try_from(tokens).unwrap_or(usize::MAX).min(self.most())
    }

    /// Puts `x` `[D]` turned by `tokens` steps where `to` says: number i at `to(i)`.
    fn turned(&self, x: &[f32], tokens: f64, mut to: impl FnMut(usize, f32)) {
        for (i, step) in self.steps.iter().enumerate() {
            let (sin, cos) = (tokens * step).sin_cos();
            let (sin, cos) = (sin as f32, cos as f32);
            let (a, b) = if self.halves { (i, i + self.width / 2) } else { (2 * i, 2 * i + 1) };
            to(a, x[a] * cos - x[b] * sin);
            to(b, x[a] * sin + x[b] * cos);
        }
    }

    /// Takes in the key and the value of the token at `position`.
    pub(super) fn put(&mut self, position: u64, key: &[f32], value: &[f32]) {
        let place = self.place(position);
        self.reserve(place);
        if position > 0 && position.is_multiple_of(TURN) {
            self.turn(position);
        }
        self.values[place * self.wide..][..self.width].copy_from_slice(value);
        self.set_key(place, key, (position % TURN) as f64);
    }

    /// Puts a key in its place, turned by `tokens` steps.
    fn set_key(&mut self, place: usize, key: &[f32], tokens: f64) {
        let mut keys = std::mem::take(&mut self.keys);
        self.turned(key, tokens, |i, x| keys[i * self.room + place] = x);
        self.keys = keys;
    }

    /// The key in a place, as it was turned.
    fn key(&self, place: usize) -> impl Iterator<Item = f32> {
        self.keys.iter().skip(place).step_by(self.room.max(1)).copied()
    }

    /// Turns all keys back, so that angles begin at `position`.
    fn turn(&mut self, position: u64) {
        for place in 0..self.kept(position) {
            let key: Vec<f32> = self.key(place).collect();
            self.set_key(place, &key, -(TURN as f64));
        }
    }

    /// Turned keys and values of the tokens that are kept, `[tokens][D]` each, after `tokens` were seen.
    pub(super) fn window(&self, tokens: u64) -> [Vec<f32>; 2] {
        let kept = self.kept(tokens);
        let values = self.values.chunks_exact(self.wide).take(kept).flat_map(|value| &value[..self.width]);
        [(0..kept).flat_map(|place| self.key(place)).collect(), values.copied().collect()]
    }

    /// Takes what [`Group::window`] has given.
    pub(super) fn set_window(&mut self, keys: &[f32], values: &[f32]) {
        let (width, wide) = (self.width, self.wide);
        if let Some(last) = (keys.len() / width).checked_sub(1) {
            self.reserve(last);
        }
        for (place, (key, value)) in keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate() {
            for (i, x) in key.iter().enumerate() {
                self.keys[i * self.room + place] = *x;
            }
            self.values[place * wide..][..width].copy_from_slice(value);
        }
    }

    /// The memory, `[D, the keys'][D, the values']`.
    pub(super) fn memory(&self) -> Vec<f32> {
        self.s.chunks_exact(self.wide).flat_map(|row| &row[..self.width]).copied().collect()
    }

    /// Takes what [`Group::memory`] has given.
    pub(super) fn set_memory(&mut self, s: &[f32]) {
        let width = self.width;
        for (to, from) in self.s.chunks_exact_mut(self.wide).zip(s.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
    }

    /// Attention of the queries `[share][D]` of the token at `position`, the last one taken in.
    // A part of the job that calls it: by itself it would be compiled without the instructions, three times slower.
    #[inline(always)]
    pub(super) fn attend<S: Simd16>(&mut self, s: S, position: u64, queries: &[f32], to: &mut [f32]) {
        let (width, wide) = (self.width, self.wide);
        let seen = self.kept(position + 1);
        let scale = 1.0 / (width as f64).sqrt();
        let mut query = vec![0.0; width];
        let mut scores = std::mem::take(&mut self.scores);
        for (q, to) in queries.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            self.turned(q, (position % TURN) as f64, |i, x| query[i] = (f64::from(x) * scale) as f32);
            Look { group: self, query: &query, seen, scores: &mut scores, to, wide }.run(s);
        }
        self.scores = scores;
    }
}

/// One head's attention.
struct Look<'a> {
    group: &'a Group,
    /// Turned and scaled.
    query: &'a [f32],
    seen: usize,
    scores: &'a mut [f32],
    to: &'a mut [f32],
    wide: usize,
}

impl Job16 for Look<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { group, query, seen, scores, to, wide } = self;
        let columns = seen.next_multiple_of(LANES);
        let mut from = 0;
        while from < columns {
            from += match columns - from >= SIDE * LANES {
                true => score::<S, SIDE>(s, group, query, from, scores),
                false => score::<S, 1>(s, group, query, from, scores),
            };
        }
        let scores = &mut scores[..seen];
        let mut highest = f32::NEG_INFINITY;
        for x in scores.iter() {
            highest = if *x > highest { *x } else { highest };
        }
        // Below exp(-87) nothing of a weight is left beside the highest, which is 1.
        for x in scores.iter_mut() {
            let off = *x - highest;
            *x = s.exp(if off < -87.0 { -87.0 } else { off });
        }
        let mut total = 0.0;
        for x in scores.iter() {
            total += *x;
        }
        let inverse = s.splat(1.0 / total);
        let (fours, rest) = scores.as_chunks::<SIDE>();
        let (values, values_rest) = group.values.split_at(fours.len() * SIDE * wide);
        for i in (0..wide).step_by(LANES) {
            let mut sums = [s.zero(); SIDE];
            for (weights, values) in fours.iter().zip(values.chunks_exact(SIDE * wide)) {
                for n in 0..SIDE {
                    sums[n] = s.fma(s.splat(weights[n]), s.read(&values[n * wide + i..][..LANES]), sums[n]);
                }
            }
            for (weight, values) in rest.iter().zip(values_rest.chunks_exact(wide)) {
                sums[0] = s.fma(s.splat(*weight), s.read(&values[i..i + LANES]), sums[0]);
            }
            let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
            let end = to.len().min(i + LANES);
            s.write(&mut to[i..end], s.mul(inverse, sum));
        }
    }
}

/// The scores of `N` vectors of columns from `from` on; how many columns these are.
#[inline(always)]
fn score<S: Simd16, const N: usize>(s: S, group: &Group, query: &[f32], from: usize, scores: &mut [f32]) -> usize {
    let mut sums = [s.zero(); N];
    for (q, keys) in query.iter().zip(group.keys.chunks_exact(group.room)) {
        let (q, keys) = (s.splat(*q), &keys[from..from + N * LANES]);
        for n in 0..N {
            sums[n] = s.fma(q, s.read(&keys[n * LANES..(n + 1) * LANES]), sums[n]);
        }
    }
    for n in 0..N {
        s.write(&mut scores[from + n * LANES..from + (n + 1) * LANES], sums[n]);
    }
    N * LANES
}
