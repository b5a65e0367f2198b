//! The products of a step, sparse and dense.
//!
//! Activations lie `[feature][lane]`, a lane for each image of a chunk: `NV` vectors of 16. Functions marked
//! unsafe read and write without a look at the lengths.

use plasticity_core::nn::vector::{LANES, Simd16};

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    Nothing,
    Relu,
    /// Kept where this activation is above 0.
    Gate(&'a [f32]),
}

/// Survivors by their outputs, or by their inputs.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Where each row begins in `index`, and the end.
    pub starts: Vec<u32>,
    /// The other end of the connection.
    pub index: Vec<u16>,
}

/// `to[j] = from[at[j]]`; by itself, where it has registers enough.
#[inline(never)]
pub(super) fn gather(from: &[f32], at: &[u32], to: &mut [f32]) {
    for (to, at) in to.iter_mut().zip(at) {
        *to = from[*at as usize];
    }
}

/// # Safety
/// `to` and what `after` holds have `LANES` numbers from `at`.
#[inline(always)]
unsafe fn finish<S: Simd16>(s: S, v: S::V, after: After<'_>, to: *mut f32, at: usize) {
    unsafe {
        let v = match after {
            After::Nothing => v,
            After::Relu => s.relu(v),
            After::Gate(by) => s.gate(v, s.load(by.as_ptr().add(at))),
        };
        s.store(to.add(at), v);
    }
}

/// `out[r] = after(sum over the row's connections of w x[other end])`.
///
/// # Safety
/// The rows' indices name features of `x` `[features][lane]`; `w` has a weight for each, `out` a row for each row.
#[inline(always)]
pub(super) unsafe fn sparse<S: Simd16, const NV: usize>(
    s: S,
    rows: &Rows,
    w: &[f32],
    x: &[f32],
    out: &mut [f32],
    after: After<'_>,
) {
    let wide = NV * LANES;
    let heights = rows.starts.len() - 1;
    debug_assert!(w.len() <= rows.index.len() && out.len() >= heights * wide);
    debug_assert!(rows.index.iter().all(|i| (usize::from(*i) + 1) * wide <= x.len()));
    for (row, ends) in rows.starts.windows(2).enumerate() {
        let (start, end) = (ends[0] as usize, ends[1] as usize);
        // SAFETY: an index is below the number of the layer's inputs (outputs), which `x` holds.
        unsafe {
            if S::WIDE {
                sparse_row::<S, NV>(s, &rows.index[start..end], &w[start..end], x, wide, out, row * wide, after);
            } else {
                for v in 0..NV {
                    let x = &x[v * LANES..];
                    let at = row * wide + v * LANES;
                    sparse_row::<S, 1>(s, &rows.index[start..end], &w[start..end], x, wide, out, at, after);
                }
            }
        }
    }
}

/// An index, read by itself: the compiler would load several and spend more on taking them apart.
///
/// # Safety
/// `j` is inside of the index.
#[inline(always)]
unsafe fn end(index: &[u16], j: usize) -> usize {
    debug_assert!(j < index.len());
    usize::from(unsafe { index.as_ptr().add(j).read_volatile() })
}

/// Four survivors at a time, each with its own sum.
///
/// # Safety
/// As for [`sparse`]; `at` is a place of `out`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn sparse_row<S: Simd16, const NV: usize>(
    s: S,
    index: &[u16],
    w: &[f32],
    x: &[f32],
    wide: usize,
    out: &mut [f32],
    at: usize,
    after: After<'_>,
) {
    unsafe {
        let mut sum = [[s.splat(0.0); NV]; 4];
        let x = x.as_ptr();
        let whole = index.len() / 4 * 4;
        let mut j = 0;
        while j < whole {
            for (k, sum) in sum.iter_mut().enumerate() {
                let w = s.splat(*w.get_unchecked(j + k));
                let from = x.add(end(index, j + k) * wide);
                for (v, sum) in sum.iter_mut().enumerate() {
                    *sum = s.fma(w, s.load(from.add(v * LANES)), *sum);
                }
            }
            j += 4;
        }
        for j in whole..index.len() {
            let w = s.splat(*w.get_unchecked(j));
            let from = x.add(end(index, j) * wide);
            for (v, sum) in sum[0].iter_mut().enumerate() {
                *sum = s.fma(w, s.load(from.add(v * LANES)), *sum);
            }
        }
        let [a, b, c, d] = sum;
        for (v, ((a, b), (c, d))) in a.into_iter().zip(b).zip(c.into_iter().zip(d)).enumerate() {
            let all = s.add(s.add(a, b), s.add(c, d));
            finish(s, all, after, out.as_mut_ptr(), at + v * LANES);
        }
    }
}

