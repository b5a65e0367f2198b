//! A saved session: the round trip, and what is refused.

use std::path::Path;
use std::process::Command;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use synaptic_resonance::MemoryError;
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::{Dims, Label, Session, inspect, model_hash};
use synaptic_resonance::settings::{Gates, MemoryConfig, ModelConfig, Rule};

use super::{bits, carried, config, model, text, variants};

const SAMPLER: Sampler = Sampler { temperature: 0.9, top_p: 0.95 };

fn label() -> Label {
    Label { tokenizer: Some("bytes".into()), created: Some(1_700_000_000) }
}

/// What goes on from here: tokens drawn, and logits of tokens fed.
fn goes_on(session: &mut Session) -> (Vec<u32>, Vec<u32>) {
    let drawn = session.generate(12, &SAMPLER, &mut Stream::new(9, "on", 0)).unwrap();
    (drawn, bits(&session.feed(&text(40, 21)).unwrap()))
}

fn refused(file: &Path, found: Result<Session, MemoryError>, part: &str) {
    let error = found.expect_err("it is refused");
    assert!(matches!(error, MemoryError::Saved { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(part) && text.starts_with(&file.display().to_string()), "{text}");
}

#[test]
fn a_restored_session_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session.safetensors");
    for (name, config) in variants() {
        let model = model(&config);
        // Before the window is full, as soon as it is, and long after.
        for n in [1, 4, 5, 90] {
            println!("{name}, {n} tokens");
            let mut session = Session::new(&model);
            session.feed(&text(n, 20)).unwrap();
            session.save(&file, &label()).unwrap();
            let mut restored = Session::restore(&file, &model, Some("bytes"), false).unwrap();
            assert_eq!(carried(&restored), carried(&session));
            assert_eq!(goes_on(&mut restored), goes_on(&mut session));
            assert_eq!(carried(&restored), carried(&session));
        }
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["session.safetensors"], "no temporary file is left");
}

#[test]
fn a_new_process_goes_on_bit_for_bit() {
    const FILE: &str = "SESSION_FILE";
    let model = model(&config());
    if let Ok(file) = std::env::var(FILE) {
        // The child: prints what follows.
        let mut session = Session::restore(Path::new(&file), &model, None, false).unwrap();
        println!("\nCHILD {:?}", goes_on(&mut session));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session.safetensors");
    let mut session = Session::new(&model);
    session.feed(&text(33, 22)).unwrap();
    session.save(&file, &Label::default()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "session::store::a_new_process_goes_on_bit_for_bit", "--nocapture"])
        .env(FILE, &file)
        .output()
        .unwrap();
    let printed = String::from_utf8(child.stdout).unwrap();
    let expected = format!("CHILD {:?}", goes_on(&mut session));
    assert!(printed.lines().any(|line| line == expected), "{printed}\nexpected {expected}");
}

#[test]
fn an_empty_and_a_frozen_session_are_saved_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s");
    let model = model(&config());
    let mut session = Session::new(&model);
    session.save(&file, &Label::default()).unwrap();
    let mut restored = Session::restore(&file, &model, None, false).unwrap();
    assert_eq!(carried(&restored), carried(&session));
    assert_eq!(bits(&restored.feed(&text(8, 23)).unwrap()), bits(&session.feed(&text(8, 23)).unwrap()));
    session.freeze(true);
    session.save(&file, &Label::default()).unwrap();
    let mut restored = Session::restore(&file, &model, None, false).unwrap();
    assert!(restored.frozen());
    assert_eq!(goes_on(&mut restored), goes_on(&mut session));
}

#[test]
fn equal_sessions_give_equal_bytes_and_the_file_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(&config());
    let mut session = Session::new(&model);
    session.feed(&text(50, 24)).unwrap();
    let bytes: Vec<Vec<u8>> = (0..4)
        .map(|i| {
            let file = dir.path().join(format!("{i}"));
            session.fork().save(&file, &label()).unwrap();
            std::fs::read(file).unwrap()
        })
        .collect();
    assert!(bytes.iter().all(|b| *b == bytes[0]));

    let file = dir.path().join("0");
    let saved = inspect(&file).unwrap();
    assert_eq!((saved.format, saved.tokens, saved.position, saved.frozen), (1, 50, 50, false));
    assert_eq!((saved.label, saved.dims, saved.model), (label(), Dims::of(&model.config), model_hash(&model)));
    // Any program that knows safetensors can read it.
    let tensors = safetensors::SafeTensors::deserialize(&bytes[0]).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    let of = |i: usize| ["prev_key", "ring.keys", "ring.values", "s"].map(|n| format!("layer.{i}.{n}"));
    assert_eq!(names, [vec!["hidden".to_string()], of(0).to_vec(), of(1).to_vec()].concat());
    assert_eq!(tensors.tensor("layer.1.s").unwrap().shape(), [1, 4, 4]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "only the owner may read it");
    }
}

