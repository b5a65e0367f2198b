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

/// Weights, and values between two layers, of the largest network: what a message counts in 32 bits.
const MOST: usize = u32::MAX as usize;

/// The product, or the largest number where it is beyond it: no layer of such a size gets into a network.
fn times(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product: usize, factor| product.saturating_mul(*factor))
}

impl Layer {
    /// Number of weights.
    pub fn weights(&self) -> usize {
        match *self {
            Self::Linear { inputs, outputs } => times(&[inputs, outputs]),
            Self::Conv { inputs, outputs, kernel, .. } => times(&[inputs, outputs, kernel, kernel]),
            Self::MaxPool | Self::Relu => 0,
        }
    }

    /// Number of inputs of one output.
    pub fn fan_in(&self) -> usize {
        match *self {
            Self::Linear { inputs, .. } => inputs,
            Self::Conv { inputs, kernel, .. } => times(&[inputs, kernel, kernel]),
            Self::MaxPool | Self::Relu => 0,
        }
    }

    /// Number of outputs that one input reaches.
    pub fn fan_out(&self) -> usize {
        match *self {
            Self::Linear { outputs, .. } => outputs,
            Self::Conv { outputs, kernel, .. } => times(&[outputs, kernel, kernel]),
            Self::MaxPool | Self::Relu => 0,
        }
    }

