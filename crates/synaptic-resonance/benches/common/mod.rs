//! What the benches share: tensors, token ids and parameters that the peers can make too.
#![allow(dead_code, reason = "no bench uses all of it")]

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::peer::Lcg;
use synaptic_resonance::model::Model;
use synaptic_resonance::settings::ModelConfig;

/// `f` of the numbers that belong to `label`.
pub fn tensor<const D: usize>(label: &str, shape: [usize; D], f: impl Fn(f64) -> f64, device: &Device) -> Tensor<D> {
    let mut lcg = Lcg(fnv1a(label));
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| f(lcg.signed()) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Token ids below `vocabulary`.
pub fn ids(seed: u64, n: usize, vocabulary: usize) -> Vec<u32> {
    let mut lcg = Lcg(seed);
    (0..n).map(|_| (lcg.uniform() * vocabulary as f64) as u32).collect()
}

/// Fills every parameter by its path, as the peers do: away from its initial value, the memory switched on.
struct Fill(Vec<String>);

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.0.join(".");
        let name = path.rsplit('.').next().unwrap_or_default();
        param.map(|value| {
            let (mean, scale) = match name {
                "embedding" => (0.0, 0.09),
                "forget_bias" => (-4.0, 1.0),
                "gamma" => (0.5, 0.2),
                "mu" => (0.0, 0.5),
                "norm" | "norm1" | "norm2" | "c" => (1.0, 0.2),
                "write_bias" | "gate_bias" => (0.0, 0.2),
                _ => (0.0, (3.0 / value.dims()[0] as f64).sqrt()),
            };
            tensor(&path, value.dims(), |u| mean + scale * u, &value.device()).require_grad()
        })
    }
}

/// The model of the peers.
pub fn model(config: &ModelConfig) -> Model {
    let device = Device::flex().autodiff();
    let model = Model::new(config, &mut Stream::new(0, "bench", 0), &device).expect("a config that can be");
    model.map(&mut Fill(Vec::new()))
}
