//! Decoding with weights in blocks: the logits of the model, whatever the pieces and the threads.

use std::ops::ControlFlow;

use synaptic_resonance::MemoryError;
use synaptic_resonance::blocks::BlockType;
use synaptic_resonance::decode::{Decoder, Ended, Until, Weights, inspect};
use synaptic_resonance::memory::Memories;
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::{Label, Session};

use super::*;

/// The logits after every token, from the model.
fn exact(model: &Model, tokens: &[u32]) -> Vec<f64> {
    let (logits, _) = model
        .forward(&Tokens::new(tokens.to_vec(), 1, tokens.len()).unwrap(), model.start(1), &Pass::default())
        .unwrap();
    logits.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Those that a decoder gives after pieces of `size` tokens, one behind the other.
fn decoded(weights: &Weights, tokens: &[u32], size: usize) -> Vec<f32> {
    let mut decoder = Decoder::new(weights.clone()).unwrap();
    let logits = tokens.chunks(size).flat_map(|tokens| decoder.feed(tokens).unwrap()).collect();
    assert_eq!(decoder.position(), tokens.len() as u64);
    logits
}

fn text(n: usize, vocabulary: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 7 + i * 5 + i / 9) % vocabulary) as u32).collect()
}

fn decodable() -> impl Iterator<Item = (&'static str, ModelConfig)> {
    let other = |config: &ModelConfig| {
        let memory = config.memory.as_ref();
        config.attention_blend || memory.is_some_and(|m| m.own_projections || m.gates != Gates::Heads)
    };
    variants().into_iter().filter(move |(_, config)| !other(config))
}

#[test]
fn logits_are_those_of_the_model() {
    for (name, config) in decodable() {
        let model = model(&config);
        let weights = Weights::of(&model, BlockType::F32).unwrap();
        let tokens = text(41, config.vocabulary);
        let (exact, found) = (exact(&model, &tokens), decoded(&weights, &tokens, 1));
        let scale = exact.iter().fold(1.0f64, |a, x| a.max(x.abs()));
        for (i, (found, exact)) in found.iter().zip(&exact).enumerate() {
            let token = i / config.vocabulary;
            assert!((f64::from(*found) - exact).abs() < 2e-5 * scale, "{name}, token {token}: {found} for {exact}");
        }
    }
}

#[test]
fn pieces_and_threads_change_no_bit() {
    for (name, config) in decodable() {
        let weights = Weights::of(&model(&config), BlockType::F32).unwrap();
        let tokens = text(30, config.vocabulary);
        let singles = decoded(&weights, &tokens, 1);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for size in [1, 3, 8, 30] {
                let found = pool.install(|| decoded(&weights, &tokens, size));
                let ends = (0..tokens.len()).filter(|i| (i + 1) % size == 0 || i + 1 == tokens.len());
                for (found, end) in found.chunks(config.vocabulary).zip(ends) {
                    let expected = &singles[end * config.vocabulary..][..config.vocabulary];
                    assert_eq!(found, expected, "{name}, {threads} threads, pieces of {size}, token {end}");
                }
            }
        }
    }
}

