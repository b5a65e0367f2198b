//! The multi-layer perceptron of spiking neurons (section 7.1): no biases, no normalisation, one
//! head that all tasks share.

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::nn::parameter;
use plasticity_core::rng::Stream;

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
    ///
    /// # Errors
    /// [`SnnError::Setting`] when a width is 0, there is no hidden layer, or a constant of the
    /// neuron is outside its range.
    pub fn init(&self, stream: &mut Stream, device: &Device) -> Result<Mlp, SnnError> {
        self.lif.check()?;
        for (name, width) in [("inputs", self.inputs), ("classes", self.classes)] {
            if width == 0 {
                return Err(SnnError::setting(name, 0, "at least 1"));
            }
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            let found = format!("{:?}", self.hidden);
            return Err(SnnError::setting("hidden", found, "at least one width, each at least 1"));
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
    ///
    /// # Errors
    /// [`SnnError::Shape`] when a layer does not take what the one before it gives;
    /// [`SnnError::Setting`] when there is no layer, one has no inputs or no outputs, or a
    /// constant of the neuron is outside its range.
    pub fn from_weights(weights: Vec<Tensor<2>>, lif: DsrLif) -> Result<Self, SnnError> {
        lif.check()?;
        let shapes: Vec<[usize; 2]> = weights.iter().map(Tensor::dims).collect();
        if shapes.is_empty() || shapes.iter().flatten().any(|n| *n == 0) {
            let found = format!("{shapes:?}");
            return Err(SnnError::setting("weights", found, "at least one matrix, each with rows and columns"));
        }
        for pair in shapes.windows(2) {
            SnnError::shape("weights", &pair[1], &[pair[0][1], pair[1][1]])?;
        }
        let device = weights[0].device();
        let thresholds = (0..weights.len() - 1)
            .map(|i| parameter(&format!("thresholds.{i}"), Tensor::full([1], lif.threshold, &device)))
            .collect();
        let weights = weights.into_iter().enumerate().map(|(i, w)| parameter(&format!("weights.{i}"), w)).collect();
        Ok(Self { weights, thresholds, lif })
    }

    /// Number of inputs of each weight layer: what a subspace per layer is made for.
    pub fn layer_inputs(&self) -> Vec<usize> {
        self.weights.iter().map(|w| w.val().dims()[0]).collect()
    }

    /// The weights of a layer, `[in, out]`, outside any graph.
    ///
    /// # Panics
    /// When there is no such layer, as a slice does.
    pub fn weight(&self, layer: usize) -> Tensor<2> {
        self.weights[layer].val().inner()
    }

    /// The threshold of a hidden layer, `[1]`, outside any graph and held above its bound.
    ///
    /// # Panics
    /// When there is no such layer, as a slice does.
    pub fn threshold(&self, layer: usize) -> Tensor<1> {
        self.lif.clamp_threshold(self.thresholds[layer].val().inner())
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
