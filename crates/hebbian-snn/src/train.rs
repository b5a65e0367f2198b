//! How weights are moved: gradient descent, whose every step stays in the space that its gradients span.

use burn::prelude::*;
use plasticity_core::device::takes_kernels;
use serde::{Deserialize, Serialize};

use crate::error::SnnError;
use crate::fused;
use crate::network::Mlp;
use crate::records::Gradients;

/// The optimiser of the weights, as a config names it.
///
/// A step must stay in the subspace that the projection leaves free. A linear recursion of projected gradients does;
/// the scaling of each weight by itself (Adam) and weight decay do not, so that they are not among these (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Plain stochastic gradient descent.
    #[default]
    Sgd,
    /// With momentum 0.9, no dampening, not Nesterov's.
    Momentum,
}

impl Optimiser {
    /// The share of the last step that is taken again.
    fn momentum(self) -> Option<f64> {
        match self {
            Self::Sgd => None,
            Self::Momentum => Some(0.9),
        }
    }
}

/// What a step saw, before it moved the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Mean cross-entropy of the batch.
    pub loss: f64,
    /// Samples of the batch that were classified correctly.
    pub correct: usize,
    /// Spikes per neuron, sample and step of each hidden layer.
    pub firing: Vec<f64>,
}

/// The descent of one task: its momentum is empty when the task begins, and ends with it.
#[derive(Debug, Clone)]
pub(crate) struct Descent {
    lr: f64,
    momentum: Option<f64>,
    velocity: Velocity,
}

/// The momentum of each parameter that has moved; nothing without momentum.
#[derive(Debug, Clone, Default)]
pub(crate) struct Velocity {
    weights: Vec<Tensor<2>>,
    thresholds: Vec<Tensor<1>>,
}

impl Descent {
    /// At the start of a task.
    pub fn new(optimiser: Optimiser, lr: f64) -> Self {
        Self { lr, momentum: optimiser.momentum(), velocity: Velocity::default() }
    }

    /// The network after one more step, and the momentum that goes with it. Thresholds stay unless they `learn`.
    pub fn next(&self, mlp: Mlp, gradients: Gradients, learn: bool) -> Result<(Mlp, Velocity), SnnError> {
        gradients.check(&mlp)?;
        let mut velocity = Velocity::default();
        let mut weights = Vec::with_capacity(gradients.weights.len());
        for (layer, gradient) in gradients.weights.into_iter().enumerate() {
            let change = self.change(gradient, self.velocity.weights.get(layer), &mut velocity.weights);
            let what = || format!("the new weights of layer {}", layer + 1);
            weights.push(if takes_kernels(&change) {
                let (new, finite) = fused::descend(mlp.weight(layer), change, self.lr);
                if !finite {
                    return Err(SnnError::not_finite(what(), &new));
                }
                new
            } else {
                let new = mlp.weight(layer) - change.mul_scalar(self.lr);
                SnnError::finite(what, &new)?;
                new
            });
        }
        if !learn {
            return Ok((mlp.with(weights, None), velocity));
        }
        let mut thresholds = Vec::with_capacity(gradients.thresholds.len());
        for (layer, gradient) in gradients.thresholds.into_iter().enumerate() {
            let change = self.change(gradient, self.velocity.thresholds.get(layer), &mut velocity.thresholds);
            let new = mlp.thresholds[layer].val().inner() - change.mul_scalar(self.lr);
            SnnError::finite(|| format!("the new threshold of layer {}", layer + 1), &new)?;
            thresholds.push(new);
        }
        Ok((mlp.with(weights, Some(thresholds)), velocity))
    }

    /// What the learning rate is multiplied with; with momentum, also what is left for the next step.
    fn change<const D: usize>(
        &self,
        gradient: Tensor<D>,
        before: Option<&Tensor<D>>,
        after: &mut Vec<Tensor<D>>,
    ) -> Tensor<D> {
        let Some(momentum) = self.momentum else { return gradient };
        let change = match before {
            Some(before) => gradient + before.clone().mul_scalar(momentum),
            None => gradient,
        };
        after.push(change.clone());
        change
    }

    /// Takes the momentum of [`Descent::next`].
    pub fn keep(&mut self, velocity: Velocity) {
        self.velocity = velocity;
    }

    /// The momentum by name, for a checkpoint: `momentum.weights.0`...
    pub fn to_tensors(&self) -> Vec<(String, TensorData)> {
        let weights = self.velocity.weights.iter().enumerate();
        let thresholds = self.velocity.thresholds.iter().enumerate();
        weights
            .map(|(i, v)| (format!("momentum.weights.{i}"), v.to_data()))
            .chain(thresholds.map(|(i, v)| (format!("momentum.thresholds.{i}"), v.to_data())))
            .collect()
    }

    /// Takes the state of [`Descent::to_tensors`] back, for the parameters of `mlp`: with momentum all of them have
    /// `moved` since the task began, the thresholds only in the `first` task; before its first step none has.
    pub fn load_tensors(
        &mut self,
        mlp: &Mlp,
        moved: bool,
        first: bool,
        mut take: impl FnMut(&str) -> Option<TensorData>,
    ) -> Result<(), SnnError> {
        let mut velocity = Velocity::default();
        for (i, weight) in mlp.weights.iter().enumerate() {
            velocity.weights.extend(load(&format!("momentum.weights.{i}"), &weight.val().inner(), &mut take)?);
        }
        for (i, threshold) in mlp.thresholds.iter().enumerate() {
            velocity.thresholds.extend(load(&format!("momentum.thresholds.{i}"), &threshold.val().inner(), &mut take)?);
        }
        let all = |parameters: usize, moved: bool| if moved { parameters } else { 0 };
        let moved = moved && self.momentum.is_some();
        let expected = (all(mlp.weights.len(), moved), all(mlp.thresholds.len(), moved && first));
        if (velocity.weights.len(), velocity.thresholds.len()) != expected {
            return Err(SnnError::Saved(
                "the momentum is not that of this network and optimiser after as many steps".into(),
            ));
        }
        self.velocity = velocity;
        Ok(())
    }
}

/// A saved tensor, of the shape and on the device of another.
fn load<const D: usize>(
    name: &str,
    like: &Tensor<D>,
    take: &mut impl FnMut(&str) -> Option<TensorData>,
) -> Result<Option<Tensor<D>>, SnnError> {
    let Some(data) = take(name) else { return Ok(None) };
    SnnError::shape("momentum", data.shape(), &like.dims())?;
    SnnError::is_f32("momentum", data.dtype())?;
    let tensor = Tensor::from_data(data, &like.device());
    SnnError::finite(|| format!("`{name}`"), &tensor)?;
    Ok(Some(tensor))
}
