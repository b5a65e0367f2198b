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
    /// [`SnnError::Setting`] when a width is 0, there is no hidden layer, a layer has more weights than an address
    /// space, or a constant of the neuron is outside its range.
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
        let widths: Vec<usize> = [self.inputs].iter().chain(&self.hidden).chain([&self.classes]).copied().collect();
        let bytes = |pair: &[usize]| pair[0].checked_mul(pair[1])?.checked_mul(size_of::<f64>());
        if widths.windows(2).any(|pair| bytes(pair).is_none_or(|bytes| bytes > isize::MAX as usize)) {
            return Err(SnnError::setting(
                "hidden",
                format!("{:?}", self.hidden),
                "widths whose weights fit in memory",
            ));
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

/// What weights and constants must be for the equations to have a meaning.
fn check<'a>(weights: impl Iterator<Item = &'a Tensor<2>> + Clone, lif: &DsrLif) -> Result<(), SnnError> {
    lif.check()?;
    let shapes: Vec<[usize; 2]> = weights.clone().map(Tensor::dims).collect();
    if shapes.is_empty() || shapes.iter().flatten().any(|n| *n == 0) {
        let found = format!("{shapes:?}");
        return Err(SnnError::setting("weights", found, "at least one matrix, each with rows and columns"));
    }
    for pair in shapes.windows(2) {
        SnnError::shape("weights", &pair[1], &[pair[0][1], pair[1][1]])?;
    }
    for (layer, weight) in weights.enumerate() {
        SnnError::is_f32("weights", weight.dtype())?;
        SnnError::finite(|| format!("the weights of layer {}", layer + 1), weight)?;
    }
    Ok(())
}

impl Mlp {
    /// A network of given weights, each `[in, out]`; the thresholds start at the neuron's value.
    ///
    /// One matrix alone is a readout of the constant input, without a spiking layer.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when a layer does not take what the one before it gives;
    /// [`SnnError::Setting`] when there is no layer, one has no inputs or no outputs, the weights are not of F32, or
    /// a constant of the neuron is outside its range; [`SnnError::NotFinite`] when a weight is not finite.
    pub fn from_weights(weights: Vec<Tensor<2>>, lif: DsrLif) -> Result<Self, SnnError> {
        check(weights.iter(), &lif)?;
        let device = weights[0].device();
        let thresholds = (0..weights.len() - 1)
            .map(|i| parameter(&format!("thresholds.{i}"), Tensor::full([1], lif.threshold, &device)))
            .collect();
        let weights = weights.into_iter().enumerate().map(|(i, w)| parameter(&format!("weights.{i}"), w)).collect();
        Ok(Self { weights, thresholds, lif })
    }

    /// Refuses a network whose fields, which are open, do not fit together.
    ///
    /// # Errors
    /// As [`Mlp::from_weights`], and [`SnnError::Shape`] when there is not one threshold `[1]` for each hidden layer.
    pub fn check(&self) -> Result<(), SnnError> {
        let weights: Vec<Tensor<2>> = self.weights.iter().map(|w| w.val().inner()).collect();
        check(weights.iter(), &self.lif)?;
        SnnError::shape("thresholds", &[self.thresholds.len()], &[weights.len() - 1])?;
        for (layer, threshold) in self.thresholds.iter().enumerate() {
            let threshold = threshold.val().inner();
            SnnError::shape("thresholds", &threshold.dims(), &[1])?;
            SnnError::is_f32("thresholds", threshold.dtype())?;
            SnnError::finite(|| format!("the threshold of layer {}", layer + 1), &threshold)?;
        }
        Ok(())
    }

    /// The same network with other weights and thresholds.
    pub(crate) fn with(self, weights: Vec<Tensor<2>>, thresholds: Option<Vec<Tensor<1>>>) -> Self {
        let weights = weights.into_iter().enumerate().map(|(i, w)| parameter(&format!("weights.{i}"), w)).collect();
        let thresholds = match thresholds {
            None => self.thresholds,
            Some(new) => new.into_iter().enumerate().map(|(i, v)| parameter(&format!("thresholds.{i}"), v)).collect(),
        };
        Self { weights, thresholds, lif: self.lif }
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
