//! Files that are not what they say: an error that names what is wrong, never a panic, and no memory for what is not
//! there. `any_file_gives_a_model_or_an_error` is the entry that the fuzz targets have.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use synaptic_resonance::MemoryError;
use synaptic_resonance::load::{LoadError, Options, load};

use super::{both, cpu, fixtures};

fn bytes() -> Vec<u8> {
    let [_, gguf] = both("llama");
    std::fs::read(gguf).unwrap()
}

/// What comes of a GGUF file of these bytes.
fn refused(bytes: &[u8]) -> LoadError {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let error = load(file.path(), &Options::default(), &cpu()).expect_err("it is refused");
    assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn place(of: &[u8], what: &[u8]) -> usize {
    of.windows(what.len()).position(|part| part == what).expect("it is there")
}

/// The file with the bytes behind a text, and `skip` more, replaced.
fn replaced(after: &str, skip: usize, by: &[u8]) -> Vec<u8> {
    let mut all = bytes();
    let at = place(&all, after.as_bytes()) + after.len() + skip;
    all[at..at + by.len()].copy_from_slice(by);
    all
}

#[track_caller]
fn says(error: &LoadError, part: &str) {
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn a_truncated_file() {
    let all = bytes();
    let head = place(&all, b"output_norm.weight") + 60;
    let cuts = (0..head).step_by(7).chain((head..all.len()).step_by(997)).chain([all.len() - 1]);
    for n in cuts {
        let error = refused(&all[..n]);
        assert!(matches!(error, LoadError::Malformed { .. }), "{n} of {}: {error}", all.len());
    }
}

#[test]
fn counts_beyond_the_file() {
    for huge in [u64::MAX, u64::MAX / 2, 1 << 60, 1 << 40, 1 << 31] {
        let huge = huge.to_le_bytes();
        for at in [8, 16, 24] {
            let mut all = bytes();
            all[at..at + 8].copy_from_slice(&huge);
            assert!(matches!(refused(&all), LoadError::Malformed { .. }), "{at}");
        }
        // The number of tokens, the length of the first one; sizes, and the place of a tensor.
        for (after, skip) in [
            ("tokenizer.ggml.tokens", 8),
            ("tokenizer.ggml.tokens", 16),
            ("tokenizer.ggml.token_type", 8),
            ("blk.1.ffn_up.weight", 4),
            ("blk.1.ffn_up.weight", 12),
            ("blk.1.ffn_up.weight", 24),
        ] {
            let error = refused(&replaced(after, skip, &huge));
            assert!(matches!(error, LoadError::Malformed { .. }), "{after} {skip}: {error}");
        }
    }
    says(&refused(&replaced("blk.1.ffn_up.weight", 0, &[5, 0, 0, 0])), "5 dimensions");
    says(&refused(&replaced("blk.1.ffn_up.weight", 4, &0u64.to_le_bytes())), "a size of 0");
}

#[test]
fn what_is_not_understood_is_named() {
    for (id, name) in [(14u32, "Q6_K"), (2 + 4, "Q5_0"), (39, "MXFP4"), (77, "number 77")] {
        let error = refused(&replaced("blk.1.ffn_up.weight", 20, &id.to_le_bytes()));
        assert!(matches!(error, LoadError::Unsupported { .. }), "{error}");
        says(&error, &format!("the tensor `blk.1.ffn_up.weight` is of type {name}"));
    }
    let mut all = bytes();
    all[4] = 9;
    says(&refused(&all), "GGUF of version 9");
    all[0] = b'X';
    says(&refused(&all), "not a GGUF file");
    let error = refused(&replaced("general.architecture", 12, b"mamba"));
    assert!(matches!(error, LoadError::Unsupported { .. }), "{error}");
    says(&error, "architecture `mamba`: models of the architectures llama and qwen2 can be read");
    // A text where a number must stand, and a number that must be another.
    says(&refused(&replaced("general.architecture", 0, &[4])), "at byte");
    says(&refused(&replaced("llama.attention.head_count", 4, &[0])), "must be at least 1");
    says(&refused(&replaced("llama.rope.dimension_count", 4, &[8])), "must be the width of a head, 16");
}

/// The factor alone, as older converters write it: two entries, which leave what comes behind aligned.
#[test]
fn a_scale_of_the_rotary_positions_is_not_passed_over() {
    for (factor, refuse) in [(4.0f32, true), (1.0, false), (0.0, false)] {
        let entry = |key: &str, kind: u32, value: &[u8]| {
            let length = (key.len() as u64).to_le_bytes();
            [length.as_slice(), key.as_bytes(), &kind.to_le_bytes(), value].concat()
        };
        let more =
            [entry("llama.rope.scale_linear", 6, &factor.to_le_bytes()), entry("general.none", 0, &[0])].concat();
        assert!(more.len().is_multiple_of(32));
        let mut all = bytes();
        let count = u64::from_le_bytes(all[16..24].try_into().unwrap()) + 2;
        drop(all.splice(16..24, [count.to_le_bytes().as_slice(), &more].concat()));
        if refuse {
            says(&refused(&all), "rotary positions that are scaled, `llama.rope.scale_linear` is 4");
        } else {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), all).unwrap();
            load(file.path(), &Options::default(), &cpu()).unwrap();
        }
    }
}

