//! State from token to token: streaming, padding, documents, frozen memory, positions.

use burn::tensor::DType;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{max_difference, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::ModelConfig;
use synaptic_resonance::state::State;
use synaptic_resonance::tokens::Tokens;

use super::{columns, contents, cpu, logits, model, model_of, run, small, tokens, variants};

/// Logits of `tokens` in pieces that end at `cuts` and at the end, each row's in order.
fn in_pieces(model: &Model, tokens: &Tokens, cuts: &[usize], starts: Option<&[bool]>) -> (Vec<Vec<f64>>, State) {
    let (batch, time) = (tokens.batch(), tokens.time());
    let mut state = model.start(batch);
    let mut all = vec![Vec::new(); batch];
    let mut from = 0;
    for to in cuts.iter().copied().chain([time]) {
        let part = |starts: &[bool]| (0..batch).flat_map(|row| starts[row * time..][from..to].to_vec()).collect();
        let pass = Pass { starts: starts.map(part), ..Pass::default() };
        let (rows, next) = run(model, &columns(tokens, from, to), state, &pass);
        state = next;
        all.iter_mut().zip(rows).for_each(|(all, row)| all.extend(row));
        from = to;
    }
    (all, state)
}

fn assert_same(found: &(Vec<Vec<f64>>, State), expected: &(Vec<Vec<f64>>, State), tolerance: f64, what: &str) {
    for row in 0..expected.0.len() {
        let worst = max_difference(&found.0[row], &expected.0[row]);
        assert!(worst <= tolerance, "{what}: row {row} differs by {worst}");
        let worst = max_difference(&contents(&found.1, row), &contents(&expected.1, row));
        assert!(worst <= tolerance, "{what}: the state of row {row} differs by {worst}");
    }
}

#[test]
fn o21_a_stream_in_pieces_is_the_whole() {
    let tokens = tokens(2, 70, 1);
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-10)] {
        for (name, config) in variants() {
            let model = model_of(&config, 0, &cpu(), dtype);
            let whole = run(&model, &tokens, model.start(2), &Pass::default());
            let single: Vec<usize> = (1..70).collect();
            assert_same(
                &in_pieces(&model, &tokens, &single, None),
                &whole,
                tolerance,
                &format!("{name}: single tokens"),
            );
            let mut stream = Stream::new(2, name, 0);
            for _ in 0..4 {
                let cuts: Vec<usize> = (1..70).filter(|_| stream.bernoulli(0.12)).collect();
                assert_same(&in_pieces(&model, &tokens, &cuts, None), &whole, tolerance, &format!("{name}: {cuts:?}"));
            }
        }
    }
}

#[test]
fn packed_documents_are_the_documents_alone() {
    let (time, batch) = (41, 2);
    let tokens = tokens(batch, time, 3);
    // Row 0 begins with a document, row 1 with the end of one.
    let firsts = [vec![0, 1, 17, 30], vec![7, 12]];
    let starts: Vec<bool> = (0..batch * time).map(|i| firsts[i / time].contains(&(i % time))).collect();
    for (name, config) in variants() {
        let model = model(&config);
        let pass = Pass { starts: Some(starts.clone()), ..Pass::default() };
        let (packed, state) = run(&model, &tokens, model.start(batch), &pass);
        for row in 0..batch {
            let mut bounds = firsts[row].clone();
            bounds.extend([time]);
            if bounds[0] > 0 {
                bounds.insert(0, 0);
            }
            for pair in bounds.windows(2) {
                let alone = Tokens::new(tokens.row(row)[pair[0]..pair[1]].to_vec(), 1, pair[1] - pair[0]).unwrap();
                let (expected, own) = run(&model, &alone, model.start(1), &Pass::default());
                let found = &packed[row][pair[0] * 13..pair[1] * 13];
                let worst = max_difference(found, &expected[0]);
                assert!(worst <= 1e-5, "{name}: document {pair:?} of row {row} differs by {worst}");
                if pair[1] == time {
                    assert!(max_difference(&contents(&state, row), &contents(&own, 0)) <= 1e-5, "{name}: row {row}");
                }
            }
        }
        let pieces = in_pieces(&model, &tokens, &[5, 7, 8, 29], Some(&starts));
        assert_same(&pieces, &(packed, state), 1e-4, name);
    }
}

#[test]
fn o17_padding_is_not_there() {
    let time = 23;
    let tokens = tokens(4, time, 4);
    for (name, config) in variants() {
        let model = model(&config);
        // Twice, so that the second pass starts from rings that are filled unequally; 0 is a row without a token.
        let passes = [[23, 3, 1, 17], [2, 9, 0, 23]];
        let mut state = model.start(4);
        let mut own: Vec<State> = (0..4).map(|_| model.start(1)).collect();
        for lengths in passes {
            let pass = Pass { lengths: Some(lengths.to_vec()), ..Pass::default() };
            let before = state.clone();
            let (padded, after) = run(&model, &tokens, state, &pass);
            for row in 0..4 {
                if lengths[row] == 0 {
                    assert_eq!(contents(&before, row), contents(&after, row), "{name}: an empty row");
                    continue;
                }
                let alone = Tokens::new(tokens.row(row)[..lengths[row]].to_vec(), 1, lengths[row]).unwrap();
                let (expected, next) = run(&model, &alone, own[row].clone(), &Pass::default());
                let worst = max_difference(&padded[row][..lengths[row] * 13], &expected[0]);
                assert!(worst <= 1e-5, "{name}: row {row} differs by {worst}");
                let worst = max_difference(&contents(&after, row), &contents(&next, 0));
                assert!(worst <= 1e-5, "{name}: the state of row {row} differs by {worst}");
                own[row] = next;
            }
            state = after;
        }
    }
}

