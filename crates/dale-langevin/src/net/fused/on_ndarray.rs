//! The operations on the ndarray backend.

use burn::backend::NdArray;
use burn::backend::ndarray::{NdArrayTensor, SharedArray};

use super::join::Join;
use super::norm::{self, Sizes};
use super::{NetOps, dims};

fn dense(x: NdArrayTensor) -> SharedArray<f32> {
    match x {
        NdArrayTensor::F32(storage) => storage.into_shared().as_standard_layout().into_shared(),
        _ => unreachable!("an f32 tensor"),
    }
}

fn values(x: &SharedArray<f32>) -> &[f32] {
    match x.as_slice() {
        Some(values) => values,
        None => unreachable!("a tensor in standard layout"),
    }
}

fn make(data: Vec<f32>, shape: &[usize]) -> NdArrayTensor {
    match SharedArray::from_shape_vec(shape, data) {
        Ok(array) => array.into(),
        Err(error) => unreachable!("as many values as the shape has: {error}"),
    }
}

impl NetOps for NdArray {
    fn norm_silu(x: NdArrayTensor, scale: NdArrayTensor, shift: NdArrayTensor) -> NdArrayTensor {
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        let sizes = Sizes::new(x.shape(), scale.shape());
        make(norm::forward(sizes, values(&x), values(&scale), values(&shift)), x.shape())
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
        (make(dx, x.shape()), make(dscale, scale.shape()), make(dshift, scale.shape()))
    }

    fn join(x: NdArrayTensor, skip: NdArrayTensor, sizes: Join) -> NdArrayTensor {
        let batch = dims(&x)[0];
        make(sizes.forward(values(&dense(x)), values(&dense(skip))), &sizes.of_result(batch))
    }

    fn join_grad(grad: NdArrayTensor, sizes: Join) -> (NdArrayTensor, NdArrayTensor) {
        let batch = dims(&grad)[0];
        let (dx, dskip) = sizes.backward(values(&dense(grad)));
        (make(dx, &sizes.of_x(batch)), make(dskip, &sizes.of_skip(batch)))
    }
}
