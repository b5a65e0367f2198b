//! `x Phi(x)`, Phi the normal distribution function, on slices.

use super::blend::each_row;
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// Numbers that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// Nothing is left of the tails from there on.
const END: f32 = 13.0;

/// `x Phi(x)`
pub(crate) fn forward(x: &[f32]) -> Vec<f32> {
    each(x, None)
}

/// `grad (Phi(x) + x phi(x))`
pub(super) fn backward(x: &[f32], grad: &[f32]) -> Vec<f32> {
    assert!(x.len() == grad.len(), "gradient");
    each(x, Some(grad))
}

fn each(x: &[f32], grad: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let to = Shared::new(&mut out);
    each_row(x.len().div_ceil(PIECE), PIECE, |piece| {
        let from = piece * PIECE;
        let n = PIECE.min(x.len() - from);
        // SAFETY: pieces do not overlap, and end with the slices.
        let to = unsafe { to.part(from, n) };
        Isa::widest().run16(Piece { x: &x[from..][..n], grad: grad.map(|grad| &grad[from..][..n]), to });
    });
    out
}

struct Piece<'a> {
    x: &'a [f32],
    grad: Option<&'a [f32]>,
    to: &'a mut [f32],
}

impl Job16 for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        for i in (0..self.x.len()).step_by(LANES) {
            let x = numbers(s, &self.x[i..]);
            let mut out = [0.0; LANES];
            match self.grad {
                None => (0..LANES).for_each(|i| out[i] = value(s, x[i])),
                Some(grad) => {
                    let grad = numbers(s, &grad[i..]);
                    (0..LANES).for_each(|i| out[i] = grad[i] * slope(s, x[i]));
                }
            }
            s.write(&mut self.to[i..], s.read(&out));
        }
    }
}

/// The first numbers of a slice, 0 behind its end.
#[inline(always)]
fn numbers<S: Simd16>(s: S, from: &[f32]) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    s.write(&mut out, s.read(from));
    out
}

#[inline(always)]
fn value<S: Simd16>(s: S, x: f32) -> f32 {
    let (tail, _) = tail(s, x);
    // The product keeps what is not a number.
    let linear = if x > 0.0 { x } else { x * 0.0 };
    linear - x.abs().min(END) * tail
}

#[inline(always)]
fn slope<S: Simd16>(s: S, x: f32) -> f32 {
    const DENSITY: f32 = 0.398_942_3;
    let (tail, bell) = tail(s, x);
    let phi = if x < 0.0 { tail } else { 1.0 - tail };
    x * DENSITY * bell + phi
}

/// `Phi(-|x|)` within 1e-7, and `exp(-x^2 / 2)`.
///
/// Phi is the bell times a polynomial in u = 0.4 |x| / (1 + 0.4 |x|), which was fitted for |x| up to 8 to 1e-9.
#[inline(always)]
fn tail<S: Simd16>(s: S, x: f32) -> (f32, f32) {
    const FIT: [f32; 8] =
        [0.024_840_303, 0.008_842_754, -0.047_898_374, -0.101_267_25, 0.049_723_09, 0.565_150_56, -0.997_355_8, 0.5];
    let x = x.abs().min(END);
    let u = 0.4 * x / (1.0 + 0.4 * x);
    let mut p = FIT[0];
    for c in &FIT[1..] {
        p = s.mul_add(p, u, *c);
    }
    let bell = s.exp(-0.5 * x * x);
    (p * bell, bell)
}
