//! The host with its memory (sections 3, 4 and 6).

mod attention;
mod causality;
mod decode;
mod errors;
mod gradient;
mod host;
mod init;
mod peer;
mod precision;
mod stream;
mod trace;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{Activation, Gates, HalfLives, MemoryConfig, ModelConfig, Pairs, Rule};
use synaptic_resonance::state::State;
use synaptic_resonance::tokens::Tokens;

/// Small: two layers of four heads.
fn small(memory: Option<MemoryConfig>) -> ModelConfig {
    ModelConfig { vocabulary: 13, width: 16, heads: 4, mlp: Some(24), window: Some(5), memory, ..Default::default() }
}

/// As an open model of today has it.
fn llama(memory: Option<MemoryConfig>) -> ModelConfig {
    ModelConfig {
        groups: Some(2),
        activation: Activation::SwiGlu,
        rope_base: 1e5,
        rope_pairs: Pairs::Halves,
        norm_epsilon: 1e-3,
        head_width: Some(6),
        biases: true,
        own_head: true,
        ..small(memory)
    }
}

/// Every variant of section 7 that is a setting, and a few combinations.
fn variants() -> Vec<(&'static str, ModelConfig)> {
    let memory = MemoryConfig { chunk: 8, ..Default::default() };
    let with = |change: &dyn Fn(&mut MemoryConfig)| {
        let mut memory = memory.clone();
        change(&mut memory);
        small(Some(memory))
    };
    let sr = with(&|_| ());
    vec![
        ("SR", sr.clone()),
        ("A0", small(None)),
        ("A1", with(&|m| (m.rule, m.decay) = (Rule::Hebbian, false))),
        ("A2", with(&|m| m.rule = Rule::Hebbian)),
        ("A3", with(&|m| m.decay = false)),
        ("A4", with(&|m| m.blend = false)),
        ("A5", with(&|m| m.own_projections = true)),
        ("A9", ModelConfig { window: None, ..small(None) }),
        ("A10", ModelConfig { window: None, attention_blend: true, ..small(None) }),
        ("A11", ModelConfig { attention_blend: true, ..small(None) }),
        ("A12", with(&|m| m.gates = Gates::Decay)),
        ("A13", with(&|m| m.gates = Gates::Channels)),
        (
            "A13 of rank 3",
            ModelConfig { groups: Some(2), ..with(&|m| (m.gates, m.gate_rank) = (Gates::Channels, Some(3))) },
        ),
        ("A13 as a sum without decay", with(&|m| (m.gates, m.rule, m.decay) = (Gates::Channels, Rule::Hebbian, false))),
        ("groups", ModelConfig { groups: Some(2), ..sr.clone() }),
        ("one group", ModelConfig { groups: Some(1), attention_blend: true, ..small(None) }),
        ("no read norm", with(&|m| m.read_norm = false)),
        ("SR and blended attention", ModelConfig { attention_blend: true, ..sr.clone() }),
        (
            "A5 and blended attention",
            ModelConfig { attention_blend: true, ..with(&|m| (m.own_projections, m.blend) = (true, false)) },
        ),
        ("first tokens", ModelConfig { sinks: 3, ..sr.clone() }),
        ("first tokens of groups", ModelConfig { sinks: 7, groups: Some(2), window: Some(3), ..small(None) }),
        ("Llama", llama(Some(memory.clone()))),
        ("Llama without memory", llama(None)),
        ("window of one", ModelConfig { window: Some(1), ..sr.clone() }),
        ("slow", with(&|m| (m.half_lives, m.lambda_min) = (HalfLives::LogSpaced { from: 8.0, to: 64.0 }, 0.01))),
        ("full attention with memory", ModelConfig { window: None, ..sr }),
    ]
}

/// A model outside any graph whose parameters, gates too, are away from their initial values, in numbers of `dtype`.
fn model_of(config: &ModelConfig, seed: u64, device: &Device, dtype: DType) -> Model {
    let model = Model::new(config, &mut Stream::new(seed, "model", 0), device).unwrap().valid();
    model.map(&mut Move { stream: Stream::new(seed, "move", 0), dtype })
}

fn model(config: &ModelConfig) -> Model {
    model_of(config, 0, &cpu(), DType::F32)
}

/// Adds normal numbers to all parameters.
struct Move {
    stream: Stream,
    dtype: DType,
}

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let shape = value.shape();
            let moved: Vec<f64> = values(value.clone()).into_iter().map(|x| x + 0.3 * self.stream.normal()).collect();
            Tensor::from_data(TensorData::new(moved, shape), (&value.device(), self.dtype))
        })
    }
}

/// Uniform tokens of the small models.
fn tokens(batch: usize, time: usize, seed: u64) -> Tokens {
    let mut stream = Stream::new(seed, "tokens", 0);
    Tokens::new((0..batch * time).map(|_| stream.below(13) as u32).collect(), batch, time).unwrap()
}

/// Columns `from..to` of a batch.
fn columns(tokens: &Tokens, from: usize, to: usize) -> Tokens {
    let ids = (0..tokens.batch()).flat_map(|row| tokens.row(row)[from..to].to_vec()).collect();
    Tokens::new(ids, tokens.batch(), to - from).unwrap()
}

/// Logits `[batch][time x vocabulary]` and the state.
fn run(model: &Model, tokens: &Tokens, state: State, pass: &Pass) -> (Vec<Vec<f64>>, State) {
    let (logits, state) = model.forward(tokens, state, pass).unwrap();
    let row = tokens.time() * model.config.vocabulary;
    (values(logits).chunks(row).map(<[f64]>::to_vec).collect(), state)
}

/// From the empty state.
fn logits(model: &Model, tokens: &Tokens, pass: &Pass) -> Vec<Vec<f64>> {
    run(model, tokens, model.start(tokens.batch()), pass).0
}

/// All that is in a row of a state and counts, as numbers: of the ring the filled columns.
fn contents(state: &State, row: usize) -> Vec<f64> {
    let mut all = vec![state.position[row] as f64];
    for layer in &state.layers {
        if let Some(s) = &layer.s {
            all.extend(values(s.clone().narrow(0, row, 1)));
        }
        if let Some(key) = &layer.prev_key {
            all.extend(values(key.clone().narrow(0, row, 1)));
        }
        let Some(ring) = &layer.ring else { continue };
        let filled = ring.filled[row];
        all.push(filled as f64);
        let kept = ring.sinks.as_ref().map_or(0, |firsts| firsts.filled[row]);
        all.push(kept as f64);
        for x in ring.sinks.iter().filter(|_| kept > 0).flat_map(|firsts| [&firsts.keys, &firsts.values]) {
            let columns = x.dims()[2];
            all.extend(values(x.clone().narrow(0, row, 1).narrow(2, columns - kept, kept)));
        }
        for x in [&ring.keys, &ring.values] {
            let columns = x.dims()[2];
            if filled > 0 {
                all.extend(values(x.clone().narrow(0, row, 1).narrow(2, columns - filled, filled)));
            }
        }
    }
    all
}
