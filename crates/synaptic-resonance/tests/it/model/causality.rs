//! What an output depends on.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::testing::{max_difference, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{HalfLives, MemoryConfig, ModelConfig};
use synaptic_resonance::tokens::Tokens;

use super::{cpu, logits, model, model_of, run, small, tokens, variants};

/// The tokens with those from `from` on replaced by others.
fn changed(tokens: &Tokens, positions: impl Fn(usize) -> bool) -> Tokens {
    let time = tokens.time();
    let ids = tokens.ids().iter().enumerate();
    let ids = ids.map(|(i, id)| if positions(i % time) { (id + 5) % 13 } else { *id }).collect();
    Tokens::new(ids, tokens.batch(), time).unwrap()
}

#[test]
fn o02_later_tokens_change_nothing() {
    let time = 70;
    let tokens = tokens(2, time, 1);
    for (name, config) in variants() {
        let model = model(&config);
        let row = model.config.vocabulary;
        let before = logits(&model, &tokens, &Pass::default());
        for t in [0, 1, 17, 50, time - 2] {
            let after = logits(&model, &changed(&tokens, |at| at > t), &Pass::default());
            for (before, after) in before.iter().zip(&after) {
                let until = (t + 1) * row;
                let worst = max_difference(&before[..until], &after[..until]);
                assert!(worst <= 1e-6, "{name}: {worst} after a change beyond {t}");
                assert!(max_difference(&before[until..], &after[until..]) > 1e-3, "{name}: {t}");
            }
        }
    }
}

/// The change of the last logits of 70 when token 0 changes.
fn reach(model: &Model) -> f64 {
    let tokens = tokens(1, 70, 2);
    let last = |tokens: &Tokens| logits(model, tokens, &Pass::default()).concat().split_off(69 * 13);
    max_difference(&last(&tokens), &last(&changed(&tokens, |at| at == 0)))
}

#[test]
fn o02b_the_memory_reaches_beyond_the_window() {
    let memory = MemoryConfig { half_lives: HalfLives::Bias(-7.0), ..MemoryConfig::default() };
    let config = ModelConfig { window: Some(16), ..small(Some(memory)) };
    assert!(reach(&model(&config)) > 1e-3);
    assert_eq!(reach(&model(&ModelConfig { memory: None, ..config.clone() })), 0.0);
    let alone = ModelConfig { memory: None, attention_blend: true, ..config };
    assert_eq!(reach(&model(&alone)), 0.0);
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let all = tokens(4, 23, 3);
    for (name, config) in variants() {
        let model = model(&config);
        let (together, state) = run(&model, &all, model.start(4), &Pass::default());
        for row in [0, 3] {
            let one = Tokens::new(all.row(row).to_vec(), 1, 23).unwrap();
            let (alone, own) = run(&model, &one, model.start(1), &Pass::default());
            assert!(max_difference(&alone[0], &together[row]) <= 2e-6, "{name}");
            let (a, b) = (super::contents(&own, 0), super::contents(&state, row));
            assert!(max_difference(&a, &b) <= 2e-6, "{name}");
        }
    }
}

#[test]
fn ndarray_gives_what_flex_gives() {
    let Ok(other) = plasticity_core::device::by_name("ndarray") else { return };
    let tokens = tokens(2, 19, 4);
    for (name, config) in variants() {
        let logits = |device: &Device| {
            let model = model_of(&config, 0, device, DType::F32);
            let starts = Some((0..38).map(|i| i == 9 || i == 25).collect());
            let pass = Pass { starts, lengths: Some(vec![19, 11]), ..Pass::default() };
            let (logits, _) = model.forward(&tokens, model.start(2), &pass).unwrap();
            values(logits.slice(s![.., ..11]))
        };
        assert!(max_difference(&logits(&cpu()), &logits(&other)) < 2e-5, "{name}");
    }
}
