//! The operation on the flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

use super::grad::{self, Outcome};
use super::kernel::{self, Slices};
use super::{AttentionOps, Plan};
use crate::fused::simd::Isa;

type Tensor = FlexTensor;

/// Copies a strided view only.
fn dense(x: Tensor) -> FlexTensor {
    x.to_contiguous()
}

fn values(x: &FlexTensor) -> &[f32] {
    match x.as_slice() {
        Some(values) => values,
        None => unreachable!("a contiguous f32 tensor"),
    }
}

fn make(data: Vec<f32>, shape: impl AsRef<[usize]>) -> Tensor {
    FlexTensor::from_data(TensorData::new(data, shape.as_ref().to_vec()))
}

fn run(q: Tensor, k: Tensor, v: Tensor, plan: &Plan, keep: bool) -> (Tensor, Vec<f32>) {
    let (q, k, v) = (dense(q), dense(k), dense(v));
    let x = Slices { q: values(&q), k: values(&k), v: values(&v) };
    let (y, sums) = kernel::forward(Isa::widest(), plan, x, keep);
    (make(y, plan.of_queries()), sums)
}

impl AttentionOps for Flex {
    fn attend(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor {
        run(q, k, v, &plan, false).0
    }

    fn attend_parts(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> (Tensor, Tensor) {
        let (y, sums) = run(q, k, v, &plan, true);
        let [batch, time, heads, _] = plan.of_queries();
        (y, make(sums, [batch, time, heads]))
    }

    fn attend_grad(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        y: Tensor,
        sums: Tensor,
        grad: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor, Tensor) {
        let (q, k, v) = (dense(q), dense(k), dense(v));
        let (y, sums, grad) = (dense(y), dense(sums), dense(grad));
        let x = Slices { q: values(&q), k: values(&k), v: values(&v) };
        let of = Outcome { y: values(&y), sums: values(&sums), grad: values(&grad) };
        let [q, k, v] = grad::backward(Isa::widest(), &plan, x, of);
        (make(q, plan.of_queries()), make(k, plan.of_keys()), make(v, plan.of_keys()))
    }
}
