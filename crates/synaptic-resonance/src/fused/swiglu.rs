//! `silu(gate) up` with `silu(x) = x sigmoid(x)`, on slices.

use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};
use rayon::prelude::*;

/// Numbers that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// Below e to this the logistic function is 0.
const SMALLEST: f32 = -87.0;

/// `silu(gate) up`
pub(super) fn forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let [out, _] = each(gate, up, None);
    out
}

/// Gradients of `gate` and `up`: `grad up s (1 + gate (1 - s))` with `s = sigmoid(gate)`, and `grad gate s`.
pub(super) fn backward(gate: &[f32], up: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
    assert!(gate.len() == grad.len(), "gradient");
    each(gate, up, Some(grad))
}

/// The values and nothing, or both gradients.
fn each(gate: &[f32], up: &[f32], grad: Option<&[f32]>) -> [Vec<f32>; 2] {
    let n = gate.len();
    assert!(n == up.len(), "{n} gates for {} numbers", up.len());
    let [mut out, mut ups] = [vec![0.0; n], vec![0.0; if grad.is_some() { n } else { 0 }]];
    let run = |piece: usize, to: &mut [f32], ups_to: Option<&mut [f32]>| {
        let (from, size) = (piece * PIECE, to.len());
        let grad = grad.map(|grad| &grad[from..][..size]).zip(ups_to);
        Isa::widest().run16(Piece { gate: &gate[from..][..size], up: &up[from..][..size], grad, to });
    };
    let pieces = out.par_chunks_mut(PIECE).enumerate();
    match grad {
        None => pieces.for_each(|(piece, to)| run(piece, to, None)),
        Some(_) => pieces.zip(ups.par_chunks_mut(PIECE)).for_each(|((piece, to), ups)| run(piece, to, Some(ups))),
    }
    [out, ups]
}

struct Piece<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    /// The gradient, and where that of `up` goes.
    grad: Option<(&'a [f32], &'a mut [f32])>,
    to: &'a mut [f32],
}

impl Job16 for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { gate, up, mut grad, to } = self;
        for i in (0..gate.len()).step_by(LANES) {
            let (mut x, mut share, mut rest) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            s.write(&mut x, s.read(&gate[i..]));
            for lane in 0..LANES {
                (share[lane], rest[lane]) = sigmoid(s, x[lane]);
            }
            let (x, share, rest, up) = (s.read(&x), s.read(&share), s.read(&rest), s.read(&up[i..]));
            let silu = s.mul(x, share);
            let Some((grad, ups_to)) = &mut grad else {
                s.write(&mut to[i..], s.mul(silu, up));
                continue;
            };
            let grad = s.read(&grad[i..]);
            s.write(&mut ups_to[i..], s.mul(grad, silu));
            let slope = s.mul(share, s.fma(x, rest, s.splat(1.0)));
            s.write(&mut to[i..], s.mul(s.mul(grad, up), slope));
        }
    }
}

/// The logistic function of x and of -x, which is 1 less it, without an exponential that overflows.
#[inline(always)]
fn sigmoid<S: Simd16>(s: S, x: f32) -> (f32, f32) {
    let below = -x.abs();
    // What is not a number stays so.
    let e = if below < SMALLEST { 0.0 } else { s.exp(below) };
    let share = 1.0 / (1.0 + e);
    if x < 0.0 { (e * share, share) } else { (share, e * share) }
}