#[test]
fn weights_in_blocks_are_the_model_of_their_numbers() {
    let memory = Some(MemoryConfig { chunk: 8, ..Default::default() });
    let config = ModelConfig {
        width: 64,
        heads: 4,
        groups: Some(2),
        mlp: Some(96),
        window: Some(7),
        memory,
        vocabulary: 40,
        ..Default::default()
    };
    for kind in [BlockType::F16, BlockType::BF16, BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1] {
        let first = model(&config);
        let weights = Weights::of(&first, kind).unwrap();
        // The same blocks as numbers, in a model of f32.
        let mut rounded = first.clone();
        let turned = |matrix: &Param<Tensor<2>>, turn: bool| {
            let x = if turn { matrix.val().transpose() } else { matrix.val() };
            let shape = x.dims();
            let values: Vec<f32> = x.into_data().try_into_vec().unwrap();
            let mut numbers = values.clone();
            kind.dequantise(&kind.quantise(&values).unwrap(), &mut numbers).unwrap();
            let x = Tensor::<2>::from_data(TensorData::new(numbers, shape), &matrix.val().device());
            Param::from_tensor(if turn { x.transpose() } else { x })
        };
        rounded.embedding = turned(&rounded.embedding, false);
        for block in &mut rounded.blocks {
            let attention = &mut block.attention;
            for matrix in
                [&mut attention.q, &mut attention.k, &mut attention.v, &mut attention.o, &mut block.up, &mut block.down]
            {
                *matrix = turned(matrix, true);
            }
        }
        let tokens = text(33, config.vocabulary);
        let (exact, found) = (exact(&rounded, &tokens), decoded(&weights, &tokens, 5));
        let ends = (0..tokens.len()).filter(|i| (i + 1) % 5 == 0 || i + 1 == tokens.len());
        let scale = exact.iter().fold(1.0f64, |a, x| a.max(x.abs()));
        for (found, end) in found.chunks(config.vocabulary).zip(ends) {
            for (found, exact) in found.iter().zip(&exact[end * config.vocabulary..]) {
                assert!((f64::from(*found) - exact).abs() < 2e-5 * scale, "{kind}, token {end}: {found} for {exact}");
            }
        }
    }
}

#[test]
fn a_decoder_refuses_what_it_cannot_do() {
    let (_, sr) = variants().remove(0);
    let mut decoder = Decoder::new(Weights::of(&model(&sr), BlockType::F32).unwrap()).unwrap();
    assert!(decoder.feed(&[]).unwrap_err().to_string().contains("tokens"));
    assert!(matches!(decoder.feed(&[1, 2, 13]), Err(MemoryError::Token { token: 13, position: 2, .. })));
    assert_eq!(decoder.position(), 0);
    let first = decoder.feed(&[1, 2, 3]).unwrap();
    decoder.feed(&text(20, 13)).unwrap();
    decoder.reset();
    assert_eq!(decoder.feed(&[1, 2, 3]).unwrap(), first, "nothing is left after a reset");
    let blend = ModelConfig { attention_blend: true, ..sr.clone() };
    assert!(Weights::of(&model(&blend), BlockType::F32).unwrap_err().to_string().contains("attention_blend"));
    for (gates, name) in [(Gates::Decay, "decay"), (Gates::Channels, "channels")] {
        let memory = MemoryConfig { gates, ..sr.memory.clone().unwrap() };
        let config = ModelConfig { memory: Some(memory), ..sr.clone() };
        let error = Weights::of(&model(&config), BlockType::F32).unwrap_err().to_string();
        assert!(error.contains("memory.gates") && error.contains(name), "{error}");
    }
    let odd = Weights::of(&model(&sr), BlockType::Q4_1).unwrap_err();
    assert!(odd.to_string().contains("no whole number of Q4_1 blocks"), "{odd}");
    let mut wrong = Weights::of(&model(&sr), BlockType::F32).unwrap();
    wrong.layers[1].norm2.pop();
    assert!(Decoder::new(wrong).unwrap_err().to_string().contains("`norm2` has shape [15], expected [16]"));
}

/// A decoder of a model with memory, window and first tokens, that has seen `seen` tokens.
fn decoder(config: &ModelConfig, seen: &[u32]) -> Decoder {
    let mut decoder = Decoder::new(Weights::of(&model(config), BlockType::F32).unwrap()).unwrap();
    if !seen.is_empty() {
        decoder.feed(seen).unwrap();
    }
    decoder
}

