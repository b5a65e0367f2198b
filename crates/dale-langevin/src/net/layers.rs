//! The layers of the network, and the two changes of resolution.

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::nn::Conv2d;

use super::norm::norm_silu;

/// Convolution of odd kernel with bias; zero padding takes a side n to ceil(n / stride).
pub(super) fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let weight = Tensor::zeros([outputs, inputs, kernel, kernel], device);
    Conv2d::new(weight, Some(Tensor::zeros([outputs], device)), stride, kernel / 2)
}

/// An affine map of rows.
#[derive(Module, Debug)]
pub(super) struct Linear {
    /// `[in, out]`
    weight: Param<Tensor<2>>,
    /// `[out]`
    bias: Param<Tensor<1>>,
}

impl Linear {
    pub(super) fn zeros(inputs: usize, outputs: usize, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([inputs, outputs], device));
        Self { weight, bias: Param::from_tensor(Tensor::zeros([outputs], device)) }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// Group normalisation with a learnt scale and shift per channel, then SiLU.
#[derive(Module, Debug)]
pub(super) struct NormSilu {
    /// `[channels]`
    gain: Param<Tensor<1>>,
    /// `[channels]`
    bias: Param<Tensor<1>>,
}

impl NormSilu {
    pub(super) fn zeros(channels: usize, device: &Device) -> Self {
        let zeros = || Param::from_tensor(Tensor::zeros([channels], device));
        Self { gain: zeros(), bias: zeros() }
    }

    /// `[batch, channels, h, w]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        norm_silu(x, self.gain.val().unsqueeze(), self.bias.val().unsqueeze())
    }
}

/// Nearest neighbours at twice the size, cut to `side`.
pub(super) fn upsample(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let doubled = x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, 2, w, 2]).reshape([n, c, 2 * h, 2 * w]);
    if [2 * h, 2 * w] == [height, width] { doubled } else { doubled.slice(s![.., .., 0..height, 0..width]) }
}
