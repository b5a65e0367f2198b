//! A client's round by tensor operations and automatic differentiation, for any network (section 3.3): the reference
//! of the fused loop, and the path for what the fused loop does not know.

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::log_softmax;
use plasticity_core::rng::Stream;

use crate::client::{self, ClientData, LocalTraining, Optimiser, Subnetwork, Trainable, Trained};
use crate::error::FederationError;
use crate::supermask::{effective, spread};

/// Samples of one forward pass of [`logits`].
const EVALUATED: usize = 256;

/// Trains `values`, the scores or weights of the survivors in canonical order, on a client's images.
///
/// Each epoch draws one `stream.permutation(images)` and takes batches in its order, a short last one included; the
/// optimiser starts fresh. The loss is the mean cross-entropy of a batch. Floats are f32.
///
/// # Errors
/// A layer of which nothing is left, buffers of other lengths, values that are not finite, labels without a logit, no
/// images, no epochs, empty batches, rates that are not finite; a loss, a gradient or a new value that is not finite.
pub fn train(
    sub: &Subnetwork,
    trainable: Trainable,
    values: &[f32],
    data: &ClientData,
    training: &LocalTraining,
    stream: &mut Stream,
    device: &Device,
) -> Result<Trained, FederationError> {
    let (inputs, images) = (sub.architecture().inputs(), data.labels.len());
    let device = &device.clone().without_autodiff();
    let layers = survivors(sub, trainable, values, device)?;
    data.check(inputs, sub.architecture().classes())?;
    training.check()?;
    let mut states: Vec<State> = layers.iter().map(|layer| State::new(layer.values.clone())).collect();
    let mut loss = 0.0;
    let mut steps = 0;
    for _ in 0..training.epochs {
        let order = stream.permutation(images);
        loss = 0.0;
        for batch in order.chunks(training.batch) {
            let x: Vec<f32> = batch.iter().flat_map(|i| &data.x[i * inputs..][..inputs]).copied().collect();
            let x = Tensor::from_data(TensorData::new(x, [batch.len(), inputs]), (device, DType::F32));
            let labels: Vec<i64> = batch.iter().map(|i| i64::from(data.labels[*i])).collect();
            let labels = Tensor::from_data(TensorData::new(labels, [batch.len(), 1]), device);
            let leaves: Vec<Tensor<1>> = states.iter().map(|s| s.values.clone().autodiff().require_grad()).collect();
            let weights: Vec<Tensor<2>> =
                layers.iter().zip(&leaves).map(|(layer, leaf)| layer.weight(leaf.clone())).collect();
            let mean = cross_entropy(sub.architecture().forward(&weights, x)?, labels);
            let value = f64::from(mean.clone().into_scalar::<f32>());
            refuse("loss", value)?;
            loss += value * batch.len() as f64;
            let mut gradients = mean.backward();
            steps += 1;
            let gradients: Vec<_> = leaves.into_iter().map(|leaf| leaf.grad_remove(&mut gradients)).collect();
            // The second moment of Adam, too, is one that f32 can hold: from an infinite one no step comes any more.
            let squares = gradients.iter().flatten().map(|g| f64::from(g.clone().square().sum().into_scalar::<f32>()));
            refuse("gradient", squares.sum())?;
            for (state, gradient) in states.iter_mut().zip(gradients) {
                // A leaf that the loss does not reach stays where it is.
                if let Some(gradient) = gradient {
                    state.step(gradient, training.optimiser, steps);
                }
            }
        }
    }
    let values: Vec<f32> =
        states.into_iter().flat_map(|s| s.values.into_data().iter::<f32>().collect::<Vec<_>>()).collect();
    if values.iter().all(|value| value.is_finite()) {
        return Ok(Trained { values, loss: (loss / images as f64) as f32 });
    }
    Err(FederationError::NotFinite { field: "values", step: 0 })
}

fn refuse(field: &'static str, value: f64) -> Result<(), FederationError> {
    if value.is_finite() { Ok(()) } else { Err(FederationError::NotFinite { field, step: 0 }) }
}

/// Logits `[samples, classes]`, row-major, of `x` `[samples, inputs]`.
///
/// # Errors
/// A layer of which nothing is left, buffers of other lengths, pixels, values or logits that are not finite.
pub fn logits(
    sub: &Subnetwork,
    trainable: Trainable,
    values: &[f32],
    x: &[f32],
    device: &Device,
) -> Result<Vec<f32>, FederationError> {
    FederationError::finite("x", x)?;
    logits_of(sub, trainable, values, x, device)
}

