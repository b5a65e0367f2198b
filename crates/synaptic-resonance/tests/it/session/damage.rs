//! Damaged and forged files: an error that names the file, never a panic, never a wrong state.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::Model;
use synaptic_resonance::session::{Label, Session, inspect};

use super::{carried, config, model, text};

const KEY: &str = "synaptic-resonance";

/// Name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// A good file, and where damaged ones are tried.
struct Bench {
    _dir: tempfile::TempDir,
    file: PathBuf,
    model: Model,
    bytes: Vec<u8>,
    good: Vec<Vec<u32>>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session.safetensors");
    let model = model(&config());
    let mut session = Session::new(&model);
    session.feed(&text(33, 30)).unwrap();
    let label = Label { tokenizer: Some("bytes".into()), created: Some(1_700_000_000) };
    session.save(&file, &label).unwrap();
    let (bytes, good) = (std::fs::read(&file).unwrap(), carried(&session));
    Bench { _dir: dir, file, model, bytes, good }
}

impl Bench {
    /// The error text of damaged bytes; none where the state is the good one, which only a change that means nothing
    /// (such as another blank) can leave.
    fn try_with(&self, bytes: &[u8]) -> Option<String> {
        std::fs::write(&self.file, bytes).unwrap();
        let _ = inspect(&self.file);
        // Forced: the hash of the model must not be what saves us.
        match Session::restore(&self.file, &self.model, None, true) {
            Ok(session) => {
                assert_eq!(carried(&session), self.good, "a wrong state was taken");
                None
            }
            Err(MemoryError::Saved { file, what }) => {
                assert_eq!(file, self.file);
                Some(what)
            }
            Err(other) => panic!("unexpected: {other}"),
        }
    }

    fn refused(&self, bytes: &[u8], parts: &[&str]) {
        let text = self.try_with(bytes).expect("it is refused");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}: expected {parts:?}");
    }

    fn header(&self) -> usize {
        u64::from_le_bytes(self.bytes[..8].try_into().unwrap()) as usize
    }

    /// The file with another header.
    fn with_header(&self, edit: impl Fn(&mut Value)) -> Vec<u8> {
        let mut header: Value = serde_json::from_slice(&self.bytes[8..8 + self.header()]).unwrap();
        edit(&mut header);
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &self.bytes[8 + self.header()..]].concat()
    }

    /// The file with other metadata.
    fn with_metadata(&self, edit: impl Fn(&mut Value)) -> Vec<u8> {
        self.with_header(|header| {
            let text = header["__metadata__"][KEY].as_str().unwrap();
            let mut metadata: Value = serde_json::from_str(text).unwrap();
            edit(&mut metadata);
            header["__metadata__"][KEY] = metadata.to_string().into();
        })
    }

    /// The file with other tensors.
    fn with_tensors(&self, edit: impl Fn(&mut Vec<Stored>)) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let mut all =
            file.tensors().into_iter().map(|(n, v)| (n, v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect();
        edit(&mut all);
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        let text = metadata.metadata().as_ref().unwrap()[KEY].clone();
        let views = all.iter().map(|(n, d, s, b)| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap()));
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)]))).unwrap()
    }
}

#[test]
fn every_truncation_is_refused() {
    let bench = bench();
    for n in 0..bench.bytes.len() {
        assert!(bench.try_with(&bench.bytes[..n]).is_some(), "{n} bytes of {} were taken", bench.bytes.len());
    }
    bench.refused(&[&bench.bytes[..], &[0]].concat(), &["too long"]);
    bench.refused(&bench.bytes[..bench.bytes.len() - 4], &["truncated"]);
}

#[test]
fn every_byte_counts() {
    let bench = bench();
    let harmless: Vec<usize> = (0..bench.bytes.len())
        .filter(|at| {
            let mut bytes = bench.bytes.clone();
            bytes[*at] ^= 1 << (at % 8);
            bench.try_with(&bytes).is_none()
        })
        .collect();
    assert!(harmless.is_empty(), "bytes {harmless:?} of {} changed and nobody noticed", bench.bytes.len());
}

