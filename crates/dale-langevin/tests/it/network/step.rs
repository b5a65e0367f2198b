//! A step of training says Ok only where model, average and optimiser can go on.

use burn::tensor::{DType, Tensor};
use dale_langevin::DiffusionError;
use dale_langevin::loss::Weighting;
use dale_langevin::net::{Batch, NetDenoiser, StepOptions, Training, UNetConfig};
use dale_langevin::score::Denoiser;
use plasticity_core::nn::save_model;
use plasticity_core::on_each_device;
use plasticity_core::testing::{cpu, max_difference, values};

use super::{edm, jittered, normal, options, run, squares_batch};

fn training() -> Training {
    Training::new(edm(&UNetConfig::new(4, &[1]), 14, 0.22, &cpu()), 0.999)
}

/// A refused step changes nothing: the run goes on as one that never saw it.
fn refused(batch: Batch, options: StepOptions, expected: DiffusionError) {
    let device = cpu();
    let mut hit = training();
    run(&mut hit, 0..2, &device);
    let before = [save_model(&hit.model).unwrap(), save_model(&hit.average).unwrap()];
    assert_eq!(hit.step(&batch, &options).unwrap_err(), expected);
    assert!([save_model(&hit.model).unwrap(), save_model(&hit.average).unwrap()] == before);
    assert_eq!(hit.steps, 2);
    run(&mut hit, 2..4, &device);
    let mut straight = training();
    run(&mut straight, 0..4, &device);
    assert!(save_model(&hit.model).unwrap() == save_model(&straight.model).unwrap());
    assert!(save_model(&hit.average).unwrap() == save_model(&straight.average).unwrap());
}

/// The loss is finite and its gradient is not: Adam's second moments would be infinite, and no weight that they are
/// of would ever move again.
#[test]
fn a_gradient_that_is_not_finite_is_refused() {
    // A weight of 1e30 on the squared error: the loss is within f32, the squares of its gradient are not.
    let weighting = Weighting::Edm { sd_data: 1e-15 };
    let expected = DiffusionError::NotFinite { field: "gradient", step: 2 };
    for clip in [None, Some(1.0)] {
        refused(squares_batch(4, 0, &cpu()), StepOptions { lr: 1e-3, weighting, clip }, expected.clone());
    }
}

#[test]
fn a_weight_that_is_not_finite_is_refused() {
    let expected = DiffusionError::NotFinite { field: "weight", step: 2 };
    refused(squares_batch(4, 0, &cpu()), options(1e39, 0.22), expected);
}

#[test]
fn options_outside_their_domain_are_named() {
    let device = cpu();
    let good = options(1e-3, 0.22);
    let wrong = [
        ("clip", StepOptions { clip: Some(-1.0), ..good }),
        ("clip", StepOptions { clip: Some(0.0), ..good }),
        ("clip", StepOptions { clip: Some(f64::NAN), ..good }),
        ("lr", StepOptions { lr: f64::NAN, ..good }),
        ("lr", StepOptions { lr: -1e-3, ..good }),
        ("sd_data", StepOptions { weighting: Weighting::Edm { sd_data: -0.22 }, ..good }),
    ];
    for (name, options) in wrong {
        let error = training().step(&squares_batch(4, 0, &device), &options).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field, .. } if field == name), "{name}: {error}");
    }
    for decay in [-0.1, 1.0, f64::NAN] {
        let mut training = Training::new(training().model, decay);
        let error = training.step(&squares_batch(4, 0, &device), &good).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field: "decay", .. }), "{decay}: {error}");
    }
    let empty = Tensor::<2>::zeros([0, 196], &device);
    let batch = Batch { y0: empty.clone(), sds: vec![], eps: empty };
    let error = training().step(&batch, &good).unwrap_err();
    assert!(matches!(error, DiffusionError::Shape { field: "y0", .. }), "{error}");
    let batch = squares_batch(4, 0, &device);
    let batch = Batch { eps: batch.eps.cast(DType::F64), ..batch };
    let error = training().step(&batch, &good).unwrap_err();
    assert!(matches!(error, DiffusionError::Precision { field: "eps", .. }), "{error}");
}

on_each_device!(images_of_either_precision_and_none, |device: burn::prelude::Device| {
    let edm = jittered(edm(&UNetConfig::new(4, &[1, 2]), 6, 0.22, &device));
    let denoiser = NetDenoiser::new(&edm, 2).unwrap();
    let y = normal("y", 3, 36, &device);
    let single = denoiser.denoise(y.clone(), 0.3).unwrap();
    let double = denoiser.denoise(y.clone().cast(DType::F64), 0.3).unwrap();
    assert_eq!((single.dtype(), double.dtype()), (DType::F32, DType::F64));
    assert!(max_difference(&values(single), &values(double)) < 1e-6);
    // A model of f32 learns from images of f64.
    let y0 = y.cast(DType::F64);
    let batch = Batch { eps: y0.clone(), y0, sds: vec![0.3; 3] };
    assert!(Training::new(edm, 0.9).step(&batch, &options(1e-3, 0.22)).unwrap().is_finite());
    let none = denoiser.denoise(Tensor::zeros([0, 36], &device), 0.3).unwrap();
    assert_eq!(none.dims(), [0, 36]);
    for sd in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
        assert!(denoiser.denoise(Tensor::zeros([1, 36], &device), sd).is_err(), "{sd}");
    }
});
