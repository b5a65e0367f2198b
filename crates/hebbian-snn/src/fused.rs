//! DSR on the CPU, to come: for now the composition of tensor operations.

use burn::prelude::*;

use crate::composed;
use crate::dsr::Records;
use crate::network::Mlp;

/// Whether the fused kernels run on this device.
pub fn runs_on(_device: &Device) -> bool {
    false
}

/// See [`crate::dsr::forward`].
pub fn forward(mlp: &Mlp, x: Tensor<2>) -> (Tensor<2>, Records) {
    composed::forward(mlp, x)
}

/// See [`crate::dsr::evaluate`].
pub fn evaluate(mlp: &Mlp, x: Tensor<2>) -> Tensor<2> {
    composed::forward(mlp, x).0
}
