//! Distances between distributions.

use std::ops::Range;

/// Wasserstein distance of order 1 between the empirical law of `samples`, which this sorts, and the law of
/// quantile function `quantile`: `mean_i |x_(i) - q((i + 1/2) / n)|`. NaN without samples.
pub fn w1_to_quantiles(samples: &mut [f64], quantile: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    add_distances(0.0, samples, 0..n, |i| quantile(middle(i, n))) / n as f64
}

/// `sum`, and after it the terms of [`w1_to_quantiles`] of a part of all sorted samples: from part to part the same
/// bits as at once. `quantile` is told the number of the sample.
pub(crate) fn add_distances(
    sum: f64,
    sorted: &[f64],
    part: Range<usize>,
    mut quantile: impl FnMut(usize) -> f64,
) -> f64 {
    part.fold(sum, |sum, i| sum + (sorted[i] - quantile(i)).abs())
}

/// The probability that the i-th of n sorted samples stands for.
pub(crate) fn middle(i: usize, n: usize) -> f64 {
    (i as f64 + 0.5) / n as f64
}
