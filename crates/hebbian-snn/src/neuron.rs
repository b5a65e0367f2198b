//! The spiking neuron of DSR, differentiation on spike representation
//! (section 3.1): leaky, subtractive reset, one learnable threshold per layer. Tensors are of F32; shapes that do not
//! fit panic as Burn's operations do.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// More time steps than this are a mistake: each has a weight of its own.
const MOST_STEPS: usize = 1 << 20;

/// Constants of the DSR LIF neuron.
///
/// With `m` the membrane, `x[t]` the input current and `V` the layer's threshold:
///
/// ```text
/// m    = beta m + (1 - beta) x[t],   beta = exp(-dt / tau)
/// fire = m >= alpha V                inclusive
/// m    = m - V fire
/// out  = (V / dt) fire               6.0 per spike with the defaults, not 1
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DsrLif {
    /// Number of time steps, T.
    pub steps: usize,
    /// Membrane time constant.
    pub tau: f64,
    /// Length of a time step.
    pub dt: f64,
    /// Threshold at the start of training, V.
    pub threshold: f64,
    /// A neuron fires at `alpha` times its threshold.
    pub alpha: f64,
    /// The threshold never learns to be less than this.
    pub threshold_bound: f64,
}

impl Default for DsrLif {
    fn default() -> Self {
        Self { steps: 20, tau: 1.0, dt: 0.05, threshold: 0.3, alpha: 0.3, threshold_bound: 0.0005 }
    }
}

/// Everything a layer of neurons did, each `[time, batch, features]`.
#[derive(Debug, Clone)]
pub struct LifTrace {
    /// Membrane before the reset.
    pub before: Tensor<3>,
    /// Membrane after the reset.
    pub after: Tensor<3>,
    /// 1 where the neuron fired, else 0.
    pub spikes: Tensor<3>,
    /// `spikes * V / dt`.
    pub output: Tensor<3>,
}