#[test]
fn tensors_that_make_no_model() {
    let model = |error: &LoadError| match error {
        LoadError::Model { cause, .. } => cause.to_string(),
        other => panic!("{other}"),
    };
    // One of another name is missing; one layer less leaves the last one over, one more lacks all of its tensors.
    let mut all = bytes();
    let at = place(&all, b"blk.1.ffn_up.weight");
    all[at + 11] = b'X';
    assert!(model(&refused(&all)).starts_with("the tensor `blk.1.ffn_up.weight` is missing"));
    let fewer = refused(&replaced("llama.block_count", 4, &[1]));
    assert!(
        model(&fewer).contains("9 tensors are left over") && model(&fewer).contains("`blk.1.attn_k.weight`"),
        "{fewer}"
    );
    assert!(model(&refused(&replaced("llama.block_count", 4, &[3]))).contains("`blk.2.attn_norm.weight` is missing"));
    let error = refused(&replaced("llama.feed_forward_length", 4, &[64]));
    let LoadError::Model { cause: MemoryError::TensorShape { path, found, expected }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (path.as_str(), found.as_slice(), expected.as_slice()),
        ("blk.0.ffn_up.weight", &[96, 64][..], &[64, 64][..])
    );
    // Two that overlap: one stands where the other does.
    let mut all = bytes();
    let offset = |all: &[u8], name: &str| place(all, name.as_bytes()) + name.len() + 24;
    let (a, b) = (offset(&all, "blk.0.attn_q.weight"), offset(&all, "blk.0.attn_output.weight"));
    let taken: Vec<u8> = all[a..a + 8].to_vec();
    all[b..b + 8].copy_from_slice(&taken);
    says(&refused(&all), "overlap");
    // A place that is not aligned.
    let mut all = bytes();
    all[a] += 1;
    says(&refused(&all), "does not lie in the file");
}

/// A folder as `llama`, with the text of one file changed.
fn folder(of: &str, file: &str, change: impl Fn(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(of)).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text);
    std::fs::write(path, changed).unwrap();
    dir
}

fn of_folder(dir: &Path) -> String {
    let error = load(dir, &Options::default(), &cpu()).expect_err("it is refused").to_string();
    assert!(error.starts_with(&dir.display().to_string()), "{error}");
    error
}

