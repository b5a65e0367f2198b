//! Distances between distributions.

/// Wasserstein distance of order 1 between the empirical law of `samples`, which this sorts, and the law of
/// quantile function `quantile`: `mean_i |x_(i) - q((i + 1/2) / n)|`. NaN without samples.
pub fn w1_to_quantiles(samples: &mut [f64], quantile: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    samples.iter().enumerate().map(|(i, x)| (x - quantile((i as f64 + 0.5) / n)).abs()).sum::<f64>() / n
}
