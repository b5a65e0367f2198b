//! Convolution in two dimensions.

use burn::prelude::*;
use burn::tensor::ops::ConvOptions;

/// Convolution with square stride and zero padding.
///
/// `x`: `[batch, in, height, width]`, `weight`: `[out, in, kernel, kernel]`, `bias`: `[out]`;
/// returns `[batch, out, height', width']`, height' = (height + 2 padding - kernel) / stride + 1.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    conv2d_reference(x, weight, bias, stride, padding)
}

/// [`conv2d`] by Burn's own operation.
pub fn conv2d_reference(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    burn::tensor::module::conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
}
