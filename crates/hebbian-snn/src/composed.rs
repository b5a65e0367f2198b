//! DSR and the lateral rule from plain tensor operations: what every other form is compared with,
//! and what devices without a fused kernel run.

use burn::prelude::*;

use crate::lateral::{CLAMP, LateralRule};
use crate::network::Mlp;
use crate::records::{Factor, Presynaptic, Records};

/// The forward pass of [`crate::dsr::forward`] with the shortcuts of section 15.2: the first
/// layer's current is computed once, the head acts on weighted rates. Nothing is checked here: it panics where Burn's
/// operations do, and values that are not finite go through.
pub fn forward(mlp: &Mlp, x: Tensor<2>) -> (Tensor<2>, Records) {
    let lif = &mlp.lif;
    let [batch, _] = x.dims();
    let mut presynaptic = vec![Presynaptic { rate: x.clone(), factor: Factor::of_input(mlp) }];
    let (mut current_rates, mut firing) = (Vec::new(), Vec::new());
    let head = mlp.thresholds.len();
    let mut output: Option<Tensor<3>> = None;
    for layer in 0..head {
        let w = mlp.weight(layer);
        let [_, features] = w.dims();
        let (current, rate) = match output {
            None => {
                let current = x.clone().matmul(w);
                let repeated = current.clone().unsqueeze_dim::<3>(0).repeat_dim(0, lif.steps);
                (repeated, current)
            }
            Some(output) => {
                let [steps, _, inputs] = output.dims();
                let flat: Tensor<2> = output.reshape([steps * batch, inputs]).matmul(w);
                let current: Tensor<3> = flat.reshape([steps, batch, features]);
                let rate = lif.wfr(current.clone());
                (current, rate)
            }
        };
        current_rates.push(rate);
        let trace = lif.forward(current, mlp.threshold(layer));
        let count = trace.spikes.sum().into_scalar::<f32>();
        firing.push(f64::from(count) / (lif.steps * batch * features) as f64);
        let rate = lif.wfr(trace.output.clone());
        let factor = if layer + 1 == head {
            Factor::Rate(1.0)
        } else {
            Factor::Sum(trace.output.clone().sum_dim(0).squeeze_dim(0))
        };
        presynaptic.push(Presynaptic { rate, factor });
        output = Some(trace.output);
    }
    let logits = presynaptic[head].rate.clone().matmul(mlp.weight(head));
    (logits, Records { presynaptic, current: current_rates, firing })
}

/// The computation as section 4.1 states it, without any shortcut and by automatic
/// differentiation: every layer is applied at every time step, the readout is averaged at the
/// end. The network's parameters must be tracked; the result is the logits, with their graph.
///
/// # Panics
/// When the network has no layers, as a slice does, or `x` is not as wide as the first one.
pub fn literal(mlp: &Mlp, x: Tensor<2>) -> Tensor<2> {
    let lif = &mlp.lif;
    let [batch, _] = x.dims();
    let mut signal = x.unsqueeze_dim::<3>(0).repeat_dim(0, lif.steps);
    let step_by_step = |signal: Tensor<3>, w: Tensor<2>| -> Tensor<3> {
        let [steps, _, inputs] = signal.dims();
        let [_, features] = w.dims();
        signal.reshape([steps * batch, inputs]).matmul(w).reshape([steps, batch, features])
    };
    for (weight, threshold) in mlp.weights.iter().zip(&mlp.thresholds) {
        let current = step_by_step(signal, weight.val());
        signal = lif.forward_autodiff(current, threshold.val());
    }
    let head = mlp.weights[mlp.weights.len() - 1].val();
    lif.wfr(step_by_step(signal, head))
}

/// `x - (x H^T) H` for `x` `[batch, n]` and `H` `[k, n]`.
pub(crate) fn residual(x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
    let inside = x.clone().matmul(h.clone().transpose());
    x - inside.matmul(h)
}

/// The iterations of section 6.2 on new rows `[k, n]` and their velocity. `x` `[batch, n]` is the
/// batch that drives them, `unfixed` the same after [`residual`] of the fixed rows: those do not
/// move, so their feedback is taken off once. Returns rows and velocity.
pub(crate) fn lateral_update(
    rows: Tensor<2>,
    velocity: Tensor<2>,
    x: Tensor<2>,
    unfixed: Tensor<2>,
    rule: &LateralRule,
) -> (Tensor<2>, Tensor<2>) {
    let (mut h, mut v) = (rows, velocity);
    let batch = x.dims()[0] as f64;
    for _ in 0..rule.iterations {
        let y = x.clone().matmul(h.clone().transpose());
        let unexplained = unfixed.clone() - y.clone().matmul(h.clone());
        let d = y.transpose().matmul(unexplained).div_scalar(batch).clamp(-CLAMP, CLAMP);
        v = v.mul_scalar(rule.momentum) + d.mul_scalar(1.0 - rule.momentum);
        h = h + v.clone().mul_scalar(rule.lr);
    }
    (h, v)
}
