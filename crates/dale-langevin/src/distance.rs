//! Distances between distributions.

use std::ops::Range;

/// Wasserstein distance of order 1 between the empirical law of `samples`, which this sorts, and the law of
/// quantile function `quantile`: `mean_i |x_(i) - q((i + 1/2) / n)|`. NaN without samples.
pub fn w1_to_quantiles(samples: &mut [f64], quantile: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    add_distances(0.0, samples, 0..samples.len(), quantile) / samples.len() as f64
}

/// `sum`, and after it the terms of [`w1_to_quantiles`] of a part of all sorted samples: from part to part the same
/// bits as at once.
pub(crate) fn add_distances(sum: f64, sorted: &[f64], part: Range<usize>, quantile: impl Fn(f64) -> f64) -> f64 {
    let n = sorted.len() as f64;
    part.fold(sum, |sum, i| sum + (sorted[i] - quantile((i as f64 + 0.5) / n)).abs())
}
