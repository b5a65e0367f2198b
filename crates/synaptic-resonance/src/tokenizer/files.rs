//! Where a tokeniser comes from.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::Tokenizer;
use crate::load::gguf::{Gguf, Value};
use crate::load::{LoadError, small};

/// No file is longer: those of today have some ten million bytes.
const MOST_BYTES: u64 = 1 << 26;

const OTHERS: &str = "byte-level BPE with the pre-tokenisers smollm and gpt-2 can be read: take the tokenizer.json of the model, or another model";

impl Tokenizer {
    /// Of a GGUF file, of a `tokenizer.json`, or of a folder that has one.
    ///
    /// # Errors
    /// When the file cannot be read, or is no tokeniser that is understood.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        if path.is_dir() {
            return Self::from_json(&path.join("tokenizer.json"));
        }
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            true => Self::from_json(path),
            false => Self::of_gguf(&Gguf::open(path)?),
        }
    }

    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn from_json(path: &Path) -> Result<Self, LoadError> {
        Self::new(&small(path, MOST_BYTES)?).map_err(|what| unsupported(path, what))
    }

    /// Of the tokens, merges and the name of the pre-tokeniser in a GGUF file.
    ///
    /// # Errors
    /// When one of them is missing, or is not understood.
    pub fn of_gguf(file: &Gguf) -> Result<Self, LoadError> {
        let path = file.path();
        let field = |key: &str, expected: &str| LoadError::Field {
            file: path.into(),
            field: key.into(),
            found: file.get(key).map_or("missing".into(), Value::to_string),
            expected: expected.into(),
        };
        let texts = |key: &str| match file.get(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            _ => Err(field(key, "must be an array of texts: take a file with its tokeniser")),
        };
        let text = |key: &str| match file.get(key) {
            Some(Value::Text(text)) => Ok(text.as_str()),
            _ => Err(field(key, "must be a text: take a file with its tokeniser")),
        };
        match text("tokenizer.ggml.model")? {
            "gpt2" => {}
            other => return Err(unsupported(path, format!("a tokeniser of the kind `{other}`"))),
        }
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let cut = match text("tokenizer.ggml.pre")? {
            // Digits one by one, then the rule of GPT-2.
            "smollm" => json!({"type": "Sequence", "pretokenizers": [digits, bytes]}),
            "gpt-2" => bytes,
            other => return Err(unsupported(path, format!("the pre-tokeniser `{other}`"))),
        };
        let tokens = texts("tokenizer.ggml.tokens")?;
        let mut merges = Vec::new();
        for merge in texts("tokenizer.ggml.merges")? {
            match merge.split_once(' ') {
                Some((first, second)) => merges.push(json!([first, second])),
                None => return Err(field("tokenizer.ggml.merges", "must hold two tokens each, with a space between")),
            }
        }
        let kinds = match file.get("tokenizer.ggml.token_type") {
            Some(Value::Numbers(kinds)) if kinds.len() == tokens.len() => kinds.as_slice(),
            None => &[],
            Some(_) => return Err(field("tokenizer.ggml.token_type", "must hold a number for each token")),
        };
        // 3 is a token of control, 4 one that the model's author has added.
        let added: Vec<Json> = kinds
            .iter()
            .zip(tokens)
            .enumerate()
            .filter(|(_, (kind, _))| [3.0, 4.0].contains(*kind))
            .map(|(id, (kind, token))| {
                json!({
                    "id": id, "content": token, "special": *kind == 3.0,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let mut vocabulary = serde_json::Map::new();
        for (id, token) in tokens.iter().enumerate() {
            if vocabulary.insert(token.clone(), id.into()).is_some() {
                return Err(field("tokenizer.ggml.tokens", "must be different from each other"));
            }
        }
        let all = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": cut, "post_processor": null, "decoder": null,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary, "merges": merges,
            },
        });
        Self::new(all.to_string().as_bytes()).map_err(|what| unsupported(path, what))
    }
}

fn unsupported(file: &Path, what: String) -> LoadError {
    LoadError::Unsupported { file: file.into(), what: format!("the tokeniser is not understood, {what}"), mend: OTHERS }
}