/// `grad[j] (+)= sum over the lanes of delta[output j] x[input j]`.
///
/// # Safety
/// `input` and `output` name features of `x` and `delta`.
#[inline(always)]
pub(super) unsafe fn sparse_gradient<S: Simd16, const NV: usize>(
    s: S,
    input: &[u16],
    output: &[u16],
    delta: &[f32],
    x: &[f32],
    add: bool,
    grad: &mut [f32],
) {
    let wide = NV * LANES;
    debug_assert!(input.iter().all(|i| (usize::from(*i) + 1) * wide <= x.len()));
    debug_assert!(output.iter().all(|o| (usize::from(*o) + 1) * wide <= delta.len()));
    let sixteens = grad.chunks_mut(LANES).zip(input.chunks_exact(LANES).zip(output.chunks_exact(LANES)));
    for (grad, (input, output)) in sixteens {
        // SAFETY: both ends of a survivor lie within the layer; `to` has 16 numbers.
        unsafe {
            let (x, delta) = (x.as_ptr(), delta.as_ptr());
            let mut products = [s.splat(0.0); LANES];
            for (k, product) in products.iter_mut().enumerate() {
                let (a, b) = (delta.add(end(output, k) * wide), x.add(end(input, k) * wide));
                *product = s.mul(s.load(a), s.load(b));
                for v in 1..NV {
                    *product = s.fma(s.load(a.add(v * LANES)), s.load(b.add(v * LANES)), *product);
                }
            }
            let mut to = [0.0f32; LANES];
            s.store(to.as_mut_ptr(), s.sums(products));
            for (grad, to) in grad.iter_mut().zip(to) {
                *grad = if add { *grad + to } else { to };
            }
        }
    }
}

/// `out[r] = after(sum over k of w[r step.0 + k step.1] x[k])`.
///
/// # Safety
/// `w`, `x` and `out` have the rows and columns that sizes and steps name.
#[inline(always)]
pub(super) unsafe fn dense<S: Simd16, const NV: usize>(
    s: S,
    (rows, inner): (usize, usize),
    step: (usize, usize),
    w: &[f32],
    x: &[f32],
    out: &mut [f32],
    after: After<'_>,
) {
    let wide = NV * LANES;
    debug_assert!(w.len() > (rows - 1) * step.0 + (inner - 1) * step.1);
    debug_assert!(x.len() >= inner * wide && out.len() >= rows * wide);
    let mut row = 0;
    while row < rows {
        let rest = rows - row;
        // SAFETY: the rows exist, as asserted.
        unsafe {
            if !S::WIDE {
                let height = if rest >= 4 { 4 } else { 1 };
                for v in 0..NV {
                    let tile = (row, v * LANES);
                    if height == 4 {
                        dense_rows::<S, 4, 1>(s, tile, inner, wide, step, w, x, out, after);
                    } else {
                        dense_rows::<S, 1, 1>(s, tile, inner, wide, step, w, x, out, after);
                    }
                }
                row += height;
            } else if rest >= 8 {
                dense_rows::<S, 8, NV>(s, (row, 0), inner, wide, step, w, x, out, after);
                row += 8;
            } else if rest >= 4 {
                dense_rows::<S, 4, NV>(s, (row, 0), inner, wide, step, w, x, out, after);
                row += 4;
            } else if rest >= 2 {
                dense_rows::<S, 2, NV>(s, (row, 0), inner, wide, step, w, x, out, after);
                row += 2;
            } else {
                dense_rows::<S, 1, NV>(s, (row, 0), inner, wide, step, w, x, out, after);
                row += 1;
            }
        }
    }
}

