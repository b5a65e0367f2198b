//! The exact kernel of geometric Brownian motion: noisy images from clean ones (section 4.3). Shapes that do not fit
//! panic as Burn's operations do.

use burn::prelude::*;

use crate::score::Level;
use crate::state::State;

/// y_t = y_0 + B + sd eps, `[batch, pixels]`; `eps` is standard normal.
pub fn corrupt(y0: Tensor<2>, level: Level, eps: Tensor<2>) -> Tensor<2> {
    y0 + eps * level.sd() + level.drift
}

/// y_i = y_0,i + sd_i eps_i without drift, a noise level of its own for each image: `y0` and `eps`
/// are `[batch, pixels]`, `sd` is `[batch]`.
pub fn corrupt_each(y0: Tensor<2>, sd: Tensor<1>, eps: Tensor<2>) -> Tensor<2> {
    y0 + eps * sd.unsqueeze_dim(1)
}

/// [`corrupt`] on the log magnitudes; the signs are carried along, whatever the noise.
pub fn corrupt_state(clean: State, level: Level, eps: Tensor<2>) -> State {
    State { y: corrupt(clean.y, level, eps), sign: clean.sign }
}

/// E[X_t | x_0] = x_0 exp(B + V / 2).
pub fn mean(x0: f64, level: Level) -> f64 {
    x0 * (level.drift + level.variance / 2.0).exp()
}

/// Standard deviation of X_t given x_0: |x_0| exp(B + V / 2) sqrt(exp(V) - 1).
pub fn standard_deviation(x0: f64, level: Level) -> f64 {
    mean(x0, level).abs() * level.variance.exp_m1().sqrt()
}

/// Median of X_t given x_0: x_0 exp(B).
pub fn median(x0: f64, level: Level) -> f64 {
    x0 * level.drift.exp()
}

/// Density p(x | x_0) of one coordinate with respect to dx; 0 where the signs of x and x_0
/// differ, at 0 too.
pub fn density(x: f64, x0: f64, level: Level) -> f64 {
    let ratio = x / x0;
    if ratio > 0.0 {
        let variance = level.variance;
        let z2 = (ratio.ln() - level.drift).powi(2) / variance;
        (-z2 / 2.0).exp() / (x.abs() * (std::f64::consts::TAU * variance).sqrt())
    } else {
        0.0
    }
}
