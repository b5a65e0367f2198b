//! What is not finite, and what no stream could have left, does not get in; what gets in can be saved.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use plasticity_core::rng::Stream;
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::{Label, Session};
use synaptic_resonance::state::State;
use synaptic_resonance::tokens::Tokens;

use super::{carried, config, model, text, variants};

/// A model of which one parameter is not finite.
fn broken(model: &Model) -> Model {
    struct Break(bool);
    impl ModuleMapper for Break {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let first = std::mem::replace(&mut self.0, false);
            param.map(|value| if first { value * f32::NAN } else { value })
        }
    }
    model.clone().map(&mut Break(true))
}

/// The state after `n` tokens.
fn state(model: &Model, n: usize) -> State {
    match n {
        0 => model.start(1),
        n => model.hidden(&Tokens::new(text(n, 40), 1, n).unwrap(), model.start(1), &Pass::default()).unwrap().1,
    }
}

#[test]
fn every_state_that_is_accepted_can_be_saved_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session.safetensors");
    let (mut accepted, mut refused) = (0, 0);
    for (name, config) in variants() {
        let model = model(&config);
        for (n, position) in [(0, 0), (0, 7), (3, 3), (9, 9), (3, 1 << 40), (9, 3), (3, 0), (9, u64::MAX), (9, 1 << 61)]
        {
            let mut state = state(&model, n);
            state.position = vec![position];
            let Ok(mut session) = Session::with_state(&model, state) else {
                refused += 1;
                continue;
            };
            accepted += 1;
            for _ in 0..2 {
                session.save(&file, &Label::default()).unwrap();
                let restored = Session::restore(&file, &model, None, false);
                let restored = restored.unwrap_or_else(|e| panic!("{name}, {n} tokens, position {position}: {e}"));
                assert_eq!(carried(&restored), carried(&session), "{name}");
                session.feed(&text(2, 41)).unwrap();
            }
        }
    }
    assert!(accepted > 40 && refused > 20, "{accepted} {refused}");
}

#[test]
fn a_state_that_is_not_finite_is_not_taken() {
    let model = model(&config());
    for value in [f32::NAN, f32::INFINITY] {
        let mut state = state(&model, 9);
        state.layers[0].s = state.layers[0].s.take().map(|s| s + value);
        let error = Session::with_state(&model, state).expect_err("it is refused");
        assert!(matches!(error, MemoryError::Poisoned { .. }), "{error}");
    }
}

/// A call that fails leaves the session as it was, and so does one whose answer is no number.
#[test]
fn a_model_that_is_not_finite_does_not_spoil_a_session() {
    let good = model(&config());
    let state = state(&good, 9);
    let mut session = Session::with_state(&broken(&good), state).unwrap();
    let before = carried(&session);
    for _ in 0..2 {
        let error = session.feed(&text(3, 42)).expect_err("it is refused");
        assert!(matches!(error, MemoryError::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains("has its training diverged"), "{error}");
        assert_eq!(carried(&session), before);
        assert_eq!(session.tokens(), 0);
    }
    assert!(session.generate(2, &Sampler::greedy(), &mut Stream::new(0, "draw", 0)).is_err(), "nothing was fed");
}
