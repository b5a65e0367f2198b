//! Parameters: recovery of the model without memory, counts, ids, pairing, gradients at the start.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::{assert_close, max_difference, values};
use synaptic_resonance::model::{Model, Pass, memory_parameters};
use synaptic_resonance::settings::{Gates, HalfLives, MemoryConfig, ModelConfig};

use super::{cpu, logits, small, tokens, variants};

fn fresh(config: &ModelConfig) -> Model {
    Model::new(config, &mut Stream::new(3, "model", 0), &cpu()).unwrap()
}

/// Values and ids of all parameters, by path.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: BTreeMap<String, (ParamId, Vec<f64>)>,
}

impl Parameters {
    fn of(model: &Model) -> BTreeMap<String, (ParamId, Vec<f64>)> {
        let mut all = Self::default();
        model.visit(&mut all);
        all.found
    }
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join("."), (param.id, values(param.val())));
    }
}

#[test]
fn o01_a_closed_gate_is_the_model_without_memory() {
    let tokens = tokens(3, 40, 1);
    for (name, config) in variants().into_iter().filter(|(_, config)| config.memory.is_some()) {
        let with = fresh(&config).valid();
        let without = fresh(&ModelConfig { memory: None, ..config.clone() }).valid();
        let expected = logits(&without, &tokens, &Pass::default()).concat();
        assert!(expected.iter().any(|x| x.abs() > 1e-3));
        assert_eq!(max_difference(&logits(&with, &tokens, &Pass::default()).concat(), &expected), 0.0, "{name}");
        let memory = config.memory.as_ref().unwrap();
        let inserted = without.with_memory(memory, &mut Stream::new(9, "insert", 0)).unwrap().valid();
        assert_eq!(max_difference(&logits(&inserted, &tokens, &Pass::default()).concat(), &expected), 0.0, "{name}");
        assert_eq!(inserted.config, config);
    }
}

#[test]
fn o24_the_memory_has_the_parameters_of_the_formula() {
    for (name, config) in variants() {
        let with = fresh(&config).num_params();
        let without = fresh(&ModelConfig { memory: None, ..config.clone() }).num_params();
        assert_eq!(with - without, memory_parameters(&config), "{name}");
    }
    let two_heads = ModelConfig::default();
    let grouped = ModelConfig { heads: 4, groups: Some(2), ..ModelConfig::default() };
    assert_eq!((memory_parameters(&two_heads), memory_parameters(&grouped)), (1040, 1240));
    let host = fresh(&ModelConfig { memory: None, ..two_heads.clone() });
    assert_eq!((host.num_params(), fresh(&two_heads).num_params()), (102_720, 102_720 + 1040));
}

#[test]
fn variants_share_the_numbers_of_the_parameters_that_they_share() {
    let widest =
        ModelConfig { memory: Some(MemoryConfig { own_projections: true, ..MemoryConfig::default() }), ..small(None) };
    let mut all = Parameters::of(&fresh(&widest));
    all.extend(Parameters::of(&fresh(&ModelConfig { attention_blend: true, ..small(None) })));
    let gates = MemoryConfig { gates: Gates::Channels, ..MemoryConfig::default() };
    all.extend(Parameters::of(&fresh(&small(Some(gates)))));
    for (name, config) in variants().into_iter().filter(|(_, c)| c.groups() == c.heads) {
        for (path, (id, found)) in Parameters::of(&fresh(&config)) {
            assert_eq!(id, ParamId::from(fnv1a(&path)), "{name}: {path}");
            let (_, expected) = &all[&path];
            if !path.ends_with("forget_bias") {
                assert_eq!(&found, expected, "{name}: {path}");
            }
        }
    }
}

