//! Feeding and generating, against whole sequences passed through the model at once.

use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::Session;
use synaptic_resonance::settings::ModelConfig;
use synaptic_resonance::tokens::Tokens;

use super::{bits, carried, config, model, text, variants};

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Logits after the last token, of all tokens at once.
fn at_once(model: &Model, tokens: &[u32]) -> Vec<f64> {
    let tokens = Tokens::new(tokens.to_vec(), 1, tokens.len()).unwrap();
    let (logits, _) = model.forward(&tokens, model.start(1), &Pass::default()).unwrap();
    let vocabulary = model.config.vocabulary;
    let all = values(logits);
    all[all.len() - vocabulary..].to_vec()
}

#[test]
fn segments_are_the_whole() {
    for (name, config) in variants() {
        let (model, tokens) = (model(&config), text(70, 0));
        let whole = at_once(&model, &tokens);
        for segment in [1, 3, 32, 69, 70, 512] {
            let mut session = Session::new(&model).with_segment(segment).unwrap();
            let logits = session.feed(&tokens).unwrap();
            println!("{name}, segments of {segment}");
            assert_close(&f64s(&logits), &whole, 2e-4);
            assert_eq!((session.tokens(), session.position()), (70, 70));
        }
    }
}

#[test]
fn what_is_generated_is_fed() {
    let model = model(&config());
    let mut session = Session::new(&model);
    let mut tokens = text(12, 1);
    session.feed(&tokens).unwrap();
    let drawn = session.generate(25, &Sampler::greedy(), &mut Stream::new(0, "none", 0)).unwrap();
    for token in drawn {
        let logits = at_once(&model, &tokens);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(token as usize, best, "after {} tokens", tokens.len());
        tokens.push(token);
    }
    assert_eq!(session.tokens(), 37);
    assert_close(&f64s(&session.logits().unwrap()), &at_once(&model, &tokens), 2e-4);
}

#[test]
fn five_and_three_are_eight() {
    let model = model(&config());
    let (mut a, mut b) = (Session::new(&model), Session::new(&model));
    let (mut first, mut second) = (Stream::new(4, "draw", 0), Stream::new(4, "draw", 0));
    a.feed(&text(9, 2)).unwrap();
    b.feed(&text(9, 2)).unwrap();
    let sampler = Sampler { temperature: 1.3, top_p: 0.9 };
    let eight = a.generate(8, &sampler, &mut first).unwrap();
    let mut parts = b.generate(5, &sampler, &mut second).unwrap();
    parts.extend(b.generate(3, &sampler, &mut second).unwrap());
    assert_eq!(eight, parts);
    assert_eq!(carried(&a), carried(&b));
    assert!(a.generate(0, &sampler, &mut first).unwrap().is_empty());
}

#[test]
fn the_size_is_constant_once_the_window_is_full() {
    let config = config();
    let mut session = Session::new(&model(&config));
    let mut sizes = Vec::new();
    for token in text(60, 3) {
        session.feed(&[token]).unwrap();
        sizes.push(session.values());
    }
    // Per layer the memory [1, 4, 4], the previous key [1, 4] and keys and values of 4 tokens; and the hidden state.
    let full = 2 * (16 + 4 + 2 * 4 * 4) + 8;
    assert!(sizes[4..].iter().all(|size| *size == full), "{sizes:?}, expected {full}");
    assert!(sizes.iter().all(|size| *size <= full));
    // However it was fed.
    let mut session = Session::new(&model(&config)).with_segment(16).unwrap();
    session.feed(&text(1000, 3)).unwrap();
    assert_eq!(session.values(), full);

    let mut full = Session::new(&model(&ModelConfig { window: None, ..config }));
    full.feed(&text(10, 3)).unwrap();
    let ten = full.values();
    full.feed(&text(10, 3)).unwrap();
    assert_eq!(full.values(), ten + 2 * 10 * 2 * 4, "full attention keeps a key and a value of each token");
}

