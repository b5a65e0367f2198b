//! Steps of training against golden values and against the literal computation.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, SgdConfig, decay::WeightDecayConfig};
use burn::prelude::*;
use hebbian_snn::composed;
use hebbian_snn::dsr;
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::learner::Learner;
use hebbian_snn::network::Mlp;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use hebbian_snn::train::Optimiser;
use plasticity_core::on_each_device;
use plasticity_core::testing::{Golden, assert_close, max_difference, values};

use crate::support::*;

/// The network and lateral connections with which `pipeline_dsr.json` starts.
fn golden_start(golden: &Golden, projection: Projection, device: &Device) -> Learner {
    let layers = golden.len("W_init");
    let weight = |i| golden.tensor::<2>(&format!("W_init.{i}"), device).transpose();
    let lif = DsrLif { steps: golden.number("T") as usize, ..DsrLif::default() };
    let mlp = Mlp::from_weights((0..layers).map(weight).collect(), lif).unwrap();
    let rules: Vec<LateralRule> =
        golden.numbers("hlop_lr").into_iter().map(|lr| LateralRule { lr, ..LateralRule::default() }).collect();
    let inputs = mlp.layer_inputs();
    let hlop = Hlop::new(&inputs, &rules, projection, Consolidate::None, device).unwrap();
    Learner::new(mlp, Some(hlop), Optimiser::Sgd, golden.number("lr")).unwrap()
}

/// Four batches, two tasks: oracle 20.
fn golden_pipeline(projection: Projection, device: &Device) {
    let golden = golden("pipeline_dsr.json");
    let learner = golden_start(&golden, projection, device);
    let rows = |name: &str| (0..3).map(|i| golden.tensor(&format!("{name}.{i}"), device)).collect();
    let mut task = learner.begin_task_with(rows("H_init")).unwrap();
    for i in 0..golden.len("steps") {
        let expected = golden.at(&format!("steps.{i}"));
        let index = expected.number("task") as usize;
        if i > 0 && index > golden.number(&format!("steps.{}.task", i - 1)) as usize {
            task = task.finish().0.begin_task_with(rows("H_new_rows")).unwrap();
        }
        let x: Tensor<2> = golden.tensor(&format!("x.{i}"), device);
        let y: Vec<i64> = golden.numbers(&format!("y.{i}")).into_iter().map(|y| y as i64).collect();
        let y = Tensor::<1, Int>::from_data(TensorData::new(y, [4]), device);
        let before: Vec<_> = (0..3).map(|l| values(task.mlp().weight(l))).collect();
        let logits = dsr::forward(&task.mlp().clone().clamp_thresholds(), x.clone()).unwrap().0;
        assert_close(&values(logits), &expected.numbers("logits"), 2e-5);
        let report = task.step(x, y).unwrap();
        assert!((report.loss - expected.number("loss")).abs() < 2e-5);
        for (l, before) in before.into_iter().enumerate() {
            let weights = task.mlp().weight(l).transpose();
            let name = format!("weights.{l}");
            assert_close(&values(weights.clone()), &expected.numbers(&name), 2e-5);
            // The gradient, from the step that was taken.
            let [n, out] = task.mlp().weight(l).dims();
            let before: Tensor<2> = matrix(before.into_iter().map(|x| x as f32).collect(), out, device);
            assert_eq!(before.dims(), [n, out]);
            let gradient = (before.transpose() - weights).div_scalar(golden.number("lr"));
            assert_close(&values(gradient), &expected.numbers(&format!("dW.{l}")), 2e-5);
            let h = task.hlop().unwrap().subspaces()[l].h().unwrap();
            assert_close(&values(h), &expected.numbers(&format!("H.{l}")), 2e-5);
        }
        for (l, vth) in expected.numbers("vth").into_iter().enumerate() {
            assert_close(&values(task.mlp().threshold(l)), &[vth], 2e-5);
        }
    }
}

on_each_device!(o20_pipeline_projecting_inputs, |device: Device| {
    golden_pipeline(Projection::Input, &device);
});

