//! A model in words, out of a GGUF file.

use std::path::Path;

use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;

use super::{Template, TextError, TextModel};
use crate::decode::Decoder;
use crate::error::MemoryError;
use crate::load::gguf::{Gguf, Value};
use crate::load::{InBlocks, LoadError, Options, Progress};
use crate::memory::Memories;
use crate::settings::{MemoryConfig, ModelConfig};
use crate::tokenizer::Tokenizer;

/// Keys of tokens that end a text, or a part of a conversation.
const STOPS: [&str; 3] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Where a memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember<'a> {
    /// It is new: its gates are shut, so that it changes no bit of the text.
    Fresh,
    /// Of this file, see [`Memories::save`].
    Saved(&'a Path),
}

/// What is chosen when a model is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Opening<'a> {
    /// How far it sees.
    pub options: Options,
    /// The memory; none: the model as it is in its file.
    pub memory: Option<Remember<'a>>,
    /// The session that it goes on in.
    pub session: Option<&'a Path>,
}

impl TextModel {
    /// A model with its tokeniser and its chat template out of a GGUF file, its weights in the blocks of the file.
    /// `progress` is given the bytes that have been read and those that there are.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged or not understood; when the tokeniser or the memory is that of another model,
    /// or the session of another model, memory or window.
    pub fn open(file: &Path, opening: &Opening<'_>, progress: &mut Progress<'_>) -> Result<Self, TextError> {
        let Opening { options, memory, session } = opening;
        if file.is_dir() {
            let what = "a folder is no GGUF file".into();
            let mend = "give the GGUF file itself: `load::load_blocks` reads folders";
            return Err(LoadError::Unsupported { file: file.into(), what, mend }.into());
        }
        let gguf = Gguf::open(file)?;
        let tokenizer = Tokenizer::of_gguf(&gguf)?;
        let InBlocks { weights, config, architecture } = gguf.load_blocks(options, progress)?;
        tokenizer.check(&config)?;
        let (weights, config) = match memory {
            None => (weights, config),
            Some(memory) => {
                let device = by_name("flex")?;
                let memories = match memory {
                    Remember::Fresh => {
                        let settings = MemoryConfig { own_projections: false, ..MemoryConfig::default() };
                        Memories::fresh(&settings, &config, &mut Stream::new(0, "memory", 0), &device)?
                    }
                    Remember::Saved(file) => Memories::load(file, &config, &device)?,
                };
                let settings = Some(memories.config.clone());
                (weights.with_memories(&memories)?, ModelConfig { memory: settings, ..config })
            }
        };
        let token = |key: &str| match gguf.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(id)) if *id < tokenizer.vocabulary() as u64 => Ok(Some(*id as u32)),
            Some(other) => Err(LoadError::Field {
                file: file.into(),
                field: key.into(),
                found: other.to_string(),
                expected: format!("must be one of the {} tokens: get the file again", tokenizer.vocabulary()),
            }),
        };
        let mut stops = Vec::new();
        for key in STOPS {
            stops.extend(token(key)?.filter(|id| !stops.contains(id)));
        }
        let name = |id: Option<u32>| {
            let bytes = id.and_then(|id| tokenizer.bytes(id).ok()).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let ends = ["tokenizer.ggml.bos_token_id", STOPS[0]].map(token);
        let [begin, end] = ends;
        let (begin, end) = (name(begin?), name(end?));
        let template = match gguf.get("tokenizer.chat_template") {
            None => None,
            Some(Value::Text(text)) => Some(
                Template::new(text, &begin, &end).map_err(|what| TextError::Template { file: file.into(), what })?,
            ),
            Some(other) => {
                let (field, found) = ("tokenizer.chat_template".into(), other.to_string());
                let expected = "must be a text: get the file again".into();
                return Err(LoadError::Field { file: file.into(), field, found, expected }.into());
            }
        };
        let decoder = match session {
            None => Decoder::new(weights),
            Some(session) => Decoder::restore(session, weights, Some(tokenizer.hash())),
        };
        let decoder = decoder.map_err(|cause| match cause {
            cause @ (MemoryError::Saved { .. } | MemoryError::Io { .. }) => TextError::Memory(cause),
            cause => LoadError::Model { file: file.into(), cause }.into(),
        })?;
        let file = file.into();
        Ok(Self { decoder, tokenizer, stops, system: None, config, architecture, template, file })
    }
}
