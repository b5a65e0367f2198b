//! Blended, normalised keys on slices.

use rayon::prelude::*;

use crate::simd::{Job, LANES, Shared, Simd, widest};

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
    fn before(&self, x: Slices<'_>, row: usize, t: usize, group: usize) -> Option<*const f32> {
        let [_, time, groups, width] = self.dims;
        if !self.mu || (self.starts && x.starts[row * time + t] != 0.0) {
            return None;
        }
        match t {
            0 if !self.prev => None,
            0 => Some(x.prev[(row * groups + group) * width..].as_ptr()),
            _ => Some(x.k[((row * time + t - 1) * groups + group) * width..].as_ptr()),
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
        // SAFETY: the sizes have been checked; a row writes to its own places only.
        unsafe { widest(Forward { sizes, x, shares: &shares, row, to }) }
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

impl Job for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [_, time, groups, width] = self.sizes.dims;
        for t in 0..time {
            for group in 0..groups {
                let at = ((self.row * time + t) * groups + group) * width;
                let before = self.sizes.before(self.x, self.row, t, group);
                unsafe {
                    let (k, to) = (self.x.k.as_ptr().add(at), self.to.at(at));
                    let squares = blend::<S>(k, before, self.shares, group * width, width, to);
                    if self.sizes.normalise {
                        let inverse = S::splat(1.0 / (squares + EPSILON).sqrt());
                        for i in (0..width).step_by(LANES) {
                            let x = S::load_part(to.add(i), width - i);
                            S::store_part(to.add(i), width - i, S::mul(inverse, x));
                        }
                    }
                }
            }
        }
    }
}

/// The blended key to `to`; the sum of its squares.
#[inline(always)]
unsafe fn blend<S: Simd>(
    k: *const f32,
    before: Option<*const f32>,
    shares: &(Vec<f32>, Vec<f32>),
    mu: usize,
    width: usize,
    to: *mut f32,
) -> f32 {
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..width).step_by(LANES) {
            let left = width - i;
            let mut x = S::mul(S::load_part(k.add(i), left), S::load_part(shares.1.as_ptr().add(mu + i), left));
            if let Some(before) = before {
                x = S::fma(S::load_part(shares.0.as_ptr().add(mu + i), left), S::load_part(before.add(i), left), x);
            }
            squares = S::fma(x, x, squares);
            S::store_part(to.add(i), left, x);
        }
        S::total(squares)
    }
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
        // SAFETY: the sizes have been checked; a row writes to its own places only.
        unsafe { widest(job) }
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

impl Job for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [_, time, groups, width] = self.sizes.dims;
        let mut blended = vec![0.0f32; width];
        for t in 0..time {
            for group in 0..groups {
                let at = ((self.row * time + t) * groups + group) * width;
                let (of_row, mu) = ((self.row * groups + group) * width, group * width);
                let before = self.sizes.before(self.x, self.row, t, group);
                unsafe {
                    let (k, grad) = (self.x.k.as_ptr().add(at), self.grad.as_ptr().add(at));
                    // d = gain grad - loss x
                    let (mut gain, mut loss) = (1.0, 0.0);
                    if self.sizes.normalise {
                        let squares = blend::<S>(k, before, self.shares, mu, width, blended.as_mut_ptr());
                        let mut along = S::splat(0.0);
                        for i in (0..width).step_by(LANES) {
                            let x = S::load_part(blended.as_ptr().add(i), width - i);
                            along = S::fma(x, S::load_part(grad.add(i), width - i), along);
                        }
                        gain = 1.0 / (squares + EPSILON).sqrt();
                        loss = gain * gain * gain * S::total(along);
                    }
                    let to = self.to.at(at);
                    for i in (0..width).step_by(LANES) {
                        let left = width - i;
                        let x = S::load_part(blended.as_ptr().add(i), left);
                        let d = S::mul(S::splat(gain), S::load_part(grad.add(i), left));
                        let d = S::fma(S::splat(-loss), x, d);
                        S::store_part(
                            to.add(i),
                            left,
                            S::mul(S::load_part(self.shares.1.as_ptr().add(mu + i), left), d),
                        );
                        if !self.sizes.mu {
                            continue;
                        }
                        let minus_k = S::mul(S::splat(-1.0), S::load_part(k.add(i), left));
                        let mut difference = minus_k;
                        if let Some(before) = before {
                            difference = S::add(S::load_part(before.add(i), left), minus_k);
                            let to = match t {
                                0 => self.prev_to.at(of_row + i),
                                _ => to.sub(groups * width).add(i),
                            };
                            let m = S::load_part(self.shares.0.as_ptr().add(mu + i), left);
                            S::store_part(to, left, S::fma(m, d, S::load_part(to, left)));
                        }
                        let to = self.m_to.at(of_row + i);
                        S::store_part(to, left, S::fma(difference, d, S::load_part(to, left)));
                    }
                }
            }
        }
    }
}
