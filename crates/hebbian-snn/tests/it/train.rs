use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::prelude::*;
use hebbian_snn::error::SnnError;
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::network::Mlp;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use hebbian_snn::train::{self, Optimiser, StepOptions};
use hebbian_snn::{composed, dsr};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{Golden, assert_close, max_difference, values};

use crate::support::*;

/// The network and lateral connections with which `pipeline_dsr.json` starts.
fn golden_start(golden: &Golden, projection: Projection, device: &Device) -> (Mlp, Hlop) {
    let layers = golden.len("W_init");
    let weight = |i| golden.tensor::<2>(&format!("W_init.{i}"), device).transpose();
    let lif = DsrLif { steps: golden.number("T") as usize, ..DsrLif::default() };
    let mlp = Mlp::from_weights((0..layers).map(weight).collect(), lif).unwrap();
    let rules: Vec<LateralRule> =
        golden.numbers("hlop_lr").into_iter().map(|lr| LateralRule { lr, ..LateralRule::default() }).collect();
    let inputs = mlp.layer_inputs();
    let mut hlop = Hlop::new(&inputs, &rules, projection, Consolidate::None, device).unwrap();
    append(&mut hlop, golden, "H_init", device);
    (mlp, hlop)
}

fn append(hlop: &mut Hlop, golden: &Golden, name: &str, device: &Device) {
    for (i, subspace) in hlop.subspaces_mut().iter_mut().enumerate() {
        subspace.append(golden.tensor(&format!("{name}.{i}"), device)).unwrap();
    }
}

/// Four batches, two tasks: oracle 20.
fn golden_pipeline(projection: Projection, device: &Device) {
    let golden = golden("pipeline_dsr.json");
    let (mut mlp, mut hlop) = golden_start(&golden, projection, device);
    let mut optimiser = Optimiser::Sgd.init(true).unwrap();
    for i in 0..golden.len("steps") {
        let expected = golden.at(&format!("steps.{i}"));
        let task = expected.number("task") as usize;
        if i > 0 && task > golden.number(&format!("steps.{}.task", i - 1)) as usize {
            hlop.finish_task();
            append(&mut hlop, &golden, "H_new_rows", device);
        }
        let x: Tensor<2> = golden.tensor(&format!("x.{i}"), device);
        let y: Vec<i64> = golden.numbers(&format!("y.{i}")).into_iter().map(|y| y as i64).collect();
        let y = Tensor::<1, Int>::from_data(TensorData::new(y, [4]), device);
        let before: Vec<_> = (0..3).map(|l| values(mlp.weight(l))).collect();
        let logits = dsr::forward(&mlp.clone().clamp_thresholds(), x.clone()).0;
        assert_close(&values(logits), &expected.numbers("logits"), 2e-5);
        let options =
            StepOptions { lr: golden.number("lr"), thresholds: task == 0, hlop: Some(&mut hlop), update_hlop: true };
        let report;
        (mlp, report) = train::step(mlp, &mut optimiser, x, y, options).unwrap();
        assert!((report.loss - expected.number("loss")).abs() < 2e-5);
        for (l, before) in before.into_iter().enumerate() {
            let weights = mlp.weight(l).transpose();
            let name = format!("weights.{l}");
            assert_close(&values(weights.clone()), &expected.numbers(&name), 2e-5);
            // The gradient, from the step that was taken.
            let [n, out] = mlp.weight(l).dims();
            let before: Tensor<2> = matrix(before.into_iter().map(|x| x as f32).collect(), out, device);
            assert_eq!(before.dims(), [n, out]);
            let gradient = (before.transpose() - weights).div_scalar(golden.number("lr"));
            assert_close(&values(gradient), &expected.numbers(&format!("dW.{l}")), 2e-5);
            let h = hlop.subspaces()[l].h().unwrap();
            assert_close(&values(h), &expected.numbers(&format!("H.{l}")), 2e-5);
        }
        for (l, vth) in expected.numbers("vth").into_iter().enumerate() {
            assert_close(&values(mlp.threshold(l)), &[vth], 2e-5);
        }
    }
}

on_each_device!(o20_pipeline_projecting_inputs, |device: Device| {
    golden_pipeline(Projection::Input, &device);
});

on_each_device!(o20_pipeline_projecting_weights, |device: Device| {
    golden_pipeline(Projection::Weight, &device);
});

