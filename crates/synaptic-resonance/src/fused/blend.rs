//! Blended, normalised keys on slices.

use rayon::prelude::*;

use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// Constant of l2 (section 2).
const EPSILON: f32 = 1e-6;

/// Sizes of keys `[batch, time, groups, width]` and what is done with them.
#[derive(Debug, Clone, Copy)]
pub struct Blend {
    pub(super) dims: [usize; 4],
    pub(super) mu: bool,
    pub(super) prev: bool,
    pub(super) starts: bool,
    pub(super) normalise: bool,
}

/// Dense inputs; those that [`Blend`] has not are not read.
#[derive(Clone, Copy)]
pub(super) struct Slices<'a> {
    pub(super) k: &'a [f32],
    pub(super) prev: &'a [f32],
    pub(super) mu: &'a [f32],
    pub(super) starts: &'a [f32],
}

impl Blend {
    fn check(&self, x: Slices<'_>) {
        let [batch, time, groups, width] = self.dims;
        assert!(x.k.len() == batch * time * groups * width, "keys");
        assert!(!self.prev || x.prev.len() == batch * groups * width, "previous keys");
        assert!(!self.mu || x.mu.len() == groups * width, "mu");
        assert!(!self.starts || x.starts.len() == batch * time, "starts");
    }

    /// sigmoid(mu) and 1 minus it.
    fn shares(&self, mu: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let [_, _, groups, width] = self.dims;
        match self.mu {
            true => mu.iter().map(|mu| (sigmoid(*mu), sigmoid(-mu))).unzip(),
            false => (vec![0.0; groups * width], vec![1.0; groups * width]),
        }
    }

    /// The key before the one at `t`, where it counts.
    fn before<'a>(&self, x: Slices<'a>, row: usize, t: usize, group: usize) -> Option<&'a [f32]> {
        let [_, time, groups, width] = self.dims;
        if !self.mu || (self.starts && x.starts[row * time + t] != 0.0) {
            return None;
        }
        match t {
            0 if !self.prev => None,
            0 => Some(&x.prev[(row * groups + group) * width..][..width]),
            _ => Some(&x.k[((row * time + t - 1) * groups + group) * width..][..width]),
        }
    }
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Calls `f` for every row of the batch, on several threads where it pays.
pub(super) fn each_row(rows: usize, size: usize, f: impl Fn(usize) + Send + Sync) {
    if rows < 2 || rows * size < 1 << 14 || rayon::current_num_threads() == 1 {
        (0..rows).for_each(f);
    } else {
        (0..rows).into_par_iter().for_each(f);
    }
}

/// Sums the rows of a table, in their order.
pub(super) fn sum_rows(table: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for row in table.chunks_exact(width.max(1)) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sum
}

pub(super) fn forward(sizes: Blend, x: Slices<'_>) -> Vec<f32> {
    sizes.check(x);
    let [batch, time, groups, width] = sizes.dims;
    let shares = sizes.shares(x.mu);
    let mut out = vec![0.0; x.k.len()];
    let to = Shared::new(&mut out);
    each_row(batch, time * groups * width, |row| {
        Isa::widest().run16(Forward { sizes, x, shares: &shares, row, to });
    });
    out
}

struct Forward<'a> {
    sizes: Blend,
    x: Slices<'a>,
    shares: &'a (Vec<f32>, Vec<f32>),
    row: usize,
    to: Shared,
}

impl Job16 for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let [_, time, groups, width] = self.sizes.dims;
        for t in 0..time {
            for group in 0..groups {
                let at = ((self.row * time + t) * groups + group) * width;
                let before = self.sizes.before(self.x, self.row, t, group);
                // SAFETY: the sizes have been checked; the keys of a row of the batch are nobody else's.
                let to = unsafe { self.to.part(at, width) };
                let squares = blend(s, &self.x.k[at..][..width], before, self.shares, group * width, to);
                if self.sizes.normalise {
                    let inverse = s.splat(1.0 / (squares + EPSILON).sqrt());
                    for i in (0..width).step_by(LANES) {
                        let x = s.read(&to[i..]);
                        s.write(&mut to[i..], s.mul(inverse, x));
                    }
                }
            }
        }
    }
}