#[test]
fn a_saved_stream_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stream");
    for (name, config) in decodable() {
        let (weights, text) = (Weights::of(&model(&config), BlockType::F32).unwrap(), text(30, config.vocabulary));
        for seen in [0, 1, 4, 19] {
            let mut first = decoder(&config, &text[..seen]);
            first.set_frozen(seen == 4);
            let label = Label { tokenizer: Some("bytes".into()), created: Some(1_700_000_000) };
            first.save(&file, &label).unwrap();
            let bytes = std::fs::read(&file).unwrap();
            first.fork().save(&file, &label).unwrap();
            assert!(std::fs::read(&file).unwrap() == bytes, "{name}: equal streams, equal bytes");
            let mut second = Decoder::restore(&file, weights.clone(), Some("bytes")).unwrap();
            let saved = inspect(&file).unwrap();
            assert_eq!((saved.position, saved.frozen, &saved.label), (seen as u64, seen == 4, &label));
            assert_eq!((saved.model.as_str(), second.position()), (first.hash(), seen as u64));
            if seen > 0 {
                assert_eq!(second.logits().unwrap(), first.logits().unwrap(), "{name}, {seen} tokens");
            }
            for piece in [3, 1, 7] {
                let at = second.position() as usize;
                let piece = &text[at..at + piece];
                assert_eq!(second.feed(piece).unwrap(), first.feed(piece).unwrap(), "{name}, {seen} tokens");
            }
        }
    }
}

#[test]
fn a_file_that_is_no_stream_of_this_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stream");
    let (_, sr) = variants().remove(0);
    let seen = text(19, 13);
    let label = Label { tokenizer: Some("bytes".into()), created: None };
    decoder(&sr, &seen).save(&file, &label).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let weights = Weights::of(&model(&sr), BlockType::F32).unwrap();
    let refused = |weights: &Weights, tokenizer: Option<&str>, part: &str| {
        let error = Decoder::restore(&file, weights.clone(), tokenizer).expect_err(part);
        assert!(matches!(error, MemoryError::Saved { .. }), "{error}");
        let error = error.to_string();
        assert!(
            error.contains(part) && error.starts_with(&file.display().to_string()) && !error.contains('\n'),
            "{error}"
        );
    };
    refused(&weights, Some("words"), "saved with a tokeniser with hash bytes");
    assert!(Decoder::restore(&file, weights.clone(), None).is_ok());
    let mut other = weights.clone();
    other.layers[1].norm2[3] += 0.5;
    refused(&other, None, "saved of a model with hash");
    let other = Weights::of(&model_of(&sr, 1, &cpu(), DType::F32), BlockType::F32).unwrap();
    refused(&other, None, "saved of a model with hash");
    let mut other = weights.clone();
    other.host.window = Some(6);
    refused(&other, None, "saved with a window of 5 and 0 first tokens, the model has a window of 6");
    let other = Weights::of(&model(&ModelConfig { mlp: Some(20), ..sr.clone() }), BlockType::F32).unwrap();
    refused(&other, None, "saved of a model with hash");
    let other = Weights::of(&model(&ModelConfig { layers: 3, ..sr.clone() }), BlockType::F32).unwrap();
    refused(&other, None, "restore with the model it was saved of");
    // Cut off anywhere, a bit that has turned, too long, another format, another kind of session.
    for n in (0..whole.len()).step_by(61) {
        std::fs::write(&file, &whole[..n]).unwrap();
        refused(&weights, None, "");
    }
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&file, &bytes).unwrap();
        refused(&weights, None, "");
    }
    std::fs::write(&file, [whole.as_slice(), &[0]].concat()).unwrap();
    refused(&weights, None, "too long");
    let session = Session::new(&model(&sr));
    session.save(&file, &label).unwrap();
    refused(&weights, None, "this is not a saved session");
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(Decoder::restore(&file, weights, None), Err(MemoryError::Io { .. })));
}

#[test]
fn losses_are_those_of_the_logits() {
    for (name, config) in decodable() {
        let (text, v) = (text(29, config.vocabulary), config.vocabulary);
        let mut one = decoder(&config, &[]);
        let logits: Vec<f32> = text.iter().flat_map(|token| one.feed(&[*token]).unwrap()).collect();
        let exact: Vec<f64> = logits
            .chunks(v)
            .zip(&text[1..])
            .map(|(logits, token)| {
                let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
                total.ln() - f64::from(logits[*token as usize])
            })
            .collect();
        let mut other = decoder(&config, &[]);
        let mut found = Vec::new();
        for piece in [1, 11, 2, 15] {
            let at = other.position() as usize;
            found.extend(other.losses(&text[at..at + piece]).unwrap());
        }
        assert_eq!(found.len(), exact.len(), "{name}");
        for (found, exact) in found.iter().zip(&exact) {
            assert!((found - exact).abs() < 1e-9, "{name}: {found} for {exact}");
        }
        assert_eq!(other.logits().unwrap(), logits[28 * v..], "{name}");
    }
}

