//! Products of small matrices: blocks of rows in registers.

// Loops over registers in step.
#![allow(clippy::needless_range_loop)]

use plasticity_core::nn::vector::{LANES, Simd16};

/// Sizes of a product.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) inner: usize,
    /// Columns of the result.
    pub(super) vectors: usize,
    /// To what is there.
    pub(super) add: bool,
}

/// `to[r][n] = sum over i of x[r][i] t[i][n]`: steps of x from row to row and along the sum, of t and of the result
/// from row to row.
///
/// # Safety
/// The pointers are valid for these sizes, and the result does not overlap.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn multiply<S: Simd16>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    let mut v = 0;
    while v < of.vectors {
        unsafe {
            let (t, to) = (t.add(v * LANES), to.add(v * LANES));
            if S::WIDE && of.vectors - v >= 2 {
                rows::<S, 2>(s, of, x, x_steps, t, t_step, to, to_step);
                v += 2;
            } else {
                rows::<S, 1>(s, of, x, x_steps, t, t_step, to, to_step);
                v += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn rows<S: Simd16, const V: usize>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    let mut r = 0;
    while r < of.rows {
        let left = of.rows - r;
        unsafe {
            let (x, to) = (x.add(r * x_steps[0]), to.add(r * to_step));
            if S::WIDE && left >= 8 {
                block::<S, 8, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 8;
            } else if left >= 4 {
                block::<S, 4, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 4;
            } else {
                block::<S, 1, V>(s, of, x, x_steps, t, t_step, to, to_step);
                r += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn block<S: Simd16, const R: usize, const V: usize>(
    s: S,
    of: Product,
    x: *const f32,
    x_steps: [usize; 2],
    t: *const f32,
    t_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    unsafe {
        let mut sums = [[s.splat(0.0); V]; R];
        if of.add {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = s.load(to.add(r * to_step + v * LANES));
                }
            }
        }
        for i in 0..of.inner {
            let mut t_here = [s.splat(0.0); V];
            for v in 0..V {
                t_here[v] = s.load(t.add(i * t_step + v * LANES));
            }
            for r in 0..R {
                let x = s.splat(*x.add(r * x_steps[0] + i * x_steps[1]));
                for v in 0..V {
                    sums[r][v] = s.fma(x, t_here[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                s.store(to.add(r * to_step + v * LANES), sums[r][v]);
            }
        }
    }
}