#[test]
fn forged_headers_are_refused_before_anything_is_allocated() {
    let bench = bench();
    let length = |n: u64| [&n.to_le_bytes()[..], &bench.bytes[8..]].concat();
    for n in [u64::MAX, u64::MAX - 8, 1 << 40, 1 << 24, bench.bytes.len() as u64 - 7] {
        bench.refused(&length(n), &["a header of", "does not fit"]);
    }
    for n in [0, 1, 7] {
        bench.refused(&length(n), &["header cannot be read"]);
    }
    // Tensors and windows of a size that nobody has.
    for columns in [0u64, 5, 1 << 20, 1 << 62, u64::MAX] {
        let forged = bench.with_metadata(|m| m["saved"]["rings"][1]["columns"] = columns.into());
        bench.refused(&forged, &["layer.1.ring", "columns"]);
    }
    let forged = bench.with_metadata(|m| m["saved"]["rings"][0]["filled"] = 5.into());
    bench.refused(&forged, &["layer.0.ring", "filled"]);
    let forged = bench.with_metadata(|m| m["saved"]["rings"] = Value::Array(vec![Value::Null; 3]));
    bench.refused(&forged, &["3 windows for 2 layers"]);
    let forged = bench.with_metadata(|m| m["saved"]["dims"]["layers"] = (1u64 << 60).into());
    bench.refused(&forged, &["restore with the model"]);
    let forged = bench.with_metadata(|m| m["saved"]["position"] = u64::MAX.into());
    bench.refused(&forged, &["tokens"]);
    let huge = bench.with_header(|h| h["layer.0.s"]["shape"] = vec![1u64 << 62, 1 << 62].into());
    assert!(bench.try_with(&huge).is_some());
    let beyond = bench.with_header(|h| h["layer.0.s"]["data_offsets"] = vec![0u64, 1 << 50].into());
    assert!(bench.try_with(&beyond).is_some());
}

#[test]
fn versions_and_foreign_files_are_named() {
    let bench = bench();
    bench.refused(&bench.with_metadata(|m| m["saved"]["format"] = 2.into()), &["format 2", "this version reads 1"]);
    bench.refused(
        &bench.with_header(|h| h["__metadata__"] = serde_json::json!({"format": "pt"})),
        &["not a saved session"],
    );
    bench.refused(b"hello, I am a text and no tensors at all", &["header"]);
    let changed = bench.with_metadata(|m| m["saved"]["tokens"] = 34.into());
    bench.refused(&changed, &["checksum"]);
}

#[test]
fn tensors_must_be_the_ones_expected() {
    let bench = bench();
    let at = |all: &[Stored], name: &str| all.iter().position(|t| t.0 == name).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let forged = bench.with_tensors(|all| {
            let i = at(all, "layer.1.s");
            all[i].3[8..12].copy_from_slice(&value.to_le_bytes());
        });
        bench.refused(&forged, &["layer.1.s", "not finite"]);
    }
    let renamed = bench.with_tensors(|all| {
        let i = at(all, "layer.1.s");
        all[i].0 = "layer.9.s".into();
    });
    bench.refused(&renamed, &["`layer.1.s` is missing"]);
    let reshaped = bench.with_tensors(|all| {
        let i = at(all, "layer.0.s");
        all[i].2 = vec![2, 2, 4];
    });
    bench.refused(&reshaped, &["layer.0.s", "[2, 2, 4]", "[1, 4, 4]"]);
    let retyped = bench.with_tensors(|all| {
        let i = at(all, "layer.0.s");
        all[i].1 = Dtype::I32;
    });
    bench.refused(&retyped, &["layer.0.s", "I32"]);
    // Two tensors of one shape that change places.
    let swapped = bench.with_tensors(|all| {
        let (i, j) = (at(all, "layer.0.s"), at(all, "layer.1.s"));
        (all[i].0, all[j].0) = (all[j].0.clone(), all[i].0.clone());
    });
    bench.refused(&swapped, &["checksum"]);
}

thread_local! {
    static BENCH: OnceCell<Bench> = const { OnceCell::new() };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Several bytes at once, pieces cut out or doubled: a state that is taken is the good one.
    #[test]
    fn no_damage_is_taken_for_a_state(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), length in 0usize..64, double: bool,
    ) {
        BENCH.with(|cell| {
            let bench = cell.get_or_init(bench);
            let mut bytes = bench.bytes.clone();
            for (at, mask) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            let at = cut.index(bytes.len());
            let end = (at + length).min(bytes.len());
            match double {
                true => { let piece = bytes[at..end].to_vec(); bytes.splice(at..at, piece); }
                false => { bytes.drain(at..end); }
            }
            let _ = bench.try_with(&bytes);
        });
    }
}

#[test]
fn a_directory_is_no_session() {
    let bench = bench();
    assert!(Session::restore(Path::new("."), &bench.model, None, true).is_err());
}
