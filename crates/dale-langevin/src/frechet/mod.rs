//! The Frechet distance between two sets of feature rows, each seen as a Gaussian, in the
//! principal components of a basis fitted on a training split.
//!
//! Everything is computed in f64 and in a fixed order, so that two calls give the same bits.
//! Rows are given flat, `[n, width]`.
//!
//! ```
//! use dale_langevin::frechet::{PcaBasis, frechet};
//!
//! // Four rows of width 2 and the same ones shifted by (3, 4).
//! let train: [f32; 8] = [0., 0., 1., 0., 0., 2., 1., 2.];
//! let moved: Vec<f32> = train.chunks(2).flat_map(|r| [r[0] + 3., r[1] + 4.]).collect();
//! let basis = PcaBasis::fit(&train, 2, 2)?;
//! let distance = frechet(&basis.gaussian(&train)?, &basis.gaussian(&moved)?)?;
//! assert!((distance - 25.0).abs() < 1e-9);
//! # Ok::<(), dale_langevin::frechet::FrechetError>(())
//! ```

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Rows of this many at a time are centred and multiplied.
const CHUNK: usize = 1024;

/// Rows that cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FrechetError {
    /// Not enough rows.
    #[error("`rows`: {needed} rows are needed, there are {found}")]
    TooFewRows {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Rows of another width.
    #[error("`rows`: the width is {found}, expected {expected}")]
    Width {
        /// The width given.
        found: usize,
        /// The width of the basis, or of the other side.
        expected: usize,
    },
    /// A buffer that does not hold whole rows, or rows of width 0.
    #[error("`rows`: {values} values are not rows of width {width}")]
    Buffer {
        /// Length of the buffer.
        values: usize,
        /// Width of a row.
        width: usize,
    },
    /// More components than a row has values, or none.
    #[error("`components` is {found}: between 1 and {most}")]
    Components {
        /// How many were asked for.
        found: usize,
        /// The width of a row.
        most: usize,
    },
    /// A value that is infinite or not a number.
    #[error("`rows`: value {column} of row {row} is not finite")]
    NotFinite {
        /// Which row.
        row: usize,
        /// Which value of it.
        column: usize,
    },
}

/// The principal components of a training split.
#[derive(Debug, Clone, PartialEq)]
pub struct PcaBasis {
    mean: DVector<f64>,
    /// `[width, k]`, one component a column, that of the largest variance first.
    components: DMatrix<f64>,
    variances: Vec<f64>,
}

impl PcaBasis {
    /// The first `k` principal components of `rows`, `[n, width]`; not whitened. A component
    /// has the sign that makes its largest entry (the first of equal ones) positive.
    ///
    /// # Errors
    /// A `k` that is 0 or above `width`, not more than `k` rows, values that are not finite.
    pub fn fit(rows: &[f32], width: usize, k: usize) -> Result<Self, FrechetError> {
        if k == 0 || k > width {
            return Err(FrechetError::Components { found: k, most: width });
        }
        let n = count(rows, width)?;
        if n <= k {
            return Err(FrechetError::TooFewRows { found: n, needed: k + 1 });
        }
        Ok(Self::of_gaussian(Gaussian::fit(rows, width)?, k))
    }

    /// The first `k` principal components of a Gaussian, `k` from 1 to its width.
    pub(crate) fn of_gaussian(gaussian: Gaussian, k: usize) -> Self {
        let Gaussian { mean, covariance } = gaussian;
        let width = mean.len();
        let (values, vectors) = eigen(covariance);
        let mut components = DMatrix::zeros(width, k);
        for j in 0..k {
            let column = vectors.column(j);
            let sign = column[largest(column.iter())].signum();
            components.set_column(j, &(column * sign));
        }
        Self { mean, components, variances: values.iter().take(k).copied().collect() }
    }

    /// Width of the rows that it takes.
    pub fn width(&self) -> usize {
        self.components.nrows()
    }

    /// The variance of the training split along each component, falling.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Coordinates of `rows`, `[n, width]`, in the basis: `[n, k]`.
    ///
    /// # Errors
    /// A buffer that does not hold whole rows, values that are not finite.
    pub fn project(&self, rows: &[f32]) -> Result<Vec<f64>, FrechetError> {
        count(rows, self.width())?;
        finite(rows, self.width())?;
        let mut out = Vec::with_capacity(rows.len() / self.width() * self.components.ncols());
        for chunk in rows.chunks(CHUNK * self.width()) {
            // [k, rows of the chunk]: its columns, one after the other, are the rows of the result.
            let projected = self.components.tr_mul(&centred(chunk, &self.mean));
            out.extend_from_slice(projected.as_slice());
        }
        Ok(out)
    }

    /// The Gaussian of `rows`, `[n, width]`, in the basis.
    ///
    /// # Errors
    /// As [`PcaBasis::project`]; fewer than two rows.
    pub fn gaussian(&self, rows: &[f32]) -> Result<Gaussian, FrechetError> {
        Gaussian::fit(&self.project(rows)?, self.components.ncols())
    }
}

/// Mean and covariance of a set of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// `[width]`.
    pub mean: DVector<f64>,
    /// `[width, width]`, with the divisor n - 1.
    pub covariance: DMatrix<f64>,
}

impl Gaussian {
    /// Whether the fields make a Gaussian.
    fn check(&self) -> Result<(), FrechetError> {
        let width = self.mean.len();
        if width == 0 {
            return Err(FrechetError::Width { found: 0, expected: 1 });
        }
        if let Some(found) = [self.covariance.nrows(), self.covariance.ncols()].into_iter().find(|n| *n != width) {
            return Err(FrechetError::Width { found, expected: width });
        }
        // An eigendecomposition of NaN may never end.
        finite(self.mean.as_slice(), width)?;
        finite(self.covariance.as_slice(), width)
    }

