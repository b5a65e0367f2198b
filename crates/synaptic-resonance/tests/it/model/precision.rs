//! Models in numbers narrower than f32: more than one pass.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::session::{Label, Session};
use synaptic_resonance::settings::{Gates, HalfLives, MemoryConfig, ModelConfig};
use synaptic_resonance::state::State;
use synaptic_resonance::train::{StepOptions, Targets, Training};

use super::{columns, model_of, small, tokens};

const NARROW: [(DType, f64); 2] = [(DType::BF16, 0.2), (DType::F16, 0.03)];

fn configs() -> [ModelConfig; 4] {
    let blended = ModelConfig { attention_blend: true, ..small(None) };
    let gated = MemoryConfig { gates: Gates::Channels, ..MemoryConfig::default() };
    [small(Some(MemoryConfig::default())), small(None), blended, small(Some(gated))]
}

#[test]
fn a_stream_in_segments_goes_on_in_any_precision() {
    let whole = tokens(2, 24, 11);
    for config in configs() {
        let wide = model_of(&config, 0, &cpu(), DType::F32);
        let (expected, _) = wide.forward(&whole, wide.start(2), &Pass::default()).unwrap();
        let expected = values(expected);
        let size = expected.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
        for (dtype, tolerance) in NARROW {
            let model = model_of(&config, 0, &cpu(), dtype);
            let (mut state, mut found) = (model.start(2), Vec::new());
            for (from, to) in [(0, 9), (9, 10), (10, 24)] {
                let (logits, next) = model.forward(&columns(&whole, from, to), state, &Pass::default()).unwrap();
                found.push(logits);
                state = next;
            }
            let found = values(Tensor::cat(found, 1));
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < tolerance * size, "{dtype:?}: {worst} of {size}");
            // The memory itself is not narrowed between the segments.
            for layer in &state.layers {
                assert!(layer.s.as_ref().is_none_or(|s| s.dtype() == DType::F32));
                assert!(layer.ring.as_ref().is_some_and(|ring| ring.keys.dtype() == dtype));
            }
            let mut session = Session::new(&model);
            session.feed(&[1, 2, 3]).unwrap();
            assert!(session.feed(&[4]).unwrap().iter().all(|logit| logit.is_finite()));
            let refused = session.save(std::path::Path::new("nowhere"), &Label::default()).unwrap_err().to_string();
            assert!(refused.contains("only f32 can be saved"), "{refused}");
        }
    }
}

/// Half-lives so short that the decay's logarithm is -inf in numbers of 16 bits: what forgets everything changes nothing
/// where it must not, in padding and in a frozen memory.
#[test]
fn padding_and_a_frozen_memory_keep_what_everything_forgets_elsewhere() {
    let half_lives = HalfLives::LogSpaced { from: 1e-6, to: 1e-6 };
    for gates in [Gates::Heads, Gates::Decay, Gates::Channels] {
        check_that_silence_keeps(small(Some(MemoryConfig { half_lives, gates, ..MemoryConfig::default() })));
    }
}

fn check_that_silence_keeps(config: ModelConfig) {
    let model = model_of(&config, 0, &cpu(), DType::F16);
    let whole = tokens(2, 9, 13);
    let numbers = |state: &State| -> Vec<f64> {
        state.layers.iter().flat_map(|layer| values(layer.s.clone().expect("a memory"))).collect()
    };
    let padded = Pass { lengths: Some(vec![9, 4]), ..Pass::default() };
    let (_, state) = model.forward(&whole, model.start(2), &padded).unwrap();
    let before = numbers(&state);
    assert!(before.iter().all(|x| x.is_finite()) && before.iter().any(|x| *x != 0.0));
    let frozen = Pass { frozen: true, ..Pass::default() };
    let (logits, after) = model.forward(&whole, state, &frozen).unwrap();
    assert_eq!(numbers(&after), before);
    assert!(values(logits).iter().all(|logit| logit.is_finite()));
}

#[test]
fn a_model_of_bf16_learns_for_more_than_a_step() {
    struct Narrow;
    impl ModuleMapper for Narrow {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.cast(FloatDType::BF16).detach().require_grad())
        }
    }
    let config = small(Some(MemoryConfig::default()));
    let model = Model::new(&config, &mut Stream::new(0, "model", 0), &cpu().autodiff()).unwrap().map(&mut Narrow);
    let mut training = Training::new(model, 0.0);
    let batch = tokens(2, 9, 12);
    let targets = Targets::all(batch.ids().iter().map(|id| (id + 1) % 13).collect());
    let (mut state, mut losses) = (None, Vec::new());
    for _ in 0..8 {
        let step = training.step(&batch, state, &targets, &StepOptions { lr: 0.02, clip: Some(1.0) }).unwrap();
        losses.push(step.loss);
        state = Some(step.state);
    }
    assert!(losses[7] < 0.8 * losses[0], "{losses:?}");
}
