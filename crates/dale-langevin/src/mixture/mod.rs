//! Mixtures of log-normal laws: every score, posterior mean and quantile in closed form
//! (section 17). One coordinate; a tensor's coordinates are independent draws.

use plasticity_core::rng::Stream;
use rayon::prelude::*;

use crate::error::DiffusionError;
use crate::score::Level;

mod denoiser;
mod normal;
mod quadrature;

/// x = exp(y), y from component j (probability `weights[j]`) being
/// N(`log_means[j]`, `log_sds[j]`^2). At a noise level, y is the mixture of
/// N(m_j + B, s_j^2 + V).
#[derive(Debug, Clone, PartialEq)]
pub struct LogNormalMixture {
    /// Probabilities; their sum is 1.
    pub weights: Vec<f64>,
    /// Means of y.
    pub log_means: Vec<f64>,
    /// Standard deviations of y, above 0.
    pub log_sds: Vec<f64>,
}

/// The largest rounding of y, in standard deviations of a component, with which [`LogNormalMixture::expectation`]
/// integrates it: the relative error of a density is at most a dozen times as large.
pub const COARSE: f64 = 1e-6;

/// One component at a noise level.
struct Part {
    weight: f64,
    /// m_j, without the drift.
    clean_mean: f64,
    /// s_j^2.
    clean_variance: f64,
    mean: f64,
    variance: f64,
}

impl Part {
    fn log_density(&self, y: f64) -> f64 {
        let z2 = (y - self.mean).powi(2) / self.variance;
        self.weight.ln() - 0.5 * (z2 + (std::f64::consts::TAU * self.variance).ln())
    }

    /// E[y_0 | y, component]: written so that nothing cancels at a large or a tiny variance.
    fn denoise(&self, y: f64, level: Level) -> f64 {
        (self.clean_mean * level.variance + self.clean_variance * (y - level.drift)) / self.variance
    }
}

impl LogNormalMixture {
    /// Mixture A: wide, x from about 0.4 to 3.
    pub fn mixture_a() -> Self {
        Self { weights: vec![0.3, 0.7], log_means: vec![-0.4, 0.6], log_sds: vec![0.15, 0.25] }
    }

    /// Mixture B: like a pixel, x in about [1, 2].
    pub fn mixture_b() -> Self {
        Self { weights: vec![0.3, 0.7], log_means: vec![0.05, 0.6], log_sds: vec![0.05, 0.08] }
    }

    /// One component.
    pub fn single(log_mean: f64, log_sd: f64) -> Self {
        Self { weights: vec![1.0], log_means: vec![log_mean], log_sds: vec![log_sd] }
    }

