//! [`super::matmul`] as an operation of flex, and under autodiff.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::DType;

use super::{Matrix, Threads, product};
use crate::nn::host::on_flex::make;

/// Whether both are f32 on flex, and their inner sizes fit.
pub(super) fn takes(x: &Tensor<2>, w: &Tensor<2>) -> bool {
    let on_flex = || matches!(x.device().without_autodiff().as_dispatch(), DispatchDevice::Flex(_));
    x.dtype() == DType::F32 && w.dtype() == DType::F32 && x.dims()[1] == w.dims()[0] && on_flex()
}

pub(super) fn matmul(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as ProductOps>::product(x.into_dispatch(), w.into_dispatch(), [false; 2]))
}

#[backend_extension(Flex, Autodiff)]
trait ProductOps: Backend {
    /// Of the operands, or of the transposed ones; under autodiff never of transposed ones.
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>, transposed: [bool; 2]) -> FloatTensor<Self>;
}

/// A view of the tensor's values where they lie.
fn matrix(x: &FlexTensor, transposed: bool) -> Matrix<'_> {
    let (layout, values) = (x.layout(), x.storage::<f32>());
    let strides = [0, 1].map(|axis| layout.strides()[axis].unsigned_abs());
    let matrix = Matrix::strided(&values[layout.start_offset()..], layout.shape().dims(), strides);
    if transposed { matrix.transpose() } else { matrix }
}

impl ProductOps for Flex {
    fn product(x: FlexTensor, w: FlexTensor, [of_x, of_w]: [bool; 2]) -> FlexTensor {
        // A flipped view runs backwards.
        let forward = |x: FlexTensor| match x.layout().strides().iter().all(|stride| *stride >= 0) {
            true => x,
            false => x.to_contiguous(),
        };
        let (x, w) = (forward(x), forward(w));
        let (a, b) = (matrix(&x, of_x), matrix(&w, of_w));
        let shape = [a.rows, b.columns];
        make(product(a, b, Threads::Soon), shape)
    }
}

#[derive(Debug)]
struct ProductBackward;

impl<B: ProductOps> Backward<B, 2> for ProductBackward {
    /// `x` for the gradient of `w`, and `w` for that of `x`.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([of_x, of_w], [x, w]) = (ops.parents, ops.state);
        if let (Some(node), Some(w)) = (of_x, w) {
            gradients.register::<B>(node.id, B::product(gradient.clone(), w, [false, true]));
        }
        if let (Some(node), Some(x)) = (of_w, x) {
            gradients.register::<B>(node.id, B::product(x, gradient, [true, false]));
        }
    }
}

impl<B: ProductOps, C: CheckpointStrategy> ProductOps for Autodiff<B, C> {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>, transposed: [bool; 2]) -> FloatTensor<Self> {
        let [of_x, of_w] = [x.is_tracked(), w.is_tracked()];
        let ((x, a), (w, b)) = (x.into_parts(), w.into_parts());
        match Backward::<B, 2>::prepare::<C>(ProductBackward, [a, b]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let keep = [of_w.then(|| x.clone()), of_x.then(|| w.clone())];
                prep.finish(keep, B::product(x, w, transposed))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::product(x, w, transposed)),
        }
    }
}
