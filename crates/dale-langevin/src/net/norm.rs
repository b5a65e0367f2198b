//! Group normalisation, modulation and SiLU, the operation between two convolutions.

use burn::prelude::*;
use burn::tensor::activation::silu;

/// Channels that are normalised together.
pub(super) const GROUP: usize = 4;

/// Added to the variance.
const EPSILON: f64 = 1e-5;

/// `silu(scale xhat + shift)`, where xhat is `x` `[batch, channels, h, w]` normalised to mean 0 and
/// variance 1 over the pixels of each group of four channels. `scale`, `shift`: `[batch, channels]`,
/// or `[1, channels]` for all.
pub(super) fn norm_silu(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    norm_silu_reference(x, scale, shift)
}

/// The same from tensor operations: what the fused kernel is compared with.
pub fn norm_silu_reference(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let [rows, _] = scale.dims();
    let x = x.reshape([n, c / GROUP, GROUP * h * w]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normal = (centred / (variance + EPSILON).sqrt()).reshape([n, c, h, w]);
    silu(normal * scale.reshape([rows, c, 1, 1]) + shift.reshape([rows, c, 1, 1]))
}
