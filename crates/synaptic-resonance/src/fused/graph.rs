//! The operations under autodiff.
//!
//! A node of the graph has one output, the rule two: read-outs and the state after the last token are a node each,
//! with one forward pass. Most states are carried on without their graph, so that the second node is never visited.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};

use super::*;

fn register<B: Backend, const N: usize>(
    grads: &mut Gradients,
    parents: [Option<NodeId>; N],
    values: [FloatTensor<B>; N],
) {
    for (parent, value) in parents.into_iter().zip(values) {
        if let Some(parent) = parent {
            grads.register::<B>(parent, value);
        }
    }
}

#[derive(Debug)]
struct ReadBackward;

impl<B: MemoryOps> Backward<B, 9> for ReadBackward {
    type State = ([FloatTensor<B>; 11], Plan);

    fn backward(self, ops: Ops<Self::State, 9>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([q, k, v, beta, log_a, starts, s, log_decay, erase, write, errors], plan) = ops.state;
        let (q, k, v, beta, log_a, s, log_decay, erase, write) =
            B::rule_grad(q, k, v, beta, log_a, starts, s, log_decay, erase, write, errors, grad, plan);
        let all = [q, k, v, beta, log_a, s, log_decay, erase, write];
        register::<B, 9>(grads, ops.parents.map(|p| p.map(|p| p.id)), all);
    }
}

#[derive(Debug)]
struct StateBackward;

impl<B: MemoryOps> Backward<B, 8> for StateBackward {
    type State = ([FloatTensor<B>; 10], Plan);

    fn backward(self, ops: Ops<Self::State, 8>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([k, v, beta, log_a, starts, s, log_decay, erase, write, errors], plan) = ops.state;
        let (k, v, beta, log_a, s, log_decay, erase, write) =
            B::state_grad(k, v, beta, log_a, starts, s, log_decay, erase, write, errors, grad, plan);
        let all = [k, v, beta, log_a, s, log_decay, erase, write];
        register::<B, 8>(grads, ops.parents.map(|p| p.map(|p| p.id)), all);
    }
}

#[derive(Debug)]
struct BlendBackward;

impl<B: MemoryOps> Backward<B, 3> for BlendBackward {
    type State = ([FloatTensor<B>; 4], Blend);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([k, prev, mu, starts], sizes) = ops.state;
        let (k, prev, mu) = B::blend_grad(k, prev, mu, starts, grad, sizes);
        register::<B, 3>(grads, ops.parents.map(|p| p.map(|p| p.id)), [k, prev, mu]);
    }
}

#[derive(Debug)]
struct GateBackward;

impl<B: MemoryOps> Backward<B, 4> for GateBackward {
    type State = ([FloatTensor<B>; 4], Gate);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([r, gate, gamma, c], sizes) = ops.state;
        let (r, gate, gamma, c) = B::gate_grad(r, gate, gamma, c, grad, sizes);
        register::<B, 4>(grads, ops.parents.map(|p| p.map(|p| p.id)), [r, gate, gamma, c]);
    }
}

impl<B: MemoryOps, C: CheckpointStrategy> MemoryOps for Autodiff<B, C> {
    fn rule(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        log_a: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        s: FloatTensor<Self>,
        log_decay: FloatTensor<Self>,
        erase: FloatTensor<Self>,
        write: FloatTensor<Self>,
        plan: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [&k, &v, &beta, &log_a, &s, &log_decay, &erase, &write].map(|x| x.node());
        let ((q, of_q), (k, of_k), (v, of_v)) = (q.into_parts(), k.into_parts(), v.into_parts());
        let ((beta, of_beta), (log_a, of_log_a), (s, of_s)) = (beta.into_parts(), log_a.into_parts(), s.into_parts());
        let ((log_decay, of_log_decay), (erase, of_erase)) = (log_decay.into_parts(), erase.into_parts());
        let ((write, of_write), (starts, _)) = (write.into_parts(), starts.into_parts());
        let all = [of_q, of_k, of_v, of_beta, of_log_a, of_s, of_log_decay, of_erase, of_write];
        let read_node = Backward::<B, 9>::prepare::<C>(ReadBackward, all).compute_bound().stateful();
        let state_node = Backward::<B, 8>::prepare::<C>(StateBackward, nodes).compute_bound().stateful();
        let prep = match read_node {
            OpsKind::Tracked(prep) => prep,
            OpsKind::UnTracked(prep) => {
                let (read, state) = B::rule(q, k, v, beta, log_a, starts, s, log_decay, erase, write, plan);
                let state = match state_node {
                    OpsKind::UnTracked(prep) => prep.finish(state),
                    OpsKind::Tracked(_) => unreachable!("all of its inputs are inputs of the read-outs"),
                };
                return (prep.finish(read), state);
            }
        };
        let inputs = [q, k, v, beta, log_a, starts, s, log_decay, erase, write];
        let [q, k, v, beta, log_a, starts, s, log_decay, erase, write] = inputs.clone();
        let (read, state, errors) = B::rule_parts(q, k, v, beta, log_a, starts, s, log_decay, erase, write, plan);
        let [q, k, v, beta, log_a, starts, s, log_decay, erase, write] = inputs;
        let state = match state_node {
            OpsKind::Tracked(prep) => {
                let saved = [&k, &v, &beta, &log_a, &starts, &s, &log_decay, &erase, &write, &errors];
                prep.finish((saved.map(Clone::clone), plan), state)
            }
            OpsKind::UnTracked(prep) => prep.finish(state),
        };
        (prep.finish(([q, k, v, beta, log_a, starts, s, log_decay, erase, write, errors], plan), read), state)
    }

    fn rule_parts(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("inner backends only")
    }

    fn rule_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Plan,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        unreachable!("first derivatives only")
    }

    fn state_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Plan,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        unreachable!("first derivatives only")
    }

    fn blend(
        k: FloatTensor<Self>,
        prev: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        sizes: Blend,
    ) -> FloatTensor<Self> {
        let ((k, of_k), (prev, of_prev), (mu, of_mu)) = (k.into_parts(), prev.into_parts(), mu.into_parts());
        let (starts, _) = starts.into_parts();
        match Backward::<B, 3>::prepare::<C>(BlendBackward, [of_k, of_prev, of_mu]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::blend(k.clone(), prev.clone(), mu.clone(), starts.clone(), sizes);
                prep.finish(([k, prev, mu, starts], sizes), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::blend(k, prev, mu, starts, sizes)),
        }
    }

    fn blend_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Blend,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }

    fn gate(
        r: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        c: FloatTensor<Self>,
        sizes: Gate,
    ) -> FloatTensor<Self> {
        let ((r, of_r), (gate, of_gate)) = (r.into_parts(), gate.into_parts());
        let ((gamma, of_gamma), (c, of_c)) = (gamma.into_parts(), c.into_parts());
        let nodes = [of_r, of_gate, of_gamma, of_c];
        match Backward::<B, 4>::prepare::<C>(GateBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::gate(r.clone(), gate.clone(), gamma.clone(), c.clone(), sizes);
                prep.finish(([r, gate, gamma, c], sizes), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::gate(r, gate, gamma, c, sizes)),
        }
    }

    fn gate_grad(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Gate,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("first derivatives only")
    }
}