/// The blended key to `to`; the sum of its squares.
#[inline(always)]
fn blend<S: Simd16>(
    s: S,
    k: &[f32],
    before: Option<&[f32]>,
    shares: &(Vec<f32>, Vec<f32>),
    mu: usize,
    to: &mut [f32],
) -> f32 {
    let width = k.len();
    let (share, rest) = (&shares.0[mu..][..width], &shares.1[mu..][..width]);
    let mut squares = s.zero();
    for i in (0..width).step_by(LANES) {
        let mut x = s.mul(s.read(&k[i..]), s.read(&rest[i..]));
        if let Some(before) = before {
            x = s.fma(s.read(&share[i..]), s.read(&before[i..]), x);
        }
        squares = s.fma(x, x, squares);
        s.write(&mut to[i..], x);
    }
    s.total(squares)
}

/// Gradients of the keys, of the previous key and of mu (empty where they are not there).
pub(super) fn backward(sizes: Blend, x: Slices<'_>, grad: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    sizes.check(x);
    assert!(grad.len() == x.k.len(), "gradient of the keys");
    let [batch, time, groups, width] = sizes.dims;
    let row_of = groups * width;
    let shares = sizes.shares(x.mu);
    let (mut dk, mut dprev, mut dm) = (vec![0.0; grad.len()], vec![0.0; batch * row_of], vec![0.0; batch * row_of]);
    let (to, prev_to, m_to) = (Shared::new(&mut dk), Shared::new(&mut dprev), Shared::new(&mut dm));
    each_row(batch, time * row_of, |row| {
        let job = Backward { sizes, x, shares: &shares, row, grad, to, prev_to, m_to };
        Isa::widest().run16(job);
    });
    if !sizes.mu {
        return (dk, Vec::new(), Vec::new());
    }
    let mut dmu = sum_rows(&dm, row_of);
    dmu.iter_mut().zip(shares.0.iter().zip(&shares.1)).for_each(|(d, (m, rest))| *d *= m * rest);
    (dk, if sizes.prev { dprev } else { Vec::new() }, dmu)
}

struct Backward<'a> {
    sizes: Blend,
    x: Slices<'a>,
    shares: &'a (Vec<f32>, Vec<f32>),
    row: usize,
    grad: &'a [f32],
    to: Shared,
    prev_to: Shared,
    m_to: Shared,
}

impl Job16 for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let [_, time, groups, width] = self.sizes.dims;
        let mut blended = vec![0.0f32; width];
        for t in 0..time {
            for group in 0..groups {
                let at = ((self.row * time + t) * groups + group) * width;
                let (of_row, mu) = ((self.row * groups + group) * width, group * width);
                let before = self.sizes.before(self.x, self.row, t, group);
                let (k, grad) = (&self.x.k[at..][..width], &self.grad[at..][..width]);
                let (share, rest) = (&self.shares.0[mu..][..width], &self.shares.1[mu..][..width]);
                // d = gain grad - loss x
                let (mut gain, mut loss) = (1.0, 0.0);
                if self.sizes.normalise {
                    let squares = blend(s, k, before, self.shares, mu, &mut blended);
                    let mut along = s.zero();
                    for i in (0..width).step_by(LANES) {
                        along = s.fma(s.read(&blended[i..]), s.read(&grad[i..]), along);
                    }
                    gain = 1.0 / (squares + EPSILON).sqrt();
                    loss = gain * gain * gain * s.total(along);
                }
                // SAFETY: the sizes have been checked; the gradients of a row of the batch are nobody else's.
                let (to, m_to) = unsafe { (self.to.part(at, width), self.m_to.part(of_row, width)) };
                // Where the gradient of the key before goes: another place of the same row.
                let mut before = before.map(|before| {
                    let (to, at) = if t == 0 { (self.prev_to, of_row) } else { (self.to, at - groups * width) };
                    // SAFETY: as above.
                    (before, unsafe { to.part(at, width) })
                });
                for i in (0..width).step_by(LANES) {
                    let x = s.read(&blended[i..]);
                    let d = s.mul(s.splat(gain), s.read(&grad[i..]));
                    let d = s.fma(s.splat(-loss), x, d);
                    s.write(&mut to[i..], s.mul(s.read(&rest[i..]), d));
                    if !self.sizes.mu {
                        continue;
                    }
                    let minus_k = s.mul(s.splat(-1.0), s.read(&k[i..]));
                    let mut difference = minus_k;
                    if let Some((before, to)) = &mut before {
                        difference = s.add(s.read(&before[i..]), minus_k);
                        let old = s.read(&to[i..]);
                        s.write(&mut to[i..], s.fma(s.read(&share[i..]), d, old));
                    }
                    let old = s.read(&m_to[i..]);
                    s.write(&mut m_to[i..], s.fma(difference, d, old));
                }
            }
        }
    }
}
