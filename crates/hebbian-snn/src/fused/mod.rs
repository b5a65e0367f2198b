//! DSR and the lateral rule on the CPU: the same computation as the compositions of tensor
//! operations, in kernels that keep nothing of size `[time, batch, features]` in f32.
//!
//! A spiking layer is one pass over samples and blocks of neurons. Spikes are events: about one
//! neuron in twenty fires at a step, so a layer's input current is the sum of a few rows of its
//! weights. What later passes need of the spikes, their weighted and plain sums over time, is
//! read from one bit per neuron and step.
//!
//! Every sum has a fixed order: results do not depend on the number of threads.

mod descent;
mod lateral;
mod lif;

use burn::prelude::*;
use plasticity_core::nn::host::Host;
use plasticity_core::nn::product::{Matrix, Threads, matmul, product};

use crate::network::Mlp;
use crate::records::{Factor, Presynaptic, Records};

use lif::{Constants, Drive, Spikes, rate_weights};

pub(crate) use descent::descend;
pub(crate) use lateral::{largest, lateral_update, residual};

/// Above this share of firing neurons a dense matrix product is faster than adding up events.
const DENSE: f64 = 0.25;

/// A hidden layer's spikes and the weighted rate of its current.
struct Hidden {
    spikes: Spikes,
    current: Vec<f32>,
    amplitude: f32,
}

/// See [`crate::dsr::forward`]. Nothing is checked here: it panics on a tensor that is not of F32 on a CPU or has
/// another width than the first layer, and values that are not finite go through.
pub fn forward(mlp: &Mlp, x: Tensor<2>) -> (Tensor<2>, Records) {
    let device = x.device();
    let [batch, _] = x.dims();
    let lif = &mlp.lif;
    let rate_weights = rate_weights(lif);
    let head = mlp.thresholds.len();
    let mut presynaptic = vec![Presynaptic { rate: x.clone(), factor: Factor::of_input(mlp) }];
    let (mut current, mut firing) = (Vec::new(), Vec::new());
    let mut layer_input: Option<Hidden> = None;
    for layer in 0..head {
        let hidden = hidden_layer(mlp, layer, &x, layer_input.as_ref());
        let features = hidden.spikes.features;
        let tensor = |data: Vec<f32>| Tensor::from_data(TensorData::new(data, [batch, features]), &device);
        let (rate, sum) = hidden.spikes.over_time(hidden.amplitude, &rate_weights);
        let factor = if layer + 1 == head { Factor::Rate(1.0) } else { Factor::Sum(tensor(sum)) };
        presynaptic.push(Presynaptic { rate: tensor(rate), factor });
        current.push(tensor(hidden.current.clone()));
        firing.push(hidden.spikes.share());
        layer_input = Some(hidden);
    }
    let logits = matmul(presynaptic[head].rate.clone(), mlp.weight(head));
    (logits, Records { presynaptic, current, firing })
}

/// Runs one hidden layer on `x` `[batch, inputs]`, the network's constant input, or on the layer
/// before it.
fn hidden_layer(mlp: &Mlp, layer: usize, x: &Tensor<2>, before: Option<&Hidden>) -> Hidden {
    let lif = &mlp.lif;
    let weights = mlp.weight(layer);
    let [inputs, features] = weights.dims();
    let threshold: f32 = mlp.threshold(layer).into_scalar();
    let constants = Constants::new(lif, threshold);
    let (spikes, current) = match before {
        None => {
            let current = Host::new(matmul(x.clone(), weights));
            let current = current.as_slice();
            let (spikes, _) = lif::run(&Drive::Constant(current), features, &constants);
            // The rate of a constant is the constant.
            (spikes, current.to_vec())
        }
        Some(before) => {
            let weights = Host::new(weights);
            let (weights, amplitude) = (weights.as_slice(), before.amplitude);
            if before.spikes.share() > DENSE {
                let signal = before.spikes.expand(amplitude);
                let rows = before.spikes.batch * lif.steps;
                let signal = Matrix::new(&signal, rows, inputs);
                let currents = product(signal, Matrix::new(weights, inputs, features), Threads::Late);
                lif::run(&Drive::Dense(&currents), features, &constants)
            } else {
                let drive = Drive::Events { spikes: &before.spikes, weights, amplitude };
                lif::run(&drive, features, &constants)
            }
        }
    };
    Hidden { spikes, current, amplitude: threshold / lif.dt as f32 }
}
