//! Division by the root of the mean square, with a learned scale, on slices.

use super::blend::{each_row, sum_rows};
use crate::simd::{Job, LANES, Shared, Simd, widest};

/// Constant of the norm (section 3).
const EPSILON: f32 = 1e-6;
/// Rows that a thread takes at a time; the gradient of the scale is summed within them first.
const ROWS: usize = 64;

/// `x / sqrt(mean(x^2) + 1e-6) scale` along the last dimension.
pub(super) fn forward(x: &[f32], scale: &[f32]) -> Vec<f32> {
    run(x, scale, None).0
}

/// Gradients of `x` and `scale`.
pub(super) fn backward(x: &[f32], scale: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(x.len() == grad.len(), "gradient");
    run(x, scale, Some(grad))
}

fn run(x: &[f32], scale: &[f32], grad: Option<&[f32]>) -> (Vec<f32>, Vec<f32>) {
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
        let grad = grad.map(|grad| (&grad[from..][..n], sums_to, piece * width));
        // SAFETY: pieces do not overlap, and end with the slices; each has its sums.
        unsafe { widest(Piece { x: &x[from..][..n], scale, grad, to: to.at(from) }) }
    });
    (out, sum_rows(&sums, width))
}

struct Piece<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    /// The gradient, and where its part of that of the scale is summed.
    grad: Option<(&'a [f32], Shared, usize)>,
    to: *mut f32,
}

impl Job for Piece<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.scale.len();
        let scale = self.scale.as_ptr();
        for from in (0..self.x.len()).step_by(width) {
            unsafe {
                let (x, to) = (self.x.as_ptr().add(from), self.to.add(from));
                let mut squares = S::splat(0.0);
                for i in (0..width).step_by(LANES) {
                    let x = S::load_part(x.add(i), width - i);
                    squares = S::fma(x, x, squares);
                }
                let inverse = 1.0 / (S::total(squares) / width as f32 + EPSILON).sqrt();
                let gain = S::splat(inverse);
                let Some((grad, sums, at)) = self.grad else {
                    for i in (0..width).step_by(LANES) {
                        let left = width - i;
                        let x = S::mul(gain, S::load_part(x.add(i), left));
                        S::store_part(to.add(i), left, S::mul(x, S::load_part(scale.add(i), left)));
                    }
                    continue;
                };
                let grad = grad.as_ptr().add(from);
                let mut along = S::splat(0.0);
                for i in (0..width).step_by(LANES) {
                    let left = width - i;
                    let both = S::mul(S::load_part(x.add(i), left), S::load_part(grad.add(i), left));
                    along = S::fma(both, S::load_part(scale.add(i), left), along);
                    let sum = sums.at(at + i);
                    S::store_part(sum, left, S::fma(gain, both, S::load_part(sum, left)));
                }
                let loss = S::splat(-inverse * inverse * inverse * S::total(along) / width as f32);
                for i in (0..width).step_by(LANES) {
                    let left = width - i;
                    let d = S::mul(S::load_part(grad.add(i), left), S::load_part(scale.add(i), left));
                    let d = S::fma(loss, S::load_part(x.add(i), left), S::mul(gain, d));
                    S::store_part(to.add(i), left, d);
                }
            }
        }
    }
}
