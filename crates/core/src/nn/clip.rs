//! Gradient clipping by the norm over all parameters, as papers mean it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use super::finite::grad_norm;

/// Scales the gradients of `model` by `min(1, limit / norm)`, `norm` the Euclidean norm of all of
/// them together. Returns them with the norm before.
///
/// Each parameter's sum is accumulated in its own type, their total in f64. A norm that is not
/// finite scales nothing: the caller sees it. A limit below 0 is 0, so that no step climbs.
pub fn clip_grad_norm<M: Module>(mut grads: GradientsParams, model: &M, limit: f64) -> (GradientsParams, f64) {
    let norm = grad_norm(&grads, model);
    let limit = limit.max(0.0);
    if norm > limit && norm.is_finite() {
        model.visit(&mut Scale { grads: &mut grads, by: limit / norm });
    }
    (grads, norm)
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    by: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Pair {
        a: Param<Tensor<1>>,
        b: Param<Tensor<2>>,
    }

    /// The gradients of `3 a + 4 sum b` by its parameters, clipped at `limit`, and their norm.
    fn clipped(limit: f64) -> (Vec<f32>, Vec<f32>, f64) {
        let device = crate::device::by_name("auto").unwrap().autodiff();
        let (a, b) = (Tensor::<1>::ones([1], &device), Tensor::<2>::ones([1, 2], &device));
        let pair = Pair { a: Param::from_tensor(a), b: Param::from_tensor(b) };
        let loss = pair.a.val().sum() * 3.0 + pair.b.val().sum() * 4.0;
        let grads = GradientsParams::from_grads(loss.backward(), &pair);
        let (grads, norm) = clip_grad_norm(grads, &pair, limit);
        let values = |t: TensorData| t.try_to_vec::<f32>().unwrap();
        (
            values(grads.get::<1>(pair.a.id).unwrap().into_data()),
            values(grads.get::<2>(pair.b.id).unwrap().into_data()),
            norm,
        )
    }

    #[test]
    fn the_norm_is_that_of_all_parameters_together() {
        let expected = (9.0f64 + 2.0 * 16.0).sqrt();
        let (a, b, norm) = clipped(2.0);
        assert!((norm - expected).abs() < 1e-6);
        let scale = (2.0 / expected) as f32;
        for (found, full) in a.iter().chain(&b).zip([3.0, 4.0, 4.0]) {
            assert!((found - full * scale).abs() < 1e-6);
        }
        assert_eq!(clipped(-2.0), (vec![0.0], vec![0.0, 0.0], norm), "no step, and none uphill");
        let (a, b, norm) = clipped(7.0);
        assert!((norm - expected).abs() < 1e-6);
        assert_eq!((a, b), (vec![3.0], vec![4.0, 4.0]), "below the limit nothing changes");
    }
}
