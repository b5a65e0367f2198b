//! The rule token by token on slices, a group of a row of the batch after the other.
//!
//! The values of a state are independent of each other given the keys: a strip of them goes through all tokens while
//! its part of the state, stored with a row per key index, stays in the nearest cache. One pass over the strip writes,
//! reads, and predicts the next token's value, all along the values: no sum is reordered.

// Loops over registers and rows in step.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::Plan;
use crate::inputs::Sizes;
use crate::settings::Rule;
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// The inputs of [`crate::kernel::Inputs`], dense; `log_a`, `starts` and the gates of channels are read where the plan has
/// them.
#[derive(Clone, Copy)]
pub(super) struct Slices<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) beta: &'a [f32],
    pub(super) log_a: &'a [f32],
    pub(super) starts: &'a [f32],
    pub(super) s: &'a [f32],
    pub(super) log_decay: &'a [f32],
    pub(super) erase: &'a [f32],
    pub(super) write: &'a [f32],
}

impl Slices<'_> {
    /// What the kernels' pointers rely on.
    pub(super) fn check(&self, plan: &Plan, with_queries: bool) {
        let Sizes { batch, time, heads, groups, key, value } = plan.sizes;
        let tokens = batch * time;
        assert!(heads.is_multiple_of(groups.max(1)), "{heads} heads in {groups} groups");
        assert!(!with_queries || self.q.len() == tokens * heads * key, "queries");
        assert!(self.k.len() == tokens * groups * key && self.v.len() == tokens * groups * value, "keys and values");
        assert!(self.beta.len() == tokens * groups, "write rates");
        assert!(!plan.decay || self.log_a.len() == tokens * groups, "decay");
        assert!(!plan.starts || self.starts.len() == tokens, "starts");
        assert!(self.s.len() == batch * groups * value * key, "state");
        assert!(!plan.channels.decay || self.log_decay.len() == self.k.len(), "decay of channels");
        assert!(!plan.channels.erase || self.erase.len() == self.k.len(), "erasing of channels");
        assert!(!plan.channels.write || self.write.len() == self.v.len(), "writing of channels");
    }

    /// a of every token of a group: 0 at a start.
    pub(super) fn decays(&self, plan: &Plan, row: usize, group: usize) -> Vec<f32> {
        let Sizes { time, groups, .. } = plan.sizes;
        let decay = |t: usize| match plan.decay {
            true => self.log_a[(row * time + t) * groups + group].exp(),
            false => 1.0,
        };
        let starts = |t: usize| plan.starts && self.starts[row * time + t] != 0.0;
        (0..time).map(|t| if starts(t) { 0.0 } else { decay(t) }).collect()
    }

    /// c of every token of a group, `[time][key]`; ones where channels have no decay of their own.
    #[inline(always)]
    pub(super) fn channel_decays<S: Simd16>(&self, s: S, plan: &Plan, row: usize, group: usize) -> Vec<f32> {
        let Sizes { time, groups, key, .. } = plan.sizes;
        let mut c = vec![1.0; time * key];
        if plan.channels.decay {
            for (t, c) in c.chunks_exact_mut(key.max(1)).enumerate() {
                let log_decay = &self.log_decay[((row * time + t) * groups + group) * key..][..key];
                for i in 0..key {
                    // Less than any normal number is nothing; what is no number stays none.
                    let some = s.exp(log_decay[i].max(NOTHING_LEFT));
                    c[i] = if log_decay[i] < NOTHING_LEFT { 0.0 } else { some };
                }
            }
        }
        c
    }
}

/// The exponential below which a number is not normal.
const NOTHING_LEFT: f32 = -87.0;

/// Calls `f` for every group of every row of the batch, on several threads where it pays.
pub(super) fn each_unit(sizes: Sizes, f: impl Fn(usize) + Send + Sync) {
    let units = sizes.batch * sizes.groups;
    let work = units * sizes.time * sizes.heads.div_ceil(sizes.groups.max(1)) * sizes.key * sizes.value;
    if units < 2 || work < 1 << 16 || rayon::current_num_threads() == 1 {
        (0..units).for_each(f);
    } else {
        (0..units).into_par_iter().for_each(f);
    }
}

