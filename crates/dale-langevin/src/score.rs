//! The five views of a score, and the one place that converts between them (section 5).
//!
//! [`convert`] fails as Burn's operations do: shapes that do not fit panic. Everything is at one noise level of `y_t = y_0 + B(t) + sqrt(V(t)) eps`, `y = log |x|`.

use burn::prelude::*;
use burn::tensor::DType;

use crate::error::DiffusionError;

/// Noise level of the forward process in log space: variance V(t) and drift B(t) (section 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// V(t), above 0 wherever a score is asked for.
    pub variance: f64,
    /// B(t); 0 when mu = sigma^2 / 2.
    pub drift: f64,
}

impl Level {
    /// The data: no noise, no drift.
    pub const CLEAN: Self = Self { variance: 0.0, drift: 0.0 };

    /// The level of standard deviation `sd` without drift.
    pub fn of_sd(sd: f64) -> Self {
        Self { variance: sd * sd, drift: 0.0 }
    }

    /// Standard deviation of the noise.
    pub fn sd(&self) -> f64 {
        self.variance.sqrt()
    }
}

/// What a tensor says of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// D = E[y_0 | y_t], the log-space denoiser.
    Denoised,
    /// u = d/dy log p(y).
    LogScore,
    /// h = x o d/dx log p(x) = u - 1.
    Hyvarinen,
    /// s = d/dx log p(x) = h / x.
    Stein,
    /// The noise prediction eps = -sd u.
    Noise,
}

/// Whatever estimates the clean log image.
pub trait Denoiser {
    /// E[y_0 | y_0 + sd eps = y], the posterior mean (Tweedie in log space).
    ///
    /// `y` and the result: `[batch, pixels]`, f32 or f64. The drift B(t) is already taken off `y`.
    ///
    /// # Errors
    /// When the number of pixels is not one that the model knows, or the level is negative, not finite, or 0 where
    /// the model has no answer at 0.
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError>;
}

impl Level {
    /// Refuses a variance below 0 and numbers that are not finite.
    pub(crate) fn check(&self) -> Result<(), DiffusionError> {
        DiffusionError::at_least_zero("level.variance", self.variance)?;
        DiffusionError::finite("level.drift", self.drift)
    }
}

/// Refuses images `[batch, pixels]` of another number of pixels.
pub(crate) fn same_pixels(y: &Tensor<2>, pixels: usize) -> Result<(), DiffusionError> {
    let [batch, found] = y.dims();
    if found == pixels {
        return Ok(());
    }
    Err(DiffusionError::Shape { field: "y", expected: vec![batch, pixels], found: vec![batch, found] })
}

/// Refuses a tensor of another precision than the one that it goes with.
pub(crate) fn same_precision(field: &'static str, found: DType, expected: DType) -> Result<(), DiffusionError> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(DiffusionError::Precision { field, expected, found })
}

/// `x` in a precision, left alone where it has it.
pub(crate) fn in_precision<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// Converts `value` from one view to another at `y` (`[batch, pixels]`, `log |x|` with the drift in
/// it) and `level`. `sign` (`[batch, pixels]` of +1 and -1) is the sign of x, which only the Stein
/// score needs; `None` is positive.
pub fn convert(
    value: Tensor<2>,
    from: View,
    to: View,
    y: &Tensor<2>,
    sign: Option<&Tensor<2>>,
    level: Level,
) -> Tensor<2> {
    if from == to {
        return value;
    }
    let Level { variance, drift } = level;
    // Burn 0.22 rounds the gradient of a division by a number to f32, in f64 too: multiply.
    let (per_variance, per_sd) = (variance.recip(), level.sd().recip());
    let x = || match sign {
        None => y.clone().exp(),
        Some(sign) => y.clone().exp() * sign.clone(),
    };
    let u = match from {
        View::Denoised => (value - y.clone() + drift) * per_variance,
        View::LogScore => value,
        View::Hyvarinen => value + 1.0,
        View::Stein => value * x() + 1.0,
        View::Noise => -value * per_sd,
    };
    match to {
        View::Denoised => y.clone() - drift + u * variance,
        View::LogScore => u,
        View::Hyvarinen => u - 1.0,
        View::Stein => (u - 1.0) / x(),
        View::Noise => -u * level.sd(),
    }
}