#[test]
fn the_hash_is_of_everything_that_makes_a_model() {
    let hash = |config: &ModelConfig| model_hash(&model(config));
    let base = model(&config());
    assert_eq!(model_hash(&base), hash(&config()));
    let with = |memory: MemoryConfig| ModelConfig { memory: Some(memory), ..config() };
    // The same parameters, another rule.
    assert_ne!(model_hash(&base), hash(&with(MemoryConfig { rule: Rule::Hebbian, ..MemoryConfig::default() })));
    assert_ne!(model_hash(&base), hash(&with(MemoryConfig { lambda_min: 0.1, ..MemoryConfig::default() })));
    // The chunk is a matter of speed.
    assert_eq!(model_hash(&base), hash(&with(MemoryConfig { chunk: 8, ..MemoryConfig::default() })));
    // The last bit of one number.
    let mut other = base.clone();
    let data: Vec<f32> = other.norm.val().into_data().iter::<f32>().collect();
    let nudged = [vec![f32::from_bits(data[0].to_bits() ^ 1)], data[1..].to_vec()].concat();
    let x = Tensor::from_data(TensorData::new(nudged, [8]), &super::device());
    other.norm = Param::initialized(other.norm.id, x);
    assert_ne!(model_hash(&base), model_hash(&other));
}

/// What has come since is not in the JSON of a model without it, of which hashes are made.
#[test]
fn a_config_without_gates_of_channels_is_written_as_it_was() {
    let was = r#"{"rule":"delta","decay":true,"blend":true,"read_norm":true,"own_projections":false,"half_lives":{"bias":-4.0},"lambda_min":0.0,"chunk":32}"#;
    assert_eq!(serde_json::to_string(&MemoryConfig::default()).unwrap(), was);
    assert_eq!(serde_json::from_str::<MemoryConfig>(was).unwrap(), MemoryConfig::default());
    let gated = MemoryConfig { gates: Gates::Channels, gate_rank: Some(2), ..MemoryConfig::default() };
    let text = serde_json::to_string(&gated).unwrap();
    assert!(text.ends_with(r#""chunk":32,"gates":"channels","gate_rank":2}"#), "{text}");
    assert_eq!(serde_json::from_str::<MemoryConfig>(&text).unwrap(), gated);
    let hash = |memory: MemoryConfig| model_hash(&model(&ModelConfig { memory: Some(memory), ..config() }));
    assert_ne!(hash(gated), hash(MemoryConfig::default()));
}

#[test]
fn another_model_or_tokeniser_is_refused_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s");
    let ours = model(&config());
    let mut session = Session::new(&ours);
    session.feed(&text(30, 25)).unwrap();
    session.save(&file, &label()).unwrap();

    refused(&file, Session::restore(&file, &ours, Some("words"), false), "tokeniser");
    assert!(Session::restore(&file, &ours, Some("words"), true).is_ok());
    assert!(Session::restore(&file, &ours, None, false).is_ok());

    let mut other = ours.clone();
    other.norm = other.norm.map(|x| x * 1.5);
    refused(&file, Session::restore(&file, &other, None, false), &model_hash(&ours));
    let mut forced = Session::restore(&file, &other, None, true).unwrap();
    assert_eq!(forced.tokens(), 30);
    forced.feed(&[1, 2]).unwrap();

    // Other sizes are never taken.
    let basic = MemoryConfig::default();
    for wrong in [
        ModelConfig { layers: 3, ..config() },
        ModelConfig { layers: 1, ..config() },
        ModelConfig { groups: None, ..config() },
        ModelConfig { window: Some(6), ..config() },
        ModelConfig { window: None, ..config() },
        ModelConfig { width: 16, ..config() },
        ModelConfig { vocabulary: 21, ..config() },
        ModelConfig { memory: None, ..config() },
        ModelConfig { memory: Some(MemoryConfig { blend: false, ..basic }), ..config() },
    ] {
        refused(&file, Session::restore(&file, &model(&wrong), None, true), "restore with the model");
    }
}

#[test]
fn a_save_that_fails_leaves_the_older_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s");
    let model = model(&config());
    let mut session = Session::new(&model);
    session.feed(&text(30, 26)).unwrap();
    session.save(&file, &label()).unwrap();
    let before = std::fs::read(&file).unwrap();

    struct Wide;
    impl ModuleMapper for Wide {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.cast(DType::F64))
        }
    }
    let mut wide = Session::new(&model.clone().map(&mut Wide));
    wide.feed(&text(30, 26)).unwrap();
    let error = wide.save(&file, &label()).unwrap_err().to_string();
    assert!(error.contains("layer.0.s") && error.contains("only f32"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);

    let nowhere = dir.path().join("missing").join("s");
    assert!(matches!(session.save(&nowhere, &label()).unwrap_err(), MemoryError::Io { .. }));
    assert!(matches!(Session::restore(&nowhere, &model, None, false).unwrap_err(), MemoryError::Io { .. }));
    assert!(matches!(inspect(dir.path()).unwrap_err(), MemoryError::Io { .. } | MemoryError::Saved { .. }));
}
