//! The lateral rule's linear algebra.

use burn::prelude::*;

use crate::fused;
use crate::subspace::{CLAMP, LateralRule};

/// The tensor's values, row-major.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// `x - (x H^T) H` for `x` `[batch, n]` and `H` `[k, n]`.
pub(crate) fn residual(x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
    if fused::runs_on(&x) {
        return fused::residual(x, h);
    }
    let inside = x.clone().matmul(h.clone().transpose());
    x - inside.matmul(h)
}

/// The iterations of section 6.2 on new rows `[k, n]` and their velocity. `x` `[batch, n]` is the
/// batch that drives them, `unfixed` the same after [`residual`] of the fixed rows: those do not
/// move, so their feedback is taken off once. Returns rows and velocity.
pub(crate) fn lateral_update(
    rows: Tensor<2>,
    velocity: Tensor<2>,
    x: Tensor<2>,
    unfixed: Tensor<2>,
    rule: &LateralRule,
) -> (Tensor<2>, Tensor<2>) {
    if fused::runs_on(&rows) {
        return fused::lateral_update(rows, velocity, x, unfixed, rule);
    }
    composed_update(rows, velocity, x, unfixed, rule)
}

/// The same from tensor operations.
pub(crate) fn composed_update(
    rows: Tensor<2>,
    velocity: Tensor<2>,
    x: Tensor<2>,
    unfixed: Tensor<2>,
    rule: &LateralRule,
) -> (Tensor<2>, Tensor<2>) {
    let (mut h, mut v) = (rows, velocity);
    let batch = x.dims()[0] as f64;
    for _ in 0..rule.iterations {
        let y = x.clone().matmul(h.clone().transpose());
        let unexplained = unfixed.clone() - y.clone().matmul(h.clone());
        let d = y
            .transpose()
            .matmul(unexplained)
            .div_scalar(batch)
            .clamp(-CLAMP, CLAMP);
        v = v.mul_scalar(rule.momentum) + d.mul_scalar(1.0 - rule.momentum);
        h = h + v.clone().mul_scalar(rule.lr);
    }
    (h, v)
}