#[test]
fn what_padding_holds_is_nothing_to_anyone() {
    let pass = Pass { lengths: Some(vec![9, 4]), ..Pass::default() };
    let first = tokens(2, 12, 5);
    let ids = first.ids().iter().enumerate();
    let ids = ids.map(|(i, id)| if i % 12 >= [9, 4][i / 12] { 12 - id } else { *id }).collect();
    let second = Tokens::new(ids, 2, 12).unwrap();
    // A document that begins in the padding is none.
    let starts = Some((0..24).map(|i| i == 10 || i == 20).collect());
    for (name, config) in variants() {
        let model = model(&config);
        let (a, after_a) = run(&model, &first, model.start(2), &pass);
        let (b, after_b) = run(&model, &second, model.start(2), &Pass { starts: starts.clone(), ..pass.clone() });
        for row in 0..2 {
            let valid = [9, 4][row] * 13;
            assert_eq!(a[row][..valid], b[row][..valid], "{name}");
            assert_eq!(contents(&after_a, row), contents(&after_b, row), "{name}");
        }
    }
}

fn memories(state: &State) -> Vec<f64> {
    state.layers.iter().flat_map(|layer| values(layer.s.clone().expect("a memory"))).collect()
}

#[test]
fn o17_a_frozen_memory_stays_bit_for_bit() {
    let (prefix, rest) = (tokens(2, 20, 6), tokens(2, 20, 7));
    for (name, config) in variants().into_iter().filter(|(_, config)| config.memory.is_some()) {
        let model = model(&config);
        let (_, warm) = run(&model, &prefix, model.start(2), &Pass::default());
        let starts = Some((0..40).map(|i| i == 25).collect());
        for starts in [None, starts] {
            let frozen = Pass { frozen: true, starts, ..Pass::default() };
            let (read, after) = run(&model, &rest, warm.clone(), &frozen);
            assert_eq!(memories(&after), memories(&warm), "{name}");
            // It is read: an empty one gives other logits; and the rest of the state goes on.
            let mut empty = warm.clone();
            for layer in &mut empty.layers {
                layer.s = layer.s.take().map(|s| s.zeros_like());
            }
            let (without, _) = run(&model, &rest, empty, &frozen);
            assert!(max_difference(&read[0], &without[0]) > 1e-3, "{name}");
            let (_, updated) = run(&model, &rest, warm.clone(), &Pass { frozen: false, ..frozen });
            assert_eq!(after.position, updated.position);
            assert!(max_difference(&memories(&updated), &memories(&warm)) > 1e-3, "{name}");
        }
    }
}

#[test]
fn positions_do_not_drift() {
    // Logits depend on the last tokens only, however far the stream is.
    let far = 6000;
    let long = tokens(1, far, 8);
    for (name, config) in [
        ("A0", small(None)),
        ("A11", ModelConfig { attention_blend: true, ..small(None) }),
        ("A9", ModelConfig { window: None, ..small(None) }),
    ] {
        let model = model(&config);
        let mut state = model.start(1);
        state.position = vec![1_000_000];
        let near = columns(&long, 0, 50);
        let (moved, after) = run(&model, &near, state, &Pass::default());
        assert_eq!(moved, logits(&model, &near, &Pass::default()), "{name}");
        assert_eq!(after.position, [1_000_050]);
        if config.window.is_none() {
            continue;
        }
        let cuts: Vec<usize> = (1..far / 300).map(|i| i * 300 + i % 7).collect();
        let (all, state) = in_pieces(&model, &long, &cuts, None);
        assert_eq!(state.position, [far as u64]);
        // Two layers of a window of five and a blended key each reach 2 x 5 tokens back.
        let end = logits(&model, &columns(&long, far - 31, far), &Pass::default());
        let (found, expected) = (&all[0][(far - 20) * 13..], &end[0][11 * 13..]);
        assert!(max_difference(found, expected) <= 1e-5, "{name}: {}", max_difference(found, expected));
    }
}

#[test]
fn a_cut_state_carries_numbers_and_no_gradient() {
    let config = variants().swap_remove(0).1;
    let model = synaptic_resonance::model::Model::new(&config, &mut Stream::new(0, "model", 0), &cpu()).unwrap();
    let (_, state) = model.forward(&tokens(2, 9, 9), model.start(2), &Pass::default()).unwrap();
    let before: Vec<Vec<f64>> = (0..2).map(|row| contents(&state, row)).collect();
    let cut = state.detach();
    assert_eq!(before, (0..2).map(|row| contents(&cut, row)).collect::<Vec<_>>());
    let (logits, _) = model.forward(&tokens(2, 5, 10), cut, &Pass::default()).unwrap();
    let grads = logits.sum().backward();
    assert!(model.blocks[0].attention.k.val().grad(&grads).is_some());
}
