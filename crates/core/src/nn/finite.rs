//! Whether a model can go on: values that are not finite never leave a network again.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use super::host::Host;
use crate::device::takes_kernels;

/// Whether every value of a tensor is a finite number.
pub fn is_finite<const D: usize>(x: &Tensor<D>) -> bool {
    let x = x.clone().inner();
    if takes_kernels(&x) {
        // In blocks without a branch, which a compiler makes wide operations of.
        let finite = |block: &[f32]| block.iter().fold(true, |finite, x| finite & x.is_finite());
        return Host::new(x).as_slice().chunks(1 << 10).all(finite);
    }
    x.is_finite().all().into_scalar::<bool>()
}

/// Whether every float parameter of a model is finite.
pub fn is_finite_model<M: Module>(model: &M) -> bool {
    struct Look(bool);
    impl ModuleVisitor for Look {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 = self.0 && is_finite(&param.val());
        }
    }
    let mut look = Look(true);
    model.visit(&mut look);
    look.0
}

/// The Euclidean norm of the gradients of all parameters together, as
/// [`clip_grad_norm`](super::clip_grad_norm) takes it; not finite where one of them is not.
pub fn grad_norm<M: Module>(grads: &GradientsParams, model: &M) -> f64 {
    let mut squares = Squares { grads, sum: 0.0 };
    model.visit(&mut squares);
    squares.sum.sqrt()
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sum += grad.powi_scalar(2).sum().into_scalar::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct One {
        a: Param<Tensor<1>>,
    }

    #[test]
    fn a_value_that_is_not_finite_is_found_wherever_it_stands() {
        for device in crate::device::cpus() {
            for dtype in [burn::tensor::DType::F32, burn::tensor::DType::F64] {
                for (values, finite) in [
                    ([0.0, f64::MAX.min(1e38), -0.0], true),
                    ([f64::NAN, 1.0, 1.0], false),
                    ([1.0, 1.0, f64::NEG_INFINITY], false),
                ] {
                    let x = Tensor::<1>::from_data(TensorData::from(values), (&device, dtype));
                    assert_eq!(is_finite(&x), finite, "{values:?}");
                    let model = One { a: Param::from_tensor(x.autodiff()) };
                    assert_eq!(is_finite_model(&model), finite, "{values:?}");
                }
            }
        }
    }
}
