//! Statistics over seeds: mean, standard deviation, Student's t interval, paired
//! comparison, equivalence. The judgement of claims and printed values built on
//! them is in [`judge`].
//!
//! Every function takes plain slices of one value per seed. None of them panics:
//! what cannot be computed is a [`StatsError`].

use statrs::distribution::{ContinuousCDF, StudentsT};

pub mod judge;

pub use judge::{ClaimVerdict, Good, Judged, Relation, TargetVerdict, judge_claim, judge_claim_number, judge_target};

/// What keeps a statistic from being computed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// Not enough values.
    #[error("{needed} values are needed, there are {found}")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A value is infinite or not a number.
    #[error("value {index} is {value}, not a finite number")]
    NotFinite {
        /// Which value, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Two samples that should be paired have different lengths.
    #[error("paired samples need equal lengths, these have {left} and {right} values")]
    Unpaired {
        /// Length of the left sample.
        left: usize,
        /// Length of the right sample.
        right: usize,
    },
    /// A parameter is outside its range.
    #[error("{name} is {value}; it must be {range}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Its range.
        range: &'static str,
    },
    /// A sum or a product of the values is beyond the numbers of a computer.
    #[error("the values are too large: their {0} is not a finite number")]
    TooLarge(&'static str),
}

/// A mean with its t interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with the denominator n - 1.
    pub sd: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// A paired comparison of two arms: left minus right, seed by seed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Paired {
    /// The difference of every pair, in the order of the samples.
    pub differences: Vec<f64>,
    /// Mean difference and its interval.
    pub estimate: Estimate,
}

impl Paired {
    /// How many pairs have a positive and how many a negative difference.
    pub fn directions(&self) -> (usize, usize) {
        let positive = self.differences.iter().filter(|d| **d > 0.0).count();
        let negative = self.differences.iter().filter(|d| **d < 0.0).count();
        (positive, negative)
    }
}

/// The arithmetic mean.
///
/// # Errors
/// No values, one that is not finite, or a sum that is not.
pub fn mean(values: &[f64]) -> Result<f64, StatsError> {
    check(values, 1)?;
    finite("sum", mean_of(values))
}

/// The standard deviation with the denominator n - 1.
///
/// # Errors
/// Fewer than two values, one that is not finite, or squares that are not.
pub fn std_dev(values: &[f64]) -> Result<f64, StatsError> {
    check(values, 2)?;
    finite("sum of squares", std_dev_of(values))
}

/// The two-sided interval `mean ± t · sd / √n` of Student's t distribution with n - 1
/// degrees of freedom. `confidence` is its coverage, 0.95 for the usual one.
///
/// # Errors
/// Fewer than two values, one that is not finite or too large to be squared, or a confidence
/// outside (0, 1).
pub fn t_interval(values: &[f64], confidence: f64) -> Result<Estimate, StatsError> {
    let n = values.len();
    let (sd, mean) = (std_dev(values)?, mean(values)?);
    let half = finite("interval", t_quantile(confidence, n - 1)? * sd / (n as f64).sqrt())?;
    Ok(Estimate { n, mean, sd, low: mean - half, high: mean + half })
}

/// Compares two samples whose values belong together pairwise (arms that share a
/// seed): the t interval of `left - right`.
///
/// # Errors
/// Unequal lengths, and whatever [`t_interval`] refuses.
pub fn paired(left: &[f64], right: &[f64], confidence: f64) -> Result<Paired, StatsError> {
    if left.len() != right.len() {
        return Err(StatsError::Unpaired { left: left.len(), right: right.len() });
    }
    let differences: Vec<f64> = left.iter().zip(right).map(|(l, r)| l - r).collect();
    let estimate = t_interval(&differences, confidence)?;
    Ok(Paired { differences, estimate })
}

/// Whether the mean is equivalent to `value` within `tolerance` at level 5%: two
/// one-sided t tests, which is to say that the 90% interval lies inside
/// `value ± tolerance`. An end that differs from an edge by rounding alone lies on it.
///
/// # Errors
/// A tolerance that is negative or not finite, a value that is not finite, and
/// whatever [`t_interval`] refuses.
pub fn equivalent(values: &[f64], value: f64, tolerance: f64) -> Result<bool, StatsError> {
    check_target(value, tolerance)?;
    let inner = t_interval(values, 0.90)?;
    let rounding = Rounding::of(values.iter().copied().chain([value, tolerance]));
    Ok(!rounding.below(inner.low, value - tolerance) && !rounding.above(inner.high, value + tolerance))
}

/// Comparisons that rounding does not decide. A decimal number is stored to half a unit in its
/// last place and every sum adds as much again, so that 0.3 - 0.2 comes out below 0.1: results
/// that are nearer to each other than that are one number.
#[derive(Debug, Clone, Copy)]
struct Rounding(f64);

impl Rounding {
    /// Of what is computed from all these values: a mean, a difference, the end of an interval.
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (n, most) = values.into_iter().fold((0, 0.0), |(n, most), value| (n + 1, f64::max(most, value.abs())));
        Self(f64::from(32 + 2 * n) * f64::EPSILON * most)
    }

    /// `x > limit`.
    fn above(self, x: f64, limit: f64) -> bool {
        x - limit > self.0
    }

    /// `x < limit`.
    fn below(self, x: f64, limit: f64) -> bool {
        limit - x > self.0
    }
}

/// The factor t of a two-sided interval: the quantile at (1 + confidence) / 2.
fn t_quantile(confidence: f64, freedom: usize) -> Result<f64, StatsError> {
    let bad = |name, value, range| StatsError::Parameter { name, value, range };
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(bad("confidence", confidence, "between 0 and 1"));
    }
    let law = StudentsT::new(0.0, 1.0, freedom as f64)
        .map_err(|_| bad("degrees of freedom", freedom as f64, "at least 1"))?;
    Ok(law.inverse_cdf(0.5 * (1.0 + confidence)))
}

fn mean_of(values: &[f64]) -> f64 {
    // A sum of equal values divided by n can miss the value by a rounding, and a
    // sample without spread must have exactly none.
    if values.iter().all(|v| *v == values[0]) {
        return values[0];
    }
    values.iter().sum::<f64>() / values.len() as f64
}

fn std_dev_of(values: &[f64]) -> f64 {
    let mean = mean_of(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

fn finite(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() { Ok(value) } else { Err(StatsError::TooLarge(what)) }
}

fn check(values: &[f64], needed: usize) -> Result<(), StatsError> {
    if values.len() < needed {
        return Err(StatsError::TooFew { found: values.len(), needed });
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(StatsError::NotFinite { index, value: values[index] }),
        None => Ok(()),
    }
}

fn check_target(value: f64, tolerance: f64) -> Result<(), StatsError> {
    if !value.is_finite() {
        return Err(StatsError::Parameter { name: "value", value, range: "finite" });
    }
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        let range = "finite and not negative";
        return Err(StatsError::Parameter { name: "tolerance", value: tolerance, range });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
