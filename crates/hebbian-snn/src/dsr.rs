//! Differentiation on spike representation (section 4.1): the learning rule of the main
//! experiments.
//!
//! The forward pass runs the real spiking dynamics; the backward pass treats each neuron as a
//! clamped linear unit of its weighted firing rate. Inside the hidden layers the gradient does
//! not change over time, so that the sum over time of a layer's input is all that its weight
//! gradient needs. Nothing of size `[time, batch, features]` is kept (section 15.2).

use burn::prelude::*;
use burn::tensor::activation::{log_softmax, softmax};
use plasticity_core::device::takes_kernels;

use crate::error::SnnError;
use crate::network::Mlp;
use crate::{composed, fused};

pub use crate::records::{Factor, Gradients, Presynaptic, Records};

/// Forward pass for training: `x` is `[batch, inputs]`, the current of every time step. Returns
/// the logits `[batch, classes]` and the records.
///
/// # Panics
/// When `x` is not as wide as the first layer, as Burn's operations do;
/// [`crate::train::step`] checks it.
pub fn forward(mlp: &Mlp, x: Tensor<2>) -> (Tensor<2>, Records) {
    let x = x.inner();
    if takes_kernels(&x) { fused::forward(mlp, x) } else { composed::forward(mlp, x) }
}

/// Forward pass for evaluation: the logits `[batch, classes]`, and no records.
///
/// # Panics
/// When `x` is not as wide as the first layer or has no rows, as Burn's operations do.
pub fn evaluate(mlp: &Mlp, x: Tensor<2>) -> Tensor<2> {
    let x = x.inner();
    if takes_kernels(&x) { fused::evaluate(mlp, x) } else { composed::forward(mlp, x).0 }
}

/// Softmax cross-entropy, the mean over the batch, and its gradient with respect to the logits.
/// `logits` is `[batch, classes]`, `labels` is `[batch]`, each below `classes`.
///
/// # Panics
/// When the numbers of rows and labels differ, as Burn's operations do.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> (Tensor<1>, Tensor<2>) {
    let [batch, classes] = logits.dims();
    let hot = labels.one_hot::<2>(classes).float();
    let loss = (log_softmax(logits.clone(), 1) * hot.clone()).sum().div_scalar(-(batch as f64));
    let gradient = (softmax(logits, 1) - hot).div_scalar(batch as f64);
    (loss, gradient)
}

/// Backward pass in closed form (equations (3) and (4)).
///
/// `factors` has one tensor `[batch, in]` per weight layer: [`Records::factors`], or those that
/// the subspaces of earlier tasks have projected. `error` is the gradient of the loss with
/// respect to the logits, `[batch, classes]`.
///
/// # Errors
/// [`SnnError::Shape`] when factors or records are those of another number of layers.
///
/// # Panics
/// When one of their tensors has another shape, as Burn's operations do.
pub fn backward(
    mlp: &Mlp,
    records: &Records,
    factors: Vec<Tensor<2>>,
    error: Tensor<2>,
) -> Result<Gradients, SnnError> {
    let lif = &mlp.lif;
    let head = mlp.thresholds.len();
    SnnError::shape("factors", &[factors.len()], &[head + 1])?;
    SnnError::shape("records", &[records.current.len()], &[head])?;
    let mut error = error;
    let mut weights = Vec::with_capacity(head + 1);
    let mut thresholds = Vec::with_capacity(head);
    for (layer, factor) in factors.into_iter().enumerate().rev() {
        weights.push(factor.transpose().matmul(error.clone()));
        if layer == 0 {
            break;
        }
        // c = wfr(G): the readout's gradient has the time weights in it, that of a hidden layer
        // is the same at every step.
        let mut c = error.matmul(mlp.weight(layer).transpose());
        if layer == head {
            c = c.mul_scalar(lif.readout_share());
        }
        let threshold = mlp.threshold(layer - 1);
        let (mask, saturated) = lif.masks(records.current[layer - 1].clone(), threshold);
        let slope = lif.dt * lif.steps as f64;
        thresholds.push((c.clone() * saturated).sum().mul_scalar(slope));
        error = c * mask.div_scalar(lif.tau);
    }
    weights.reverse();
    thresholds.reverse();
    Ok(Gradients { weights, thresholds })
}
