//! One step of training, and which optimisers may take it.

use burn::optim::{ModuleOptimizer, SgdConfig, momentum::MomentumConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dsr;
use crate::error::SnnError;
use crate::hlop::Hlop;
use crate::network::Mlp;
use crate::subspace::Subspace;

/// The optimiser of the weights, as a config names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Plain stochastic gradient descent.
    #[default]
    Sgd,
    /// With momentum 0.9, no dampening, not Nesterov's.
    Momentum,
    /// Refused: see [`Optimiser::init`].
    Adam,
}

impl Optimiser {
    /// A fresh optimiser. A step must stay in the subspace that the projection leaves free; a
    /// linear recursion of gradients does, an element-wise scaling does not (section 8).
    ///
    /// # Errors
    /// [`SnnError::NotClosed`] for `Adam` where gradients are projected.
    pub fn init(self, projected: bool) -> Result<ModuleOptimizer, SnnError> {
        match self {
            Self::Sgd => Ok(SgdConfig::new().init()),
            Self::Momentum => {
                let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
                Ok(SgdConfig::new().with_momentum(Some(momentum)).init())
            }
            Self::Adam if projected => Err(SnnError::NotClosed("adam")),
            Self::Adam => Ok(burn::optim::AdamConfig::new().with_epsilon(1e-8).init()),
        }
    }
}

/// How a step is taken.
#[derive(Debug)]
pub struct StepOptions<'a> {
    /// Learning rate of the weights.
    pub lr: f64,
    /// Whether thresholds learn: in the first task only.
    pub thresholds: bool,
    /// The lateral connections: `None` for naive training.
    pub hlop: Option<&'a mut Hlop>,
    /// Whether the lateral connections learn from this batch.
    pub update_hlop: bool,
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

/// One step of DSR on a batch: `x` is `[batch, inputs]`, `labels` is `[batch]`, each below the
/// number of classes (which is not checked: it would wait for the device). The order is that of
/// section 8: forward, lateral update, projected gradient, optimiser.
///
/// # Errors
/// [`SnnError::Shape`] when the batch, its labels or the lateral connections do not fit the
/// network, [`SnnError::Setting`] when the batch is empty.
pub fn step(
    mlp: Mlp,
    optimiser: &mut ModuleOptimizer,
    x: Tensor<2>,
    labels: Tensor<1, Int>,
    options: StepOptions<'_>,
) -> Result<(Mlp, StepReport), SnnError> {
    check(&mlp, &x, &labels, options.hlop.as_deref())?;
    let mlp = if options.thresholds { mlp.clamp_thresholds() } else { mlp };
    let (logits, records) = dsr::forward(&mlp, x);
    let correct = correct(logits.clone(), labels.clone());
    let (loss, error) = dsr::cross_entropy(logits, labels);
    let gradients = match options.hlop {
        None => dsr::backward(&mlp, &records, records.factors(), error)?,
        Some(hlop) => {
            let factors = hlop.observe(&records, options.update_hlop)?;
            let mut gradients = dsr::backward(&mlp, &records, factors, error)?;
            hlop.project_gradients(&mut gradients)?;
            gradients
        }
    };
    let report = StepReport { loss: f64::from(loss.into_scalar::<f32>()), correct, firing: records.firing };
    let gradients = gradients.into_params(&mlp, options.thresholds)?;
    Ok((optimiser.step(options.lr, mlp, gradients), report))
}

fn check(mlp: &Mlp, x: &Tensor<2>, labels: &Tensor<1, Int>, hlop: Option<&Hlop>) -> Result<(), SnnError> {
    let inputs = mlp.layer_inputs();
    let [batch, width] = x.dims();
    if batch == 0 {
        return Err(SnnError::setting("batch", 0, "at least 1"));
    }
    SnnError::shape("x", &[batch, width], &[batch, inputs.first().copied().unwrap_or(0)])?;
    SnnError::shape("labels", &labels.dims(), &[batch])?;
    let Some(hlop) = hlop else { return Ok(()) };
    let found: Vec<usize> = hlop.subspaces().iter().map(Subspace::inputs).collect();
    SnnError::shape("hlop", &found, &inputs)
}

/// How many rows of `logits` `[batch, classes]` are largest at their label.
///
/// # Panics
/// When the numbers of rows and labels differ, as Burn's operations do.
pub fn correct(logits: Tensor<2>, labels: Tensor<1, Int>) -> usize {
    let [batch, _] = logits.dims();
    let predicted: Tensor<1, Int> = logits.argmax(1).reshape([batch]);
    let hits = predicted.equal(labels).int().sum().into_scalar::<i64>();
    usize::try_from(hits).unwrap_or(0)
}
