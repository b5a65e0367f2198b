//! Text to tokens and back, as an open model has it (feature `tokenizer`): byte-level pair encodings out of
//! `tokenizer.json`, or of the tokens and merges of a GGUF file, by the crate `tokenizers`.
//!
//! ```no_run
//! use synaptic_resonance::tokenizer::Tokenizer;
//!
//! let tokenizer = Tokenizer::open("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref())?;
//! let ids = tokenizer.encode("In 2026, 42 owls", false)?;
//! assert_eq!(tokenizer.decode(&ids)?, b"In 2026, 42 owls");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No token is put before a text, no space, and none of its bytes is lost: a byte that the vocabulary does not have is an
//! error. What looks like a special token is text like any other unless the caller asks for it.

mod byte_level;
mod files;

use byte_level::Bytes;
use tokenizers::NormalizedString;
use tokenizers::tokenizer::Normalizer;

use crate::settings::ModelConfig;

/// Text that has no tokens, or tokens that have no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A byte that no token has.
    #[error(
        "the vocabulary has no token for byte {byte:#04x}, in {character:?} at byte {position} of the text: leave the character out, it cannot be told"
    )]
    Byte {
        /// The byte.
        byte: u8,
        /// The character that it is of.
        character: char,
        /// Where that begins in the text.
        position: usize,
    },
    /// Something else of the text that came to no token.
    #[error(
        "{lost} bytes of the text came to no token: the tokeniser is not one that keeps all of a text, take another file"
    )]
    Lost {
        /// How many.
        lost: usize,
    },
    /// A token that there is not.
    #[error("token {token} is outside the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// A tokeniser of another model.
    #[error("the tokeniser has {found} tokens, the model knows {vocabulary}: take the file that came with the model")]
    Vocabulary {
        /// Those of the tokeniser.
        found: usize,
        /// Those of the model.
        vocabulary: usize,
    },
    /// What the tokenising itself says.
    #[error("the text cannot be cut into tokens: {0}")]
    Inner(String),
}

/// A tokeniser.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The bytes of every token.
    pieces: Vec<Vec<u8>>,
    /// Special tokens, the longest first.
    special: Vec<(String, u32)>,
    /// Bytes that have a token.
    known: [bool; 256],
    hash: String,
}

impl Tokenizer {
    /// Of the text of a `tokenizer.json`.
    fn new(json: &[u8]) -> Result<Self, String> {
        let Bytes { inner, pieces, special, known } = Bytes::new(json)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(json);
        Ok(Self { inner, pieces, special, known, hash: hasher.finalize().to_hex().to_string() })
    }

    /// Number of tokens: ids are below it.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// A hash of all that makes it, for [`Label::tokenizer`](crate::session::Label::tokenizer).
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The special token of this name.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.special.iter().find(|(token, _)| token == name).map(|(_, id)| *id)
    }

    /// # Errors
    /// When a model does not know all tokens. It may know more: some are never used.
    pub fn check(&self, config: &ModelConfig) -> Result<(), TokenizerError> {
        let (found, vocabulary) = (self.vocabulary(), config.vocabulary);
        if found > vocabulary { Err(TokenizerError::Vocabulary { found, vocabulary }) } else { Ok(()) }
    }

    /// The tokens of a text. With `special`, the names of special tokens in it become these; give that for text of one's
    /// own alone, such as a chat's template, and never for what a user has typed.
    ///
    /// # Errors
    /// When a byte of it has no token.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        let mut from = 0;
        if special {
            let begins = self.special.iter().filter_map(|(token, _)| token.bytes().next());
            let begins = begins.fold([false; 256], |mut begins, byte| {
                begins[usize::from(byte)] = true;
                begins
            });
            let mut at = 0;
            while at < text.len() {
                let found = match begins[usize::from(text.as_bytes()[at])] {
                    true => self.special.iter().find(|(token, _)| text.as_bytes()[at..].starts_with(token.as_bytes())),
                    false => None,
                };
                let Some((token, id)) = found else {
                    at += 1;
                    continue;
                };
                self.plain(&text[from..at], from, &mut ids)?;
                ids.push(*id);
                at += token.len();
                from = at;
            }
        }
        self.plain(&text[from..], from, &mut ids)?;
        Ok(ids)
    }

    /// Appends the tokens of a part of a text that begins at `position`.
    fn plain(&self, text: &str, position: usize, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        let inner = |e: tokenizers::Error| TokenizerError::Inner(e.to_string());
        let found = self.inner.encode_fast(text, false).map_err(inner)?;
        let told: usize = found.get_ids().iter().map(|id| self.pieces.get(*id as usize).map_or(0, Vec::len)).sum();
        let length = match self.inner.get_normalizer() {
            None => text.len(),
            Some(normalizer) => {
                let mut normalized = NormalizedString::from(text);
                normalizer.normalize(&mut normalized).map_err(inner)?;
                normalized.get().len()
            }
        };
        if told != length {
            let mut bytes = [0; 4];
            for (at, character) in text.char_indices() {
                let unknown = character.encode_utf8(&mut bytes).bytes().find(|byte| !self.known[usize::from(*byte)]);
                if let Some(byte) = unknown {
                    return Err(TokenizerError::Byte { byte, character, position: position + at });
                }
            }
            return Err(TokenizerError::Lost { lost: length.abs_diff(told) });
        }
        ids.extend_from_slice(found.get_ids());
        Ok(())
    }

    /// The bytes of a token. A character may need several tokens.
    ///
    /// # Errors
    /// When there is no such token.
    pub fn bytes(&self, token: u32) -> Result<&[u8], TokenizerError> {
        let vocabulary = self.vocabulary();
        self.pieces.get(token as usize).map(Vec::as_slice).ok_or(TokenizerError::Token { token, vocabulary })
    }

    /// The bytes of a text of tokens; of a whole text they are UTF-8.
    ///
    /// # Errors
    /// When a token does not exist.
    pub fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::new();
        for token in tokens {
            bytes.extend_from_slice(self.bytes(*token)?);
        }
        Ok(bytes)
    }
}
