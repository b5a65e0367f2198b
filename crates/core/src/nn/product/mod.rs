//! Matrix products of f32 on the CPU, by the `gemm` crate, which gives the same bytes for any number of threads.
//!
//! [`matmul`] is Burn's own product without what that spends on its result: flex fills it with zeros and copies it to
//! another place before it computes it, which costs most where a product is small.

#[cfg(feature = "flex")]
mod op;

use burn::prelude::*;
use gemm::{Parallelism, gemm};

/// A view of a matrix: rows and columns at any distance from each other in a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Of a row-major slice.
    ///
    /// # Panics
    /// When the slice is not of `rows * columns` values.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of {rows} rows and {columns} columns");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Of a slice whose rows and columns lie `strides` values apart.
    ///
    /// # Panics
    /// When a value lies outside the slice.
    pub fn strided(data: &'a [f32], [rows, columns]: [usize; 2], [row_stride, column_stride]: [usize; 2]) -> Self {
        let last = |count: usize, stride: usize| (count - 1).checked_mul(stride);
        let inside = rows == 0
            || columns == 0
            || last(rows, row_stride)
                .zip(last(columns, column_stride))
                .and_then(|(row, column)| row.checked_add(column))
                .is_some_and(|last| last < data.len());
        assert!(inside, "{rows} rows {row_stride} apart and {columns} columns {column_stride} apart do not fit");
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// The same values, rows as columns.
    pub fn transpose(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// From how many multiply-adds on a product is shared among the threads of the pool: always the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// From the size on where starting them pays.
    Soon,
    /// Late where there are few: the caller has other work for them.
    Late,
}

impl Threads {
    fn of(self, work: usize) -> Parallelism {
        const FEW: usize = 4;
        let one = match self {
            Self::Soon => work < 192 * 192 * 192,
            // Half a millisecond.
            Self::Late => work < 32 << 20 && rayon::current_num_threads() <= FEW,
        };
        if one { Parallelism::None } else { Parallelism::Rayon(0) }
    }
}

/// How many values a result has: views that repeat values may ask for more than can be counted.
fn size(a: Matrix<'_>, b: Matrix<'_>) -> usize {
    match a.rows.checked_mul(b.columns) {
        Some(size) => size,
        None => panic!("a product of {} rows and {} columns", a.rows, b.columns),
    }
}

/// `a b`, row-major.
///
/// # Panics
/// When the inner sizes differ, or the result cannot be held.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, threads: Threads) -> Vec<f32> {
    let size = size(a, b);
    if a.columns == 0 {
        return vec![0.0; size];
    }
    let mut out = Vec::with_capacity(size);
    // SAFETY: there is room for `size` values, and the product writes each without reading it.
    unsafe {
        call(out.as_mut_ptr(), false, a, b, 1.0, threads);
        out.set_len(size);
    }
    out
}

/// `out = a b`, row-major.
///
/// # Panics
/// When the inner sizes differ or the result has another size.
pub fn product_into(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, threads: Threads) {
    scaled(out, false, a, b, 1.0, threads);
}

/// `out += scale a b`, row-major.
///
/// # Panics
/// When the inner sizes differ or the result has another size.
pub fn add_product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, scale: f32, threads: Threads) {
    scaled(out, true, a, b, scale, threads);
}

fn scaled(out: &mut [f32], add: bool, a: Matrix<'_>, b: Matrix<'_>, scale: f32, threads: Threads) {
    assert_eq!(out.len(), size(a, b), "the size of a product");
    // SAFETY: the slice is as long as the result, and borrowed mutably, so that it overlaps neither operand.
    unsafe { call(out.as_mut_ptr(), add, a, b, scale, threads) }
}

/// # Safety
/// `out` has room for the result, and overlaps neither operand; where `add` is set its values are there.
unsafe fn call(out: *mut f32, add: bool, a: Matrix<'_>, b: Matrix<'_>, scale: f32, threads: Threads) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product");
    let stride = |stride: usize| stride as isize;
    // SAFETY: `new` and `strided` check the slice against sizes and strides, and `transpose` keeps them; the assert
    // checks the inner size, the caller answers for `out`.
    unsafe {
        gemm(
            m,
            n,
            k,
            out,
            1,
            stride(n),
            add,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            threads.of(m.saturating_mul(n).saturating_mul(k)),
        );
    }
}

/// `x w` for `x` `[rows, inner]` and `w` `[inner, columns]`, differentiable: the bytes of [`Tensor::matmul`], and on flex
/// in f32 sooner.
///
/// # Panics
/// When the inner sizes differ, as Burn's own operation does.
pub fn matmul(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if op::takes(&x, &w) {
        return op::matmul(x, w);
    }
    x.matmul(w)
}

#[cfg(test)]
mod tests;