#[test]
fn a_folder_that_makes_no_model() {
    let config = |from: &'static str, to: &'static str| {
        let dir = folder("llama", "config.json", |text| text.replacen(from, to, 1));
        of_folder(dir.path())
    };
    let cases = [
        ("\"model_type\": \"llama\"", "\"model_type\": \"gemma\"", "a model of the type `gemma`"),
        ("\"silu\"", "\"gelu\"", "`hidden_act` is gelu: must be silu"),
        ("\"attention_bias\": false", "\"attention_bias\": true", "`attention_bias` is true"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"llama3\"", "rotary positions that are scaled, \"llama3\""),
        ("100000.0", "\"many\"", "`rope_parameters.rope_theta` is \"many\": must be a number"),
        ("{", "{ \"rope_scaling\": { \"type\": \"linear\", \"factor\": 2.0 },", "rotary positions that are scaled"),
        ("\"hidden_size\": 64", "\"hidden_size\": 128", "the tensor `model.embed_tokens.weight` has shape [240, 64]"),
        ("\"hidden_size\": 64", "\"hidden_size\": -1", "get the file again"),
        ("\"vocab_size\": 240", "\"vocab_size\": 1000000000000", "`vocabulary` is"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "`model.layers.1."),
        ("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "`lm_head.weight` is missing"),
    ];
    for (from, to, part) in cases {
        let error = config(from, to);
        assert!(error.contains(part), "{to}: {error}");
    }
    // What older versions of the library write where nothing is scaled.
    let older = "{ \"rope_scaling\": { \"rope_type\": \"default\" },";
    let dir = folder("llama", "config.json", |text| text.replacen('{', older, 1));
    load(dir.path(), &Options::default(), &cpu()).unwrap();
    let index = |from: &str, to: &str| {
        let dir = folder("qwen2", "model.safetensors.index.json", |text| text.replacen(from, to, 1));
        of_folder(dir.path())
    };
    let first = "model-00001-of-00002.safetensors";
    assert!(index(first, "../llama/model.safetensors").contains("must be the name of a file of this folder"));
    assert!(index(first, "model-00002-of-00002.safetensors").contains("does not say that"));
    assert!(index("\"weight_map\"", "\"weights\"").contains("weight_map"));
    let empty = tempfile::tempdir().unwrap();
    assert!(of_folder(empty.path()).contains("config.json"));
}

#[test]
fn a_damaged_file_of_safetensors() {
    let dir = folder("llama", "config.json", |text| text + "\n");
    let path = dir.path().join("model.safetensors");
    let all = std::fs::read(&path).unwrap();
    let size = u64::from_le_bytes(all[..8].try_into().unwrap()) as usize;
    for n in (0..8 + size).step_by(101).chain([8 + size, all.len() - 1]) {
        std::fs::write(&path, &all[..n]).unwrap();
        assert!(of_folder(dir.path()).contains("cut off or damaged"), "{n}");
    }
    for huge in [u64::MAX, 1 << 40, 1 << 24] {
        let mut all = all.clone();
        all[..8].copy_from_slice(&huge.to_le_bytes());
        std::fs::write(&path, &all).unwrap();
        assert!(of_folder(dir.path()).contains("a header of"), "{huge}");
    }
    let changed = |from: &str, to: &str| {
        let mut all = all.clone();
        let at = place(&all, from.as_bytes());
        all[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, &all).unwrap();
        of_folder(dir.path())
    };
    assert!(changed("\"BF16\"", "\"BOOL\"").contains("is of type BOOL: F32, F16 and BF16 can be read"));
    assert!(changed("[240,64]", "[241,64]").contains("does not lie in the file"));
    assert!(changed("model.norm.weight", "model.norm.weighs").contains("`model.norm.weight` is missing"));
}

/// Some bytes of a file changed, and its end cut off.
fn mutated(all: &[u8], edits: &[(usize, Vec<u8>)], keep: f64) -> Vec<u8> {
    let mut all = all.to_vec();
    for (at, by) in edits {
        let at = at % all.len();
        let n = by.len().min(all.len() - at);
        all[at..at + n].copy_from_slice(&by[..n]);
    }
    all.truncate((all.len() as f64 * keep) as usize);
    all
}

fn edits() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    // Most of it in the head, by numbers that a size or a count may be.
    let number = prop_oneof![
        any::<u8>().prop_map(|x| vec![x]),
        any::<u32>().prop_map(|x| x.to_le_bytes().to_vec()),
        prop_oneof![any::<u64>(), 0u64..1000, Just(u64::MAX), (0u32..63).prop_map(|n| 1 << n)]
            .prop_map(|x| x.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((prop_oneof![4 => 0usize..1 << 14, 1 => any::<usize>()], number), 1..6)
}

static GGUF: LazyLock<Vec<u8>> = LazyLock::new(bytes);
static SAFETENSORS: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(fixtures().join("llama/model.safetensors")).unwrap());

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_gives_a_model_or_an_error(
        edits in edits(),
        keep in prop_oneof![3 => Just(1.0), 1 => 0.0..1.0],
        gguf: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = if gguf {
            let path = dir.path().join("model.gguf");
            std::fs::write(&path, mutated(&GGUF, &edits, keep)).unwrap();
            path
        } else {
            std::fs::copy(fixtures().join("llama/config.json"), dir.path().join("config.json")).unwrap();
            std::fs::write(dir.path().join("model.safetensors"), mutated(&SAFETENSORS, &edits, keep)).unwrap();
            dir.path().to_owned()
        };
        // Neither a panic nor more memory than the file can fill.
        if let Err(error) = load(&path, &Options::default(), &cpu()) {
            prop_assert!(error.to_string().starts_with(&dir.path().display().to_string()), "{}", error);
        }
    }
}
