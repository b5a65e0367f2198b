//! Convolution in two dimensions.

#[cfg(any(feature = "flex", feature = "ndarray"))]
mod correlate;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod fused;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod passes;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod pixels;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod plan;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod shape;
#[cfg(any(feature = "flex", feature = "ndarray"))]
#[cfg(all(test, any(feature = "flex", feature = "ndarray")))]
mod tests;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod weight;

use burn::prelude::*;
use burn::tensor::ops::ConvOptions;

/// Convolution with square stride and zero padding.
///
/// `x`: `[batch, in, height, width]`, `weight`: `[out, in, kernel, kernel]`, `bias`: `[out]`;
/// returns `[batch, out, height', width']`, height' = (height + 2 padding - kernel) / stride + 1.
///
/// On a CPU backend in f32, for kernels up to 5 x 5 and strides up to 3, this is one operation
/// with its own backward pass, whose results do not depend on the number of threads; otherwise
/// it is [`conv2d_reference`].
///
/// # Panics
/// When channels or bias do not fit, the stride is 0 or the kernel is larger than the padded image, as
/// Burn's own operation does.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    if let Some(shape) = fused_shape(&x, &weight, bias.as_ref(), stride, padding) {
        return fused::conv2d(x, weight, bias, shape);
    }
    conv2d_reference(x, weight, bias, stride, padding)
}

/// The sizes, where the fused operation takes the tensors.
#[cfg(any(feature = "flex", feature = "ndarray"))]
fn fused_shape(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Option<shape::Shape2d> {
    use burn::tensor::DType;
    let fit = crate::device::takes_kernels(x)
        && weight.dtype() == DType::F32
        && bias.is_none_or(|b| b.dtype() == DType::F32 && b.dims() == [weight.dims()[0]]);
    fit.then(|| shape::Shape2d::new(x.dims(), weight.dims(), stride, padding)).flatten()
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