    /// Channels, height and width behind this layer; `None` where `[channels, height, width]` does not fit it.
    fn shape([channels, height, width]: [usize; 3], layer: Self) -> Option<[usize; 3]> {
        match layer {
            Self::Linear { inputs, outputs } => {
                (outputs > 0 && times(&[channels, height, width]) == inputs).then_some([1, 1, outputs])
            }
            Self::Conv { inputs, outputs, kernel, padding } => {
                let padded = |x: usize| x.checked_add(padding)?.checked_add(padding)?.checked_add(1);
                let side = |x: usize| padded(x)?.checked_sub(kernel).filter(|x| *x > 0);
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

/// A feed-forward network whose layers fit each other: [`Architecture::new`] is the only way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    input: [usize; 3],
    layers: Vec<Layer>,
    /// Before each layer, and at last of the logits.
    shapes: Vec<[usize; 3]>,
}

impl Architecture {
    /// The network of these layers, in forward order, on inputs of `[channels, height, width]`; a flat input is
    /// `[1, 1, inputs]`.
    ///
    /// # Errors
    /// When a layer does not fit what comes before it, no layer has weights, the network ends in a picture, or it has
    /// more weights, or values between two layers, than 4,294,967,295.
    pub fn new(input: [usize; 3], layers: Vec<Layer>) -> Result<Self, FederationError> {
        let refuse = |found: String, expected: &str| Err(FederationError::setting("architecture", found, expected));
        if input.contains(&0) {
            return refuse(format!("an input of {input:?}"), "channels, height and width of at least 1");
        }
        let (mut shapes, mut shape) = (vec![input], input);
        for (i, layer) in layers.iter().enumerate() {
            let Some(next) = Layer::shape(shape, *layer) else {
                return refuse(format!("{layer} (layer {i}) behind {shape:?}"), "a layer that fits what precedes it");
            };
            shape = next;
            shapes.push(shape);
        }
        let weights = layers.iter().fold(0, |sum: usize, layer| sum.saturating_add(layer.weights()));
        if weights == 0 {
            return refuse("without weights".into(), "at least one linear layer");
        }
        if weights > MOST || shapes.iter().any(|shape| times(shape) > MOST) {
            let expected = format!("at most {MOST} weights, and values between two layers");
            return refuse(format!("a network of {weights} weights"), &expected);
        }
        if shape[0] != 1 || shape[1] != 1 {
            return refuse(format!("a network that ends in {shape:?}"), "logits, from a linear layer");
        }
        Ok(Self { input, layers, shapes })
    }

    /// A network of which a test below says that [`Architecture::new`] makes the same.
    fn known(input: [usize; 3], layers: Vec<Layer>) -> Self {
        let mut shapes = vec![input];
        for layer in &layers {
            shapes.extend(shapes.last().and_then(|shape| Layer::shape(*shape, *layer)));
        }
        Self { input, layers, shapes }
    }

    /// Channels, height, width of an input.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The layers in forward order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Linear layers of these widths, ReLU between them.
    fn linear(widths: &[usize]) -> Vec<Layer> {
        let mut layers = Vec::new();
        for pair in widths.windows(2) {
            if !layers.is_empty() {
                layers.push(Layer::Relu);
            }
            layers.push(Layer::Linear { inputs: pair[0], outputs: pair[1] });
        }
        layers
    }

    /// A multi-layer perceptron of these widths, ReLU between the layers.
    ///
    /// # Errors
    /// As [`Architecture::new`]: fewer than two widths, or one of 0.
    pub fn mlp(widths: &[usize]) -> Result<Self, FederationError> {
        Self::new([1, 1, widths.first().copied().unwrap_or(0)], Self::linear(widths))
    }

    /// Blocks of two 3x3 convolutions and a pool, then linear layers of 256, 256 and `classes` (Conv2, Conv4, Conv6).
    fn conv_blocks(blocks: &[usize], input: [usize; 3], classes: usize) -> Result<Self, FederationError> {
        let mut layers = Vec::new();
        let [mut channels, mut height, mut width] = input;
        for &outputs in blocks {
            for inputs in [channels, outputs] {
                layers.extend([Layer::Conv { inputs, outputs, kernel: 3, padding: 1 }, Layer::Relu]);
            }
            layers.push(Layer::MaxPool);
            (channels, height, width) = (outputs, height / 2, width / 2);
        }
        layers.extend(Self::linear(&[times(&[channels, height, width]), 256, 256, classes]));
        Self::new(input, layers)
    }

    /// LotteryFL's CNN for MNIST: 21,750 weights.
    pub fn mnist_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 0 };
        let mut layers = vec![conv(1, 10), Layer::MaxPool, Layer::Relu, conv(10, 20), Layer::MaxPool, Layer::Relu];
        layers.extend(Self::linear(&[320, 50, 10]));
        Self::known([1, 28, 28], layers)
    }

    /// LeNet-5 for CIFAR-10: 61,770 weights.
    pub fn cifar_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 0 };
        let mut layers = vec![conv(3, 6), Layer::Relu, Layer::MaxPool, conv(6, 16), Layer::Relu, Layer::MaxPool];
        layers.extend(Self::linear(&[400, 120, 84, 10]));
        Self::known([3, 32, 32], layers)
    }

    /// LEAF's CNN for FEMNIST with a ReLU between the linear layers: 538,754 weights.
    pub fn femnist_cnn() -> Self {
        let conv = |inputs, outputs| Layer::Conv { inputs, outputs, kernel: 5, padding: 2 };
        let mut layers = vec![conv(1, 10), Layer::Relu, Layer::MaxPool, conv(10, 20), Layer::Relu, Layer::MaxPool];
        layers.extend(Self::linear(&[980, 512, 62]));
        Self::known([1, 28, 28], layers)
    }

    /// [`Architecture::femnist_cnn`] as the reference code has it, the linear layers one upon the other.
    pub fn femnist_cnn_literal() -> Self {
        let Self { input, mut layers, .. } = Self::femnist_cnn();
        // Only linear layers and what lies between them follow the last pool.
        let pools = layers.iter().rposition(|layer| *layer == Layer::MaxPool).unwrap_or(0);
        let mut at = 0..;
        layers.retain(|layer| at.next() <= Some(pools) || *layer != Layer::Relu);
        Self::known(input, layers)
    }

    /// The perceptron for UCI-HAR: 198,900 weights.
    pub fn har_mlp() -> Self {
        Self::known([1, 1, 561], Self::linear(&[561, 300, 100, 6]))
    }

    /// Conv2; 4,300,992 weights for CIFAR-10, input `[3, 32, 32]` and 10 classes.
    ///
    /// # Errors
    /// As [`Architecture::new`]: no class, or an input that the pools leave nothing of.
    pub fn conv2(input: [usize; 3], classes: usize) -> Result<Self, FederationError> {
        Self::conv_blocks(&[64], input, classes)
    }

    /// Conv4; 2,425,024 weights for CIFAR-10.
    ///
    /// # Errors
    /// As [`Architecture::new`]: no class, or an input that the pools leave nothing of.
    pub fn conv4(input: [usize; 3], classes: usize) -> Result<Self, FederationError> {
        Self::conv_blocks(&[64, 128], input, classes)
    }

    /// Conv6; 2,261,184 weights for CIFAR-10.
    ///
    /// # Errors
    /// As [`Architecture::new`]: no class, or an input that the pools leave nothing of.
    pub fn conv6(input: [usize; 3], classes: usize) -> Result<Self, FederationError> {
        Self::conv_blocks(&[64, 128, 256], input, classes)
    }

    /// Channels, height and width before each layer, and at last of the logits.
    pub fn shapes(&self) -> &[[usize; 3]] {
        &self.shapes
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.shapes.last().map_or(0, |shape| shape[2])
    }

    /// Multiplications and additions per sample of each prunable layer (section 4).
    pub fn macs(&self) -> Vec<u64> {
        let layers = self.layers.iter().zip(&self.shapes[1..]).filter(|(layer, _)| layer.weights() > 0);
        layers
            .map(|(layer, [_, height, width])| match layer {
                // Both factors are below 2^32.
                Layer::Conv { .. } => layer.weights() as u64 * (height * width) as u64,
                _ => layer.weights() as u64,
            })
            .collect()
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
    /// When a tensor is missing or has another shape or type than the network or `x`, or `x` holds no image.
    ///
    /// # Panics
    /// Where tensors lie on different devices, as Burn's operations do.
    pub fn forward(&self, weights: &[Tensor<2>], mut x: Tensor<2>) -> Result<Tensor<2>, FederationError> {
        FederationError::length("weights", self.prunable().count(), weights.len())?;
        for (layer, weight) in self.prunable().zip(weights) {
            let (expected, found) = ([layer.weights() / layer.fan_in(), layer.fan_in()], weight.dims());
            if found != expected {
                let found = format!("{found:?} for {layer}");
                return Err(FederationError::setting("weights", found, format!("a tensor of shape {expected:?}")));
            }
            if weight.dtype() != x.dtype() {
                let (found, expected) =
                    (format!("{:?} for {layer}", weight.dtype()), format!("{:?}, as `x`", x.dtype()));
                return Err(FederationError::setting("weights", found, expected));
            }
        }
        let [batch, width] = x.dims();
        FederationError::length("x", self.inputs(), width)?;
        if batch == 0 {
            return Err(FederationError::setting("x", "without an image", "a batch of at least 1"));
        }
        let mut weights = weights.iter().cloned();
        for (layer, [channels, height, width]) in self.layers.iter().zip(&self.shapes) {
            let image = [batch, *channels, *height, *width];
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
        let of = |network: Architecture| (network.weights(), network.macs().iter().sum::<u64>());
        assert_eq!(of(Architecture::mnist_cnn()), (21_750, 480_500));
        assert_eq!(of(Architecture::cifar_cnn()), (61_770, 651_720));
        assert_eq!(of(Architecture::femnist_cnn()), (538_754, 1_709_504));
        assert_eq!(of(Architecture::har_mlp()), (198_900, 198_900));
        assert_eq!(Architecture::mnist_cnn().macs(), [144_000, 320_000, 16_000, 500]);
        assert_eq!(Architecture::cifar_cnn().sizes(), [450, 2400, 48_000, 10_080, 840]);
        let cifar = [3, 32, 32];
        assert_eq!(Architecture::conv2(cifar, 10).unwrap().weights(), 4_300_992);
        assert_eq!(Architecture::conv4(cifar, 10).unwrap().weights(), 2_425_024);
        assert_eq!(Architecture::conv6(cifar, 10).unwrap().weights(), 2_261_184);
        for known in [
            Architecture::mnist_cnn(),
            Architecture::cifar_cnn(),
            Architecture::femnist_cnn(),
            Architecture::femnist_cnn_literal(),
            Architecture::har_mlp(),
        ] {
            assert_eq!(Architecture::new(known.input, known.layers.clone()), Ok(known));
        }
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
            let error = Architecture::new(input, layers.clone()).unwrap_err();
            assert!(matches!(error, FederationError::Setting { field: "architecture", .. }), "{layers:?}: {error}");
        }
        for refused in [
            Architecture::mlp(&[]),
            Architecture::mlp(&[4]),
            Architecture::mlp(&[0, 2]),
            Architecture::mlp(&[4, 0, 2]),
            Architecture::conv2([3, 32, 32], 0),
            Architecture::conv6([3, 4, 4], 10),
        ] {
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    /// Sizes whose products do not fit, which would wrap around to a small network.
    #[test]
    fn a_network_that_no_message_can_count_is_refused() {
        let half = 1 << (usize::BITS / 2);
        let conv = |kernel, padding| Layer::Conv { inputs: 1, outputs: 1, kernel, padding };
        let linear = |inputs| Layer::Linear { inputs, outputs: 2 };
        for (input, layers) in [
            ([1, 1, half], vec![Layer::Linear { inputs: half, outputs: half }]),
            ([half, half, 1], vec![linear(0), linear(2)]),
            ([1, 1, 1], vec![conv(1, usize::MAX / 2), linear(1)]),
            ([1, 1, 1], vec![conv(1, usize::MAX), linear(1)]),
            ([1, 1, 1], vec![conv(1, 1 << 20), linear((1 << 21) + 1)]),
            ([1, 1, 1 << 20], vec![Layer::Linear { inputs: 1 << 20, outputs: 1 << 12 }]),
        ] {
            let refused = Architecture::new(input, layers);
            assert!(matches!(refused, Err(FederationError::Setting { field: "architecture", .. })), "{refused:?}");
        }
        assert!(Architecture::mlp(&[1 << 20, 1 << 11]).is_ok());
    }
}
