//! The multi-layer perceptron of spiking neurons (section 7.1): no biases, no normalisation, one
//! head that all tasks share.

use burn::module::{Param, ParamId};
use burn::prelude::*;
use plasticity_core::rng::{Stream, fnv1a};

use crate::error::SnnError;
use crate::neuron::DsrLif;

/// Widths and neuron of an [`Mlp`].
#[derive(Debug, Clone, PartialEq)]
pub struct MlpConfig {
    /// Number of input features.
    pub inputs: usize,
    /// Width of each spiking layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// The neuron of every hidden layer.
    pub lif: DsrLif,
}

/// `inputs -> hidden... -> classes`, a DSR LIF neuron after every layer but the last.
#[derive(Module, Debug)]
pub struct Mlp {
    /// One per layer, `[in, out]`.
    pub weights: Vec<Param<Tensor<2>>>,
    /// One per hidden layer, `[1]`.
    pub thresholds: Vec<Param<Tensor<1>>>,
    /// The neuron's constants.
    #[module(skip)]
    pub lif: DsrLif,
}

impl MlpConfig {
    /// Draws the weights from U(-1/sqrt(n), 1/sqrt(n)), `n` the inputs of the layer. Parameter
    /// ids are hashes of the parameters' paths, so that an optimiser's saved state finds them.
    pub fn init(&self, stream: &mut Stream, device: &Device) -> Result<Mlp, SnnError> {
        self.lif.check()?;
        for (name, width) in [("inputs", self.inputs), ("classes", self.classes)] {
            if width == 0 {
                return Err(SnnError::EmptyLayer(name));
            }
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return Err(SnnError::EmptyLayer("hidden"));
        }
        let mut weights = Vec::new();
        let mut n = self.inputs;
        for &out in self.hidden.iter().chain([&self.classes]) {
            let bound = 1.0 / (n as f64).sqrt();
            let data = TensorData::new(stream.uniform_vec(n * out, -bound, bound), [n, out]);
            weights.push(Tensor::from_data(data, device));
            n = out;
        }
        Mlp::from_weights(weights, self.lif.clone())
    }
}

impl Mlp {
    /// A network of given weights, each `[in, out]`; the thresholds start at the neuron's value.
    pub fn from_weights(weights: Vec<Tensor<2>>, lif: DsrLif) -> Result<Self, SnnError> {
        let Some(first) = weights.first() else {
            return Err(SnnError::EmptyLayer("weights"));
        };
        let device = first.device();
        for (i, pair) in weights.windows(2).enumerate() {
            let ([_, out], found) = (pair[0].dims(), pair[1].dims());
            if found[0] != out {
                return Err(SnnError::Shape {
                    what: format!("weights.{}", i + 1),
                    expected: vec![out, found[1]],
                    found: found.to_vec(),
                });
            }
        }
        let id = |kind: &str, i: usize| ParamId::from(fnv1a(&format!("{kind}.{i}")));
        let thresholds = (0..weights.len() - 1)
            .map(|i| {
                let value = Tensor::full([1], lif.threshold, &device);
                Param::initialized(id("thresholds", i), tracked(value))
            })
            .collect();
        let weights = weights
            .into_iter()
            .enumerate()
            .map(|(i, w)| Param::initialized(id("weights", i), tracked(w)))
            .collect();
        Ok(Self {
            weights,
            thresholds,
            lif,
        })
    }

    /// Number of inputs of each weight layer: what a subspace per layer is made for.
    pub fn layer_inputs(&self) -> Vec<usize> {
        self.weights.iter().map(|w| w.val().dims()[0]).collect()
    }

    /// The weights of a layer, `[in, out]`, outside any graph.
    pub fn weight(&self, layer: usize) -> Tensor<2> {
        self.weights[layer].val().inner()
    }

    /// The threshold of a hidden layer, `[1]`, outside any graph and held above its bound.
    pub fn threshold(&self, layer: usize) -> Tensor<1> {
        self.lif
            .clamp_threshold(self.thresholds[layer].val().inner())
    }

    /// Writes the clamp of [`Mlp::threshold`] into the parameters, as section 3.1 asks before
    /// every forward pass.
    pub fn clamp_thresholds(mut self) -> Self {
        let lif = self.lif.clone();
        self.thresholds = self
            .thresholds
            .into_iter()
            .map(|p| {
                p.map(|v| {
                    let tracked = v.is_require_grad();
                    lif.clamp_threshold(v).detach().set_require_grad(tracked)
                })
            })
            .collect();
        self
    }
}

/// Burn's optimisers step tracked parameters only; the closed-form rules read them untracked.
fn tracked<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.inner().autodiff().require_grad()
}
