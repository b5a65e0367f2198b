//! What a forward pass leaves for the backward pass and the lateral connections, and what the
//! backward pass gives.

use burn::optim::GradientsParams;
use burn::prelude::*;

use crate::error::SnnError;
use crate::network::Mlp;

/// What one weight layer saw on its input in a forward pass.
#[derive(Debug, Clone)]
pub struct Presynaptic {
    /// Weighted firing rate of the input, `[batch, in]`: the rows that train a subspace.
    pub rate: Tensor<2>,
    /// What the error is multiplied with in the weight gradient.
    pub factor: Factor,
}

/// The presynaptic factor of a weight gradient.
#[allow(clippy::large_enum_variant)] // one per layer, and short-lived
#[derive(Debug, Clone)]
pub enum Factor {
    /// The rate times a number: T for the constant input of a first spiking layer, 1 for the readout.
    Rate(f64),
    /// The sum over time, `[batch, in]`.
    Sum(Tensor<2>),
}

/// What the backward pass and the lateral connections need of a forward pass.
#[derive(Debug, Clone)]
pub struct Records {
    /// One per weight layer.
    pub presynaptic: Vec<Presynaptic>,
    /// Weighted rate of the input current of each hidden layer, `[batch, features]`.
    pub current: Vec<Tensor<2>>,
    /// Spikes per neuron, sample and step of each hidden layer.
    pub firing: Vec<f64>,
}

/// The gradient of every parameter.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// One per weight layer, `[in, out]`.
    pub weights: Vec<Tensor<2>>,
    /// One per hidden layer, `[1]`: equation (4).
    pub thresholds: Vec<Tensor<1>>,
}

impl Factor {
    /// What the weight gradient of the first layer is multiplied with. Its current is constant, so that a spiking
    /// layer sums T equal gradients; a readout, which is averaged over time, has one.
    pub(crate) fn of_input(mlp: &Mlp) -> Self {
        Self::Rate(if mlp.thresholds.is_empty() { 1.0 } else { mlp.lif.steps as f64 })
    }
}

impl Presynaptic {
    /// The factor as a tensor, `[batch, in]`.
    pub fn factor(&self) -> Tensor<2> {
        match &self.factor {
            Factor::Rate(1.0) => self.rate.clone(),
            Factor::Rate(times) => self.rate.clone().mul_scalar(*times),
            Factor::Sum(sum) => sum.clone(),
        }
    }
}

impl Records {
    /// The presynaptic factor of every layer, as they are without any projection.
    pub fn factors(&self) -> Vec<Tensor<2>> {
        self.presynaptic.iter().map(Presynaptic::factor).collect()
    }
}

impl Gradients {
    /// Refuses the gradients of another network.
    pub(crate) fn check(&self, mlp: &Mlp) -> Result<(), SnnError> {
        SnnError::shape("gradients", &[self.weights.len()], &[mlp.weights.len()])?;
        SnnError::shape("gradients", &[self.thresholds.len()], &[mlp.thresholds.len()])?;
        for (gradient, weight) in self.weights.iter().zip(&mlp.weights) {
            SnnError::shape("gradients", &gradient.dims(), &weight.val().dims())?;
        }
        self.thresholds.iter().try_for_each(|gradient| SnnError::shape("gradients", &gradient.dims(), &[1]))
    }

    /// The gradients by parameter id, for any optimiser of Burn. Without `thresholds` the
    /// thresholds stay where they are (every task but the first).
    ///
    /// # Errors
    /// [`SnnError::Shape`] when they are those of a network of other layers.
    pub fn into_params(self, mlp: &Mlp, thresholds: bool) -> Result<GradientsParams, SnnError> {
        self.check(mlp)?;
        let mut params = GradientsParams::new();
        for (param, gradient) in mlp.weights.iter().zip(self.weights) {
            params.register(param.id, gradient);
        }
        if thresholds {
            for (param, gradient) in mlp.thresholds.iter().zip(self.thresholds) {
                params.register(param.id, gradient);
            }
        }
        Ok(params)
    }
}