    /// Whether the fields make a mixture.
    ///
    /// # Errors
    /// Naming the field that is wrong.
    pub fn check(&self) -> Result<(), DiffusionError> {
        let n = self.weights.len();
        for (field, values) in [("log_means", &self.log_means), ("log_sds", &self.log_sds)] {
            if values.len() != n {
                return Err(DiffusionError::Shape { field, expected: vec![n], found: vec![values.len()] });
            }
        }
        let above_0 = |field, values: &[f64]| match values.iter().find(|v| !(**v > 0.0 && v.is_finite())) {
            Some(v) => Err(DiffusionError::setting(field, v, "above 0 and finite")),
            None => Ok(()),
        };
        above_0("weights", &self.weights)?;
        above_0("log_sds", &self.log_sds)?;
        if let Some(m) = self.log_means.iter().find(|m| !m.is_finite()) {
            return Err(DiffusionError::setting("log_means", m, "finite numbers"));
        }
        let sum: f64 = self.weights.iter().sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(DiffusionError::setting("weights", sum, "a sum of 1"));
        }
        Ok(())
    }

    fn parts(&self, level: Level) -> impl Iterator<Item = Part> + '_ {
        self.weights.iter().zip(&self.log_means).zip(&self.log_sds).map(move |((weight, m), s)| Part {
            weight: *weight,
            clean_mean: *m,
            clean_variance: s * s,
            mean: m + level.drift,
            variance: s * s + level.variance,
        })
    }

    /// sum_j r_j f(component j), r the responsibilities at y.
    fn posterior(&self, y: f64, level: Level, f: impl Fn(&Part) -> f64) -> f64 {
        let max = self.parts(level).map(|p| p.log_density(y)).fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut norm) = (0.0, 0.0);
        for part in self.parts(level) {
            let r = (part.log_density(y) - max).exp();
            sum += r * f(&part);
            norm += r;
        }
        sum / norm
    }

    /// u = d/dy log p(y) of `y_t` (with the drift in it).
    pub fn log_score(&self, y: f64, level: Level) -> f64 {
        self.posterior(y, level, |p| (p.mean - y) / p.variance)
    }

    /// h = x d/dx log p(x) at x = exp(y): u - 1.
    pub fn hyvarinen(&self, y: f64, level: Level) -> f64 {
        self.log_score(y, level) - 1.0
    }

    /// D = E[y_0 | y_t = y].
    pub fn posterior_mean(&self, y: f64, level: Level) -> f64 {
        self.posterior(y, level, |p| p.denoise(y, level))
    }

    /// E[x_0 | x_t = exp(y)], the density ratio of section 5; not exp of the posterior mean of y.
    pub fn ambient_posterior_mean(&self, y: f64, level: Level) -> f64 {
        let variance = level.variance;
        let ratio = self.log_density(y + variance, level) - self.log_density(y, level);
        (y - level.drift + variance / 2.0 + ratio).exp()
    }

    /// log p(y) of `y_t`.
    pub fn log_density(&self, y: f64, level: Level) -> f64 {
        let max = self.parts(level).map(|p| p.log_density(y)).fold(f64::NEG_INFINITY, f64::max);
        max + self.parts(level).map(|p| (p.log_density(y) - max).exp()).sum::<f64>().ln()
    }

    /// P(y_t <= y).
    pub fn cdf(&self, y: f64, level: Level) -> f64 {
        self.parts(level).map(|p| p.weight * normal::cdf((y - p.mean) / p.variance.sqrt())).sum()
    }

    /// The y of `cdf(y) = p`, to the last bits; infinite outside `(0, 1)`, NaN for NaN.
    pub fn quantile(&self, p: f64, level: Level) -> f64 {
        if p.is_nan() {
            return f64::NAN;
        }
        if p <= 0.0 {
            return f64::NEG_INFINITY;
        }
        if p >= 1.0 {
            return f64::INFINITY;
        }
        let (mut low, mut high) = self.range(level, 40.0);
        let mut y = 0.5 * (low + high);
        // Newton's step where it stays inside the bracket, else bisection.
        for _ in 0..200 {
            let excess = self.cdf(y, level) - p;
            if excess > 0.0 {
                high = y;
            } else {
                low = y;
            }
            let newton = y - excess / self.log_density(y, level).exp();
            let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
            if (next - y).abs() <= 1e-15 * y.abs().max(1e-3) {
                return next;
            }
            y = next;
        }
        y
    }

    /// E[y_t].
    pub fn mean(&self, level: Level) -> f64 {
        self.parts(level).map(|p| p.weight * p.mean).sum()
    }

    /// Var[y_t].
    pub fn variance(&self, level: Level) -> f64 {
        let mean = self.mean(level);
        self.parts(level).map(|p| p.weight * (p.variance + (p.mean - mean).powi(2))).sum()
    }

    /// E[f(y_t)] for an f that is smooth on the scale of every component: Gauss and Legendre's rule between all
    /// points that lie a whole number of standard deviations, up to 12, from a component's mean, so that each
    /// component is integrated on its own scale, however far it is from the others'. NaN for a mixture that
    /// [`LogNormalMixture::check`] refuses, at a level that is none, and where the rounding of y, which f is given,
    /// is more than [`COARSE`] of some component's standard deviation.
    pub fn expectation(&self, level: Level, f: impl Fn(f64) -> f64) -> f64 {
        let knots = |p: Part| (-12..=12).map(move |k| p.mean + f64::from(k) * p.variance.sqrt());
        let mut knots: Vec<f64> = self.parts(level).flat_map(knots).collect();
        let coarse = |p: Part| p.mean.abs() * f64::EPSILON > COARSE * p.variance.sqrt();
        if self.check().is_err() || !knots.iter().all(|knot| knot.is_finite()) || self.parts(level).any(coarse) {
            return f64::NAN;
        }
        knots.sort_by(f64::total_cmp);
        quadrature::sum(&knots, |y| self.log_density(y, level).exp() * f(y))
    }

    /// F = E[u^2], the Fisher information of y_t (section 5).
    pub fn fisher(&self, level: Level) -> f64 {
        self.expectation(level, |y| self.log_score(y, level).powi(2))
    }

    /// `n` independent draws of y_0.
    pub fn sample(&self, stream: &mut Stream, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.draw(stream)).collect()
    }

    fn draw(&self, stream: &mut Stream) -> f64 {
        let mut left = stream.uniform();
        let normal = stream.normal();
        let mut y = f64::NAN;
        for part in self.parts(Level::CLEAN) {
            y = part.mean + part.variance.sqrt() * normal;
            left -= part.weight;
            if left < 0.0 {
                break;
            }
        }
        y
    }

    /// `n` quantiles of y_t at (i + 1/2) / n, rising: a sample without sampling noise.
    pub fn stratified(&self, n: usize, level: Level) -> Vec<f64> {
        (0..n).into_par_iter().map(|i| self.quantile((i as f64 + 0.5) / n as f64, level)).collect()
    }

    /// All but a vanishing part of the mass: `widths` standard deviations beyond each mean.
    fn range(&self, level: Level, widths: f64) -> (f64, f64) {
        self.parts(level).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| {
            let w = widths * p.variance.sqrt();
            (low.min(p.mean - w), high.max(p.mean + w))
        })
    }
}
