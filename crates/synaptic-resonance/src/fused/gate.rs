//! Norm and gate of the read-out on slices.

use super::blend::{each_row, sigmoid, sum_rows};
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

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
        Isa::widest().run16(Forward { sizes, x, scale: &scale, row, to });
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
fn inverse<S: Simd16>(s: S, r: &[f32]) -> f32 {
    let mut squares = s.zero();
    for i in (0..r.len()).step_by(LANES) {
        let r = s.read(&r[i..]);
        squares = s.fma(r, r, squares);
    }
    1.0 / (s.total(squares) / r.len() as f32 + EPSILON).sqrt()
}

impl Job16 for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let [_, time, heads, width] = self.sizes.dims;
        let master: Vec<f32> = self.x.gamma.iter().map(|gamma| 2.0 * gamma.tanh()).collect();
        for t in 0..time {
            for (h, master) in master.iter().enumerate() {
                let at = (self.row * time + t) * heads + h;
                let mut gain = master * sigmoid(self.x.gate[at]);
                let (r, scale) = (&self.x.r[at * width..][..width], &self.scale[h * width..][..width]);
                // SAFETY: the sizes have been checked; the outputs of a row of the batch are nobody else's.
                let to = unsafe { self.to.part(at * width, width) };
                if self.sizes.norm {
                    gain *= inverse(s, r);
                }
                for i in (0..width).step_by(LANES) {
                    let r = s.mul(s.splat(gain), s.read(&r[i..]));
                    s.write(&mut to[i..], s.mul(s.read(&scale[i..]), r));
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
        Isa::widest().run16(Backward { sizes, x, scale: &scale, row, grad, to });
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

impl Job16 for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let [_, time, heads, width] = self.sizes.dims;
        let master: Vec<f32> = self.x.gamma.iter().map(|gamma| gamma.tanh()).collect();
        let [r_to, gate_to, gamma_to, c_to] = self.to;
        // SAFETY: the sizes have been checked; the sums of a row of the batch are nobody else's.
        let (gamma_to, c_to) =
            unsafe { (gamma_to.part(self.row * heads, heads), c_to.part(self.row * heads * width, heads * width)) };
        for t in 0..time {
            for (h, master) in master.iter().enumerate() {
                let at = (self.row * time + t) * heads + h;
                let open = sigmoid(self.x.gate[at]);
                let gain = 2.0 * master * open;
                let (r, grad) = (&self.x.r[at * width..][..width], &self.grad[at * width..][..width]);
                let (scale, dc) = (&self.scale[h * width..][..width], &mut c_to[h * width..][..width]);
                // SAFETY: as above, for the gradients.
                let (r_to, gate_to) = unsafe { (r_to.part(at * width, width), gate_to.part(at, 1)) };
                let inverse = if self.sizes.norm { inverse(s, r) } else { 1.0 };
                // Sum of r c grad: the gate's gradient, and the norm's.
                let mut along = s.zero();
                for i in (0..width).step_by(LANES) {
                    let both = s.mul(s.read(&r[i..]), s.read(&grad[i..]));
                    along = s.fma(s.read(&scale[i..]), both, along);
                    let old = s.read(&dc[i..]);
                    s.write(&mut dc[i..], s.fma(s.splat(gain * inverse), both, old));
                }
                let along = inverse * s.total(along);
                gate_to[0] = gain * (1.0 - open) * along;
                gamma_to[h] += (1.0 - master * master) * 2.0 * open * along;
                let loss = if self.sizes.norm { gain * inverse * inverse * along / width as f32 } else { 0.0 };
                for i in (0..width).step_by(LANES) {
                    let d = s.mul(s.read(&scale[i..]), s.mul(s.splat(gain * inverse), s.read(&grad[i..])));
                    let d = s.fma(s.splat(-loss), s.read(&r[i..]), d);
                    s.write(&mut r_to[i..], d);
                }
            }
        }
    }
}
