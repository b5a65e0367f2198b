//! Norm and gate of the read-out on slices.

use super::blend::{each_row, sigmoid, sum_rows};
use crate::simd::{Job, LANES, Shared, Simd, widest};

/// Constant of the norm (section 4.4).
const EPSILON: f32 = 1e-3;

/// Sizes of read-outs `[batch, time, heads, width]`, and whether they are normalised and scaled.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    pub(super) dims: [usize; 4],
    pub(super) norm: bool,
}

/// Dense inputs; `c` is read with the norm.
#[derive(Clone, Copy)]
pub(super) struct Slices<'a> {
    pub(super) r: &'a [f32],
    pub(super) gate: &'a [f32],
    pub(super) gamma: &'a [f32],
    pub(super) c: &'a [f32],
}

impl Gate {
    fn check(&self, x: Slices<'_>) {
        let [batch, time, heads, width] = self.dims;
        assert!(x.r.len() == batch * time * heads * width, "read-outs");
        assert!(x.gate.len() == batch * time * heads && x.gamma.len() == heads, "gates");
        assert!(!self.norm || x.c.len() == heads * width, "scale");
    }

    /// c, or ones.
    fn scale(&self, c: &[f32]) -> Vec<f32> {
        if self.norm { c.to_vec() } else { vec![1.0; self.dims[2] * self.dims[3]] }
    }
}

pub(super) fn forward(sizes: Gate, x: Slices<'_>) -> Vec<f32> {
    sizes.check(x);
    let [batch, time, heads, width] = sizes.dims;
    let (scale, mut out) = (sizes.scale(x.c), vec![0.0; x.r.len()]);
    let to = Shared::new(&mut out);
    each_row(batch, time * heads * width, |row| {
        // SAFETY: the sizes have been checked; a row writes to its own places only.
        unsafe { widest(Forward { sizes, x, scale: &scale, row, to }) }
    });
    out
}

struct Forward<'a> {
    sizes: Gate,
    x: Slices<'a>,
    scale: &'a [f32],
    row: usize,
    to: Shared,
}

/// 1 / sqrt(mean(r^2) + epsilon)
#[inline(always)]
unsafe fn inverse<S: Simd>(r: *const f32, width: usize) -> f32 {
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..width).step_by(LANES) {
            let r = S::load_part(r.add(i), width - i);
            squares = S::fma(r, r, squares);
        }
        1.0 / (S::total(squares) / width as f32 + EPSILON).sqrt()
    }
}

impl Job for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [_, time, heads, width] = self.sizes.dims;
        let master: Vec<f32> = self.x.gamma.iter().map(|gamma| 2.0 * gamma.tanh()).collect();
        for t in 0..time {
            for (h, master) in master.iter().enumerate() {
                let at = (self.row * time + t) * heads + h;
                let mut gain = master * sigmoid(self.x.gate[at]);
                unsafe {
                    let r = self.x.r.as_ptr().add(at * width);
                    if self.sizes.norm {
                        gain *= inverse::<S>(r, width);
                    }
                    for i in (0..width).step_by(LANES) {
                        let scale = S::load_part(self.scale.as_ptr().add(h * width + i), width - i);
                        let r = S::mul(S::splat(gain), S::load_part(r.add(i), width - i));
                        S::store_part(self.to.at(at * width + i), width - i, S::mul(scale, r));
                    }
                }
            }
        }
    }
}

/// Gradients of the read-outs, of the gate, of gamma, and of c (empty without the norm).
pub(super) fn backward(sizes: Gate, x: Slices<'_>, grad: &[f32]) -> [Vec<f32>; 4] {
    sizes.check(x);
    assert!(grad.len() == x.r.len(), "gradient of the read-outs");
    let [batch, time, heads, width] = sizes.dims;
    let scale = sizes.scale(x.c);
    let (mut dr, mut dgate) = (vec![0.0; grad.len()], vec![0.0; x.gate.len()]);
    let (mut dgamma, mut dc) = (vec![0.0; batch * heads], vec![0.0; batch * heads * width]);
    let to = [Shared::new(&mut dr), Shared::new(&mut dgate), Shared::new(&mut dgamma), Shared::new(&mut dc)];
    each_row(batch, time * heads * width, |row| {
        // SAFETY: the sizes have been checked; a row writes to its own places only.
        unsafe { widest(Backward { sizes, x, scale: &scale, row, grad, to }) }
    });
    let dc = if sizes.norm { sum_rows(&dc, heads * width) } else { Vec::new() };
    [dr, dgate, sum_rows(&dgamma, heads), dc]
}

struct Backward<'a> {
    sizes: Gate,
    x: Slices<'a>,
    scale: &'a [f32],
    row: usize,
    grad: &'a [f32],
    to: [Shared; 4],
}

impl Job for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [_, time, heads, width] = self.sizes.dims;
        let master: Vec<f32> = self.x.gamma.iter().map(|gamma| gamma.tanh()).collect();
        let [r_to, gate_to, gamma_to, c_to] = self.to;
        for t in 0..time {
            for (h, master) in master.iter().enumerate() {
                let at = (self.row * time + t) * heads + h;
                let open = sigmoid(self.x.gate[at]);
                let gain = 2.0 * master * open;
                unsafe {
                    let (r, grad) = (self.x.r.as_ptr().add(at * width), self.grad.as_ptr().add(at * width));
                    let inverse = if self.sizes.norm { inverse::<S>(r, width) } else { 1.0 };
                    // Sum of r c grad: the gate's gradient, and the norm's.
                    let mut along = S::splat(0.0);
                    for i in (0..width).step_by(LANES) {
                        let left = width - i;
                        let (r, grad) = (S::load_part(r.add(i), left), S::load_part(grad.add(i), left));
                        let both = S::mul(r, grad);
                        along = S::fma(S::load_part(self.scale.as_ptr().add(h * width + i), left), both, along);
                        let to = c_to.at((self.row * heads + h) * width + i);
                        let dc = S::fma(S::splat(gain * inverse), both, S::load_part(to, left));
                        S::store_part(to, left, dc);
                    }
                    let along = inverse * S::total(along);
                    *gate_to.at(at) = gain * (1.0 - open) * along;
                    *gamma_to.at(self.row * heads + h) += (1.0 - master * master) * 2.0 * open * along;
                    let loss = if self.sizes.norm { gain * inverse * inverse * along / width as f32 } else { 0.0 };
                    for i in (0..width).step_by(LANES) {
                        let left = width - i;
                        let scale = S::load_part(self.scale.as_ptr().add(h * width + i), left);
                        let d = S::mul(scale, S::mul(S::splat(gain * inverse), S::load_part(grad.add(i), left)));
                        let d = S::fma(S::splat(-loss), S::load_part(r.add(i), left), d);
                        S::store_part(r_to.at(at * width + i), left, d);
                    }
                }
            }
        }
    }
}
