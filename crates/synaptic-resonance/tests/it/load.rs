//! Models of others: the files of `tests/fixtures`, which `tiny.py` has written there with the libraries that such files
//! come from, and the real one where it is.

mod damage;
mod in_blocks;
pub mod real;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, max_difference, values};
use serde_json::Value;
use synaptic_resonance::blocks::BlockType;
use synaptic_resonance::load::gguf::Gguf;
use synaptic_resonance::load::{Loaded, Options, Pretrained, load};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::session::Session;
use synaptic_resonance::settings::{Activation, MemoryConfig, ModelConfig, Pairs};
use synaptic_resonance::tokens::Tokens;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

fn ids(of: &Value) -> Vec<u32> {
    serde_json::from_value(of.clone()).unwrap()
}

/// The folder of safetensors, and the GGUF file in it.
fn both(name: &str) -> [PathBuf; 2] {
    let folder = fixtures().join(name);
    [folder.clone(), folder.join("model.gguf")]
}

fn loaded(path: &Path, options: Options) -> Loaded {
    load(path, &options, &cpu()).unwrap()
}

/// Logits of the tokens of `tiny.json` at the rows that stand there.
fn rows(model: &Model, golden: &Value) -> Vec<f64> {
    let tokens = ids(&golden["tokens"]);
    let time = tokens.len();
    let tokens = Tokens::new(tokens, 1, time).unwrap();
    let (logits, _) = model.forward(&tokens, model.start(1), &Pass::default()).unwrap();
    let all = values(logits);
    let width = model.config.vocabulary;
    ids(&golden["rows"]).into_iter().flat_map(|row| all[row as usize * width..][..width].to_vec()).collect()
}

fn expected(golden: &Value, model: &str, file: &str) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = serde_json::from_value(golden[model][file].clone()).unwrap();
    rows.concat()
}

on_each_device!(logits_are_those_of_an_independent_forward_pass, |device: Device| {
    let golden = json("tiny.json");
    for name in ["llama", "qwen2"] {
        let [folder, gguf] = both(name);
        let windowed = |sinks: usize| Options { window: Some(4), sinks, ..Options::default() };
        for (path, key, options) in [
            (&folder, "safetensors", Options::default()),
            (&gguf, "gguf", Options::default()),
            (&gguf, "gguf_window", windowed(0)),
            (&gguf, "gguf_sinks", windowed(2)),
        ] {
            let expected = expected(&golden, name, key);
            let Loaded { model, architecture, .. } = load(path, &options, &device).unwrap();
            assert_eq!(architecture, name);
            let worst = max_difference(&rows(&model, &golden), &expected);
            assert!(worst < 2e-5, "{name}, {key}: {worst}");
            let exact = load(path, &Options { dtype: DType::F64, ..options }, &device).unwrap().model;
            let worst = max_difference(&rows(&exact, &golden), &expected);
            // The file has eight digits; ndarray computes the logistic function in f32 whatever it is given.
            assert!(worst < 2e-7 || worst < 2e-5 && device != cpu(), "{name}, {key} in f64: {worst}");
        }
    }
});

/// What is wrong about them would still give numbers: each of these settings is read out of the file.
#[test]
fn other_settings_give_other_logits() {
    let golden = json("tiny.json");
    let [_, gguf] = both("llama");
    let model = loaded(&gguf, Options::default()).model;
    let right = rows(&model, &golden);
    let config = model.config.clone();
    let wrong = [
        ModelConfig { rope_pairs: Pairs::Halves, ..config.clone() },
        ModelConfig { rope_base: 1e4, ..config.clone() },
        ModelConfig { norm_epsilon: 1e-2, ..config.clone() },
    ];
    for config in wrong {
        let other = Model { config, ..model.clone() };
        let worst = max_difference(&rows(&other, &golden), &right);
        assert!(worst > 1e-2, "{:?}: {worst}", other.config);
    }
}

#[test]
fn settings_are_those_of_the_files() {
    for name in ["llama", "qwen2"] {
        let [folder, gguf] = both(name);
        let (folder, gguf) = (Pretrained::open(&folder).unwrap(), Gguf::open(&gguf).unwrap());
        let (a, b) = (folder.describe(), gguf.describe().unwrap());
        let llama = name == "llama";
        assert_eq!(b.config.rope_pairs, if llama { Pairs::Interleaved } else { Pairs::Halves });
        assert_eq!(a.config, ModelConfig { rope_pairs: Pairs::Halves, ..b.config.clone() });
        assert_eq!((a.length, b.length), if llama { (Some(128), Some(128)) } else { (Some(64), Some(64)) });
        let config = b.config;
        assert_eq!(config.activation, Activation::SwiGlu);
        assert_eq!((config.biases, config.own_head), (!llama, !llama));
        assert_eq!(config.head_width(), 16);
        assert_eq!(config.head_width, (!llama).then_some(16));
        assert_eq!((config.vocabulary, config.layers, config.heads), (240, 2, 4));
        assert_eq!((config.groups(), config.mlp(), config.width), if llama { (2, 96, 64) } else { (1, 32, 32) });
        assert_eq!(folder.files().count(), if llama { 1 } else { 2 });
    }
    // Every type of numbers is read out of one of the files.
    let [_, gguf] = both("llama");
    let gguf = Gguf::open(&gguf).unwrap();
    let kinds: Vec<BlockType> = gguf.tensors().values().map(|place| place.kind).collect();
    assert!(BlockType::ALL.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    for (name, place) in gguf.tensors() {
        assert_eq!(gguf.read(name).unwrap().len(), place.bytes);
    }
    assert!(gguf.read("nothing").unwrap_err().to_string().contains("`tensor` is nothing"));
}

/// Sessions of narrow models go on from token to token, with a memory and first tokens too.
#[test]
fn narrow_models_stream() {
    let golden = json("tiny.json");
    let tokens = ids(&golden["tokens"]);
    let [_, gguf] = both("llama");
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 0.02), (DType::BF16, 0.2)] {
        let options = Options { window: Some(4), sinks: 2, dtype };
        let model = loaded(&gguf, options).model;
        let model = model.with_memory(&MemoryConfig::default(), &mut Stream::new(1, "memory", 0)).unwrap();
        let mut session = Session::new(&model);
        session.feed(&tokens[..5]).unwrap();
        for token in &tokens[5..tokens.len() - 1] {
            session.feed(&[*token]).unwrap();
        }
        let last = session.feed(&tokens[tokens.len() - 1..]).unwrap();
        let last: Vec<f64> = last.into_iter().map(f64::from).collect();
        let expected = expected(&golden, "llama", "gguf_sinks");
        let expected = &expected[expected.len() - last.len()..];
        let size = expected.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
        let worst = max_difference(&last, expected) / size;
        assert!(worst < tolerance, "{dtype:?}: {worst}");
    }
}

/// Section 8.12, for a model that somebody else has trained.
#[test]
fn a_memory_that_is_inserted_changes_no_bit() {
    let golden = json("tiny.json");
    for path in both("llama").iter().chain(&both("qwen2")) {
        for window in [None, Some(4)] {
            let plain = loaded(path, Options { window, ..Options::default() }).model;
            let expected = rows(&plain, &golden);
            let memory = MemoryConfig::default();
            let with = plain.with_memory(&memory, &mut Stream::new(1, "memory", 0)).unwrap();
            assert_eq!(rows(&with.valid(), &golden), expected, "{}", path.display());
        }
    }
}
