//! Input that is empty, of another shape or type, or not finite, at every door of the crate: a typed error, and
//! nothing has changed.

use burn::prelude::*;
use burn::tensor::DType;
use hebbian_snn::dsr;
use hebbian_snn::error::SnnError;
use hebbian_snn::network::{Mlp, MlpConfig};
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::values;

use crate::support::*;

fn not_finite(error: &SnnError) -> bool {
    matches!(error, SnnError::NotFinite { .. })
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
    for value in [f32::NAN, f32::INFINITY] {
        let weights = vec![Tensor::<2>::full([5, 8], value, &device)];
        assert!(not_finite(&Mlp::from_weights(weights, DsrLif::default()).unwrap_err()));
    }
    let double = Tensor::<2>::zeros([5, 8], (&device, DType::F64));
    let error = Mlp::from_weights(vec![double], DsrLif::default()).unwrap_err();
    assert_eq!(error.to_string(), "`weights` is of F64: a tensor of F32");
}

#[test]
fn widths_without_a_network_are_refused() {
    let device = Device::flex();
    let config = |inputs, hidden: &[usize], classes| {
        let config = MlpConfig { inputs, hidden: hidden.to_vec(), classes, lif: DsrLif::default() };
        config.init(&mut Stream::new(0, "weights", 0), &device).unwrap_err().to_string()
    };
    assert_eq!(config(0, &[3], 2), "`inputs` is 0: at least 1");
    assert_eq!(config(3, &[3], 0), "`classes` is 0: at least 1");
    assert!(config(3, &[], 2).starts_with("`hidden` is []"));
    assert!(config(3, &[2, 0], 2).starts_with("`hidden` is [2, 0]"));
    assert!(config(3, &[usize::MAX], 2).contains("weights fit in memory"));
    assert!(config(1 << 40, &[1 << 40], 2).contains("weights fit in memory"));
}

// A network is silent on a current of NaN, and its logits are 0: a loss of ln C, which looks like one.
on_each_device!(a_forward_pass_on_what_is_not_finite_is_refused, |device: Device| {
    let mlp = small_mlp(12, &[10, 8], 4, &device);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let x = Tensor::<2>::full([3, 12], value, &device);
        assert!(not_finite(&dsr::forward(&mlp, x.clone()).unwrap_err()), "{value}");
        assert!(not_finite(&dsr::evaluate(&mlp, x).unwrap_err()), "{value}");
    }
    // Finite, but its sums are not.
    let signs: Vec<f32> = (0..36).map(|i| if i % 2 == 0 { f32::MAX } else { -f32::MAX }).collect();
    let big = Mlp::from_weights((0..3).map(|l| mlp.weight(l) * 1e3).collect(), mlp.lif.clone()).unwrap();
    let error = dsr::evaluate(&big, matrix(signs, 12, &device)).unwrap_err();
    assert!(error.to_string().starts_with("the current of layer 1: "), "{error}");
    // The hundredth of two hundred and seventy rows.
    let mut rows = vec![0.5f32; 270 * 12];
    rows[12 * 263] = f32::NAN;
    assert!(not_finite(&dsr::evaluate(&mlp, matrix(rows, 12, &device)).unwrap_err()));
    for (rows, width) in [(0, 12), (3, 11), (3, 0)] {
        assert!(dsr::forward(&mlp, Tensor::zeros([rows, width], &device)).is_err(), "{rows} {width}");
        assert!(dsr::evaluate(&mlp, Tensor::zeros([rows, width], &device)).is_err(), "{rows} {width}");
    }
});

