//! The operations on a CPU backend: a module of `on_flex.rs` and of `on_ndarray.rs`, which say whose tensors `cpu` means.

use burn::tensor::Shape;

use super::cpu::{self, Backend, Tensor, dense, shape, values};
use crate::fused::blend::{self, Blend};
use crate::fused::gate::{self, Gate};
use crate::fused::rule::{self, Slices};
use crate::fused::rule_grad::{self, Incoming};
use crate::fused::{HostOps, MemoryOps, Plan, Shapes, gelu, norm, or_one, swiglu};
use plasticity_core::nn::vector::Isa;

/// A result that is not there is a single number that nobody reads.
fn make(values: Vec<f32>, shape: impl Into<Shape>) -> Tensor {
    let (values, shape) = or_one(values, shape);
    cpu::make(values, shape)
}

impl MemoryOps for Backend {
    fn rule(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        log_a: Tensor,
        starts: Tensor,
        s: Tensor,
        log_decay: Tensor,
        erase: Tensor,
        write: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor) {
        let (read, state, _) = run(q, k, v, beta, log_a, starts, s, log_decay, erase, write, plan, false);
        (read, state)
    }

    fn rule_parts(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        log_a: Tensor,
        starts: Tensor,
        s: Tensor,
        log_decay: Tensor,
        erase: Tensor,
        write: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor, Tensor) {
        run(q, k, v, beta, log_a, starts, s, log_decay, erase, write, plan, true)
    }

    fn rule_grad(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        log_a: Tensor,
        starts: Tensor,
        s: Tensor,
        log_decay: Tensor,
        erase: Tensor,
        write: Tensor,
        errors: Tensor,
        grad: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor) {
        let q = dense(q);
        let k = dense(k);
        let v = dense(v);
        let beta = dense(beta);
        let log_a = dense(log_a);
        let starts = dense(starts);
        let s = dense(s);
        let log_decay = dense(log_decay);
        let erase = dense(erase);
        let write = dense(write);
        let errors = dense(errors);
        let grad = dense(grad);
        let incoming = Incoming { read: Some(values(&grad)), state: None };
        let x = Slices {
            q: values(&q),
            k: values(&k),
            v: values(&v),
            beta: values(&beta),
            log_a: values(&log_a),
            starts: values(&starts),
            s: values(&s),
            log_decay: values(&log_decay),
            erase: values(&erase),
            write: values(&write),
        };
        let d = rule_grad::backward(Isa::widest(), &plan, x, values(&errors), incoming);
        let of = Shapes::new(&plan);
        let log_a = make(if plan.decay { d.log_a } else { Vec::new() }, of.beta);
        let (q, k, v, beta, s) =
            (make(d.q, of.q), make(d.k, of.k), make(d.v, of.v), make(d.beta, of.beta), make(d.s, of.s));
        (q, k, v, beta, log_a, s, make(d.log_decay, of.k), make(d.erase, of.k), make(d.write, of.v))
    }

