//! Group normalisation, modulation and SiLU as one operation on the CPU, with its derivative
//! written out. [`super::norm::norm_silu_reference`] is what its tests compare with.

// The ndarray backend is deprecated as a whole.
#![allow(deprecated)]

mod kernel;
#[cfg(feature = "ndarray")]
mod on_ndarray;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;
use burn::tensor::DType;

/// Whether the kernel takes the tensor: f32, on a CPU backend.
pub(super) fn runs_on<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && plasticity_core::device::is_cpu(&x.device())
}

/// See [`super::norm::norm_silu`].
pub(super) fn norm_silu(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    let out = <Dispatch as NormSiluOps>::norm_silu(x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    Tensor::from_dispatch(out)
}

/// The operation on a backend. `x` and `grad` are `[batch, channels, h, w]`, `scale` and `shift`
/// `[batch or 1, channels]`.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait NormSiluOps: Backend {
    /// The operation.
    fn norm_silu(x: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradients of `x`, `scale` and `shift`. Inner backends only.
    fn norm_silu_grad(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: NormSiluOps, C: CheckpointStrategy> NormSiluOps for Autodiff<B, C> {
    fn norm_silu_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }

    fn norm_silu(x: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct NormSiluBackward;
        impl<B: NormSiluOps> Backward<B, 3> for NormSiluBackward {
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
}

#[cfg(feature = "flex")]
mod on_flex {
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;

    use super::kernel::{self, Sizes};

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

    fn sizes(x: &FlexTensor, scale: &FlexTensor) -> Sizes {
        Sizes::new(x.layout().shape(), scale.layout().shape())
    }

    fn make(data: Vec<f32>, like: &FlexTensor) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(data, like.layout().shape().clone()))
    }

    impl super::NormSiluOps for Flex {
        fn norm_silu(x: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> FlexTensor {
            let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
            let out = kernel::forward(sizes(&x, &scale), values(&x), values(&scale), values(&shift));
            make(out, &x)
        }

        fn norm_silu_grad(
            x: FlexTensor,
            scale: FlexTensor,
            shift: FlexTensor,
            grad: FlexTensor,
        ) -> (FlexTensor, FlexTensor, FlexTensor) {
            let (x, scale, shift, grad) = (dense(x), dense(scale), dense(shift), dense(grad));
            let (dx, dscale, dshift) =
                kernel::backward(sizes(&x, &scale), values(&x), values(&scale), values(&shift), values(&grad));
            (make(dx, &x), make(dscale, &scale), make(dshift, &scale))
        }
    }
}
