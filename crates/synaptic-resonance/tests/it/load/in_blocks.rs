//! Weights that stay in the blocks of their file.

use synaptic_resonance::MemoryError;
use synaptic_resonance::decode::{Decoder, Weights};
use synaptic_resonance::load::{LoadError, load_blocks};
use synaptic_resonance::memory::Memories;

use super::*;

fn decoder(path: &Path, options: &Options) -> Decoder {
    Decoder::new(load_blocks(path, options, &mut |_, _| {}).unwrap().weights).unwrap()
}

/// Logits of the tokens of `tiny.json` at the rows that stand there.
fn decoded(mut decoder: Decoder, golden: &Value) -> Vec<f64> {
    let (tokens, rows) = (ids(&golden["tokens"]), ids(&golden["rows"]));
    let mut all = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let logits = decoder.feed(&[*token]).unwrap();
        if rows.contains(&(i as u32)) {
            all.extend(logits.into_iter().map(f64::from));
        }
    }
    all
}

#[test]
fn logits_are_those_of_an_independent_forward_pass() {
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
            let worst = max_difference(&decoded(decoder(path, &options), &golden), &expected);
            assert!(worst < 2e-5, "{name}, {key}: {worst}");
        }
    }
}

#[test]
fn settings_and_bytes_are_those_of_the_file() {
    for name in ["llama", "qwen2"] {
        let [_, path] = both(name);
        let mut seen = Vec::new();
        let found = load_blocks(&path, &Options::default(), &mut |done, of| seen.push((done, of))).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let described = gguf.describe().unwrap();
        assert_eq!((&found.config, &found.architecture), (&described.config, &described.architecture));
        assert_eq!(found.weights.host.length, described.length);
        let all: u64 = gguf.tensors().values().map(|place| place.bytes as u64).sum();
        assert_eq!(seen.len(), gguf.tensors().len());
        assert!(seen.is_sorted() && seen.iter().all(|(_, of)| *of == all), "{seen:?}");
        assert_eq!(seen.last(), Some(&(all, all)));
        // A matrix in another type of block is another model, though its file says the same.
        assert_eq!(
            found.weights.hash(),
            load_blocks(&path, &Options::default(), &mut |_, _| {}).unwrap().weights.hash()
        );
        let mut other = found.weights.clone();
        other.host.rope_base += 1.0;
        assert_ne!(other.hash(), found.weights.hash());
    }
}

/// What comes of a GGUF file of these bytes.
fn refused(bytes: &[u8]) -> LoadError {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let error = load_blocks(file.path(), &Options::default(), &mut |_, _| {}).expect_err("it is refused");
    assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn tensors_that_make_no_model_are_named() {
    let [_, path] = both("llama");
    let whole = std::fs::read(&path).unwrap();
    let at = |what: &str| whole.windows(what.len()).position(|part| part == what.as_bytes()).unwrap();
    let changed = |place: usize, by: &[u8]| {
        let mut bytes = whole.clone();
        bytes[place..place + by.len()].copy_from_slice(by);
        bytes
    };
    let name = "blk.1.ffn_up.weight";
    let error = refused(&changed(at(name), b"blk.1.ffn_us.weight"));
    assert!(
        matches!(&error, LoadError::Model { cause: MemoryError::MissingTensor { path }, .. } if path == name),
        "{error}"
    );
    // One layer less leaves the tensors of the last one over.
    let error = refused(&changed(at("llama.block_count") + "llama.block_count".len() + 4, &[1]));
    assert!(matches!(&error, LoadError::Model { cause: MemoryError::LeftOver { count: 9, .. }, .. }), "{error}");
    assert!(error.to_string().contains("blk.1."), "{error}");
    // The sizes of a matrix in the order of the file.
    let error = refused(&changed(at("llama.feed_forward_length") + "llama.feed_forward_length".len() + 4, &[64]));
    assert!(error.to_string().contains("has shape [96, 64], the model's settings make it [64, 64]"), "{error}");
    // A number that is none: in each tensor of the file.
    let gguf = Gguf::open(&path).unwrap();
    for (name, place) in gguf.tensors() {
        let nan: &[u8] = if place.kind == BlockType::F32 { &[0, 0, 0xc0, 0x7f] } else { &[0xff, 0x7f] };
        let error = refused(&changed(place.offset as usize, nan));
        assert!(error.to_string().contains(&format!("`{name}` is not finite")), "{error}");
    }
    // A window that cannot be, and a memory of another model.
    let options = Options { window: Some(1), sinks: 2, ..Options::default() };
    let error = load_blocks(&path, &options, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("`sinks` is 2"), "{error}");
    let weights: Weights = load_blocks(&path, &Options::default(), &mut |_, _| {}).unwrap().weights;
    let other = loaded(&both("qwen2")[1], Options::default()).model;
    let other = other.with_memory(&MemoryConfig::default(), &mut Stream::new(1, "memory", 0)).unwrap();
    let memories = Memories::of(&other).unwrap();
    let error = Decoder::new(weights.with_memories(&memories).unwrap()).unwrap_err();
    assert!(error.to_string().contains("`memory.rates` has shape"), "{error}");
}