    fn state_grad(
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        log_a: Tensor,
        starts: Tensor,
        s: Tensor,
        log_decay: Tensor,
        erase: Tensor,
        write: Tensor,
        errors: Tensor,
        grad: Tensor,
        plan: Plan,
    ) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor) {
        let k = dense(k);
        let v = dense(v);
        let beta = dense(beta);
        let log_a = dense(log_a);
        let starts = dense(starts);
        let s = dense(s);
        let log_decay = dense(log_decay);
        let erase = dense(erase);
        let write = dense(write);
        let errors = dense(errors);
        let grad = dense(grad);
        let incoming = Incoming { read: None, state: Some(values(&grad)) };
        let x = Slices {
            q: &[],
            k: values(&k),
            v: values(&v),
            beta: values(&beta),
            log_a: values(&log_a),
            starts: values(&starts),
            s: values(&s),
            log_decay: values(&log_decay),
            erase: values(&erase),
            write: values(&write),
        };
        let d = rule_grad::backward(Isa::widest(), &plan, x, values(&errors), incoming);
        let of = Shapes::new(&plan);
        let log_a = make(if plan.decay { d.log_a } else { Vec::new() }, of.beta);
        let (k, v, beta, s) = (make(d.k, of.k), make(d.v, of.v), make(d.beta, of.beta), make(d.s, of.s));
        (k, v, beta, log_a, s, make(d.log_decay, of.k), make(d.erase, of.k), make(d.write, of.v))
    }

    fn blend(k: Tensor, prev: Tensor, mu: Tensor, starts: Tensor, sizes: Blend) -> Tensor {
        let k = dense(k);
        let prev = dense(prev);
        let mu = dense(mu);
        let starts = dense(starts);
        let x = blend::Slices { k: values(&k), prev: values(&prev), mu: values(&mu), starts: values(&starts) };
        make(blend::forward(sizes, x), sizes.dims)
    }

    fn blend_grad(
        k: Tensor,
        prev: Tensor,
        mu: Tensor,
        starts: Tensor,
        grad: Tensor,
        sizes: Blend,
    ) -> (Tensor, Tensor, Tensor) {
        let k = dense(k);
        let prev = dense(prev);
        let mu = dense(mu);
        let starts = dense(starts);
        let grad = dense(grad);
        let [batch, _, groups, width] = sizes.dims;
        let x = blend::Slices { k: values(&k), prev: values(&prev), mu: values(&mu), starts: values(&starts) };
        let (dk, dprev, dmu) = blend::backward(sizes, x, values(&grad));
        (make(dk, sizes.dims), make(dprev, [batch, groups, width]), make(dmu, [groups, width]))
    }

    fn gate(r: Tensor, gate: Tensor, gamma: Tensor, c: Tensor, sizes: Gate) -> Tensor {
        let r = dense(r);
        let gate = dense(gate);
        let gamma = dense(gamma);
        let c = dense(c);
        let x = gate::Slices { r: values(&r), gate: values(&gate), gamma: values(&gamma), c: values(&c) };
        make(gate::forward(sizes, x), sizes.dims)
    }

    fn gate_grad(
        r: Tensor,
        gate: Tensor,
        gamma: Tensor,
        c: Tensor,
        grad: Tensor,
        sizes: Gate,
    ) -> (Tensor, Tensor, Tensor, Tensor) {
        let r = dense(r);
        let gate = dense(gate);
        let gamma = dense(gamma);
        let c = dense(c);
        let grad = dense(grad);
        let [batch, time, heads, width] = sizes.dims;
        let x = gate::Slices { r: values(&r), gate: values(&gate), gamma: values(&gamma), c: values(&c) };
        let [dr, dgate, dgamma, dc] = gate::backward(sizes, x, values(&grad));
        (make(dr, sizes.dims), make(dgate, [batch, time, heads]), make(dgamma, [heads]), make(dc, [heads, width]))
    }
}

impl HostOps for Backend {
    fn exact_gelu(x: Tensor) -> Tensor {
        let (shape, x) = (shape(&x), dense(x));
        make(gelu::forward(values(&x)), shape)
    }

    fn exact_gelu_grad(x: Tensor, grad: Tensor) -> Tensor {
        let (shape, x, grad) = (shape(&x), dense(x), dense(grad));
        make(gelu::backward(values(&x), values(&grad)), shape)
    }

    fn swiglu(gate: Tensor, up: Tensor) -> Tensor {
        let (shape, gate, up) = (shape(&gate), dense(gate), dense(up));
        make(swiglu::forward(values(&gate), values(&up)), shape)
    }

    fn swiglu_grad(gate: Tensor, up: Tensor, grad: Tensor) -> (Tensor, Tensor) {
        let (shape, gate, up, grad) = (shape(&gate), dense(gate), dense(up), dense(grad));
        let [dgate, dup] = swiglu::backward(values(&gate), values(&up), values(&grad));
        (make(dgate, shape.clone()), make(dup, shape))
    }

    fn rms_norm(x: Tensor, scale: Tensor, epsilon: f32) -> Tensor {
        let (shape, x, scale) = (shape(&x), dense(x), dense(scale));
        make(norm::forward(values(&x), values(&scale), epsilon), shape)
    }

    fn rms_norm_grad(x: Tensor, scale: Tensor, grad: Tensor, epsilon: f32) -> (Tensor, Tensor) {
        let (shape, x, scale, grad) = (shape(&x), dense(x), dense(scale), dense(grad));
        let (dx, dscale) = norm::backward(values(&x), values(&scale), epsilon, values(&grad));
        let width = dscale.len();
        (make(dx, shape), make(dscale, [width]))
    }
}

#[allow(clippy::too_many_arguments)]
fn run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_a: Tensor,
    starts: Tensor,
    s: Tensor,
    log_decay: Tensor,
    erase: Tensor,
    write: Tensor,
    plan: Plan,
    keep: bool,
) -> (Tensor, Tensor, Tensor) {
    let q = dense(q);
    let k = dense(k);
    let v = dense(v);
    let beta = dense(beta);
    let log_a = dense(log_a);
    let starts = dense(starts);
    let s = dense(s);
    let log_decay = dense(log_decay);
    let erase = dense(erase);
    let write = dense(write);
    let x = Slices {
        q: values(&q),
        k: values(&k),
        v: values(&v),
        beta: values(&beta),
        log_a: values(&log_a),
        starts: values(&starts),
        s: values(&s),
        log_decay: values(&log_decay),
        erase: values(&erase),
        write: values(&write),
    };
    let (read, state, errors) = rule::forward(Isa::widest(), &plan, x, keep);
    let of = Shapes::new(&plan);
    (make(read, of.read), make(state, of.s), make(errors, of.v))
}
