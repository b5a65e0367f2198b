//! Hot spots of the host as operations on a backend, and under autodiff.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;

/// `x Phi(x)`, Phi the normal distribution function (the exact GELU, section 3): values within 2e-7 of those in f64,
/// and one rounding where `|x|` is above 1.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as HostOps>::exact_gelu(x.into_dispatch()))
}

/// `silu(gate) up` with `silu(x) = x sigmoid(x)`, number by number (arXiv 2002.05202): values within 2e-7 of those in f64,
/// relative where they are above 1. The composition is [`crate::model::swiglu_composed`].
///
/// # Panics
/// When the shapes differ, as operations on tensors do.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as HostOps>::swiglu(gate.into_dispatch(), up.into_dispatch()))
}

/// `x / sqrt(mean(x^2) + epsilon) scale` along the last dimension (section 3); `scale` has its size.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn rms_norm<const D: usize>(x: Tensor<D>, scale: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let epsilon = epsilon as f32;
    Tensor::from_dispatch(<Dispatch as HostOps>::rms_norm(x.into_dispatch(), scale.into_dispatch(), epsilon))
}

/// The operations on a backend; derivatives are for inner backends only.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait HostOps: Backend {
    /// The exact GELU.
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of its input.
    fn exact_gelu_grad(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// SwiGLU between its matrices.
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradients of its inputs.
    fn swiglu_grad(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The norm.
    fn rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;

    /// Gradients of its input and scale.
    fn rms_norm_grad(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct GeluBackward;

impl<B: HostOps> Backward<B, 1> for GeluBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::exact_gelu_grad(ops.state, grad));
        }
    }
}

#[derive(Debug)]
struct SwiGluBackward;

impl<B: HostOps> Backward<B, 2> for SwiGluBackward {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (gate, up) = ops.state;
        let (dgate, dup) = B::swiglu_grad(gate, up, grad);
        for (parent, grad) in ops.parents.into_iter().zip([dgate, dup]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

#[derive(Debug)]
struct NormBackward;

impl<B: HostOps> Backward<B, 2> for NormBackward {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, scale, epsilon) = ops.state;
        let (dx, dscale) = B::rms_norm_grad(x, scale, grad, epsilon);
        for (parent, grad) in ops.parents.into_iter().zip([dx, dscale]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: HostOps, C: CheckpointStrategy> HostOps for Autodiff<B, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Backward::<B, 1>::prepare::<C>(GeluBackward, [node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x.clone(), B::exact_gelu(x)),
            OpsKind::UnTracked(prep) => prep.finish(B::exact_gelu(x)),
        }
    }

    fn exact_gelu_grad(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("first derivatives only")
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, of_gate), (up, of_up)) = (gate.into_parts(), up.into_parts());
        match Backward::<B, 2>::prepare::<C>(SwiGluBackward, [of_gate, of_up]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::swiglu(gate.clone(), up.clone());
                prep.finish((gate, up), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::swiglu(gate, up)),
        }
    }

    fn swiglu_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }

    fn rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let ((x, of_x), (scale, of_scale)) = (x.into_parts(), scale.into_parts());
        match Backward::<B, 2>::prepare::<C>(NormBackward, [of_x, of_scale]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::rms_norm(x.clone(), scale.clone(), epsilon);
                prep.finish((x, scale, epsilon), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rms_norm(x, scale, epsilon)),
        }
    }

    fn rms_norm_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }
}
