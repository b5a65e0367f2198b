//! The operations on the flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

use super::join::Join;
use super::norm::{self, Sizes};
use super::{NetOps, dims};

/// Copies a strided view only.
fn dense(x: FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

fn values(x: &FlexTensor) -> &[f32] {
    match x.as_slice() {
        Some(values) => values,
        None => unreachable!("a contiguous f32 tensor"),
    }
}

fn make(data: Vec<f32>, shape: impl Into<burn::tensor::Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape.into()))
}

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
