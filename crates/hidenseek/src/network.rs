//! Networks without biases, their weights in the canonical flat order (sections 3.7 and 6.1).
//!
//! Canonical order: layers in forward order, each row-major in `[out, in]` (linear) or
//! `[out, in, kernel, kernel]` (convolution).

use std::fmt;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use plasticity_core::nn::conv2d;

use crate::error::FederationError;

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

    /// Number of outputs that one input reaches.
    pub fn fan_out(&self) -> usize {
        match *self {
            Self::Linear { outputs, .. } => outputs,
            Self::Conv { outputs, kernel, .. } => outputs * kernel * kernel,
            Self::MaxPool | Self::Relu => 0,
        }
    }

    /// Channels, height and width behind this layer; `None` where `[channels, height, width]` does not fit it.
    fn shape([channels, height, width]: [usize; 3], layer: Self) -> Option<[usize; 3]> {
        match layer {
            Self::Linear { inputs, outputs } => {
                (outputs > 0 && channels * height * width == inputs).then_some([1, 1, outputs])
            }
            Self::Conv { inputs, outputs, kernel, padding } => {
                let side = |x: usize| (x + 2 * padding + 1).checked_sub(kernel).filter(|x| *x > 0);
                let fits = channels == inputs && outputs > 0 && kernel > 0;
                fits.then_some(())?;
                Some([outputs, side(height)?, side(width)?])
            }
            Self::MaxPool => (height > 1 && width > 1).then_some([channels, height / 2, width / 2]),
            Self::Relu => Some([channels, height, width]),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear { inputs, outputs } => write!(f, "linear {inputs}->{outputs}"),
            Self::Conv { inputs, outputs, kernel, .. } => write!(f, "conv {inputs}->{outputs} k{kernel}"),
            Self::MaxPool => write!(f, "max-pool 2"),
            Self::Relu => write!(f, "relu"),
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

    /// Blocks of two 3x3 convolutions and a pool, then linear layers of 256, 256 and `classes` (Conv2, Conv4, Conv6).
    fn conv_blocks(blocks: &[usize], input: [usize; 3], classes: usize) -> Self {
        let mut layers = Vec::new();
        let [mut channels, mut height, mut width] = input;
        for &outputs in blocks {
            for inputs in [channels, outputs] {
                layers.extend([Layer::Conv { inputs, outputs, kernel: 3, padding: 1 }, Layer::Relu]);
            }
            layers.push(Layer::MaxPool);
            (channels, height, width) = (outputs, height / 2, width / 2);
        }
        layers.extend(Self::mlp(&[channels * height * width, 256, 256, classes]).layers);
        Self { input, layers }
    }

    /// LotteryFL's CNN for MNIST: 21,750 weights.
    pub fn mnist_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 0 };
        let mut layers = vec![conv(1, 10), Layer::MaxPool, Layer::Relu, conv(10, 20), Layer::MaxPool, Layer::Relu];
        layers.extend(Self::mlp(&[320, 50, 10]).layers);
        Self { input: [1, 28, 28], layers }
    }

    /// LeNet-5 for CIFAR-10: 61,770 weights.
    pub fn cifar_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 0 };
        let mut layers = vec![conv(3, 6), Layer::Relu, Layer::MaxPool, conv(6, 16), Layer::Relu, Layer::MaxPool];
        layers.extend(Self::mlp(&[400, 120, 84, 10]).layers);
        Self { input: [3, 32, 32], layers }
    }

    /// LEAF's CNN for FEMNIST with a ReLU between the linear layers: 538,754 weights.
    pub fn femnist_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 2 };
        let mut layers = vec![conv(1, 10), Layer::Relu, Layer::MaxPool, conv(10, 20), Layer::Relu, Layer::MaxPool];
        layers.extend(Self::mlp(&[980, 512, 62]).layers);
        Self { input: [1, 28, 28], layers }
    }

    /// [`Architecture::femnist_cnn`] as the reference code has it, the linear layers one upon the other.
    pub fn femnist_cnn_literal() -> Self {
        let mut network = Self::femnist_cnn();
        // Only linear layers and what lies between them follow the last pool.
        let pools = network.layers.iter().rposition(|layer| *layer == Layer::MaxPool).unwrap_or(0);
        let mut at = 0..;
        network.layers.retain(|layer| at.next() <= Some(pools) || *layer != Layer::Relu);
        network
    }

    /// The perceptron for UCI-HAR: 198,900 weights.
    pub fn har_mlp() -> Self {
        Self::mlp(&[561, 300, 100, 6])
    }

    /// Conv2; 4,300,992 weights for CIFAR-10, input `[3, 32, 32]` and 10 classes.
    pub fn conv2(input: [usize; 3], classes: usize) -> Self {
        Self::conv_blocks(&[64], input, classes)
    }

    /// Conv4; 2,425,024 weights for CIFAR-10.
    pub fn conv4(input: [usize; 3], classes: usize) -> Self {
        Self::conv_blocks(&[64, 128], input, classes)
    }

    /// Conv6; 2,261,184 weights for CIFAR-10.
    pub fn conv6(input: [usize; 3], classes: usize) -> Self {
        Self::conv_blocks(&[64, 128, 256], input, classes)
    }

    /// Channels, height and width before each layer, and at last of the logits.
    ///
    /// # Errors
    /// When a layer does not fit what comes before it, no layer has weights, or the network ends in a picture.
    pub fn shapes(&self) -> Result<Vec<[usize; 3]>, FederationError> {
        let refuse = |found: String, expected: &str| Err(FederationError::setting("architecture", found, expected));
        let mut shapes = vec![self.input];
        let mut shape = self.input;
        if shape.contains(&0) {
            return refuse(format!("an input of {shape:?}"), "channels, height and width of at least 1");
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(next) = Layer::shape(shape, *layer) else {
                return refuse(format!("{layer} (layer {i}) behind {shape:?}"), "a layer that fits what precedes it");
            };
            shape = next;
            shapes.push(shape);
        }
        if self.weights() == 0 {
            return refuse("without weights".into(), "at least one linear layer");
        }
        if shape[0] != 1 || shape[1] != 1 {
            return refuse(format!("a network that ends in {shape:?}"), "logits, from a linear layer");
        }
        Ok(shapes)
    }

    /// Whether the layers fit each other.
    ///
    /// # Errors
    /// As [`Architecture::shapes`].
    pub fn check(&self) -> Result<(), FederationError> {
        self.shapes().map(drop)
    }

    /// Number of logits; 0 for a network that [`Architecture::check`] refuses.
    pub fn classes(&self) -> usize {
        self.shapes().ok().and_then(|shapes| shapes.last().map(|s| s[2])).unwrap_or(0)
    }

    /// Multiplications and additions per sample of each prunable layer (section 4).
    ///
    /// # Errors
    /// As [`Architecture::check`].
    pub fn macs(&self) -> Result<Vec<u64>, FederationError> {
        let shapes = self.shapes()?;
        let layers = self.layers.iter().zip(&shapes[1..]).filter(|(layer, _)| layer.weights() > 0);
        Ok(layers
            .map(|(layer, [_, height, width])| match layer {
                Layer::Conv { .. } => (layer.weights() * height * width) as u64,
                _ => layer.weights() as u64,
            })
            .collect())
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

    /// Values in canonical order as one tensor `[out, fan_in]` per prunable layer.
    ///
    /// # Errors
    /// When there are not N of them.
    pub fn tensors(&self, flat: &[f32], device: &Device) -> Result<Vec<Tensor<2>>, FederationError> {
        self.cut(flat, |values, shape| Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32)))
    }

    /// [`Architecture::tensors`] in double precision.
    ///
    /// # Errors
    /// When there are not N values.
    pub fn tensors_f64(&self, flat: &[f64], device: &Device) -> Result<Vec<Tensor<2>>, FederationError> {
        self.cut(flat, |values, shape| Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F64)))
    }

    fn cut<T, U>(&self, flat: &[T], make: impl Fn(&[T], [usize; 2]) -> U) -> Result<Vec<U>, FederationError> {
        FederationError::length("weights", self.weights(), flat.len())?;
        let mut rest = flat;
        let layers = self.prunable().map(|layer| {
            let (values, tail) = rest.split_at(layer.weights());
            rest = tail;
            make(values, [layer.weights() / layer.fan_in(), layer.fan_in()])
        });
        Ok(layers.collect())
    }

    /// One tensor per prunable layer as values in canonical order: the inverse of [`Architecture::tensors`].
    pub fn flat(weights: &[Tensor<2>]) -> Vec<f32> {
        weights.iter().flat_map(|w| w.to_data().iter::<f32>().collect::<Vec<_>>()).collect()
    }

    /// Logits `[batch, classes]` of `x` `[batch, inputs]`, with one weight tensor per prunable layer in canonical
    /// layout, `[out, fan_in]`.
    ///
    /// # Errors
    /// When the network does not pass [`Architecture::check`], a tensor is missing, or one has another shape.
    pub fn forward(&self, weights: &[Tensor<2>], mut x: Tensor<2>) -> Result<Tensor<2>, FederationError> {
        let shapes = self.shapes()?;
        FederationError::length("weights", self.prunable().count(), weights.len())?;
        for (layer, weight) in self.prunable().zip(weights) {
            let (expected, found) = ([layer.weights() / layer.fan_in(), layer.fan_in()], weight.dims());
            if found != expected {
                let found = format!("{found:?} for {layer}");
                return Err(FederationError::setting("weights", found, format!("a tensor of shape {expected:?}")));
            }
        }
        let [batch, width] = x.dims();
        FederationError::length("x", self.inputs(), width)?;
        let mut weights = weights.iter().cloned();
        for (layer, [channels, height, width]) in self.layers.iter().zip(shapes) {
            let image = [batch, channels, height, width];
            let weight = if layer.weights() > 0 { weights.next() } else { None };
            x = match (*layer, weight) {
                (Layer::Conv { inputs, outputs, kernel, padding }, Some(w)) => {
                    let w = w.reshape([outputs, inputs, kernel, kernel]);
                    conv2d(x.reshape(image), w, None, 1, padding).flatten(1, 3)
                }
                (_, Some(w)) => x.matmul(w.transpose()),
                (Layer::MaxPool, _) => max_pool2d(x.reshape(image), MaxPoolOptions::new([2, 2])).flatten(1, 3),
                (_, None) => burn::tensor::activation::relu(x),
            };
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights and multiplications of sections 4 and 6.1.
    #[test]
    fn numbers_of_weights_and_multiplications() {
        let of = |network: Architecture| (network.weights(), network.macs().unwrap().iter().sum::<u64>());
        assert_eq!(of(Architecture::mnist_cnn()), (21_750, 480_500));
        assert_eq!(of(Architecture::cifar_cnn()), (61_770, 651_720));
        assert_eq!(of(Architecture::femnist_cnn()), (538_754, 1_709_504));
        assert_eq!(of(Architecture::har_mlp()), (198_900, 198_900));
        assert_eq!(Architecture::mnist_cnn().macs().unwrap(), [144_000, 320_000, 16_000, 500]);
        assert_eq!(Architecture::cifar_cnn().sizes(), [450, 2400, 48_000, 10_080, 840]);
        let cifar = [3, 32, 32];
        assert_eq!(Architecture::conv2(cifar, 10).weights(), 4_300_992);
        assert_eq!(Architecture::conv4(cifar, 10).weights(), 2_425_024);
        assert_eq!(Architecture::conv6(cifar, 10).weights(), 2_261_184);
        assert!(Architecture::conv6(cifar, 10).check().is_ok());
        assert_eq!(Architecture::femnist_cnn().classes(), 62);
        let relus = |network: &Architecture| network.layers.iter().filter(|l| **l == Layer::Relu).count();
        let literal = Architecture::femnist_cnn_literal();
        assert_eq!((relus(&Architecture::femnist_cnn()), relus(&literal), literal.weights()), (3, 2, 538_754));
    }

    #[test]
    fn layers_that_do_not_fit_are_typed_errors() {
        let linear = |inputs, outputs| Layer::Linear { inputs, outputs };
        let conv = Layer::Conv { inputs: 1, outputs: 2, kernel: 3, padding: 0 };
        for (input, layers) in [
            ([1, 1, 4], vec![linear(4, 3), linear(4, 2)]),
            ([1, 1, 4], vec![linear(4, 0)]),
            ([1, 0, 4], vec![linear(0, 2)]),
            ([1, 1, 4], vec![Layer::Relu]),
            ([1, 2, 2], vec![conv, linear(2, 2)]),
            ([2, 4, 4], vec![conv, linear(8, 2)]),
            ([1, 4, 4], vec![conv]),
            ([1, 1, 4], vec![Layer::MaxPool, linear(2, 2)]),
        ] {
            let network = Architecture { input, layers };
            let error = network.check().unwrap_err();
            assert!(matches!(error, FederationError::Setting { field: "architecture", .. }), "{network:?}: {error}");
        }
    }
}
