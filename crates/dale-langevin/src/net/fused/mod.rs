//! What lies between two convolutions as single operations on the CPU, with their derivatives
//! written out. The compositions beside [`super::norm::norm_silu`] and [`super::layers::join`] are
//! what the tests compare with.

// The ndarray backend is deprecated as a whole.
#![allow(deprecated)]

mod join;
mod norm;
#[cfg(feature = "flex")]
mod on_flex;
#[cfg(feature = "ndarray")]
mod on_ndarray;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;

use join::Join;

/// See [`super::norm::norm_silu`].
pub(super) fn norm_silu(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    let out = <Dispatch as NetOps>::norm_silu(x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    Tensor::from_dispatch(out)
}

/// See [`super::layers::join`].
pub(super) fn join(x: Tensor<4>, skip: Tensor<4>) -> Tensor<4> {
    let sizes = Join::new(&x.dims(), &skip.dims());
    Tensor::from_dispatch(<Dispatch as NetOps>::join(x.into_dispatch(), skip.into_dispatch(), sizes))
}

/// The operations on a backend. `x`, `skip` and `grad` are `[batch, channels, h, w]`, `scale` and
/// `shift` `[batch or 1, channels]`.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait NetOps: Backend {
    /// Normalisation, modulation, SiLU.
    fn norm_silu(x: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradients of `x`, `scale` and `shift`. Inner backends only.
    fn norm_silu_grad(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `x` at twice the size, beside `skip`.
    fn join(x: FloatTensor<Self>, skip: FloatTensor<Self>, sizes: Join) -> FloatTensor<Self>;

    /// The gradients of `x` and `skip`. Inner backends only.
    fn join_grad(grad: FloatTensor<Self>, sizes: Join) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct NormSiluBackward;

impl<B: NetOps> Backward<B, 3> for NormSiluBackward {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, scale, shift) = ops.state;
        let (dx, dscale, dshift) = B::norm_silu_grad(x, scale, shift, grad);
        for (parent, grad) in ops.parents.into_iter().zip([dx, dscale, dshift]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

#[derive(Debug)]
struct JoinBackward;

impl<B: NetOps> Backward<B, 2> for JoinBackward {
    type State = Join;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (dx, dskip) = B::join_grad(grad, ops.state);
        for (parent, grad) in ops.parents.into_iter().zip([dx, dskip]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: NetOps, C: CheckpointStrategy> NetOps for Autodiff<B, C> {
    fn norm_silu(x: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let nodes = [x_node, scale_node, shift_node];
        match Backward::<B, 3>::prepare::<C>(NormSiluBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::norm_silu(x.clone(), scale.clone(), shift.clone());
                prep.finish((x, scale, shift), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::norm_silu(x, scale, shift)),
        }
    }

    fn norm_silu_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }

    fn join(x: FloatTensor<Self>, skip: FloatTensor<Self>, sizes: Join) -> FloatTensor<Self> {
        let ((x, x_node), (skip, skip_node)) = (x.into_parts(), skip.into_parts());
        let out = B::join(x, skip, sizes);
        match Backward::<B, 2>::prepare::<C>(JoinBackward, [x_node, skip_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(sizes, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn join_grad(_: FloatTensor<Self>, _: Join) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }
}
