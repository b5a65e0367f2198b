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
use plasticity_core::nn::product::matmul;

use crate::error::SnnError;
use crate::network::Mlp;
use crate::{composed, fused};

pub use crate::records::{Factor, Gradients, Presynaptic, Records};

/// Samples that are evaluated at a time by the kernels: bounds the memory of a dense layer.
const EVALUATION_BLOCK: usize = 256;

/// Forward pass for training: `x` is `[batch, inputs]`, the current of every time step. Returns
/// the logits `[batch, classes]` and the records.
///
/// # Errors
/// [`SnnError::Setting`] when the batch is empty or not of F32, [`SnnError::Shape`] when `x` is not as wide as the
/// first layer, [`SnnError::NotFinite`] when `x`, the current of a layer or the logits are not finite: no neuron fires
/// on a current of NaN, and the logits of silence would say nothing of it.
pub fn forward(mlp: &Mlp, x: Tensor<2>) -> Result<(Tensor<2>, Records), SnnError> {
    check_input(mlp, &x)?;
    let x = x.inner();
    let (logits, records) = if takes_kernels(&x) { fused::forward(mlp, x) } else { composed::forward(mlp, x) };
    for (layer, current) in records.current.iter().enumerate() {
        SnnError::finite(|| format!("the current of layer {}", layer + 1), current)?;
    }
    SnnError::finite(|| "the logits".into(), &logits)?;
    Ok((logits, records))
}

/// Forward pass for evaluation: the logits `[batch, classes]`, and no records.
///
/// # Errors
/// As [`forward`].
pub fn evaluate(mlp: &Mlp, x: Tensor<2>) -> Result<Tensor<2>, SnnError> {
    if !takes_kernels(&x) || x.dims()[0] == 0 {
        return Ok(forward(mlp, x)?.0);
    }
    let blocks = x.split(EVALUATION_BLOCK, 0).into_iter().map(|x| Ok(forward(mlp, x)?.0));
    Ok(Tensor::cat(blocks.collect::<Result<_, SnnError>>()?, 0))
}

fn check_input(mlp: &Mlp, x: &Tensor<2>) -> Result<(), SnnError> {
    let [batch, width] = x.dims();
    if batch == 0 {
        return Err(SnnError::setting("batch", 0, "at least 1"));
    }
    SnnError::shape("x", &[batch, width], &[batch, mlp.layer_inputs().first().copied().unwrap_or(0)])?;
    SnnError::is_f32("x", x.dtype())?;
    SnnError::finite(|| "`x`".into(), x)
}

/// Softmax cross-entropy, the mean over the batch, and its gradient with respect to the logits.
/// `logits` is `[batch, classes]`, `labels` is `[batch]`.
///
/// # Errors
/// [`SnnError::Shape`] when the numbers of rows and labels differ, [`SnnError::Setting`] when there are none or a
/// label is no class.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Result<(Tensor<1>, Tensor<2>), SnnError> {
    let [batch, classes] = logits.dims();
    if batch == 0 {
        return Err(SnnError::setting("batch", 0, "at least 1"));
    }
    SnnError::shape("labels", &labels.dims(), &[batch])?;
    // Burn takes -1 for the last class.
    let known = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    if let Some(label) = labels.to_data().iter::<i64>().find(|label| !known(label)) {
        return Err(SnnError::setting("labels", label, format!("each from 0 to {}", classes - 1)));
    }
    let hot = labels.one_hot::<2>(classes).float();
    let loss = (log_softmax(logits.clone(), 1) * hot.clone()).sum().div_scalar(-(batch as f64));
    let gradient = (softmax(logits, 1) - hot).div_scalar(batch as f64);
    Ok((loss, gradient))
}

/// How many rows of `logits` `[batch, classes]` are largest at their label.
///
/// # Errors
/// [`SnnError::Shape`] when the numbers of rows and labels differ.
pub fn correct(logits: Tensor<2>, labels: Tensor<1, Int>) -> Result<usize, SnnError> {
    let [batch, _] = logits.dims();
    SnnError::shape("labels", &labels.dims(), &[batch])?;
    if batch == 0 {
        return Ok(0);
    }
    let predicted: Tensor<1, Int> = logits.argmax(1).reshape([batch]);
    let hits = predicted.equal(labels).int().sum().into_scalar::<i64>();
    Ok(usize::try_from(hits).unwrap_or(0))
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
        weights.push(matmul(factor.transpose(), error.clone()));
        if layer == 0 {
            break;
        }
        // c = wfr(G): the readout's gradient has the time weights in it, that of a hidden layer
        // is the same at every step.
        let mut c = matmul(error, mlp.weight(layer).transpose());
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