on_each_device!(o20_pipeline_projecting_weights, |device: Device| {
    golden_pipeline(Projection::Weight, &device);
});

on_each_device!(a_threshold_below_its_bound_is_lifted, |device: Device| {
    let mut mlp = small_mlp(5, &[4], 3, &device);
    mlp.thresholds[0] = mlp.thresholds[0].clone().map(|v| v.mul_scalar(0.0) - 1.0);
    let mlp = mlp.clamp_thresholds();
    assert_close(&values(mlp.thresholds[0].val()), &[0.0005], 1e-9);
});

/// Fifty steps of an optimiser of Burn's on gradients that the rows `h` do not see; how far the weights' change is
/// seen by them, without and with [`Subspace::project_step`] after each.
fn leaves_the_subspace(optimiser: impl Fn() -> burn::optim::ModuleOptimizer, lr: f64, device: &Device) -> [f64; 2] {
    let h = orthonormal(6, 20, "closure", device);
    let mut subspace = Subspace::new(20, LateralRule::default(), device).unwrap();
    subspace.append(h.clone()).unwrap();
    subspace.finish_task(Consolidate::None);
    let head = normal(10, 4, "head", device);
    let start = normal(20, 10, "w", device);
    [false, true].map(|project| {
        let mut optimiser = optimiser();
        let mut mlp = Mlp::from_weights(vec![start.clone(), head.clone()], DsrLif::default()).unwrap();
        for i in 0..50 {
            let before = mlp.weight(0);
            let mut params = GradientsParams::new();
            let gradient = normal(20, 10, &format!("gradient {i}"), device);
            params.register(mlp.weights[0].id, subspace.project_gradient(gradient).unwrap());
            mlp = optimiser.step(lr, mlp, params);
            if project {
                let after = subspace.project_step(before, mlp.weight(0)).unwrap();
                mlp.weights[0] = mlp.weights[0].clone().map(|_| after.autodiff().require_grad());
            }
        }
        assert!(largest(mlp.weight(0) - start.clone()) > 0.05, "the weights must move");
        largest(h.clone().matmul(mlp.weight(0) - start.clone()))
    })
}

on_each_device!(o19_optimiser_closure, |device: Device| {
    let sgd = SgdConfig::new;
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
    for (name, [plain, projected]) in [
        ("sgd", leaves_the_subspace(|| sgd().init(), 0.01, &device)),
        ("momentum", leaves_the_subspace(|| sgd().with_momentum(Some(momentum.clone())).init(), 0.01, &device)),
    ] {
        assert!(plain < 1e-5 && projected < 1e-5, "{name} leaves the subspace by {plain}, projected by {projected}");
    }
    let decay = WeightDecayConfig::new(0.1);
    for (name, [plain, projected]) in [
        ("adam", leaves_the_subspace(|| AdamConfig::new().init(), 0.01, &device)),
        ("decay", leaves_the_subspace(|| sgd().with_weight_decay(Some(decay.clone())).init(), 0.01, &device)),
    ] {
        assert!(plain > 1e-2, "{name} leaves the subspace by {plain} only");
        assert!(projected < 1e-5, "{name}, projected after each step, leaves it by {projected}");
    }
});

// The bias of a layer answers old inputs too, and is none of its inputs: as the weight of one more, that is always 1,
// it is protected with them.
on_each_device!(a_bias_is_protected_as_the_weight_of_a_constant_input, |device: Device| {
    let old = normal(40, 3, "old", &device).matmul(normal(3, 12, "plane", &device));
    let one = Tensor::<2>::ones([40, 1], &device);
    let with_one = Tensor::cat(vec![old.clone(), one.clone()], 1);
    let gradient = normal(13, 5, "gradient", &device);
    let moved = |inputs: usize, x: Tensor<2>, k: usize| {
        let mut subspace =
            Subspace::new(inputs, LateralRule { iterations: 400, ..LateralRule::default() }, &device).unwrap();
        subspace.grow(k, &mut plasticity_core::rng::Stream::new(21, "rows", 0)).unwrap();
        for _ in 0..20 {
            subspace.update(x.clone()).unwrap();
        }
        subspace.finish_task(Consolidate::Qr);
        assert!(subspace.captured_energy(x).unwrap() > 1.0 - 1e-6);
        let protected = subspace.project_gradient(gradient.clone().narrow(0, 0, inputs)).unwrap();
        let change = match inputs {
            13 => protected,
            _ => Tensor::cat(vec![protected, gradient.clone().narrow(0, inputs, 13 - inputs)], 0),
        };
        largest(with_one.clone().matmul(change))
    };
    assert!(moved(12, old, 3) > 0.1, "the bias moves what the layer answers");
    assert!(moved(13, with_one.clone(), 4) < 1e-3);
});

