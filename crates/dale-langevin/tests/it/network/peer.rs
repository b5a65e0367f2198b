//! The network against PyTorch: `benches/peers/unet.py --golden` wrote `tests/fixtures/unet.json`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::loss::{Weighting, denoising};
use dale_langevin::net::{Batch, Edm, StepOptions, Training, UNetConfig};
use plasticity_core::on_each_device;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::{Golden, assert_close, values};

/// Fills every parameter with numbers of its path that `benches/peers/unet.py` makes too, in f64.
struct Fill(Vec<String>);

/// A generator of numbers in [-1, 1) that the peer has.
fn lcg(mut state: u64, n: usize) -> Vec<f64> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.0.join(".");
        param.map(|value| {
            let shape = value.shape();
            let inputs = if D == 2 { shape[0] } else { shape.num_elements() / shape[0] };
            let (mean, scale) = match path.rsplit('.').next() {
                Some("gain") => (1.0, 0.2),
                Some("bias") => (0.0, 0.2),
                _ => (0.0, (3.0 / inputs as f64).sqrt()),
            };
            let values: Vec<f64> =
                lcg(fnv1a(&path), shape.num_elements()).into_iter().map(|u| mean + scale * u).collect();
            Tensor::from_data(TensorData::new(values, shape), (&value.device(), DType::F64)).require_grad()
        })
    }
}

/// The products of the gradients with vectors that the peer has, in the order of the paths.
struct Probe<'a> {
    path: Vec<String>,
    grads: &'a GradientsParams,
    dots: BTreeMap<String, f64>,
}

impl ModuleVisitor for Probe<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let grad = values(self.grads.get::<D>(param.id).expect("every parameter has a gradient"));
        let probe = lcg(fnv1a(&format!("probe.{path}")), grad.len());
        self.dots.insert(path, grad.iter().zip(probe).map(|(g, p)| g * p).sum());
    }
}

/// The network and the batches of `golden` in `benches/peers/unet.py`.
fn peer(device: &Device) -> Edm {
    let unet = UNetConfig::new(4, &[1, 2, 2]).init(&mut Stream::new(1, "unet", 0), device).unwrap();
    Edm::new(unet, [1, 7, 6], 0.3).unwrap().map(&mut Fill(Vec::new()))
}

fn peer_batch(index: u64, device: &Device) -> Batch {
    let numbers = lcg(100 + index, 3 + 2 * 3 * 42);
    let images = |numbers: &[f64], scale: f64| {
        let values: Vec<f64> = numbers.iter().map(|u| scale * u).collect();
        Tensor::<2>::from_data(TensorData::new(values, [3, 42]), (device, DType::F64))
    };
    let sds = numbers[..3].iter().map(|u| (-2.0 + 2.0 * u).exp()).collect();
    Batch { y0: images(&numbers[3..129], 0.38), sds, eps: images(&numbers[129..], 3f64.sqrt()) }
}

fn golden() -> Golden {
    Golden::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/unet.json")))
}

on_each_device!(values_and_gradients_are_those_of_pytorch, |device: Device| {
    let (golden, edm) = (golden(), peer(&device));
    let Batch { y0, sds, eps } = peer_batch(0, &device);
    let sd = Tensor::<1>::from_data(TensorData::new(sds.clone(), [3]), (&device, DType::F64));
    let denoised = edm.denoise_batch(y0.clone() + eps * sd.clone().unsqueeze_dim(1), &sds).unwrap();
    assert_close(&values(denoised.clone().inner()), &golden.numbers("denoised"), 1e-9);
    let loss = denoising(denoised, y0, sd, Weighting::Edm { sd_data: 0.3 });
    assert!((loss.clone().into_scalar::<f64>() - golden.number("loss")).abs() < 1e-9);
    let grads = GradientsParams::from_grads(loss.backward(), &edm);
    let mut probe = Probe { path: Vec::new(), grads: &grads, dots: BTreeMap::new() };
    edm.visit(&mut probe);
    assert_eq!(probe.dots.len(), golden.len("gradients"));
    for ((path, found), expected) in probe.dots.iter().zip(golden.numbers("gradients")) {
        assert!((found - expected).abs() < 1e-9, "{path}: {found}, PyTorch {expected}");
    }
});

// Adam, clipping and averaged weights: five steps in f64.
on_each_device!(training_is_that_of_pytorch, |device: Device| {
    let golden = golden();
    let mut training = Training::new(peer(&device), 0.999);
    let options = StepOptions { lr: 1e-2, weighting: Weighting::Edm { sd_data: 0.3 }, clip: Some(0.5) };
    let losses: Vec<f64> = (0..5).map(|i| training.step(&peer_batch(i, &device), &options).unwrap()).collect();
    assert_close(&losses, &golden.numbers("losses"), 1e-6);
    let Batch { y0, sds, eps } = peer_batch(0, &device);
    let sd = Tensor::<1>::from_data(TensorData::new(sds.clone(), [3]), (&device, DType::F64));
    let denoised = training.average.denoise_batch(y0.clone() + eps * sd.clone().unsqueeze_dim(1), &sds).unwrap();
    let loss: f64 = denoising(denoised, y0, sd, options.weighting).into_scalar();
    assert!((loss - golden.number("loss_of_average")).abs() < 1e-6, "{loss}");
});
