//! The self-test of a device: tensor operations there against the fused loop and the host's sweeps here.

use burn::prelude::*;
use plasticity_core::device::DeviceError;
use plasticity_core::rng::Stream;
use plasticity_core::run::selftest::{Check, Failure, Selftest, values};

use crate::aggregate::Rule;
use crate::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable};
use crate::federation::{Federation, Settings};
use crate::fused::{self, Prepared};
use crate::init::WeightInit;
use crate::mask::PruneMask;
use crate::network::{Architecture, Layer};
use crate::partition::{Population, Synthetic};
use crate::prune::{Pruner, prune, saliency};
use crate::supermask::{MaskKind, Surrogate};
use crate::{FederationError, composed};

const SIGNS: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };

/// Compares `device` with the CPU.
///
/// # Errors
/// When there is no CPU device to compare it with.
pub fn selftest(device: &Device) -> Result<Vec<Check>, DeviceError> {
    let mut test = Selftest::new(device)?;
    let tolerance = test.tolerance(1e-4, 2e-2);
    let name = "Moves of scores in a client's round by tensor operations, against the fused loop, relative";
    test.against(name, tolerance, fused_round, composed_round);
    // Sums in f32 differ from those in f64 by up to 2.2e-5 (oracle O1).
    let tolerance = test.tolerance(2.2e-5, 5e-3);
    let name = "Pruning saliency by automatic differentiation, against the host's in f64, relative";
    test.against(name, tolerance, saliency_on_the_host, saliency_by_gradients);
    // Two images of two hundred.
    test.compare("Accuracy on 200 images after a federation's round, convolutional network", 0.01, federation_round);
    Ok(test.finish())
}

/// A client of the reference network, 196-100-50-10 at density 0.2, with its scores and 40 images.
struct Client {
    sub: Subnetwork,
    scores: Vec<f32>,
    data: ClientData,
    training: LocalTraining,
    /// The largest move of a score in the fused round.
    furthest: f64,
}

fn pruned(architecture: Architecture) -> Result<(Subnetwork, Vec<f32>), FederationError> {
    let stream = |label| Stream::new(0, label, 0);
    let weights = WeightInit::default().draw(&architecture, &mut stream("hidenseek/selftest/weights"));
    let pruner = Pruner::SynFlow { iterations: 100 };
    let mask = prune(&architecture, &weights, 0.2, pruner, &mut stream("hidenseek/selftest/prune"))?;
    let scores = stream("hidenseek/selftest/scores").uniform_vec(mask.survivors(), -0.1, 0.1);
    Ok((Subnetwork::new(architecture, weights, mask)?, scores))
}

fn order() -> Stream {
    Stream::new(0, "hidenseek/selftest/order", 0)
}

fn prepare(sub: &Subnetwork) -> Result<Prepared, Failure> {
    Prepared::new(sub).ok_or_else(|| "the reference network is no perceptron".into())
}

impl Client {
    fn new() -> Result<Self, Failure> {
        let (sub, scores) = pruned(Architecture::mlp(&[196, 100, 50, 10])?)?;
        let data = Synthetic::new((1, 2, 20), (196, 10), 0.7, 0)?.train(0);
        let training = LocalTraining { epochs: 2, batch: 20, optimiser: Optimiser::Sgd { lr: 1.0, momentum: 0.5 } };
        let mut client = Self { sub, scores, data, training, furthest: 1.0 };
        let trained =
            fused::train(&prepare(&client.sub)?, SIGNS, &client.scores, &client.data, &client.training, &mut order())?;
        client.furthest = client.moves(&trained.values).into_iter().map(f64::abs).fold(0.0, f64::max);
        Ok(client)
    }

    fn moves(&self, values: &[f32]) -> Vec<f64> {
        values.iter().zip(&self.scores).map(|(end, start)| f64::from(end - start) / self.furthest).collect()
    }
}

fn fused_round(_: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let client = Client::new()?;
    let prepared = prepare(&client.sub)?;
    Ok(move || {
        let Client { scores, data, training, .. } = &client;
        Ok(client.moves(&fused::train(&prepared, SIGNS, scores, data, training, &mut order())?.values))
    })
}

fn composed_round(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let (client, device) = (Client::new()?, device.clone());
    Ok(move || {
        let Client { sub, scores, data, training, .. } = &client;
        Ok(client.moves(&composed::train(sub, SIGNS, scores, data, training, &mut order(), &device)?.values))
    })
}

/// The reference network, pruned at random to a half: saliency is asked for what is left.
fn half() -> Result<Subnetwork, FederationError> {
    let architecture = Architecture::mlp(&[196, 100, 50, 10])?;
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "hidenseek/selftest/weights", 0));
    let mut stream = Stream::new(0, "hidenseek/selftest/half", 0);
    let keep = weights.iter().map(|_| stream.bernoulli(0.5)).collect();
    let mask = PruneMask::new(&architecture, keep)?;
    Subnetwork::new(architecture, weights, mask)
}

/// Scores as multiples of the largest.
fn relative(scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(0.0, f64::max);
    scores.into_iter().map(|score| score / largest).collect()
}

fn saliency_on_the_host(_: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let half = half()?;
    Ok(move || Ok(relative(saliency(half.architecture(), half.weights(), half.mask())?.scores)))
}

/// |W| dR/d|W| in f32, R the sum of the logits of |W| for an input of ones.
fn saliency_by_gradients(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let half = half()?;
    let kept: Vec<f32> =
        half.weights().iter().zip(half.mask().keep()).map(|(w, keep)| if *keep { w.abs() } else { 0.0 }).collect();
    let device = device.clone().autodiff();
    Ok(move || {
        let leaves =
            half.architecture().tensors(&kept, &device)?.into_iter().map(Tensor::require_grad).collect::<Vec<_>>();
        let ones = Tensor::<2>::ones([1, half.architecture().inputs()], &device);
        let gradients = half.architecture().forward(&leaves, ones)?.sum().backward();
        let mut scores = Vec::new();
        for leaf in leaves {
            let gradient = leaf.grad(&gradients).ok_or("a layer without a gradient")?;
            scores.extend(values(leaf.inner() * gradient));
        }
        Ok(relative(scores))
    })
}

/// A convolutional network, which the fused loop does not know: clients train by tensor operations on the device.
fn federation_round(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let conv = Layer::Conv { inputs: 1, outputs: 6, kernel: 3, padding: 0 };
    let mut layers = vec![conv, Layer::MaxPool, Layer::Relu];
    layers.extend(Architecture::mlp(&[54, 32, 10])?.layers());
    let (sub, scores) = pruned(Architecture::new([1, 8, 8], layers)?)?;
    let population = Population::synthetic(Synthetic::new((8, 2, 10), (64, 10), 0.7, 0)?, 20);
    let training = LocalTraining { epochs: 2, batch: 20, optimiser: Optimiser::Sgd { lr: 1.0, momentum: 0.5 } };
    let settings = Settings { rule: Rule::ScoreMean, training, per_round: 4, ..Settings::default() };
    let federation = Federation::new(sub, population, settings, device)?;
    Ok(move || {
        let mut server = federation.begin(scores.clone())?;
        federation.round(&mut server, false)?;
        Ok(vec![federation.global(&server)?])
    })
}
