//! Matrix products on slices. The `gemm` crate gives the same bytes for any number of threads.

use gemm::{Parallelism, gemm};

/// A view of a row-major matrix, or of its transpose.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { data, rows, columns, row_stride: columns as isize, column_stride: 1 }
    }

    pub(super) fn transpose(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, row-major.
pub(super) fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>) {
    scaled(out, false, a, b, 1.0);
}

/// `out += scale a b`, row-major.
pub(super) fn add_product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, scale: f32) {
    scaled(out, true, a, b, scale);
}

fn scaled(out: &mut [f32], add: bool, a: Matrix<'_>, b: Matrix<'_>, scale: f32) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product");
    assert_eq!(out.len(), m * n, "the size of a product");
    // SAFETY: `Matrix` is only made by `new`, which checks the slice against its sizes, and
    // `transpose`, which keeps them; the asserts above check the inner size and that of `out`.
    // `out` is borrowed mutably, so that it overlaps neither operand.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a.column_stride,
            a.row_stride,
            b.data.as_ptr(),
            b.column_stride,
            b.row_stride,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism(m * n * k),
        );
    }
}

/// Products of less than 32 Mi multiply-adds (half a millisecond) run on one thread where there
/// are few: the callers have other work for the others.
fn parallelism(work: usize) -> Parallelism {
    const FEW_THREADS: usize = 4;
    if work < 32 << 20 && rayon::current_num_threads() <= FEW_THREADS {
        Parallelism::None
    } else {
        Parallelism::Rayon(0)
    }
}
