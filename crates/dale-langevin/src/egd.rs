//! Exponentiated gradient descent, the optimiser that keeps Dale's law (sections 3.1 and 19.7).

use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::prelude::*;
use plasticity_core::rng::Stream;

use crate::error::DiffusionError;

/// `w <- w o exp(-lr sign(w) o m)`, `m <- momentum m + g + decay sign(w)`: a step changes the size of
/// a weight by a factor and never its sign; 0 is a fixed point. The decay lowers `log |w|` at a
/// constant rate.
///
/// `let mut optimiser: ModuleOptimizer = Egd::new(0.9, 0.0)?.into();` steps any module. A weight whose
/// sign is wrong falls towards 0, and in f32 may arrive there and stay; a gradient so large that the
/// factor overflows makes the weight infinite. A step cannot refuse: `plasticity_core::nn::grad_norm` before it and
/// `is_finite_model` after it tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Egd {
    momentum: f64,
    decay: f64,
}

impl Egd {
    /// # Errors
    /// When `momentum` is not in [0, 1), or `decay` is below 0 or not finite.
    pub fn new(momentum: f64, decay: f64) -> Result<Self, DiffusionError> {
        if !(0.0..1.0).contains(&momentum) {
            return Err(DiffusionError::setting("momentum", momentum, "in [0, 1)"));
        }
        if !(decay >= 0.0 && decay.is_finite()) {
            return Err(DiffusionError::setting("decay", decay, "a number of at least 0"));
        }
        Ok(Self { momentum, decay })
    }
}

/// What [`Egd`] remembers of a parameter; nothing without momentum.
#[derive(Debug, Clone)]
pub struct EgdState<const D: usize> {
    velocity: Tensor<D>,
}

// Written out: the derive compiles in Burn's own crate only.
impl<const D: usize> RecordState for EgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, "velocity", self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let data = source.take_tensor(prefix, "velocity")?;
        let dtype = data.dtype();
        Some(Self { velocity: Tensor::from_data(data, (device, dtype)) })
    }
}

impl Optimizer for Egd {
    type State<const D: usize> = EgdState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<EgdState<D>>,
    ) -> (Tensor<D>, Option<EgdState<D>>) {
        let sign = weight.clone().sign();
        let grad = if self.decay > 0.0 { grad + sign.clone() * self.decay } else { grad };
        let velocity = match state {
            Some(state) => state.velocity * self.momentum + grad,
            None => grad,
        };
        let weight = weight * (sign * velocity.clone() * -lr).exp();
        (weight, (self.momentum > 0.0).then_some(EgdState { velocity }))
    }

    fn to_device<const D: usize>(state: EgdState<D>, device: &Device) -> EgdState<D> {
        EgdState { velocity: state.velocity.to_device(device) }
    }
}

/// Weights `[signs.len(), outputs]`, row-major, with `log |w| ~ N(log_mean, log_sd^2)` and the sign of
/// their row: all that leaves a unit is excitatory or inhibitory, as Dale's law has it.
///
/// # Errors
/// When a sign is not +1 or -1, the constants are not finite, `log_sd` is below 0, or a weight leaves the range of
/// f32 (which would make it infinite, or an eternal 0).
pub fn log_normal(
    signs: &[f64],
    outputs: usize,
    log_mean: f64,
    log_sd: f64,
    stream: &mut Stream,
) -> Result<Vec<f64>, DiffusionError> {
    if let Some(sign) = signs.iter().find(|sign| sign.abs() != 1.0) {
        return Err(DiffusionError::setting("signs", sign, "+1 or -1"));
    }
    if !log_mean.is_finite() {
        return Err(DiffusionError::setting("log_mean", log_mean, "a number"));
    }
    if !(log_sd >= 0.0 && log_sd.is_finite()) {
        return Err(DiffusionError::setting("log_sd", log_sd, "a number of at least 0"));
    }
    let mut draw = || (log_mean + log_sd * stream.normal()).exp();
    let weights: Vec<f64> =
        signs.iter().flat_map(|sign| (0..outputs).map(|_| sign * draw()).collect::<Vec<_>>()).collect();
    let fits = |w: &f64| (w.abs() as f32).is_finite() && w.abs() as f32 > 0.0;
    match weights.iter().find(|w| !fits(w)) {
        Some(w) => Err(DiffusionError::setting("log_mean", log_mean, format!("within f32: a weight became {w}"))),
        None => Ok(weights),
    }
}

/// One sign per unit, +1 with probability `excitatory`.
///
/// # Errors
/// When `excitatory` is not in [0, 1].
pub fn signs(units: usize, excitatory: f64, stream: &mut Stream) -> Result<Vec<f64>, DiffusionError> {
    if !(0.0..=1.0).contains(&excitatory) {
        return Err(DiffusionError::setting("excitatory", excitatory, "in [0, 1]"));
    }
    Ok((0..units).map(|_| if stream.bernoulli(excitatory) { 1.0 } else { -1.0 }).collect())
}
