//! Input that does not fit is an error that says what.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{HalfLives, MemoryConfig, ModelConfig};
use synaptic_resonance::state::State;
use synaptic_resonance::tokens::Tokens;

use super::{cpu, model, model_of, small, tokens};

fn sr() -> ModelConfig {
    small(Some(MemoryConfig::default()))
}

fn refused(model: &Model, tokens: &Tokens, state: State, pass: &Pass) -> MemoryError {
    model.forward(tokens, state, pass).expect_err("it does not fit")
}

#[test]
fn a_token_outside_the_vocabulary() {
    let model = model(&sr());
    let tokens = Tokens::new(vec![0, 1, 2, 3, 13, 5], 2, 3).unwrap();
    let error = refused(&model, &tokens, model.start(2), &Pass::default());
    assert!(matches!(error, MemoryError::Token { token: 13, row: 1, position: 1, vocabulary: 13 }), "{error}");
    assert!(Tokens::new(vec![0; 5], 2, 3).is_err() && Tokens::new(vec![], 0, 3).is_err());
}

#[test]
fn a_state_of_another_model() {
    let model = model(&sr());
    let start = |config: ModelConfig, batch: usize| {
        let other = super::model(&config);
        // With a ring.
        other.forward(&tokens(batch, 9, 1), other.start(batch), &Pass::default()).unwrap().1
    };
    let mut torn = start(sr(), 2);
    torn.layers[1].ring = None;
    let edited = |edit: &dyn Fn(&mut State)| {
        let mut state = start(sr(), 2);
        edit(&mut state);
        state
    };
    let mut short = start(sr(), 2);
    short.layers.iter_mut().for_each(|layer| layer.ring.as_mut().unwrap().filled.truncate(1));
    let states = [
        ("fewer layers", start(ModelConfig { layers: 1, ..sr() }, 2)),
        ("another batch", start(sr(), 3)),
        ("another width", start(ModelConfig { width: 32, ..sr() }, 2)),
        ("other groups", start(ModelConfig { groups: Some(2), ..sr() }, 2)),
        ("first tokens that the model does not keep", start(ModelConfig { sinks: 2, ..sr() }, 2)),
        ("a longer window", start(ModelConfig { window: Some(7), ..sr() }, 2)),
        ("no memory", start(small(None), 2)),
        ("no blend", start(small(Some(MemoryConfig { blend: false, ..MemoryConfig::default() })), 2)),
        ("torn rings", torn),
        ("short rings", short),
        ("more in the ring than was read", edited(&|state| state.position = vec![3, 9])),
        ("a ring without columns", {
            edited(&|state| {
                for ring in state.layers.iter_mut().filter_map(|layer| layer.ring.as_mut()) {
                    let [batch, groups, _, width] = ring.keys.dims();
                    let nothing = Tensor::zeros([batch, groups, 0, width], &ring.keys.device());
                    (ring.keys, ring.values) = (nothing.clone(), nothing);
                    ring.filled = vec![0, 0];
                }
            })
        }),
        ("more tokens than anybody reads", edited(&|state| state.position = vec![9, u64::MAX])),
        ("f64", {
            let other = model_of(&sr(), 0, &cpu(), DType::F64);
            other.forward(&tokens(2, 9, 1), other.start(2), &Pass::default()).unwrap().1
        }),
    ];
    let keeping = super::model(&ModelConfig { sinks: 2, ..sr() });
    let mut lost = start(ModelConfig { sinks: 2, ..sr() }, 2);
    let whole = lost.clone();
    lost.layers.iter_mut().for_each(|layer| layer.ring.as_mut().unwrap().sinks.as_mut().unwrap().filled[1] = 1);
    let mut late = keeping.start(2);
    late.position = vec![5, 5];
    for (name, state) in [("none of the first tokens", start(sr(), 2)), ("one of two", lost), ("no ring", late)] {
        let error = refused(&keeping, &tokens(2, 4, 2), state, &Pass::default());
        assert!(matches!(error, MemoryError::State(_)), "{name}: {error}");
    }
    assert!(keeping.forward(&tokens(2, 4, 2), whole, &Pass::default()).is_ok());
    for (name, state) in states {
        let error = refused(&model, &tokens(2, 4, 2), state, &Pass::default());
        assert!(matches!(error, MemoryError::State(_)), "{name}: {error}");
    }
    assert!(model.forward(&tokens(2, 4, 2), start(sr(), 2), &Pass::default()).is_ok());
}

/// Every tensor of a state, set to what is no number in one place.
#[test]
fn a_state_that_is_not_finite() {
    let blended = ModelConfig { attention_blend: true, ..sr() };
    for dtype in [DType::F32, DType::F64] {
        let model = model_of(&blended, 0, &cpu(), dtype);
        let (_, right) = model.forward(&tokens(2, 9, 1), model.start(2), &Pass::default()).unwrap();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for (what, part) in [("`s`", 0), ("`prev_key`", 1), ("ring of keys", 2), ("ring of values", 3)] {
                let mut state = right.clone();
                let layer = &mut state.layers[1];
                let ring = layer.ring.as_mut().unwrap();
                match part {
                    0 => layer.s = layer.s.take().map(|s| s.slice_fill([1..2, 2..3, 3..4, 0..1], value)),
                    1 => layer.prev_key = layer.prev_key.take().map(|key| key.slice_fill([1..2, 0..1, 1..2], value)),
                    2 => ring.keys = ring.keys.clone().slice_fill([0..1, 3..4, 0..1, 1..2], value),
                    _ => ring.values = ring.values.clone().slice_fill([1..2, 0..1, 3..4, 2..3], value),
                }
                let error = refused(&model, &tokens(2, 4, 2), state, &Pass::default()).to_string();
                assert!(error.starts_with("layer 1: the state's ") && error.contains(what), "{error}");
            }
        }
    }
}

