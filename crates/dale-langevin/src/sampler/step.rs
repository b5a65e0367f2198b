//! One step of each update, as plain functions of tensors (sections 7.2, 9 and 19.2).
//!
//! All tensors are `[batch, pixels]`, and `z` is standard normal; `None` is a step without noise. Shapes that do not
//! fit panic as Burn's operations do.

use burn::prelude::*;

use crate::state::State;

/// The exponent of [`dale_ambient`] never leaves +-`EXPONENT_LIMIT`.
pub const EXPONENT_LIMIT: f64 = 60.0;

/// What one step of the reversed process integrates over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Increment {
    /// Delta V, the integral of sigma^2: `d sigma^2` for constant coefficients and a step d.
    pub variance: f64,
    /// The integral of mu: `d mu` for constant coefficients.
    pub mu: f64,
    /// Standard deviation of the step's noise: `a sqrt(Delta V)`, a the anneal factor.
    pub noise: f64,
}

impl Increment {
    /// Delta B, the drift of `y = log |x|` over the step.
    pub fn drift(&self) -> f64 {
        self.mu - 0.5 * self.variance
    }

    /// The increment with which [`sign_agnostic`] keeps to Delta B and Delta V when the noise is not `sqrt(Delta V)`.
    ///
    /// Its `2 Delta V` counts on the noise to take `Delta V / 2` off `log |x|` (Ito). Annealed noise takes off
    /// `a^2 Delta V / 2` only, so that the update as printed drifts upwards by `(1 - a^2) Delta V / 2` a step.
    pub fn with_ito_of_noise(self) -> Self {
        Self { mu: self.drift() + self.variance - 0.5 * self.noise * self.noise, ..self }
    }
}

/// Dale-Langevin in log form: `y - Delta B + Delta V u + noise z` (section 7.2), `u` the score of `y`.
pub fn dale_log(y: Tensor<2>, u: Tensor<2>, by: Increment, z: Option<Tensor<2>>) -> Tensor<2> {
    let mut moved = y + u * by.variance;
    if by.drift() != 0.0 {
        moved = moved - by.drift();
    }
    add_noise(moved, by, z)
}

/// Dale-Langevin on x itself: `x o exp(Delta V h - int mu + 1.5 Delta V + noise z)`, `h` the Hyvarinen score.
///
/// The state is kept as sign and `log |x|`, but x is formed, multiplied and read back, so that it overflows
/// where x does. Also gives the number of exponents that had to be clamped to +-[`EXPONENT_LIMIT`].
pub fn dale_ambient(state: State, h: Tensor<2>, by: Increment, z: Option<Tensor<2>>) -> (State, u64) {
    let exponent = add_noise(h * by.variance - (by.mu - 1.5 * by.variance), by, z);
    let clamped = count(exponent.clone().abs().greater_elem(EXPONENT_LIMIT));
    let x = state.x() * exponent.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp();
    // A magnitude that underflows to 0 has lost its sign in x, not in the state.
    let sign = state.sign.map(|sign| x.clone().sign().mask_where(x.clone().equal_elem(0.0), sign));
    (State { y: x.abs().log(), sign }, clamped)
}

/// The sign-agnostic update `x o [1 + 2 Delta V - int mu + Delta V h + noise z]`, `h` the Hyvarinen score at
/// `log |x|`; also the number of coordinates whose sign it changed.
///
/// The factor is applied to sign and `log |x|`, which is the same product without x's overflow. A coordinate
/// that becomes exactly 0 has `y = -inf` and keeps its sign; like every zero under a multiplicative update it
/// stays 0.
pub fn sign_agnostic(state: State, h: Tensor<2>, by: Increment, z: Option<Tensor<2>>) -> (State, u64) {
    let factor = add_noise(h * by.variance + (1.0 + 2.0 * by.variance - by.mu), by, z);
    let negative = factor.clone().lower_elem(0.0);
    let flips = count(negative.clone());
    let sign = state.sign.unwrap_or_else(|| factor.ones_like());
    let sign = sign.clone().mask_where(negative, -sign);
    (State { y: state.y + factor.abs().log(), sign: Some(sign) }, flips)
}

/// One step of mirrored Langevin dynamics, the corrector: `y + eps u + sqrt(2 eps) z` (sections 9 and 19.2).
///
/// `eps`: `[batch, 1]`, one step size per image.
pub fn langevin(y: Tensor<2>, u: Tensor<2>, eps: Tensor<2>, z: Tensor<2>) -> Tensor<2> {
    y + u * eps.clone() + z * (eps * 2.0).sqrt()
}

/// Step sizes `eps = 2 (r |z| / |u|)^2`, `[batch, 1]`, each from the norms of its own image (section 19.2).
pub fn langevin_size(u: &Tensor<2>, z: &Tensor<2>, r: f64) -> Tensor<2> {
    let square = |t: &Tensor<2>| (t.clone() * t.clone()).sum_dim(1);
    square(z) / square(u) * (2.0 * r * r)
}

fn add_noise(value: Tensor<2>, by: Increment, z: Option<Tensor<2>>) -> Tensor<2> {
    match z {
        Some(z) if by.noise != 0.0 => value + z * by.noise,
        _ => value,
    }
}

fn count(mask: Tensor<2, Bool>) -> u64 {
    // Row by row, since a batch may hold more values than a 32-bit sum.
    mask.int().sum_dim(1).into_data().iter::<i64>().map(|n| n as u64).sum()
}
