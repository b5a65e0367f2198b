//! Convolution as one operation of the CPU backends, with its own backward pass.

// Burn marks ndarray as deprecated; see `crate::device`.
#![allow(deprecated)]

#[cfg(feature = "flex")]
mod on_flex;
#[cfg(feature = "ndarray")]
mod on_ndarray;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;

use super::shape::Shape2d;

/// [`super::conv2d`] of f32 tensors on a CPU device.
pub(super) fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, shape: Shape2d) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => <Dispatch as ConvolutionOps>::conv2d_biased(x, weight, bias.into_dispatch(), shape),
        None => <Dispatch as ConvolutionOps>::conv2d_plain(x, weight, shape),
    })
}

/// What a backend has to offer for [`conv2d`].
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
trait ConvolutionOps: Backend {
    /// Differentiable.
    fn conv2d_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: Shape2d) -> FloatTensor<Self>;
    /// Differentiable.
    fn conv2d_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Shape2d,
    ) -> FloatTensor<Self>;
    /// Inner backends only, as the next two.
    fn conv2d_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: Shape2d,
    ) -> FloatTensor<Self>;
    fn conv2d_weight_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>, shape: Shape2d) -> FloatTensor<Self>;
    fn conv2d_bias_gradient(gradient: FloatTensor<Self>, shape: Shape2d) -> FloatTensor<Self>;
}

impl<B: ConvolutionOps, C: CheckpointStrategy> ConvolutionOps for Autodiff<B, C> {
    fn conv2d_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: Shape2d) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, a), (weight, b)) = (x.into_parts(), weight.into_parts());
        match Backward::<B, 2>::prepare::<C>(ConvolutionBackward, [a, b]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let keep = Keep::<B>::of(&x, &weight, tracked, shape);
                prep.finish(keep, B::conv2d_plain(x, weight, shape))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::conv2d_plain(x, weight, shape)),
        }
    }
    fn conv2d_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Shape2d,
    ) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, a), (weight, b), (bias, c)) = (x.into_parts(), weight.into_parts(), bias.into_parts());
        match Backward::<B, 3>::prepare::<C>(ConvolutionBackward, [a, b, c]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let keep = Keep::<B>::of(&x, &weight, tracked, shape);
                prep.finish(keep, B::conv2d_biased(x, weight, bias, shape))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::conv2d_biased(x, weight, bias, shape)),
        }
    }
    fn conv2d_input_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Shape2d) -> FloatTensor<Self> {
        unreachable!("inner backends only")
    }
    fn conv2d_weight_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Shape2d) -> FloatTensor<Self> {
        unreachable!("inner backends only")
    }
    fn conv2d_bias_gradient(_: FloatTensor<Self>, _: Shape2d) -> FloatTensor<Self> {
        unreachable!("inner backends only")
    }
}

#[derive(Debug)]
struct ConvolutionBackward;

/// What the backward pass needs: the input for the weights' gradient, the weights for the
/// input's.
#[derive(Debug, Clone)]
struct Keep<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    shape: Shape2d,
}

impl<B: ConvolutionOps> Keep<B> {
    fn of(x: &FloatTensor<B>, weight: &FloatTensor<B>, [of_x, of_weight]: [bool; 2], shape: Shape2d) -> Self {
        Self { x: of_weight.then(|| x.clone()), weight: of_x.then(|| weight.clone()), shape }
    }

    /// Registers the gradients of input and weights.
    fn register(self, gradient: &FloatTensor<B>, [of_x, of_weight]: [Option<NodeId>; 2], gradients: &mut Gradients) {
        if let (Some(node), Some(weight)) = (of_x, self.weight) {
            gradients.register::<B>(node, B::conv2d_input_gradient(gradient.clone(), weight, self.shape));
        }
        if let (Some(node), Some(x)) = (of_weight, self.x) {
            gradients.register::<B>(node, B::conv2d_weight_gradient(x, gradient.clone(), self.shape));
        }
    }
}

impl<B: ConvolutionOps> Backward<B, 3> for ConvolutionBackward {
    type State = Keep<B>;
    fn backward(self, ops: Ops<Keep<B>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([of_x, of_weight, of_bias], shape) = (ops.parents.map(|p| p.map(|p| p.id)), ops.state.shape);
        ops.state.register(&gradient, [of_x, of_weight], gradients);
        if let Some(node) = of_bias {
            gradients.register::<B>(node, B::conv2d_bias_gradient(gradient, shape));
        }
    }
}

impl<B: ConvolutionOps> Backward<B, 2> for ConvolutionBackward {
    type State = Keep<B>;
    fn backward(self, ops: Ops<Keep<B>, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        ops.state.register(&gradient, ops.parents.map(|p| p.map(|p| p.id)), gradients);
    }
}