on_each_device!(o18_thresholds_learn_in_the_first_task_only, |device: Device| {
    // Strong inputs saturate neurons, so that the thresholds have a gradient.
    let run = |thresholds: bool| {
        let mut mlp = small_mlp(12, &[10, 8], 4, &device);
        let start = [values(mlp.threshold(0)), values(mlp.threshold(1))];
        let mut optimiser = Optimiser::Sgd.init(false).unwrap();
        for i in 0..5 {
            let x = normal(8, 12, "strong", &device).mul_scalar(20.0);
            let y = labels(8, 4, i, &device);
            let options = StepOptions { lr: 0.1, thresholds, hlop: None, update_hlop: false };
            (mlp, _) = train::step(mlp, &mut optimiser, x, y, options).unwrap();
        }
        (start, [values(mlp.threshold(0)), values(mlp.threshold(1))])
    };
    let (start, end) = run(false);
    assert_eq!(start, end);
    let (start, end) = run(true);
    assert_ne!(start[0], end[0]);
});

on_each_device!(a_threshold_below_its_bound_is_lifted, |device: Device| {
    let mut mlp = small_mlp(5, &[4], 3, &device);
    mlp.thresholds[0] = mlp.thresholds[0].clone().map(|v| v.mul_scalar(0.0) - 1.0);
    let mlp = mlp.clamp_thresholds();
    assert_close(&values(mlp.thresholds[0].val()), &[0.0005], 1e-9);
});

/// Fifty steps of an optimiser on gradients that the rows `h` do not see; how far the weights'
/// change is seen by them.
fn leaves_the_subspace(optimiser: &mut burn::optim::ModuleOptimizer, lr: f64, device: &Device) -> f64 {
    let h = orthonormal(6, 20, "closure", device);
    let mut subspace = Subspace::new(20, LateralRule::default(), device).unwrap();
    subspace.append(h.clone()).unwrap();
    subspace.freeze();
    let head = normal(10, 4, "head", device);
    let start = normal(20, 10, "w", device);
    let mut mlp = Mlp::from_weights(vec![start.clone(), head], DsrLif::default()).unwrap();
    for i in 0..50 {
        let mut params = GradientsParams::new();
        let gradient = normal(20, 10, &format!("gradient {i}"), device);
        params.register(mlp.weights[0].id, subspace.project_gradient(gradient).unwrap());
        mlp = optimiser.step(lr, mlp, params);
    }
    assert!(largest(mlp.weight(0) - start.clone()) > 0.05, "the weights must move");
    largest(h.matmul(mlp.weight(0) - start))
}

on_each_device!(o19_optimiser_closure, |device: Device| {
    let momentum = leaves_the_subspace(&mut Optimiser::Momentum.init(true).unwrap(), 0.01, &device);
    assert!(momentum < 1e-5, "momentum leaves the subspace by {momentum}");
    let sgd = leaves_the_subspace(&mut SgdConfig::new().init(), 0.01, &device);
    assert!(sgd < 1e-5, "sgd leaves the subspace by {sgd}");
    let adam = leaves_the_subspace(&mut AdamConfig::new().init(), 0.01, &device);
    assert!(adam > 1e-2, "adam leaves the subspace by {adam} only");
});

#[test]
fn o19_adam_is_refused_where_gradients_are_projected() {
    assert!(matches!(Optimiser::Adam.init(true), Err(SnnError::NotClosed("adam"))));
    assert!(Optimiser::Adam.init(false).is_ok());
}

