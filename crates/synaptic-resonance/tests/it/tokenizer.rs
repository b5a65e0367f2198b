//! Tokenisers of open models: ids of the library that they come from, no byte lost, special tokens only when asked for.

use std::io::{Read, Write};
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use synaptic_resonance::load::{LoadError, Options, load};
use synaptic_resonance::tokenizer::{Tokenizer, TokenizerError};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

fn ids(of: &Value) -> Vec<u32> {
    serde_json::from_value(of.clone()).unwrap()
}

fn both() -> [Tokenizer; 2] {
    ["llama", "llama/model.gguf"].map(|path| Tokenizer::open(&fixtures().join(path)).unwrap())
}

#[test]
fn ids_are_those_of_the_library() {
    let golden = json("tiny.json");
    for tokenizer in both() {
        assert_eq!(tokenizer.vocabulary(), 240);
        for case in golden["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let plain = tokenizer.encode(text, false).unwrap();
            assert_eq!(plain, ids(&case["ids"]), "{text:?}");
            assert_eq!(tokenizer.decode(&plain).unwrap(), text.as_bytes());
            let parsed = tokenizer.encode(text, true).unwrap();
            assert_eq!(parsed, ids(&case["parsed"]), "{text:?}");
            assert_eq!(tokenizer.decode(&parsed).unwrap(), text.as_bytes());
        }
        // Digits one by one, and no token or space in front.
        let numbers = tokenizer.encode("1984 7", false).unwrap();
        let pieces: Vec<&[u8]> = numbers.iter().map(|id| tokenizer.bytes(*id).unwrap()).collect();
        assert_eq!(pieces, [b"1".as_slice(), b"9", b"8", b"4", b" ", b"7"]);
        assert_eq!(tokenizer.special("<|im_end|>"), Some(2));
        assert_eq!(tokenizer.special("the"), None);
    }
    let [a, b] = both();
    assert_ne!(a.hash(), b.hash());
    assert_eq!(a.hash(), both()[0].hash());
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let golden = json("tiny.json");
    for tokenizer in both() {
        let text = format!("who: {}", golden["unknown"].as_str().unwrap());
        for special in [false, true] {
            let error = tokenizer.encode(&text, special).unwrap_err();
            assert!(matches!(error, TokenizerError::Byte { character: '\u{fc}', position: 5, .. }), "{error}");
        }
        let error = tokenizer.encode("<|im_start|>who\u{fc}", true).unwrap_err();
        assert!(matches!(error, TokenizerError::Byte { position: 15, .. }), "{error}");
        let error = tokenizer.decode(&[3, 240]).unwrap_err();
        assert_eq!(error, TokenizerError::Token { token: 240, vocabulary: 240 });
        let path = fixtures().join("llama/model.gguf");
        let config = load(&path, &Options::default(), &plasticity_core::testing::cpu()).unwrap().model.config;
        tokenizer.check(&config).unwrap();
        let smaller = synaptic_resonance::settings::ModelConfig { vocabulary: 239, ..config };
        assert!(tokenizer.check(&smaller).unwrap_err().to_string().contains("has 240 tokens, the model knows 239"));
    }
}