#[test]
fn drawing_in_parts_is_drawing_at_once() {
    let (_, config) = variants().into_iter().find(|(name, _)| *name == "Llama").unwrap();
    let (seen, sampler) = (text(9, 13), Sampler { temperature: 1.2, top_p: 0.95 });
    let drawn = |decoder: &mut Decoder, tokens: usize, stops: &[u32], stream: &mut Stream| {
        let mut all = Vec::new();
        let ended = decoder.generate(&Until { tokens, stops }, &sampler, stream, |token| {
            all.push(token);
            if all.len() == 11 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (all, ended.unwrap())
    };
    let first = decoder(&config, &seen);
    let (mut whole, mut parts, mut stopped, mut asked) = (first.fork(), first.fork(), first.fork(), first.fork());
    let stream = || Stream::new(3, "drawn", 0);
    let (eight, ended) = drawn(&mut whole, 8, &[], &mut stream());
    assert_eq!((eight.len(), ended), (8, Ended::Enough));
    let mut one = stream();
    let (mut all, _) = drawn(&mut parts, 5, &[], &mut one);
    all.extend(drawn(&mut parts, 3, &[], &mut one).0);
    assert_eq!((&all, parts.logits().unwrap()), (&eight, whole.logits().unwrap()));
    // A stop token is neither given nor fed.
    let stop = eight[4];
    let at = eight.iter().position(|token| *token == stop).unwrap();
    let (some, ended) = drawn(&mut stopped, 8, &[stop], &mut stream());
    assert_eq!((some.as_slice(), ended), (&eight[..at], Ended::Stop(stop)));
    assert_eq!(stopped.position(), (seen.len() + at) as u64);
    assert_eq!(drawn(&mut asked, 20, &[], &mut stream()).1, Ended::Asked);
    assert_eq!(asked.position(), seen.len() as u64 + 11);
    let mut empty = decoder(&config, &[]);
    assert!(
        empty.generate(&Until { tokens: 1, stops: &[] }, &sampler, &mut stream(), |_| ControlFlow::Break(())).is_err()
    );
}

#[test]
fn full_attention_ends_where_the_model_does() {
    let (_, sr) = variants().remove(0);
    let text = text(20, 13);
    for (window, room) in [(None, Some(12)), (Some(5), None)] {
        let mut weights = Weights::of(&model(&ModelConfig { window, ..sr.clone() }), BlockType::F32).unwrap();
        weights.host.length = Some(12);
        let mut decoder = Decoder::new(weights).unwrap();
        assert_eq!(decoder.room(), room);
        let found = decoder.feed(&text[..13]);
        if window.is_some() {
            found.unwrap();
            continue;
        }
        assert!(matches!(found, Err(MemoryError::Length { tokens: 13, length: 12 })), "{found:?}");
        assert_eq!(decoder.position(), 0);
        decoder.feed(&text[..9]).unwrap();
        assert!(decoder.losses(&text[9..13]).is_err());
        let (mut n, mut stream) = (0, Stream::new(0, "drawn", 0));
        let ended = decoder.generate(&Until { tokens: 9, stops: &[] }, &Sampler::greedy(), &mut stream, |_| {
            n += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((ended.unwrap(), n, decoder.position()), (Ended::Full, 3, 12));
    }
}

#[test]
fn a_memory_that_is_inserted_changes_no_bit() {
    for (name, config) in decodable().filter(|(_, config)| config.memory.is_none()) {
        let plain = model(&config);
        let with = plain.clone().with_memory(&MemoryConfig::default(), &mut Stream::new(1, "memory", 0)).unwrap();
        let memories = Memories::of(&with).unwrap();
        let weights = Weights::of(&plain, BlockType::F32).unwrap();
        let tokens = text(30, config.vocabulary);
        let expected = decoded(&weights, &tokens, 1);
        assert_eq!(decoded(&Weights::of(&with, BlockType::F32).unwrap(), &tokens, 1), expected, "{name}");
        let inserted = weights.clone().with_memories(&memories).unwrap();
        assert_ne!(inserted.hash(), weights.hash());
        assert_eq!(decoded(&inserted, &tokens, 1), expected, "{name}");
        let error = weights.with_memories(&Memories { layers: memories.layers[1..].to_vec(), ..memories }).unwrap_err();
        assert!(error.to_string().contains("`memories` has shape [1], expected [2]"), "{error}");
    }
}

#[test]
fn what_a_memory_shows_is_that_of_the_model() {
    for (name, config) in decodable().filter(|(_, config)| config.memory.is_some()) {
        let (model, text) = (model(&config), text(26, config.vocabulary));
        let exact = model.trace(&Tokens::new(text.clone(), 1, text.len()).unwrap()).unwrap();
        let mut decoder = Decoder::new(Weights::of(&model, BlockType::F32).unwrap()).unwrap();
        let (losses, found) = decoder.traced(&text).unwrap();
        let mut other = Decoder::new(Weights::of(&model, BlockType::F32).unwrap()).unwrap();
        assert_eq!(losses, other.losses(&text).unwrap(), "{name}: looking changes nothing");
        let (groups, share) = (config.groups(), config.heads / config.groups());
        assert_eq!((found.layers, found.groups), (config.layers, groups));
        for (l, layer) in exact.into_iter().enumerate() {
            let (rate, surprise, familiarity) =
                (values(layer.write_rate), values(layer.surprise), values(layer.familiarity));
            for t in 0..text.len() {
                for g in 0..groups {
                    let at = (t * config.layers + l) * groups + g;
                    let heads = &familiarity[(t * groups + g) * share..][..share];
                    for (what, found, exact) in [
                        ("write rate", found.write_rate[at], rate[t * groups + g]),
                        ("surprise", found.surprise[at], surprise[t * groups + g]),
                        ("familiarity", found.familiarity[at], heads.iter().sum::<f64>() / share as f64),
                    ] {
                        let off = (f64::from(found) - exact).abs();
                        assert!(off < 2e-5 * exact.abs().max(1.0), "{name}, {what}, token {t}: {found} for {exact}");
                    }
                }
            }
        }
    }
    let mut plain = decoder(&variants().remove(1).1, &[]);
    assert!(plain.traced(&[1, 2]).unwrap_err().to_string().contains("`memory` is none"));
}

#[test]
fn memories_are_saved_without_their_host() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.safetensors");
    for (name, config) in variants().into_iter().filter(|(_, config)| config.memory.is_some()) {
        let model = model(&config);
        Memories::of(&model).unwrap().save(&file, &config).unwrap();
        let host = Model { config: ModelConfig { memory: None, ..config.clone() }, ..model.clone() };
        let loaded = Memories::load(&file, &host.config, &cpu()).unwrap();
        let with = host.with_memories(loaded).unwrap();
        assert_eq!(with.config, config, "{name}");
        let tokens = text(20, config.vocabulary);
        assert_eq!(exact(&with, &tokens), exact(&model, &tokens), "{name}");
        let other = ModelConfig { layers: 1, ..config.clone() };
        let error = Memories::load(&file, &other, &cpu()).unwrap_err();
        assert!(error.to_string().contains("the model has [1, "), "{error}");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
        assert!(Memories::load(&file, &config, &cpu()).unwrap_err().to_string().contains("truncated"), "{name}");
    }
    assert!(Memories::of(&model(&variants().into_iter().find(|(_, c)| c.memory.is_none()).unwrap().1)).is_none());
}