#[cfg(all(feature = "flex", feature = "ndarray"))]
#[test]
fn a_state_on_another_device() {
    let (model, tokens) = (model(&sr()), tokens(1, 3, 1));
    for device in plasticity_core::device::cpus() {
        let other = model_of(&sr(), 0, &device, DType::F32);
        let fits = model.forward(&tokens, other.start(1), &Pass::default());
        assert_eq!(fits.is_ok(), device == cpu(), "{device:?}");
    }
}

#[test]
fn lengths_and_starts_of_another_batch() {
    let model = model(&sr());
    let wrong = [
        Pass { lengths: Some(vec![3]), ..Pass::default() },
        Pass { lengths: Some(vec![3, 5]), ..Pass::default() },
        Pass { starts: Some(vec![true; 7]), ..Pass::default() },
        Pass { starts: Some(vec![]), ..Pass::default() },
    ];
    for pass in wrong {
        let error = refused(&model, &tokens(2, 4, 1), model.start(2), &pass);
        assert!(matches!(error, MemoryError::Shape { .. } | MemoryError::Setting { .. }), "{pass:?}: {error}");
    }
}

#[test]
fn settings_outside_their_domain() {
    let memory = |memory: MemoryConfig| small(Some(memory));
    let wrong = [
        ("heads", ModelConfig { groups: Some(3), ..sr() }),
        ("width", ModelConfig { width: 18, ..sr() }),
        ("width", ModelConfig { width: 12, ..sr() }),
        ("window", ModelConfig { window: Some(0), ..sr() }),
        ("sinks", ModelConfig { sinks: 4, window: None, ..sr() }),
        ("sinks", ModelConfig { sinks: 4, window: Some(1), ..sr() }),
        ("sinks", ModelConfig { sinks: usize::MAX, ..sr() }),
        ("head_width", ModelConfig { head_width: Some(5), ..sr() }),
        ("head_width", ModelConfig { head_width: Some(0), ..sr() }),
        ("rope_base", ModelConfig { rope_base: 0.5, ..sr() }),
        ("rope_base", ModelConfig { rope_base: f64::NAN, ..sr() }),
        ("norm_epsilon", ModelConfig { norm_epsilon: 0.0, ..sr() }),
        ("norm_epsilon", ModelConfig { norm_epsilon: f64::INFINITY, ..sr() }),
        ("layers", ModelConfig { layers: 0, ..sr() }),
        ("groups", ModelConfig { groups: Some(0), ..sr() }),
        ("memory.chunk", memory(MemoryConfig { chunk: 24, ..MemoryConfig::default() })),
        ("memory.lambda_min", memory(MemoryConfig { lambda_min: -0.1, ..MemoryConfig::default() })),
        (
            "memory.half_lives",
            memory(MemoryConfig { half_lives: HalfLives::Bias(f64::NAN), ..MemoryConfig::default() }),
        ),
    ];
    for (name, config) in wrong {
        let error = Model::new(&config, &mut Stream::new(0, "model", 0), &cpu()).expect_err(name);
        assert!(matches!(&error, MemoryError::Setting { field, .. } if *field == name), "{name}: {error}");
    }
    // So large that sizes overflow, or that nobody has room for it: refused before anything is allocated.
    for huge in [
        ModelConfig { width: usize::MAX - 1, ..sr() },
        ModelConfig { vocabulary: usize::MAX, ..sr() },
        ModelConfig { layers: 1 << 40, ..sr() },
        ModelConfig { width: 1 << 24, mlp: Some(1 << 24), ..sr() },
        ModelConfig { heads: 0, ..sr() },
        ModelConfig { head_width: Some(usize::MAX - 1), ..sr() },
        ModelConfig { head_width: Some(1 << 24), layers: 1 << 16, ..sr() },
    ] {
        assert!(Model::new(&huge, &mut Stream::new(0, "model", 0), &cpu()).is_err(), "{huge:?}");
        assert_eq!(synaptic_resonance::model::memory_parameters(&huge), 0);
    }
    for half_lives in [HalfLives::Bias(1e39), HalfLives::LogSpaced { from: 1e-300, to: 1e300 }] {
        assert!(MemoryConfig { half_lives, ..MemoryConfig::default() }.check().is_err(), "{half_lives:?}");
    }
    assert!(MemoryConfig { lambda_min: 1e39, ..MemoryConfig::default() }.check().is_err());
    let chunk = MemoryConfig { chunk: 3, ..MemoryConfig::default() };
    assert!(model(&small(None)).with_memory(&chunk, &mut Stream::new(0, "memory", 0)).is_err());
}