#[test]
fn a_file_that_makes_no_tokeniser() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let whole = std::fs::read_to_string(fixtures().join("llama/tokenizer.json")).unwrap();
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::open(dir.path()).expect_err("it is refused");
        assert!(matches!(error, LoadError::Unsupported { .. }), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        error.to_string()
    };
    for n in (0..whole.len()).step_by(1 + whole.len() / 40) {
        refused(&whole[..whole.floor_char_boundary(n)]);
    }
    let mut value: Value = serde_json::from_str(&whole).unwrap();
    value["pre_tokenizer"] = serde_json::json!({"type": "Whitespace"});
    assert!(refused(&value.to_string()).contains("does not cut a text into bytes"));
    value["model"]["type"] = "WordPiece".into();
    assert!(refused(&value.to_string()).contains("WordPiece"));
    let long = std::fs::File::create(dir.path().join("long.json")).unwrap();
    long.set_len((1 << 26) + 1).unwrap();
    let error = Tokenizer::open(&dir.path().join("long.json")).unwrap_err().to_string();
    assert!(error.contains("above 67108864 bytes"), "{error}");
    assert!(matches!(Tokenizer::open(&dir.path().join("none.json")), Err(LoadError::Io { .. })));
    // Of a GGUF file: another pre-tokeniser, no merges.
    let gguf = std::fs::read(fixtures().join("llama/model.gguf")).unwrap();
    let path = dir.path().join("model.gguf");
    let changed = |from: &[u8], to: &[u8]| {
        let mut all = gguf.clone();
        let at = all.windows(from.len()).position(|part| part == from).unwrap();
        all[at..at + to.len()].copy_from_slice(to);
        std::fs::write(&path, all).unwrap();
        Tokenizer::open(&path).expect_err("it is refused").to_string()
    };
    assert!(changed(b"smollm", b"gemma4").contains("the pre-tokeniser `gemma4`"));
    assert!(changed(b"tokenizer.ggml.merges", b"tokenizer.ggml.mergez").contains("`tokenizer.ggml.merges` is missing"));
}

/// Every text comes back, or the byte that hinders it is one that no token has.
fn comes_back(tokenizer: &Tokenizer, text: &str) -> Result<(), TestCaseError> {
    for special in [false, true] {
        match tokenizer.encode(text, special) {
            Ok(ids) => prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_bytes()),
            Err(TokenizerError::Byte { byte, character, position }) => {
                prop_assert!(text[position..].starts_with(character));
                prop_assert!(character.to_string().bytes().any(|b| b == byte));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back(text in "(\\PC|[ a-z0-9\n\t]|<\\|im_start\\|>|<\\|im_end\\|>){0,40}") {
        for tokenizer in both() {
            comes_back(&tokenizer, &text)?;
        }
    }
}

/// All of WikiText-2's test split by the real tokeniser, see `load/real.rs`.
#[test]
fn smollm2_gives_the_ids_of_the_reference() {
    let Some(model) = crate::load::real::smollm2() else { return };
    let root = std::env::var_os("PLASTICITY_DATA").map(std::path::PathBuf::from);
    let text = root.map(|root| root.join("text/wikitext-2/wiki.test.tokens.gz"));
    let Some(text) = text.filter(|file| file.is_file()) else {
        let _ = writeln!(std::io::stdout(), "SKIPPED: needs text/wikitext-2/wiki.test.tokens.gz in PLASTICITY_DATA");
        return;
    };
    let golden = json("smollm2.json");
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::open(&model).unwrap();
    println!("opened in {:.2} s", start.elapsed().as_secs_f64());
    let mut whole = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(text).unwrap()).read_to_string(&mut whole).unwrap();
    let start = std::time::Instant::now();
    let found = tokenizer.encode(&whole, false).unwrap();
    println!("{} tokens in {:.2} s", found.len(), start.elapsed().as_secs_f64());
    assert_eq!(found.len() as u64, golden["tokens"].as_u64().unwrap());
    let first = tokenizer.encode(whole.trim_start(), false).unwrap();
    assert_eq!(first[..513].to_vec(), ids(&golden["first"]));
    let bytes: Vec<u8> = found.iter().flat_map(|id| id.to_le_bytes()).collect();
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, golden["sha256"].as_str().unwrap());
    assert_eq!(tokenizer.decode(&found).unwrap(), whole.as_bytes());
    // Bytes that the vocabulary does not have: no text with them is encoded with a loss.
    let missing = (0u8..128).filter(|byte| tokenizer.encode(&char::from(*byte).to_string(), false).is_err()).count();
    println!("{missing} of 128 ASCII characters have no token");
}
