//! The surrogate derivative of a spike (section 3.3).

use burn::prelude::*;
use burn::tensor::activation::sigmoid;

/// Slope of the logistic function whose derivative stands in for that of the step.
pub const SLOPE: f64 = 4.0;

/// `g(z) = a sigmoid(a z) (1 - sigmoid(a z))` with `a` = [`SLOPE`], at `z` = membrane minus
/// threshold. Its integral is 1, its value at the threshold is 1.
pub fn derivative<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    let s = sigmoid(z.mul_scalar(SLOPE));
    (s.clone() - s.clone() * s).mul_scalar(SLOPE)
}

/// 1 where `z >= 0`, else 0; differentiated as `sigmoid(a z)`.
pub fn spike<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    let hard = z.clone().detach().greater_equal_scalar(0.0).float();
    let soft = sigmoid(z.mul_scalar(SLOPE));
    hard + (soft.clone() - soft.detach())
}
