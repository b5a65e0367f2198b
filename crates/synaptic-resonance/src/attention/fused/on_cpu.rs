//! The operation on a CPU backend: a module of `on_flex.rs` and of `on_ndarray.rs`, which say whose tensors `cpu` means.

use super::cpu::{Backend, Tensor, dense, make, values};
use crate::attention::fused::grad::{self, Outcome};
use crate::attention::fused::kernel::{self, Slices};
use crate::attention::fused::{AttentionOps, Plan};
use plasticity_core::nn::vector::Isa;

fn run(q: Tensor, k: Tensor, v: Tensor, plan: &Plan, keep: bool) -> (Tensor, Vec<f32>) {
    let (q, k, v) = (dense(q), dense(k), dense(v));
    let x = Slices { q: values(&q), k: values(&k), v: values(&v) };
    let (y, sums) = kernel::forward(Isa::widest(), plan, x, keep);
    (make(y, plan.of_queries()), sums)
}

impl AttentionOps for Backend {
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
        sums: Tensor,
        grad: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor, Tensor) {
        let (q, k, v) = (dense(q), dense(k), dense(v));
        let (sums, grad) = (dense(sums), dense(grad));
        let x = Slices { q: values(&q), k: values(&k), v: values(&v) };
        let of = Outcome { sums: values(&sums), grad: values(&grad) };
        let [q, k, v] = grad::backward(Isa::widest(), &plan, x, of);
        (make(q, plan.of_queries()), make(k, plan.of_keys()), make(v, plan.of_keys()))
    }
}