/// Ten batches with the shortcuts against the computation as it is stated: oracle 22. Two tasks'
/// worth of batches, naive, thresholds learning.
fn shortcuts_and_literal(hidden: &[usize], classes: u64, batch: usize, device: &Device) -> f64 {
    let inputs = 40;
    let start = small_mlp(inputs, hidden, classes as usize, device);
    let learner = Learner::new(start.clone(), None, Optimiser::Sgd, 0.1).unwrap();
    let mut fast = learner.begin_task(&[], &mut plasticity_core::rng::Stream::new(0, "none", 0)).unwrap();
    let mut literal = small_mlp(inputs, hidden, classes as usize, &device.clone().autodiff());
    let mut optimiser = SgdConfig::new().init();
    for i in 0..10 {
        let x = glyphs(batch, inputs, i, device).mul_scalar(2.0);
        let y = labels(batch, classes, i, device);
        fast.step(x.clone(), y.clone()).unwrap();

        let tracked = device.clone().autodiff();
        literal = literal.clamp_thresholds();
        let logits = composed::literal(&literal, x.to_device(&tracked));
        let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(&tracked).forward(logits, y.to_device(&tracked));
        let grads = GradientsParams::from_grads(loss.backward(), &literal);
        assert_eq!(grads.len(), 2 * hidden.len() + 1, "every parameter has a gradient");
        literal = optimiser.step(0.1, literal, grads);
    }
    let mut worst = 0.0f64;
    for layer in 0..=hidden.len() {
        let found = values(fast.mlp().weight(layer));
        assert!(max_difference(&found, &values(start.weight(layer))) > 1e-3, "layer {layer} is still");
        worst = worst.max(max_difference(&found, &values(literal.weight(layer))));
    }
    for layer in 0..hidden.len() {
        let difference = max_difference(&values(fast.mlp().threshold(layer)), &values(literal.threshold(layer)));
        worst = worst.max(difference);
    }
    worst
}

on_each_device!(o22_shortcuts, |device: Device| {
    let worst = shortcuts_and_literal(&[24, 16], 5, 8, &device);
    assert!(worst < 1e-6, "weights differ by {worst}");
    let worst = shortcuts_and_literal(&[24, 16, 12], 5, 8, &device);
    assert!(worst < 1e-6, "three hidden layers: weights differ by {worst}");
});

// A readout of the constant input alone: softmax regression, whose gradient is `x^T g`, once and not once per step of
// time.
on_each_device!(a_single_matrix_has_the_gradient_of_softmax_regression, |device: Device| {
    let mlp = Mlp::from_weights(vec![normal(6, 3, "readout", &device)], DsrLif::default()).unwrap();
    let x = normal(5, 6, "x1", &device);
    let (logits, records) = dsr::forward(&mlp, x.clone()).unwrap();
    assert_close(&values(logits.clone()), &values(x.clone().matmul(mlp.weight(0))), 1e-6);
    let (_, error) = dsr::cross_entropy(logits.clone(), labels(5, 3, 1, &device)).unwrap();
    let gradients = dsr::backward(&mlp, &records, records.factors(), error.clone()).unwrap();
    assert_close(&values(gradients.weights[0].clone()), &values(x.transpose().matmul(error)), 1e-6);
});
