//! The operation on the ndarray backend.

use burn::backend::NdArray;
use burn::backend::ndarray::{NdArrayTensor, SharedArray};
use burn::tensor::Shape;

use super::kernel::{self, Sizes};

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

fn sizes(x: &SharedArray<f32>, scale: &SharedArray<f32>) -> Sizes {
    Sizes::new(&Shape::from(x.shape()), &Shape::from(scale.shape()))
}

fn make(data: Vec<f32>, like: &SharedArray<f32>) -> NdArrayTensor {
    match SharedArray::from_shape_vec(like.shape().to_vec(), data) {
        Ok(array) => array.into(),
        Err(error) => unreachable!("as many values as `like` has: {error}"),
    }
}

impl super::NormSiluOps for NdArray {
    fn norm_silu(x: NdArrayTensor, scale: NdArrayTensor, shift: NdArrayTensor) -> NdArrayTensor {
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        let out = kernel::forward(sizes(&x, &scale), values(&x), values(&scale), values(&shift));
        make(out, &x)
    }

    fn norm_silu_grad(
        x: NdArrayTensor,
        scale: NdArrayTensor,
        shift: NdArrayTensor,
        grad: NdArrayTensor,
    ) -> (NdArrayTensor, NdArrayTensor, NdArrayTensor) {
        let (x, scale, shift, grad) = (dense(x), dense(scale), dense(shift), dense(grad));
        let (dx, dscale, dshift) =
            kernel::backward(sizes(&x, &scale), values(&x), values(&scale), values(&shift), values(&grad));
        (make(dx, &x), make(dscale, &scale), make(dshift, &scale))
    }
}