on_each_device!(labels_are_classes, |device: Device| {
    let logits = normal(3, 4, "logits", &device);
    let label = |values: Vec<i64>| {
        let n = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
    };
    for (labels, message) in [
        (vec![0, -1, 2], "`labels` is -1: each from 0 to 3"),
        (vec![0, 1, 4], "`labels` is 4: each from 0 to 3"),
        (vec![0, 1], "`labels` has shape [2], expected [3]"),
    ] {
        let error = dsr::cross_entropy(logits.clone(), label(labels)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert!(dsr::cross_entropy(Tensor::zeros([0, 4], &device), label(vec![])).is_err());
    assert!(dsr::correct(logits.clone(), label(vec![0, 1])).is_err());
    assert_eq!(dsr::correct(Tensor::zeros([0, 4], &device), label(vec![])).unwrap(), 0);
    // The mean over the batch of -ln softmax at the label, in f64.
    let labels = [2usize, 0, 3];
    let (loss, gradient) = dsr::cross_entropy(logits.clone(), label(vec![2, 0, 3])).unwrap();
    let rows = values(logits);
    let expected: f64 = rows
        .chunks_exact(4)
        .zip(labels)
        .map(|(row, label)| row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[label])
        .sum::<f64>()
        / 3.0;
    assert!((values(loss)[0] - expected).abs() < 1e-6);
    assert!(values(gradient).chunks_exact(4).all(|row| row.iter().sum::<f64>().abs() < 1e-6));
});

fn rule(lr: f64) -> LateralRule {
    LateralRule { lr, ..LateralRule::default() }
}

on_each_device!(rows_that_are_not_finite_never_come_in, |device: Device| {
    let state = |s: &Subspace| s.to_tensors().into_iter().flat_map(|(_, t)| t.iter::<f64>().collect::<Vec<_>>());
    let mut subspace = Subspace::new(6, rule(0.05), &device).unwrap();
    subspace.grow(2, &mut Stream::new(41, "rows", 0)).unwrap();
    subspace.update(normal(8, 6, "first", &device)).unwrap();
    subspace.finish_task(Consolidate::Qr);
    for value in [f32::NAN, f32::INFINITY] {
        let rows = Tensor::<2>::full([1, 6], value, &device);
        assert!(not_finite(&subspace.append(rows.clone()).unwrap_err()));
        assert!(not_finite(&subspace.captured_energy(rows.clone()).unwrap_err()));
        let mut learning = subspace.clone();
        learning.grow(2, &mut Stream::new(41, "rows", 1)).unwrap();
        let before: Vec<f64> = state(&learning).collect();
        assert!(not_finite(&learning.update(rows.clone()).unwrap_err()));
        let one = Tensor::<2>::ones([1, 6], &device);
        assert!(not_finite(&learning.update_projected(one, rows).unwrap_err()));
        assert_eq!(state(&learning).collect::<Vec<_>>(), before);
    }
    // A rate that overflows.
    let mut fast = Subspace::new(6, LateralRule { momentum: 0.0, ..rule(3e38) }, &device).unwrap();
    fast.grow(2, &mut Stream::new(41, "rows", 2)).unwrap();
    let before: Vec<f64> = state(&fast).collect();
    let x = normal(8, 6, "fast", &device).mul_scalar(30.0);
    assert!(not_finite(&fast.update(x).unwrap_err()));
    assert_eq!(state(&fast).collect::<Vec<_>>(), before);
    assert!(fast.least_eigenvalue().abs() < 1e-6);
    let none = Subspace::new(6, rule(0.05), &device).unwrap();
    assert_eq!(none.least_eigenvalue(), 1.0);
});

#[test]
fn rows_that_learn_are_fixed_before_there_are_others() {
    let device = Device::flex();
    let mut subspace = Subspace::new(6, rule(0.05), &device).unwrap();
    subspace.grow(2, &mut Stream::new(42, "rows", 0)).unwrap();
    let before = values(subspace.h().unwrap());
    let mut rows = Stream::new(42, "rows", 1);
    assert_eq!(subspace.grow(2, &mut rows), Err(SnnError::Unfinished));
    assert_eq!(subspace.append(normal(1, 6, "more", &device)), Err(SnnError::Unfinished));
    assert_eq!((subspace.fixed_rows(), values(subspace.h().unwrap())), (0, before));
    assert_eq!(rows.bits(), Stream::new(42, "rows", 1).bits());
    subspace.finish_task(Consolidate::Qr);
    assert!(subspace.grow(usize::MAX, &mut rows).is_err());
    subspace.grow(2, &mut rows).unwrap();
    // No rows are no rows that learn.
    let mut empty = Subspace::new(6, rule(0.05), &device).unwrap();
    empty.append(Tensor::zeros([0, 6], &device)).unwrap();
    assert!(!empty.is_learning() && empty.h().is_none());
}

#[test]
fn what_a_subspace_takes_has_its_width_and_type() {
    let device = Device::flex();
    assert!(Subspace::new(0, rule(0.05), &device).is_err());
    for lr in [-0.1, f64::NAN, f64::INFINITY, 1e39] {
        assert!(Subspace::new(4, rule(lr), &device).is_err(), "{lr}");
    }
    let mut subspace = Subspace::new(4, rule(0.05), &device).unwrap();
    subspace.append(orthonormal(2, 4, "kept", &device)).unwrap();
    subspace.finish_task(Consolidate::Qr);
    let double = || Tensor::<2>::ones([1, 4], (&device, DType::F64));
    let is_double = |error: SnnError| assert!(error.to_string().contains("is of F64: a tensor of F32"), "{error}");
    is_double(subspace.append(double()).unwrap_err());
    is_double(subspace.project(double()).unwrap_err());
    is_double(subspace.update(double()).unwrap_err());
    is_double(subspace.captured_energy(double()).unwrap_err());
    is_double(subspace.project_gradient(double().transpose()).unwrap_err());
    is_double(subspace.project_step(Tensor::ones([4, 1], &device), double().transpose()).unwrap_err());
    // Nor is what it gives infinite or none, whatever it takes.
    for value in [f32::NAN, f32::INFINITY, f32::MAX] {
        let (one, full) = (Tensor::<2>::ones([4, 3], &device), Tensor::<2>::full([4, 3], value, &device));
        let alternating = full.clone() * matrix([1.0, -1.0, -1.0, 1.0].repeat(3), 3, &device);
        assert!(not_finite(&subspace.project_step(alternating.clone(), -alternating).unwrap_err()), "{value}");
        if value != f32::MAX {
            for (before, after) in [(one.clone(), full.clone()), (full.clone(), one.clone())] {
                assert!(not_finite(&subspace.project_step(before, after).unwrap_err()), "{value}");
            }
            assert!(not_finite(&subspace.project_gradient(full.clone()).unwrap_err()), "{value}");
            assert!(not_finite(&subspace.project(full.transpose()).unwrap_err()), "{value}");
            let none = Subspace::new(4, rule(0.05), &device).unwrap();
            assert!(not_finite(&none.project_step(one.clone(), one * value).unwrap_err()), "{value}");
        }
    }
    let step = |before: [usize; 2], after: [usize; 2]| {
        subspace.project_step(Tensor::ones(before, &device), Tensor::ones(after, &device))
    };
    assert!(matches!(step([4, 1], [4, 2]), Err(SnnError::Shape { field: "after", .. })));
    assert!(matches!(step([3, 1], [3, 1]), Err(SnnError::Shape { field: "gradient", .. })));
}