/// # Safety
/// As for [`dense`], from `row` and `lane` on.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn dense_rows<S: Simd16, const R: usize, const NV: usize>(
    s: S,
    (row, lane): (usize, usize),
    inner: usize,
    wide: usize,
    step: (usize, usize),
    w: &[f32],
    x: &[f32],
    out: &mut [f32],
    after: After<'_>,
) {
    unsafe {
        let mut sum = [[s.splat(0.0); NV]; R];
        let w = w.as_ptr().add(row * step.0);
        let x = x.as_ptr().add(lane);
        for k in 0..inner {
            let mut from = [s.splat(0.0); NV];
            for (v, from) in from.iter_mut().enumerate() {
                *from = s.load(x.add(k * wide + v * LANES));
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let w = s.splat(*w.add(r * step.0 + k * step.1));
                for (sum, from) in sum.iter_mut().zip(from) {
                    *sum = s.fma(w, from, *sum);
                }
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            for (v, sum) in sum.into_iter().enumerate() {
                finish(s, sum, after, out.as_mut_ptr(), (row + r) * wide + lane + v * LANES);
            }
        }
    }
}

/// `to[o][i] (+)= sum over the images l of delta[o][l] x[l][i]`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn outer<S: Simd16>(
    s: S,
    (outputs, inputs): (usize, usize),
    wide: usize,
    delta: &[f32],
    by_image: &[f32],
    images: usize,
    add: bool,
    to: &mut [f32],
) {
    let stride = inputs.next_multiple_of(LANES);
    assert!(delta.len() >= outputs * wide && by_image.len() >= images * stride && images <= wide);
    assert!(to.len() >= outputs * inputs);
    let sizes = (inputs, stride, wide, images);
    let mut column = 0;
    while column < inputs {
        let pair = S::WIDE && inputs - column >= 2 * LANES;
        let mut o = 0;
        while o < outputs {
            // SAFETY: the rows and columns exist, as asserted.
            unsafe {
                o += match (pair, outputs - o) {
                    (true, 8..) => outer_tile::<S, 8, 2>(s, (o, column), sizes, delta, by_image, add, to),
                    (true, 4..) => outer_tile::<S, 4, 2>(s, (o, column), sizes, delta, by_image, add, to),
                    (true, _) => outer_tile::<S, 1, 2>(s, (o, column), sizes, delta, by_image, add, to),
                    (false, 4..) => outer_tile::<S, 4, 1>(s, (o, column), sizes, delta, by_image, add, to),
                    (false, _) => outer_tile::<S, 1, 1>(s, (o, column), sizes, delta, by_image, add, to),
                };
            }
        }
        column += if pair { 2 * LANES } else { LANES };
    }
}

/// `R` outputs and `C` vectors of inputs, of which the last may reach over the end of the row.
///
/// # Safety
/// Outputs and columns are inside, as [`outer`] has asserted.
#[inline(always)]
unsafe fn outer_tile<S: Simd16, const R: usize, const C: usize>(
    s: S,
    (o, column): (usize, usize),
    (inputs, stride, wide, images): (usize, usize, usize, usize),
    delta: &[f32],
    by_image: &[f32],
    add: bool,
    to: &mut [f32],
) -> usize {
    let cut = inputs - column < C * LANES;
    unsafe {
        let mut sum = [[s.splat(0.0); C]; R];
        let deltas = delta.as_ptr().add(o * wide);
        let x = by_image.as_ptr().add(column);
        for image in 0..images {
            let mut from = [s.splat(0.0); C];
            for (c, from) in from.iter_mut().enumerate() {
                *from = s.load(x.add(image * stride + c * LANES));
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let d = s.splat(*deltas.add(r * wide + image));
                for (sum, from) in sum.iter_mut().zip(from) {
                    *sum = s.fma(d, from, *sum);
                }
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            let at = (o + r) * inputs + column;
            for (c, sum) in sum.into_iter().enumerate() {
                if cut {
                    let mut all = [0.0f32; LANES];
                    s.store(all.as_mut_ptr(), sum);
                    for (to, sum) in to[at..(o + r + 1) * inputs].iter_mut().zip(all) {
                        *to = if add { *to + sum } else { sum };
                    }
                } else {
                    let to = to.as_mut_ptr().add(at + c * LANES);
                    s.store(to, if add { s.add(s.load(to), sum) } else { sum });
                }
            }
        }
    }
    R
}

/// `to[c * step + r] = rows[r][c]` for the first `columns`.
#[inline(always)]
pub(super) fn transpose(rows: &[&[f32]], columns: usize, to: &mut [f32], step: usize) {
    let whole = columns / 4 * 4;
    for (four, rows) in rows.chunks(4).enumerate() {
        let first = 4 * four;
        let &[a, b, c, d] = rows else {
            for (r, row) in rows.iter().enumerate() {
                for (column, x) in row[..columns].iter().enumerate() {
                    to[column * step + first + r] = *x;
                }
            }
            continue;
        };
        let quads = a[..columns].chunks_exact(4).zip(b[..columns].chunks_exact(4));
        let quads = quads.zip(c[..columns].chunks_exact(4).zip(d[..columns].chunks_exact(4)));
        for (((a, b), (c, d)), to) in quads.zip(to.chunks_mut(4 * step)) {
            for column in 0..4 {
                let lanes = &mut to[column * step + first..column * step + first + 4];
                lanes.copy_from_slice(&[a[column], b[column], c[column], d[column]]);
            }
        }
        for column in whole..columns {
            let lanes = &mut to[column * step + first..column * step + first + 4];
            lanes.copy_from_slice(&[a[column], b[column], c[column], d[column]]);
        }
    }
}
