//! The operations on the ndarray backend.

use burn::backend::NdArray;
use burn::backend::ndarray::NdArrayTensor;
use plasticity_core::nn::host::on_ndarray::{dense, make, values};

use super::join::Join;
use super::norm::{self, Sizes};
use super::{NetOps, dims};

impl NetOps for NdArray {
    fn norm_silu(x: NdArrayTensor, scale: NdArrayTensor, shift: NdArrayTensor) -> NdArrayTensor {
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        let sizes = Sizes::new(x.shape(), scale.shape());
        make(norm::forward(sizes, values(&x), values(&scale), values(&shift)), x.shape().to_vec())
    }

    fn norm_silu_grad(
        x: NdArrayTensor,
        scale: NdArrayTensor,
        shift: NdArrayTensor,
        grad: NdArrayTensor,
    ) -> (NdArrayTensor, NdArrayTensor, NdArrayTensor) {
        let (x, scale, shift, grad) = (dense(x), dense(scale), dense(shift), dense(grad));
        let sizes = Sizes::new(x.shape(), scale.shape());
        let (dx, dscale, dshift) = norm::backward(sizes, values(&x), values(&scale), values(&shift), values(&grad));
        (make(dx, x.shape().to_vec()), make(dscale, scale.shape()), make(dshift, scale.shape()))
    }

    fn join(x: NdArrayTensor, skip: NdArrayTensor, sizes: Join) -> NdArrayTensor {
        let batch = dims(&x)[0];
        make(sizes.forward(values(&dense(x)), values(&dense(skip))), sizes.of_result(batch))
    }

    fn join_grad(grad: NdArrayTensor, sizes: Join) -> (NdArrayTensor, NdArrayTensor) {
        let batch = dims(&grad)[0];
        let (dx, dskip) = sizes.backward(values(&dense(grad)));
        (make(dx, sizes.of_x(batch)), make(dskip, sizes.of_skip(batch)))
    }
}
