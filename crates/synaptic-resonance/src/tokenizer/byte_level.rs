//! The byte-level rule: every byte is a character of its own, and every token is made of these.

use std::collections::BTreeMap;

use serde_json::Value;

/// Ids without a token are few: a table of them must not be larger than what is in the file.
const MOST_GAPS: usize = 1 << 16;

/// What a tokeniser consists of.
pub(super) struct Bytes {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) special: Vec<(String, u32)>,
    pub(super) known: [bool; 256],
}

/// The character of every byte: itself where it is printed, else one behind the first 256.
fn characters() -> [char; 256] {
    let mut next = 256;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte as u8),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or('\u{fffd}')
        }
    })
}

/// Whether a pre-tokeniser is the byte-level one, which puts no space before a text, or ends in it.
fn is_byte_level(of: &Value) -> bool {
    match of["type"].as_str() {
        Some("ByteLevel") => of["add_prefix_space"] == Value::Bool(false),
        Some("Sequence") => {
            let all = of["pretokenizers"].as_array();
            all.and_then(|all| all.last()).is_some_and(is_byte_level)
        }
        _ => false,
    }
}

impl Bytes {
    /// Of the text of a `tokenizer.json`.
    pub(super) fn new(json: &[u8]) -> Result<Self, String> {
        let file: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if file["model"]["type"].as_str().is_some_and(|kind| kind != "BPE") {
            return Err(format!("its model is {}: byte-level BPE alone is read", file["model"]["type"]));
        }
        if !is_byte_level(&file["pre_tokenizer"]) {
            return Err("it does not cut a text into bytes as they are (`ByteLevel` without `add_prefix_space`)".into());
        }
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        // Special tokens are looked for here, and only where the caller says so.
        inner.set_encode_special_tokens(true);
        let added: BTreeMap<u32, String> =
            inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (id, token.content)).collect();
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().copied().max().map_or(0, |last| last as usize + 1);
        if size == 0 || size - vocabulary.len().min(size) > MOST_GAPS {
            return Err(format!("{} tokens with ids up to {size}", vocabulary.len()));
        }
        let byte_of: BTreeMap<char, u8> = characters().into_iter().zip(0..=255).collect();
        let (mut pieces, mut known) = (vec![Vec::new(); size], [false; 256]);
        for (token, id) in &vocabulary {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| byte_of.get(&c).copied()).collect();
            pieces[*id as usize] = match (added.get(id), bytes) {
                (Some(content), _) => content.clone().into_bytes(),
                (None, Some(bytes)) => {
                    if let [byte] = bytes.as_slice() {
                        known[usize::from(*byte)] = true;
                    }
                    bytes
                }
                (None, None) => return Err(format!("the token {token:?} is not made of bytes")),
            };
        }
        let decoder = inner.get_added_tokens_decoder();
        let special = decoder.into_iter().filter(|(_, token)| token.special && !token.content.is_empty());
        let mut special: Vec<(String, u32)> = special.map(|(id, token)| (token.content, id)).collect();
        special.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        Ok(Self { inner, pieces, special, known })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all = super::characters();
        assert_eq!((all[b'a' as usize], all[b' ' as usize], all[b'\n' as usize]), ('a', '\u{120}', '\u{10a}'));
        let different: std::collections::BTreeSet<char> = all.into_iter().collect();
        assert_eq!(different.len(), 256);
    }
}
