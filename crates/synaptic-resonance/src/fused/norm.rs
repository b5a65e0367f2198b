//! Division by the root of the mean square, with a learned scale, on slices.

use super::blend::{each_row, sum_rows};
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// Rows that a thread takes at a time; the gradient of the scale is summed within them first.
const ROWS: usize = 64;

/// `x / sqrt(mean(x^2) + epsilon) scale` along the last dimension.
pub(super) fn forward(x: &[f32], scale: &[f32], epsilon: f32) -> Vec<f32> {
    run(x, scale, epsilon, None).0
}

/// Gradients of `x` and `scale`.
pub(super) fn backward(x: &[f32], scale: &[f32], epsilon: f32, grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(x.len() == grad.len(), "gradient");
    run(x, scale, epsilon, Some(grad))
}

fn run(x: &[f32], scale: &[f32], epsilon: f32, grad: Option<&[f32]>) -> (Vec<f32>, Vec<f32>) {
    let width = scale.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "a scale of {width} for {} numbers", x.len());
    let size = ROWS * width;
    let pieces = x.len().div_ceil(size);
    let mut sums = vec![0.0; if grad.is_some() { pieces * width } else { 0 }];
    let mut out = vec![0.0; x.len()];
    let (to, sums_to) = (Shared::new(&mut out), Shared::new(&mut sums));
    each_row(pieces, size, |piece| {
        let from = piece * size;
        let n = size.min(x.len() - from);
        // SAFETY: pieces do not overlap, and end with the slices; each has its sums.
        let to = unsafe { to.part(from, n) };
        // SAFETY: as above.
        let grad = grad.map(|grad| (&grad[from..][..n], unsafe { sums_to.part(piece * width, width) }));
        Isa::widest().run16(Piece { x: &x[from..][..n], scale, epsilon, grad, to });
    });
    (out, sum_rows(&sums, width))
}

struct Piece<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    /// The gradient, and where its part of that of the scale is summed.
    grad: Option<(&'a [f32], &'a mut [f32])>,
    to: &'a mut [f32],
}

impl Job16 for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { x, scale, epsilon, mut grad, to } = self;
        let width = scale.len();
        for from in (0..x.len()).step_by(width) {
            let (x, to) = (&x[from..][..width], &mut to[from..][..width]);
            let mut squares = s.zero();
            for i in (0..width).step_by(LANES) {
                let x = s.read(&x[i..]);
                squares = s.fma(x, x, squares);
            }
            let inverse = 1.0 / (s.total(squares) / width as f32 + epsilon).sqrt();
            let gain = s.splat(inverse);
            let Some((grad, sums)) = &mut grad else {
                for i in (0..width).step_by(LANES) {
                    let x = s.mul(gain, s.read(&x[i..]));
                    s.write(&mut to[i..], s.mul(x, s.read(&scale[i..])));
                }
                continue;
            };
            let grad = &grad[from..][..width];
            let mut along = s.zero();
            for i in (0..width).step_by(LANES) {
                let both = s.mul(s.read(&x[i..]), s.read(&grad[i..]));
                along = s.fma(both, s.read(&scale[i..]), along);
                let old = s.read(&sums[i..]);
                s.write(&mut sums[i..], s.fma(gain, both, old));
            }
            let loss = s.splat(-inverse * inverse * inverse * s.total(along) / width as f32);
            for i in (0..width).step_by(LANES) {
                let d = s.mul(s.read(&grad[i..]), s.read(&scale[i..]));
                s.write(&mut to[i..], s.fma(loss, s.read(&x[i..]), s.mul(gain, d)));
            }
        }
    }
}