#[test]
fn a_call_that_fails_changes_nothing() {
    let mut session = Session::new(&model(&config()));
    let mut stream = Stream::new(0, "draw", 0);
    let error = session.generate(1, &Sampler::default(), &mut stream).unwrap_err().to_string();
    assert!(error.contains("feed at least one"), "{error}");
    assert!(session.logits().is_err());
    session.feed(&text(7, 4)).unwrap();
    let before = carried(&session);

    let mut long = text(900, 5);
    long[700] = 20;
    let error = session.feed(&long).unwrap_err();
    assert!(matches!(error, MemoryError::Token { token: 20, position: 700, vocabulary: 20, .. }), "{error}");
    assert!(matches!(session.feed(&[]).unwrap_err(), MemoryError::Setting { field: "tokens", .. }));
    assert!(session.generate(3, &Sampler { temperature: 1.0, top_p: 2.0 }, &mut stream).is_err());
    assert!(matches!(session.reset(&[0, 2]).unwrap_err(), MemoryError::Setting { field: "layers", .. }));
    assert_eq!(carried(&session), before);
    assert!(Session::new(&model(&config())).with_segment(0).is_err());
}

#[test]
fn a_frozen_memory_is_read_and_not_changed() {
    let model = model(&config());
    let mut session = Session::new(&model);
    session.feed(&text(40, 6)).unwrap();
    let mut frozen = session.fork();
    frozen.freeze(true);
    assert!(frozen.frozen() && !session.frozen());
    let memory = |s: &Session| s.state().layers.iter().map(|l| values(l.s.clone().unwrap())).collect::<Vec<_>>();
    let before = memory(&session);
    let plastic = session.feed(&text(30, 7)).unwrap();
    let fixed = frozen.feed(&text(30, 7)).unwrap();
    assert_eq!(memory(&frozen), before);
    assert_ne!(memory(&session), before);
    assert_ne!(bits(&plastic), bits(&fixed));
    assert_eq!((frozen.position(), frozen.tokens()), (70, 70));
    frozen.freeze(false);
    frozen.feed(&[1]).unwrap();
    assert_ne!(memory(&frozen), before);
}

#[test]
fn a_fork_goes_its_own_way() {
    let model = model(&config());
    let mut session = Session::new(&model);
    session.feed(&text(20, 8)).unwrap();
    let before = carried(&session);
    let mut fork = session.fork();
    fork.feed(&text(20, 9)).unwrap();
    assert_eq!(carried(&session), before);
    let mut third = session.fork();
    session.feed(&text(5, 10)).unwrap();
    third.feed(&text(5, 10)).unwrap();
    assert_eq!(carried(&session), carried(&third));
    assert_ne!(carried(&session), carried(&fork));
}

#[test]
fn reset_empties_the_chosen_memories_and_wipe_everything() {
    let model = model(&config());
    let mut session = Session::new(&model);
    let as_new = carried(&session);
    session.feed(&text(20, 11)).unwrap();
    let before = session.fork();
    session.reset(&[1]).unwrap();
    let (now, then) = (&session.state().layers, &before.state().layers);
    assert!(values(now[1].s.clone().unwrap()).iter().all(|v| *v == 0.0));
    assert!(values(then[1].s.clone().unwrap()).iter().any(|v| *v != 0.0), "the fork keeps its memory");
    assert_eq!(values(now[0].s.clone().unwrap()), values(then[0].s.clone().unwrap()));
    for (a, b) in now.iter().zip(then) {
        let (a, b) = (a.ring.as_ref().unwrap(), b.ring.as_ref().unwrap());
        assert_eq!(values(a.keys.clone()), values(b.keys.clone()));
    }
    assert_eq!(session.position(), 20);

    session.wipe();
    assert_eq!(carried(&session), as_new);
    let mut new = Session::new(&model);
    assert_eq!(bits(&session.feed(&text(9, 12)).unwrap()), bits(&new.feed(&text(9, 12)).unwrap()));
}

#[test]
fn a_prepared_state_is_served() {
    let model = model(&config());
    let tokens = Tokens::new(text(30, 13), 1, 30).unwrap();
    let (_, state) = model.hidden(&tokens, model.start(1), &Pass::default()).unwrap();
    let mut session = Session::with_state(&model, state).unwrap();
    assert_eq!((session.tokens(), session.position()), (0, 30));
    let logits = session.feed(&text(4, 14)).unwrap();
    let all = [text(30, 13), text(4, 14)].concat();
    assert_close(&f64s(&logits), &at_once(&model, &all), 2e-4);
    assert!(matches!(Session::with_state(&model, model.start(2)), Err(MemoryError::State(_))));
}

#[test]
fn sessions_go_to_other_threads() {
    let model = model(&config());
    let mut session = Session::new(&model);
    let mut fork = session.fork();
    let there = std::thread::spawn(move || fork.feed(&text(20, 15)).unwrap()).join().unwrap();
    assert_eq!(bits(&there), bits(&session.feed(&text(20, 15)).unwrap()));
}
