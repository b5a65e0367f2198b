//! The model against PyTorch: `fixtures/model.json` holds the logits of a separate program that takes one token after
//! the other, and products of its gradients with fixed vectors, for parameters that both make from their paths.

use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::{Golden, assert_close, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{MemoryConfig, ModelConfig, Rule};
use synaptic_resonance::tokens::Tokens;

use super::small;

/// A generator of numbers in [-1, 1) that the peer has.
fn lcg(mut state: u64, n: usize) -> Vec<f64> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Fills every parameter with numbers of its path.
struct Fill {
    path: Vec<String>,
    dtype: DType,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        param.map(|value| {
            let shape = value.shape();
            let mean = match path.rsplit('.').next() {
                Some("norm" | "norm1" | "norm2" | "c") => 1.0,
                Some("forget_bias") => -3.0,
                _ => 0.0,
            };
            let values: Vec<f64> = lcg(fnv1a(&path), shape.num_elements()).iter().map(|u| mean + 0.5 * u).collect();
            Tensor::from_data(TensorData::new(values, shape), (&value.device(), self.dtype)).require_grad()
        })
    }
}

/// Compares the products of the gradients with vectors that the peer has.
struct Probe<'a> {
    path: Vec<String>,
    grads: &'a GradientsParams,
    expected: Golden,
    tolerance: f64,
    found: usize,
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
        let found: f64 = grad.iter().zip(probe).map(|(g, p)| g * p).sum();
        let expected = self.expected.number(&path.replace('.', "/"));
        assert_close(&[found], &[expected], self.tolerance * expected.abs().max(1.0));
        self.found += 1;
    }
}

/// As `CASES` of the peer.
fn cases() -> Vec<(&'static str, ModelConfig)> {
    let memory = MemoryConfig { chunk: 4, ..MemoryConfig::default() };
    let with = |memory: MemoryConfig| small(Some(memory));
    vec![
        ("SR", with(memory.clone())),
        ("A0", small(None)),
        ("A2", with(MemoryConfig { rule: Rule::Hebbian, ..memory.clone() })),
        ("A3", with(MemoryConfig { decay: false, ..memory.clone() })),
        ("A5", with(MemoryConfig { own_projections: true, ..memory.clone() })),
        ("A10", ModelConfig { window: None, attention_blend: true, ..small(None) }),
        ("groups", ModelConfig { groups: Some(2), ..with(MemoryConfig { lambda_min: 0.01, ..memory.clone() }) }),
        ("no read norm", with(MemoryConfig { read_norm: false, blend: false, ..memory })),
    ]
}

fn check(device: &Device, dtype: DType, tolerance: f64, slope: f64) {
    let golden = Golden::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/model.json"));
    let ids: Vec<u32> = golden.numbers("tokens").iter().map(|id| *id as u32).collect();
    let starts: Vec<bool> = golden.numbers("starts").iter().map(|start| *start == 1.0).collect();
    let tokens = Tokens::new(ids, 2, 19).unwrap();
    let pass = Pass { starts: Some(starts), ..Pass::default() };
    for (name, config) in cases() {
        let model = Model::new(&config, &mut Stream::new(0, "model", 0), device).unwrap();
        let model = model.map(&mut Fill { path: Vec::new(), dtype });
        let (logits, _) = model.forward(&tokens, model.start(2), &pass).unwrap();
        let case = golden.at(&format!("cases.{name}"));
        assert_close(&values(logits.clone()), &case.numbers("logits"), tolerance);
        let grads = GradientsParams::from_grads(logits.sin().sum().backward(), &model);
        let expected = case.at("gradients");
        let mut probe = Probe { path: Vec::new(), grads: &grads, expected, tolerance: slope, found: 0 };
        model.visit(&mut probe);
        assert!(probe.found > 0);
    }
}

on_each_device!(the_model_is_that_of_pytorch, |device: Device| {
    check(&device, DType::F32, 2e-5, 2e-4);
});

#[test]
fn the_model_is_that_of_pytorch_in_f64() {
    // On flex: ndarray's logistic function is one of f32.
    check(&super::cpu(), DType::F64, 1e-10, 1e-9);
}
