//! Streams of tokens: what a session does, and how it is saved.

mod damage;
mod finite;
mod store;
mod stream;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use plasticity_core::rng::Stream;
use synaptic_resonance::model::Model;
use synaptic_resonance::session::Session;
use synaptic_resonance::settings::{Gates, HalfLives, MemoryConfig, ModelConfig, Rule};

fn device() -> Device {
    plasticity_core::testing::cpu()
}

/// Two layers of two heads of width 4 that share a key, a window of 5.
fn config() -> ModelConfig {
    ModelConfig { vocabulary: 20, width: 8, groups: Some(1), window: Some(5), ..ModelConfig::default() }
}

/// A model whose parameters are all random, the gate's too: at initialisation the memory does nothing.
fn model(config: &ModelConfig) -> Model {
    struct Noise(Stream);
    impl ModuleMapper for Noise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, x, mapper) = param.consume();
            let noise = TensorData::new(self.0.normal_vec(x.shape().num_elements()), x.shape());
            let x = x.inner() + Tensor::from_data(noise, &device()) * 0.5;
            Param::from_mapped_value(id, x, mapper)
        }
    }
    let model = Model::new(config, &mut Stream::new(1, "model", 0), &device()).unwrap();
    model.map(&mut Noise(Stream::new(2, "noise", 0)))
}

fn text(n: usize, index: u64) -> Vec<u32> {
    let mut stream = Stream::new(3, "text", index);
    (0..n).map(|_| stream.below(20) as u32).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Everything that a session carries, bit for bit.
fn carried(session: &Session) -> Vec<Vec<u32>> {
    fn raw<const D: usize>(x: &Tensor<D>) -> Vec<u32> {
        bits(&x.to_data().iter::<f32>().collect::<Vec<_>>())
    }
    let mut all = vec![bits(&session.logits().unwrap_or_default())];
    for layer in &session.state().layers {
        all.extend(layer.s.as_ref().map(raw));
        all.extend(layer.prev_key.as_ref().map(raw));
        if let Some(ring) = &layer.ring {
            all.extend([raw(&ring.keys), raw(&ring.values), vec![ring.filled[0] as u32]]);
            all.extend(ring.sinks.iter().flat_map(|sinks| [raw(&sinks.keys), raw(&sinks.values)]));
        }
    }
    all.push(vec![session.tokens() as u32, session.position() as u32, u32::from(session.frozen())]);
    all
}

/// Models that carry different things from token to token.
fn variants() -> Vec<(&'static str, ModelConfig)> {
    let with = |memory: MemoryConfig| ModelConfig { memory: Some(memory), ..config() };
    let basic = MemoryConfig::default;
    vec![
        ("SR", config()),
        ("first tokens", ModelConfig { sinks: 3, ..config() }),
        ("SR, all groups", ModelConfig { groups: None, ..config() }),
        ("no window", ModelConfig { window: None, ..config() }),
        ("a window of one", ModelConfig { window: Some(1), ..config() }),
        ("A0", ModelConfig { memory: None, ..config() }),
        ("A2", with(MemoryConfig { rule: Rule::Hebbian, ..basic() })),
        ("A3", with(MemoryConfig { decay: false, ..basic() })),
        ("A4", with(MemoryConfig { blend: false, read_norm: false, ..basic() })),
        ("A12", with(MemoryConfig { gates: Gates::Decay, ..basic() })),
        ("A13", with(MemoryConfig { gates: Gates::Channels, gate_rank: Some(2), ..basic() })),
        ("A5", with(MemoryConfig { own_projections: true, ..basic() })),
        ("slow", with(MemoryConfig { half_lives: HalfLives::LogSpaced { from: 32.0, to: 512.0 }, ..basic() })),
        ("A10", ModelConfig { memory: None, window: None, attention_blend: true, ..config() }),
        ("A11", ModelConfig { memory: None, attention_blend: true, ..config() }),
    ]
}
