//! Derivatives of a whole model against differences, in f64.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use plasticity_core::testing::values;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::ModelConfig;

use super::{cpu, model_of, tokens, variants};

/// Adds `by` to entry `entry` of the parameter at `at`, and makes all leaves.
struct Nudge<'a> {
    path: Vec<String>,
    at: &'a str,
    entry: usize,
    by: f64,
}

impl ModuleMapper for Nudge<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let here = self.path.join(".") == self.at;
        param.map(|value| {
            let shape = value.shape();
            let mut moved = values(value.clone());
            if here {
                moved[self.entry] += self.by;
            }
            Tensor::from_data(TensorData::new(moved, shape), (&value.device(), DType::F64))
        })
    }
}

struct Collect<'a> {
    path: Vec<String>,
    grads: &'a GradientsParams,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = self.grads.get::<D>(param.id).expect("every parameter has a gradient");
        self.found.insert(self.path.join("."), values(grad));
    }
}

/// A loss that all of the logits and the state after two passes reach, through padding and documents.
fn loss(model: &Model) -> Tensor<1> {
    let (first, second) = (tokens(2, 7, 1), tokens(2, 9, 2));
    let starts = Some((0..14).map(|i| i == 4).collect());
    let pass = Pass { lengths: Some(vec![7, 5]), starts, ..Pass::default() };
    let (a, state) = model.forward(&first, model.start(2), &pass).unwrap();
    let (b, state) = model.forward(&second, state, &Pass::default()).unwrap();
    let mut total = a.slice(s![.., ..5]).sin().sum() + b.sin().sum();
    for layer in state.layers {
        if let Some(s) = layer.s {
            total = total + s.cos().sum();
        }
        if let Some(ring) = layer.ring {
            total = total + ring.values.sin().sum();
            if let Some(firsts) = ring.sinks {
                total = total + firsts.keys.sin().sum();
            }
        }
    }
    total
}

#[test]
fn derivatives_of_the_whole_model() {
    let wanted = [
        "SR",
        "A1",
        "A5",
        "A10",
        "A11",
        "groups",
        "no read norm",
        "SR and blended attention",
        "slow",
        "Llama",
        "first tokens",
        "A12",
        "A13 of rank 3",
        "A13 as a sum without decay",
    ];
    for (name, config) in variants().into_iter().filter(|(name, _)| wanted.contains(name)) {
        let config = ModelConfig { mlp: Some(10), window: config.window.map(|_| 3), ..config };
        let plain = model_of(&config, 1, &cpu(), DType::F64);
        let tracked = plain.clone().train();
        let grads = GradientsParams::from_grads(loss(&tracked).backward(), &tracked);
        let mut collect = Collect { path: Vec::new(), grads: &grads, found: BTreeMap::new() };
        tracked.visit(&mut collect);
        let mut stream = Stream::new(3, name, 0);
        for (path, found) in &collect.found {
            for _ in 0..3 {
                let entry = stream.below(found.len() as u64) as usize;
                let at = |by: f64| {
                    let moved = plain.clone().map(&mut Nudge { path: Vec::new(), at: path, entry, by });
                    loss(&moved).into_scalar::<f64>()
                };
                let h = 1e-5;
                let expected = (at(h) - at(-h)) / (2.0 * h);
                let bound = 1e-6 * expected.abs().max(1.0);
                assert!(
                    (found[entry] - expected).abs() <= bound,
                    "{name}: {path}[{entry}]: {} {expected}",
                    found[entry]
                );
            }
        }
    }
}
