//! The operations on the flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use plasticity_core::nn::host::on_flex::{dense, make, values};

use super::join::Join;
use super::norm::{self, Sizes};
use super::{NetOps, dims};

impl NetOps for Flex {
    fn norm_silu(x: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> FlexTensor {
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        let sizes = Sizes::new(&dims(&x), &dims(&scale));
        make(norm::forward(sizes, values(&x), values(&scale), values(&shift)), dims(&x))
    }

    fn norm_silu_grad(
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        grad: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, scale, shift, grad) = (dense(x), dense(scale), dense(shift), dense(grad));
        let sizes = Sizes::new(&dims(&x), &dims(&scale));
        let (dx, dscale, dshift) = norm::backward(sizes, values(&x), values(&scale), values(&shift), values(&grad));
        (make(dx, dims(&x)), make(dscale, dims(&scale)), make(dshift, dims(&scale)))
    }

    fn join(x: FlexTensor, skip: FlexTensor, sizes: Join) -> FlexTensor {
        let batch = dims(&x)[0];
        let (x, skip) = (dense(x), dense(skip));
        make(sizes.forward(values(&x), values(&skip)), sizes.of_result(batch))
    }

    fn join_grad(grad: FlexTensor, sizes: Join) -> (FlexTensor, FlexTensor) {
        let batch = dims(&grad)[0];
        let (dx, dskip) = sizes.backward(values(&dense(grad)));
        (make(dx, sizes.of_x(batch)), make(dskip, sizes.of_skip(batch)))
    }
}