impl DsrLif {
    /// Refuses constants for which the equations have no meaning.
    ///
    /// # Errors
    /// [`SnnError::Setting`] when one is not a number above 0, there are more than 2^20 steps, or the spikes that
    /// follow from the others are 0 or infinite in F32.
    pub fn check(&self) -> Result<(), SnnError> {
        let positive = [
            ("tau", self.tau),
            ("dt", self.dt),
            ("threshold", self.threshold),
            ("alpha", self.alpha),
            ("threshold_bound", self.threshold_bound),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(SnnError::setting(name, value, "a number above 0"));
            }
        }
        if !(1..=MOST_STEPS).contains(&self.steps) {
            return Err(SnnError::setting("steps", self.steps, format!("1 to {MOST_STEPS}")));
        }
        // What the layers compute with: the threshold, where it fires, the size of a spike, what a step lets in.
        let derived = [
            ("threshold", self.threshold, self.threshold),
            ("alpha", self.alpha, self.threshold * self.alpha),
            ("threshold_bound", self.threshold_bound, self.threshold_bound),
            ("dt", self.dt, self.threshold / self.dt),
            ("tau", self.tau, 1.0 - self.beta()),
        ];
        for (name, value, derived) in derived {
            if !(derived as f32).is_normal() {
                return Err(SnnError::setting(
                    name,
                    value,
                    format!("such that {derived:e}, of F32, is neither 0 nor infinite"),
                ));
            }
        }
        Ok(())
    }

    /// Decay of the membrane in one step, `beta`.
    pub fn beta(&self) -> f64 {
        (-self.dt / self.tau).exp()
    }

    /// `w_t = exp(-(T - t) dt / tau)` for t = 1..T: later steps count more.
    pub fn time_weights(&self) -> Vec<f64> {
        (1..=self.steps).map(|t| (-((self.steps - t) as f64) * self.dt / self.tau).exp()).collect()
    }

    /// The time weights divided by their sum: what a weighted firing rate multiplies with.
    pub fn rate_weights(&self) -> Vec<f64> {
        let weights = self.time_weights();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }

    /// `sum w^2 / (sum w)^2`: what averaging the readout's gradient over time leaves of it
    /// (section 4.1; 0.0540876 for the defaults).
    pub fn readout_share(&self) -> f64 {
        self.rate_weights().iter().map(|w| w * w).sum()
    }

    /// The rate weights as a tensor `[time, 1, 1]`.
    fn weights_tensor(&self, device: &Device) -> Tensor<3> {
        let weights: Vec<f32> = self.rate_weights().into_iter().map(|w| w as f32).collect();
        Tensor::from_data(TensorData::new(weights, [self.steps, 1, 1]), device)
    }

    /// Weighted firing rate over time, `wfr(z)` of section 2: `[time, batch, features]` to
    /// `[batch, features]`.
    ///
    /// # Panics
    /// When `z` does not have the neuron's number of time steps.
    pub fn wfr(&self, z: Tensor<3>) -> Tensor<2> {
        // One step alone would be repeated for all of them.
        assert_eq!(z.dims()[0], self.steps, "time steps of `z`, and of the neuron");
        let weights = self.weights_tensor(&z.device());
        (z * weights).sum_dim(0).squeeze_dim(0)
    }

    /// The layer's threshold `[1]`, held above its bound.
    pub fn clamp_threshold(&self, threshold: Tensor<1>) -> Tensor<1> {
        threshold.clamp_min(self.threshold_bound)
    }

    /// The time loop, step by step, from tensor operations. `x` is the input current
    /// `[time, batch, features]`, `threshold` is `[1]`; the membrane starts at zero.
    /// Nothing here is differentiated: see [`DsrLif::forward_autodiff`].
    pub fn forward(&self, x: Tensor<3>, threshold: Tensor<1>) -> LifTrace {
        let [_, batch, features] = x.dims();
        let threshold = self.clamp_threshold(threshold).reshape([1, 1, 1]);
        let beta = self.beta();
        let mut m = Tensor::<3>::zeros([1, batch, features], &x.device());
        let (mut before, mut after, mut spikes) = (Vec::new(), Vec::new(), Vec::new());
        for x in x.split(1, 0) {
            m = m.mul_scalar(beta) + x.mul_scalar(1.0 - beta);
            before.push(m.clone());
            let fire = m.clone().greater_equal(threshold.clone().mul_scalar(self.alpha)).float();
            m = m - fire.clone() * threshold.clone();
            after.push(m.clone());
            spikes.push(fire);
        }
        let spikes = Tensor::cat(spikes, 0);
        let output = spikes.clone() * threshold.div_scalar(self.dt);
        LifTrace { before: Tensor::cat(before, 0), after: Tensor::cat(after, 0), spikes, output }
    }

    /// The layer for any model that is trained by automatic differentiation: the values are the
    /// real spikes, the derivatives those of equations (3) and (4).
    ///
    /// `x` is the input current `[time, batch, features]`, `threshold` is `[1]`; the result is
    /// the output `[time, batch, features]`, of amplitude `V / dt`.
    ///
    /// # Panics
    /// When `x` does not have the neuron's number of time steps.
    pub fn forward_autodiff(&self, x: Tensor<3>, threshold: Tensor<1>) -> Tensor<3> {
        let output = self.forward(x.clone().detach(), threshold.clone().detach()).output;
        // The proxy has the derivatives we want and a value that cancels (section 16.1).
        let rate = self.wfr(x.clone().detach());
        let [_, batch, features] = x.dims();
        let (mask, saturated) = self.masks(rate, threshold.clone().detach());
        let mask = mask.reshape([1, batch, features]);
        let saturated = saturated.reshape([1, batch, features]);
        let slope = self.steps as f64 * self.dt;
        let proxy = x.sum_dim(0) * mask.div_scalar(self.tau)
            + saturated.mul_scalar(slope) * self.clamp_passing(threshold).reshape([1, 1, 1]);
        let proxy = proxy * self.weights_tensor(&output.device());
        output + (proxy.clone() - proxy.detach())
    }

    /// Where the gradient passes (`0 < rate < tau V / dt`, strictly) and where the neuron is
    /// saturated (`rate > tau V / dt`), as 0 and 1. `rate` is `wfr(x)`, `[batch, features]`.
    pub fn masks(&self, rate: Tensor<2>, threshold: Tensor<1>) -> (Tensor<2>, Tensor<2>) {
        let top = self.clamp_threshold(threshold).mul_scalar(self.tau / self.dt);
        let top: Tensor<2> = top.reshape([1, 1]).expand(rate.dims());
        let saturated = rate.clone().greater(top.clone()).float();
        let mask = rate.clone().greater_scalar(0.0).float() * rate.lower(top).float();
        (mask, saturated)
    }

    /// The clamp acts outside the gradient: the derivative of the threshold is always 1.
    fn clamp_passing(&self, threshold: Tensor<1>) -> Tensor<1> {
        let clamped = self.clamp_threshold(threshold.clone().detach());
        clamped + (threshold.clone() - threshold.detach())
    }
}