/// [`logits`] of pixels that are known to be finite.
pub(crate) fn logits_of(
    sub: &Subnetwork,
    trainable: Trainable,
    values: &[f32],
    x: &[f32],
    device: &Device,
) -> Result<Vec<f32>, FederationError> {
    let inputs = sub.architecture().inputs();
    let layers = survivors(sub, trainable, values, device)?;
    client::images(x, inputs)?;
    let weights: Vec<Tensor<2>> = layers.iter().map(|layer| layer.weight(layer.values.clone())).collect();
    let mut out = Vec::new();
    for some in x.chunks(EVALUATED * inputs) {
        let some = TensorData::new(some.to_vec(), [some.len() / inputs, inputs]);
        let some = sub.architecture().forward(&weights, Tensor::from_data(some, (device, DType::F32)))?;
        out.extend(some.into_data().iter::<f32>());
    }
    client::finite_logits(out)
}

/// Mean cross-entropy of logits `[batch, classes]` and labels `[batch, 1]`.
fn cross_entropy(logits: Tensor<2>, labels: Tensor<2, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, labels).mean().neg()
}

/// One layer's survivors on a device.
struct Survivors {
    values: Tensor<1>,
    frozen: Tensor<1>,
    positions: Tensor<1, Int>,
    shape: [usize; 2],
    trainable: Trainable,
}

impl Survivors {
    /// `[out, fan_in]` for values `[n]` of this layer.
    fn weight(&self, values: Tensor<1>) -> Tensor<2> {
        let acting = match self.trainable {
            Trainable::Scores { kind, surrogate } => effective(values, self.frozen.clone(), kind, surrogate),
            Trainable::Weights => values,
        };
        spread(acting, self.positions.clone(), self.shape[0] * self.shape[1]).reshape(self.shape)
    }
}

/// The survivors of each layer, on a plain device.
fn survivors(
    sub: &Subnetwork,
    trainable: Trainable,
    values: &[f32],
    device: &Device,
) -> Result<Vec<Survivors>, FederationError> {
    FederationError::length("values", sub.mask().survivors(), values.len())?;
    FederationError::finite("values", values)?;
    trainable.check()?;
    sub.refuse_empty()?;
    let device = device.clone().without_autodiff();
    let upload = |v: Vec<f32>| {
        let n = v.len();
        Tensor::<1>::from_data(TensorData::new(v, [n]), (&device, DType::F32))
    };
    let (mut rest, mut start) = (values, 0);
    let mut out = Vec::new();
    for layer in sub.architecture().prunable() {
        let size = layer.weights();
        let keep = &sub.mask().keep()[start..start + size];
        let positions: Vec<i64> = (0i64..).zip(keep).filter(|(_, keep)| **keep).map(|(i, _)| i).collect();
        let (these, tail) = rest.split_at(positions.len());
        let frozen = positions.iter().map(|i| sub.weights()[start + *i as usize]).collect();
        (rest, start) = (tail, start + size);
        let n = positions.len();
        out.push(Survivors {
            values: upload(these.to_vec()),
            frozen: upload(frozen),
            positions: Tensor::from_data(TensorData::new(positions, [n]), &device),
            shape: [size / layer.fan_in(), layer.fan_in()],
            trainable,
        });
    }
    Ok(out)
}

/// What an optimiser keeps of one layer, outside any graph.
struct State {
    values: Tensor<1>,
    first: Option<Tensor<1>>,
    second: Option<Tensor<1>>,
}

impl State {
    fn new(values: Tensor<1>) -> Self {
        Self { values, first: None, second: None }
    }

    /// The `step`-th step, counted from 1.
    fn step(&mut self, gradient: Tensor<1>, optimiser: Optimiser, step: i32) {
        let values = self.values.clone();
        self.values = match optimiser {
            Optimiser::Sgd { lr, momentum } => {
                let v = match self.first.take() {
                    Some(v) => v * momentum + gradient,
                    None => gradient,
                };
                self.first = Some(v.clone());
                values - v * lr
            }
            Optimiser::Adam { lr } => {
                let average = |old: Option<Tensor<1>>, new: Tensor<1>, beta: f64| match old {
                    Some(old) => old * beta + new * (1.0 - beta),
                    None => new * (1.0 - beta),
                };
                let m = average(self.first.take(), gradient.clone(), 0.9);
                let v = average(self.second.take(), gradient.clone() * gradient, 0.999);
                (self.first, self.second) = (Some(m.clone()), Some(v.clone()));
                let (m, v) = (m / (1.0 - 0.9f64.powi(step)), v / (1.0 - 0.999f64.powi(step)));
                values - m / (v.sqrt() + 1e-8) * lr
            }
        };
    }
}
