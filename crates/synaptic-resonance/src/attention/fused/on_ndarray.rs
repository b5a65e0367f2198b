//! The operation on the ndarray backend.

use burn::backend::NdArray;
use burn::backend::ndarray::{NdArrayTensor, SharedArray};

use super::grad::{self, Outcome};
use super::kernel::{self, Slices};
use super::{AttentionOps, Plan};
use crate::fused::simd::Isa;

type Tensor = NdArrayTensor;

/// Copies a strided view only.
fn dense(x: Tensor) -> SharedArray<f32> {
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

fn make(data: Vec<f32>, shape: impl AsRef<[usize]>) -> Tensor {
    match SharedArray::from_shape_vec(shape.as_ref(), data) {
        Ok(array) => array.into(),
        Err(error) => unreachable!("as many values as the shape has: {error}"),
    }
}

fn run(q: Tensor, k: Tensor, v: Tensor, plan: &Plan, keep: bool) -> (Tensor, Vec<f32>) {
    let (q, k, v) = (dense(q), dense(k), dense(v));
    let x = Slices { q: values(&q), k: values(&k), v: values(&v) };
    let (y, sums) = kernel::forward(Isa::widest(), plan, x, keep);
    (make(y, plan.of_queries()), sums)
}

impl AttentionOps for NdArray {
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