/// Read-outs, the state after the last token, and, where `keep` is set and [`Plan::keeps`], the errors e (else nothing).
pub(super) fn forward(isa: Isa, plan: &Plan, x: Slices<'_>, keep: bool) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    x.check(plan, true);
    let Sizes { batch, time, heads, groups, value, .. } = plan.sizes;
    let kept = if keep && plan.keeps() { batch * time * groups * value } else { 0 };
    let (mut out, mut state) = (vec![0.0; batch * time * heads * value], vec![0.0; x.s.len()]);
    let mut errors = vec![0.0; kept];
    let (to, state_to, errors_to) = (Shared::new(&mut out), Shared::new(&mut state), Shared::new(&mut errors));
    each_unit(plan.sizes, |unit| {
        let job = Forward { plan, x, unit, out: to, state: state_to, errors: (kept > 0).then_some(errors_to) };
        isa.run16(job);
    });
    (out, state, errors)
}

struct Forward<'a> {
    plan: &'a Plan,
    x: Slices<'a>,
    unit: usize,
    out: Shared,
    state: Shared,
    errors: Option<Shared>,
}

impl Job16 for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Sizes { groups, key, value, .. } = self.plan.sizes;
        let decays = self.x.decays(self.plan, self.unit / groups, self.unit % groups);
        let vectors = value.div_ceil(LANES);
        unsafe {
            if self.plan.channels.any() {
                let gates = self.gates(s, &decays);
                if S::WIDE && vectors.is_multiple_of(4) {
                    self.strips::<S, 4, true>(s, &decays, &gates, &mut vec![0.0; key * 4 * LANES]);
                } else if vectors.is_multiple_of(2) {
                    self.strips::<S, 2, true>(s, &decays, &gates, &mut vec![0.0; key * 2 * LANES]);
                } else {
                    self.strips::<S, 1, true>(s, &decays, &gates, &mut vec![0.0; key * LANES]);
                }
            } else if S::WIDE && vectors.is_multiple_of(4) {
                self.strips::<S, 4, false>(s, &decays, &NONE, &mut vec![0.0; key * 4 * LANES]);
            } else if vectors.is_multiple_of(2) {
                self.strips::<S, 2, false>(s, &decays, &NONE, &mut vec![0.0; key * 2 * LANES]);
            } else {
                self.strips::<S, 1, false>(s, &decays, &NONE, &mut vec![0.0; key * LANES]);
            }
        }
    }
}

/// Gates of channels at the tokens of a unit, `[time][key]`; empty without.
struct Gates {
    /// a c, what is left of each key channel.
    left: Vec<f32>,
    /// c b k: times a and the state before, the old value.
    asks: Vec<f32>,
}

const NONE: Gates = Gates { left: Vec::new(), asks: Vec::new() };