/// Ten batches with the shortcuts against the computation as it is stated: oracle 22. Two tasks'
/// worth of batches, naive, thresholds learning.
fn shortcuts_and_literal(hidden: &[usize], classes: u64, batch: usize, device: &Device) -> f64 {
    let inputs = 40;
    let mut fast = small_mlp(inputs, hidden, classes as usize, device);
    let mut literal = small_mlp(inputs, hidden, classes as usize, &device.clone().autodiff());
    let start = fast.clone();
    let mut optimisers = [SgdConfig::new().init(), SgdConfig::new().init()];
    for i in 0..10 {
        let x = glyphs(batch, inputs, i, device).mul_scalar(2.0);
        let y = labels(batch, classes, i, device);
        let options = StepOptions { lr: 0.1, thresholds: true, hlop: None, update_hlop: false };
        (fast, _) = train::step(fast, &mut optimisers[0], x.clone(), y.clone(), options).unwrap();

        let tracked = device.clone().autodiff();
        literal = literal.clamp_thresholds();
        let logits = composed::literal(&literal, x.to_device(&tracked));
        let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(&tracked).forward(logits, y.to_device(&tracked));
        let grads = GradientsParams::from_grads(loss.backward(), &literal);
        assert_eq!(grads.len(), 2 * hidden.len() + 1, "every parameter has a gradient");
        literal = optimisers[1].step(0.1, literal, grads);
    }
    let mut worst = 0.0f64;
    for layer in 0..=hidden.len() {
        let found = values(fast.weight(layer));
        assert!(max_difference(&found, &values(start.weight(layer))) > 1e-3, "layer {layer} is still");
        worst = worst.max(max_difference(&found, &values(literal.weight(layer))));
    }
    for layer in 0..hidden.len() {
        let difference = max_difference(&values(fast.threshold(layer)), &values(literal.threshold(layer)));
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

on_each_device!(the_lateral_connections_survive_a_checkpoint, |device: Device| {
    let rules = [LateralRule::default(); 2];
    let new = || Hlop::new(&[6, 5], &rules, Projection::Input, Consolidate::Qr, &device).unwrap();
    let mut hlop = new();
    let mut stream = Stream::new(9, "rows", 0);
    hlop.begin_task(&[2, 0], &mut stream).unwrap();
    hlop.finish_task();
    hlop.begin_task(&[1, 3], &mut stream).unwrap();
    let saved = hlop.to_tensors();
    let names: Vec<&str> = saved.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["0.fixed", "0.rows", "0.velocity", "1.rows", "1.velocity"]);
    let mut restored = new();
    restored.load_tensors(saved.clone()).unwrap();
    for (a, b) in hlop.subspaces().iter().zip(restored.subspaces()) {
        assert_eq!(values(a.h().unwrap()), values(b.h().unwrap()));
        assert_eq!(a.fixed_rows(), b.fixed_rows());
    }
    let mut stray = saved;
    stray.push(("2.fixed".into(), stray[0].1.clone()));
    assert!(matches!(new().load_tensors(stray), Err(SnnError::Saved(_))));
    assert!(matches!(hlop.begin_task(&[1], &mut stream), Err(SnnError::Shape { .. })));
});

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let device = Device::flex();
    let refused = |rows: usize, width: usize, labelled: usize, hlop: Option<&mut Hlop>| {
        let mlp = small_mlp(12, &[10, 8], 4, &device);
        let mut optimiser = Optimiser::Sgd.init(true).unwrap();
        let x = Tensor::zeros([rows, width], &device);
        let options = StepOptions { lr: 0.1, thresholds: true, hlop, update_hlop: true };
        train::step(mlp, &mut optimiser, x, labels(labelled, 4, 0, &device), options).unwrap_err().to_string()
    };
    assert_eq!(refused(6, 13, 6, None), "`x` has shape [6, 13], expected [6, 12]");
    assert_eq!(refused(6, 12, 5, None), "`labels` has shape [5], expected [6]");
    assert_eq!(refused(0, 12, 0, None), "`batch` is 0: at least 1");
    let rules = [LateralRule::default(); 3];
    let mut other = Hlop::new(&[12, 10, 9], &rules, Projection::Input, Consolidate::None, &device).unwrap();
    assert_eq!(refused(6, 12, 6, Some(&mut other)), "`hlop` has shape [12, 10, 9], expected [12, 10, 8]");
}

#[test]
fn a_network_that_does_not_fit_together_is_refused() {
    let device = Device::flex();
    let refused = |shapes: &[[usize; 2]], lif: DsrLif| {
        let weights = shapes.iter().map(|shape| Tensor::zeros(*shape, &device)).collect();
        Mlp::from_weights(weights, lif).unwrap_err()
    };
    let found = vec![7, 4];
    let shape = SnnError::Shape { field: "weights", expected: vec![8, 4], found };
    assert_eq!(refused(&[[5, 8], [7, 4]], DsrLif::default()), shape);
    for (shapes, steps) in [(&[][..], 20), (&[[5, 8], [8, 0]][..], 20), (&[[5, 8]][..], 0)] {
        let error = refused(shapes, DsrLif { steps, ..DsrLif::default() });
        assert!(matches!(error, SnnError::Setting { .. }), "{error}");
    }
}