#[test]
fn initial_parameters_have_the_moments_of_section_3() {
    let memory = Some(MemoryConfig { own_projections: true, ..MemoryConfig::default() });
    let config = ModelConfig { vocabulary: 200, width: 128, layers: 3, heads: 4, memory, ..ModelConfig::default() };
    let all = Parameters::of(&fresh(&config));
    let residual = 6f64.sqrt().recip();
    let matrix = 0.5 / 128f64.sqrt();
    let expected = |path: &str| match path.rsplit('.').next().unwrap() {
        "embedding" => 0.05,
        "q" | "k" | "v" | "up" => matrix,
        "o" => matrix * residual,
        "down" => 0.5 / 512f64.sqrt() * residual,
        _ => 0.0,
    };
    let mut seen = Vec::new();
    for (path, (_, found)) in &all {
        let (n, std) = (found.len() as f64, expected(path));
        if std > 0.0 {
            // Every parameter has numbers of its own.
            let normal = (found[0] / std * 1e4).round() as i64;
            assert!(!seen.contains(&normal), "{path}");
            seen.push(normal);
            let square = found.iter().map(|x| x * x).sum::<f64>() / n;
            assert!((square.sqrt() / std - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{path}: {} for {std}", square.sqrt());
            continue;
        }
        let value = match path.rsplit('.').next().unwrap() {
            "norm" | "norm1" | "norm2" | "c" => 1.0,
            "forget_bias" => -4.0,
            _ => 0.0,
        };
        assert!(found.iter().all(|x| *x == value), "{path}");
    }
}

#[test]
fn half_lives_are_those_asked_for() {
    let half_lives = HalfLives::LogSpaced { from: 32.0, to: 2048.0 };
    let config = small(Some(MemoryConfig { half_lives, ..MemoryConfig::default() }));
    let all = Parameters::of(&fresh(&config));
    let found: Vec<f64> = all["blocks.1.memory.forget_bias"].1.iter().map(|b| 2f64.ln() / b.exp().ln_1p()).collect();
    assert_close(&found, &[32.0, 128.0, 512.0, 2048.0], 1e-3);
}

/// Mean cross entropy of the next token.
fn loss(model: &Model) -> Tensor<1> {
    let (batch, time) = (4, 30);
    let (input, target) = (tokens(batch, time, 5), tokens(batch, time, 6));
    let (logits, _) = model.forward(&input, model.start(batch), &Pass::default()).unwrap();
    let rows = logits.reshape([batch * time, model.config.vocabulary]);
    let target = target.upload(model.config.vocabulary, &rows.device()).unwrap();
    log_softmax(rows, 1).gather(1, target.reshape([batch * time, 1])).mean().neg()
}

/// The largest entry of each parameter's gradient.
struct Largest<'a> {
    path: Vec<String>,
    grads: &'a GradientsParams,
    found: BTreeMap<String, f64>,
}

impl ModuleVisitor for Largest<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let grad = self.grads.get::<D>(param.id).unwrap_or_else(|| panic!("{path} has no gradient"));
        let grad = values(grad);
        assert!(grad.iter().all(|g| g.is_finite()), "{path}");
        self.found.insert(path, grad.iter().fold(0.0, |max, g| g.abs().max(max)));
    }
}

fn gradients(model: &Model) -> (GradientsParams, BTreeMap<String, f64>) {
    let grads = GradientsParams::from_grads(loss(model).backward(), model);
    let mut largest = Largest { path: Vec::new(), grads: &grads, found: BTreeMap::new() };
    model.visit(&mut largest);
    let found = largest.found;
    (grads, found)
}

#[test]
fn o20_at_the_start_only_gamma_of_the_memory_learns_and_then_all_do() {
    // The softmax of one score is 1: a window of one has no use for its queries and keys before the memory has.
    for (name, config) in variants().into_iter().filter(|(_, config)| config.window != Some(1)) {
        let model = fresh(&config);
        let (grads, first) = gradients(&model);
        for (path, largest) in &first {
            let waits = path.contains(".memory.") && !path.ends_with(".gamma");
            assert_eq!(*largest == 0.0, waits, "{name}: {path} has {largest}");
        }
        let mut optimiser = AdamWConfig::new().with_weight_decay(0.0).init();
        let model = optimiser.step(1e-2, model, grads);
        let (second_grads, second) = gradients(&model);
        // The numbers that gates are computed from wait for the gates.
        let waits = |path: &str| path.ends_with(".channels.narrow");
        assert!(second.iter().all(|(path, largest)| *largest > 0.0 || waits(path)), "{name}: {second:?}");
        let model = optimiser.step(1e-2, model, second_grads);
        assert!(gradients(&model).1.iter().all(|(_, largest)| *largest > 0.0), "{name}");
    }
}