impl Forward<'_> {
    #[inline(always)]
    fn gates<S: Simd16>(&self, s: S, decays: &[f32]) -> Gates {
        let Sizes { time, groups, key, .. } = self.plan.sizes;
        let (row, group) = (self.unit / groups, self.unit % groups);
        let mut left = self.x.channel_decays(s, self.plan, row, group);
        let mut asks = vec![0.0; time * key];
        for t in 0..time {
            let at = ((row * time + t) * groups + group) * key;
            let (k, a) = (&self.x.k[at..][..key], decays[t]);
            let (left, asks) = (&mut left[t * key..][..key], &mut asks[t * key..][..key]);
            if self.plan.channels.erase {
                let erase = &self.x.erase[at..][..key];
                for i in 0..key {
                    asks[i] = left[i] * (erase[i] * k[i]);
                }
            } else {
                for i in 0..key {
                    asks[i] = left[i] * k[i];
                }
            }
            for i in 0..key {
                left[i] *= a;
            }
        }
        Gates { left, asks }
    }

    #[inline(always)]
    unsafe fn strips<S: Simd16, const N: usize, const CHANNELS: bool>(
        &self,
        s: S,
        decays: &[f32],
        gates: &Gates,
        strip: &mut [f32],
    ) {
        let value = self.plan.sizes.value;
        for first in (0..value).step_by(N * LANES) {
            self.load(first, N * LANES, strip);
            unsafe { self.strip::<S, N, CHANNELS>(s, decays, gates, first, strip.as_mut_ptr()) };
            // SAFETY: the state of this unit is nobody else's.
            unsafe { self.save(first, N * LANES, strip) };
        }
    }

    fn load(&self, first: usize, width: usize, strip: &mut [f32]) {
        let Sizes { key, value, .. } = self.plan.sizes;
        let state = &self.x.s[self.unit * value * key..][..value * key];
        strip.fill(0.0);
        for (j, row) in state.chunks_exact(key.max(1)).skip(first).take(width).enumerate() {
            row.iter().enumerate().for_each(|(i, x)| strip[i * width + j] = *x);
        }
    }

    unsafe fn save(&self, first: usize, width: usize, strip: &[f32]) {
        let Sizes { key, value, .. } = self.plan.sizes;
        for j in first..value.min(first + width) {
            let row = unsafe { self.state.at((self.unit * value + j) * key) };
            (0..key).for_each(|i| unsafe { *row.add(i) = strip[i * width + j - first] });
        }
    }

    /// All tokens for the values from `first` on; `strip` is `[key][16 N]`.
    #[inline(always)]
    unsafe fn strip<S: Simd16, const N: usize, const CHANNELS: bool>(
        &self,
        s: S,
        decays: &[f32],
        gates: &Gates,
        first: usize,
        strip: *mut f32,
    ) {
        let Sizes { time, heads, groups, key, value, .. } = self.plan.sizes;
        let (row, group, share) = (self.unit / groups, self.unit % groups, heads / groups);
        let delta = self.plan.rule == Rule::Delta;
        let place = |n: usize| (first + n * LANES).min(value);
        let left = |n: usize| value - place(n);
        unsafe {
            // S_(t-1) k_t, before the decay of the head (with gates of channels S_(t-1) (c b k_t)).
            let mut predicted = [s.splat(0.0); N];
            for t in 0..time {
                let token = (row * time + t) * groups + group;
                let k = self.x.k.as_ptr().add(token * key);
                let after = if t + 1 < time { t + 1 } else { t };
                let next =
                    if CHANNELS { gates.asks.as_ptr().add(after * key) } else { k.add((after - t) * groups * key) };
                if t == 0 {
                    let first = if CHANNELS { gates.asks.as_ptr() } else { k };
                    for i in 0..key {
                        let k = s.splat(*first.add(i));
                        for n in 0..N {
                            let old = s.load(strip.add((i * N + n) * LANES));
                            predicted[n] = s.fma(k, old, predicted[n]);
                        }
                    }
                }
                let (a, minus_a) = (s.splat(decays[t]), s.splat(-decays[t]));
                let beta = s.splat(self.x.beta[token]);
                let mut written = [s.splat(0.0); N];
                for n in 0..N {
                    let mut v = s.read(&self.x.v[token * value + place(n)..][..left(n)]);
                    if CHANNELS && self.plan.channels.write {
                        v = s.mul(s.read(&self.x.write[token * value + place(n)..][..left(n)]), v);
                    }
                    if delta {
                        v = s.fma(minus_a, predicted[n], v);
                    }
                    if let Some(errors) = self.errors {
                        s.write(errors.part(token * value + place(n), left(n)), v);
                    }
                    written[n] = s.mul(beta, v);
                }
                let head = (row * time + t) * heads + group * share;
                let q = self.x.q.as_ptr().add(head * key);
                let mut read = [s.splat(0.0); N];
                predicted = [s.splat(0.0); N];
                for i in 0..key {
                    let (k, q, next) = (s.splat(*k.add(i)), s.splat(*q.add(i)), s.splat(*next.add(i)));
                    let a = if CHANNELS { s.splat(*gates.left.as_ptr().add(t * key + i)) } else { a };
                    for n in 0..N {
                        let at = strip.add((i * N + n) * LANES);
                        let new = s.fma(k, written[n], s.mul(a, s.load(at)));
                        s.store(at, new);
                        read[n] = s.fma(q, new, read[n]);
                        predicted[n] = s.fma(next, new, predicted[n]);
                    }
                }
                for h in 0..share {
                    if h > 0 {
                        read = [s.splat(0.0); N];
                        for i in 0..key {
                            let q = s.splat(*q.add(h * key + i));
                            for n in 0..N {
                                read[n] = s.fma(q, s.load(strip.add((i * N + n) * LANES)), read[n]);
                            }
                        }
                    }
                    for n in 0..N {
                        s.write(self.out.part((head + h) * value + place(n), left(n)), read[n]);
                    }
                }
            }
        }
    }
}