    /// Mean and covariance of `rows`, `[n, width]`, of f32 or f64.
    ///
    /// # Errors
    /// Fewer than two rows, a buffer that does not hold whole rows, values that are not finite.
    pub fn fit<T: Copy + Into<f64>>(rows: &[T], width: usize) -> Result<Self, FrechetError> {
        let n = count(rows, width)?;
        if n < 2 {
            return Err(FrechetError::TooFewRows { found: n, needed: 2 });
        }
        finite(rows, width)?;
        let mean = mean(rows, width);
        let mut scatter = Scatter::new(width);
        scatter.add(rows, &mean, n);
        Ok(scatter.gaussian(mean))
    }
}

/// The mean of rows, at least one.
pub(crate) fn mean<T: Copy + Into<f64>>(rows: &[T], width: usize) -> DVector<f64> {
    let mut mean = DVector::zeros(width);
    for row in rows.chunks(width) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += (*v).into());
    }
    mean /= (rows.len() / width) as f64;
    mean
}

/// Sums of the products of what is off the mean, over the first `rows` of some rows: a covariance on its way, which
/// has the same bits however many rows are taken up at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scatter {
    /// Rows taken up.
    pub rows: usize,
    /// `[width, width]`.
    pub sum: DMatrix<f64>,
}

impl Scatter {
    pub fn new(width: usize) -> Self {
        Self { rows: 0, sum: DMatrix::zeros(width, width) }
    }

    /// Takes up the next of `rows`, all of them from the first, `most` at most but [`CHUNK`] at least. `mean` is that
    /// of all.
    pub fn add<T: Copy + Into<f64>>(&mut self, rows: &[T], mean: &DVector<f64>, most: usize) {
        let width = mean.len();
        for chunk in rows[self.rows * width..].chunks(CHUNK * width).take(most.div_ceil(CHUNK)) {
            let centred = centred(chunk, mean);
            self.sum.gemm(1.0, &centred, &centred.transpose(), 1.0);
            self.rows += chunk.len() / width;
        }
    }

    /// The Gaussian of the rows.
    pub fn gaussian(&self, mean: DVector<f64>) -> Gaussian {
        let covariance = &self.sum / (self.rows.max(2) - 1) as f64;
        Gaussian { mean, covariance: symmetric(&covariance) }
    }

    /// The covariance with the divisor n.
    pub fn covariance(&self) -> DMatrix<f64> {
        &self.sum / self.rows.max(1) as f64
    }
}

/// The squared Frechet distance `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(sqrt(S1) S2 sqrt(S1))`,
/// which is what is printed under that name. Eigenvalues below 0, which only rounding makes,
/// count as 0.
///
/// # Errors
/// Gaussians of different widths, or of none; a covariance that is not square of its mean's width; values that are
/// not finite.
pub fn frechet(a: &Gaussian, b: &Gaussian) -> Result<f64, FrechetError> {
    a.check()?;
    b.check()?;
    if a.mean.len() != b.mean.len() {
        return Err(FrechetError::Width { found: b.mean.len(), expected: a.mean.len() });
    }
    let root = square_root(&a.covariance);
    let (values, _) = eigen(symmetric(&(&root * &b.covariance * &root)));
    let cross: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    let shift = (&a.mean - &b.mean).norm_squared();
    Ok((shift + a.covariance.trace() + b.covariance.trace() - 2.0 * cross).max(0.0))
}

/// Eigenvalues, falling, and the matching eigenvectors as columns of a symmetric matrix.
fn eigen(matrix: DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(matrix);
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|i, j| eigenvalues[*j].total_cmp(&eigenvalues[*i]));
    (order.iter().map(|i| eigenvalues[*i]).collect(), eigenvectors.select_columns(&order))
}

fn square_root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let (values, vectors) = eigen(matrix.clone());
    let roots = DVector::from_iterator(values.len(), values.iter().map(|v| v.max(0.0).sqrt()));
    &vectors * DMatrix::from_diagonal(&roots) * vectors.transpose()
}

fn symmetric(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    0.5 * (matrix + matrix.transpose())
}

/// `[width, rows]`: the chunk's rows as columns, the mean taken off.
fn centred<T: Copy + Into<f64>>(chunk: &[T], mean: &DVector<f64>) -> DMatrix<f64> {
    let width = mean.len();
    let values = chunk.iter().enumerate().map(|(i, v)| (*v).into() - mean[i % width]);
    DMatrix::from_iterator(width, chunk.len() / width, values)
}

/// Index of the largest magnitude, the first of equal ones.
fn largest<'a>(values: impl Iterator<Item = &'a f64>) -> usize {
    let best = |best: (usize, f64), (i, v): (usize, &f64)| if v.abs() > best.1 { (i, v.abs()) } else { best };
    values.enumerate().fold((0, -1.0), best).0
}

fn count<T>(rows: &[T], width: usize) -> Result<usize, FrechetError> {
    if width == 0 || !rows.len().is_multiple_of(width) {
        return Err(FrechetError::Buffer { values: rows.len(), width });
    }
    Ok(rows.len() / width)
}

fn finite<T: Copy + Into<f64>>(rows: &[T], width: usize) -> Result<(), FrechetError> {
    match rows.iter().position(|v| !(*v).into().is_finite()) {
        Some(at) => Err(FrechetError::NotFinite { row: at / width, column: at % width }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
