//! An open model in words (feature `resonance`): what the program `resonance` does, a call for each of its commands.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use plasticity_core::rng::Stream;
//! use synaptic_resonance::load::Options;
//! use synaptic_resonance::text::{Drawing, Opening, TextModel};
//!
//! let options = Options { window: Some(1024), sinks: 4, ..Options::default() };
//! let opening = Opening { options, ..Opening::default() };
//! let mut model = TextModel::open("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref(), &opening, &mut |_, _| {})?;
//! let mut stream = Stream::new(0, "tokens", 0);
//! model.say("Which animals are awake at night?", &Drawing::default(), &mut stream, &mut |piece| {
//!     print!("{}", String::from_utf8_lossy(piece));
//!     ControlFlow::Continue(())
//! })?;
//! model.save("owls.session".as_ref(), None)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod inspect;
mod open;
mod template;

pub use inspect::Inspected;
pub use open::{Opening, Remember};
pub use template::{Message, Template};

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use plasticity_core::rng::Stream;

use crate::decode::{Decoder, Ended, Until};
use crate::error::MemoryError;
use crate::load::LoadError;
use crate::sampler::Sampler;
use crate::session::Label;
use crate::settings::ModelConfig;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What cannot be written, read or answered; every text names the field and the mend.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file of a model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A text without tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A wrong setting, stream or session.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A chat's template that cannot be used.
    #[error("{}: the chat template gives no conversation ({what}): use `generate`, or another file of the model", .file.display())]
    Template {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A model that was not made for chats.
    #[error("{}: `tokenizer.chat_template` is missing: the model was not made for chats, use `generate`", .file.display())]
    NoTemplate {
        /// The file.
        file: PathBuf,
    },
    /// The device on which a memory is prepared.
    #[error(transparent)]
    Device(#[from] plasticity_core::device::DeviceError),
    /// A message with a token of the template in it.
    #[error("the message holds `{token}`, with which the model's template tells who speaks: write it in another way")]
    Special {
        /// The token.
        token: String,
    },
}

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawing {
    /// Tokens at most.
    pub tokens: usize,
    /// How each is drawn.
    pub sampler: Sampler,
}

impl Default for Drawing {
    /// 256 tokens, at temperature 0.7 from a nucleus of 0.9.
    fn default() -> Self {
        Self { tokens: 256, sampler: Sampler { temperature: 0.7, top_p: 0.9 } }
    }
}

/// What has been read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Tokens that were read before.
    pub read: usize,
    /// Tokens that were written.
    pub tokens: usize,
    /// Why no more.
    pub ended: Ended,
}

/// Takes a piece of a text as it comes, which may end within a character.
pub type Piece<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + 'a;

/// A model with its tokeniser, and a stream through it.
#[derive(Debug)]
pub struct TextModel {
    /// The model and the stream.
    pub decoder: Decoder,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Tokens that end a text.
    pub stops: Vec<u32>,
    /// What a conversation begins with, where the template's own beginning is not wanted.
    pub system: Option<String>,
    /// Settings of the model.
    pub config: ModelConfig,
    /// Its architecture, as the file names it.
    pub architecture: String,
    template: Option<Template>,
    file: PathBuf,
}

impl TextModel {
    /// Goes on with a text: reads `prompt`, if there is any, and writes what comes then.
    ///
    /// # Errors
    /// When a byte of the prompt has no token, there is no room for it, or nothing has been read ever; when the sampler is
    /// wrong, or the model gives what is not finite.
    pub fn generate(
        &mut self,
        prompt: &str,
        drawing: &Drawing,
        stream: &mut Stream,
        piece: &mut Piece<'_>,
    ) -> Result<Written, TextError> {
        drawing.sampler.check()?;
        let ids = self.tokenizer.encode(prompt, false)?;
        self.write(&ids, drawing, stream, piece)
    }

    /// Says something to the model, in the words of its chat template, and writes the answer.
    ///
    /// # Errors
    /// As [`TextModel::generate`]; when there is no template, it fails, or the message holds a special token.
    pub fn say(
        &mut self,
        message: &str,
        drawing: &Drawing,
        stream: &mut Stream,
        piece: &mut Piece<'_>,
    ) -> Result<Written, TextError> {
        drawing.sampler.check()?;
        let ids = self.turn(message)?;
        self.write(&ids, drawing, stream, piece)
    }

    /// The tokens that stand between what the stream has seen and the answer to a message.
    ///
    /// # Errors
    /// When there is no template, it fails, a byte of the message has no token, or it holds a special token.
    pub fn turn(&self, message: &str) -> Result<Vec<u32>, TextError> {
        let Some(template) = &self.template else { return Err(TextError::NoTemplate { file: self.file.clone() }) };
        for text in self.system.as_deref().into_iter().chain([message]) {
            self.plain(text)?;
        }
        let text = match self.decoder.position() {
            0 => template.first(self.system.as_deref(), message),
            _ => template.next(message),
        };
        let text = text.map_err(|what| TextError::Template { file: self.file.clone(), what })?;
        Ok(self.tokenizer.encode(&text, true)?)
    }

    /// # Errors
    /// When a text holds a special token's name: the template's words would not be told from it.
    fn plain(&self, text: &str) -> Result<(), TextError> {
        for id in self.tokenizer.encode(text, true)? {
            let token = String::from_utf8_lossy(self.tokenizer.bytes(id)?);
            if self.tokenizer.special(&token) == Some(id) {
                return Err(TextError::Special { token: token.into_owned() });
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        ids: &[u32],
        drawing: &Drawing,
        stream: &mut Stream,
        piece: &mut Piece<'_>,
    ) -> Result<Written, TextError> {
        if !ids.is_empty() {
            self.decoder.feed(ids)?;
        }
        let (mut tokens, mut unknown) = (0, None);
        let until = Until { tokens: drawing.tokens, stops: &self.stops };
        let tokenizer = &self.tokenizer;
        let ended = self.decoder.generate(&until, &drawing.sampler, stream, |token| {
            tokens += 1;
            match tokenizer.bytes(token) {
                Ok(bytes) => piece(bytes),
                // The model knows more tokens than the tokeniser.
                Err(error) => {
                    unknown = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        match unknown {
            None => Ok(Written { read: ids.len(), tokens, ended }),
            Some(error) => Err(error.into()),
        }
    }

    /// `-log p` of the tokens of a text, in nats, each after all before it; with `segment`, of pieces of so many tokens
    /// that each begin anew. The first token of a stream has none. The stream is as new then.
    ///
    /// `progress` is given the tokens that have been read and those that there are.
    ///
    /// # Errors
    /// When a segment is shorter than two tokens or longer than the model was made for, or a token is outside the
    /// vocabulary.
    pub fn losses(
        &mut self,
        tokens: &[u32],
        segment: Option<usize>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f64>, TextError> {
        if let Some(segment) = segment.filter(|segment| *segment < 2) {
            return Err(MemoryError::setting("segment", segment, "must be at least 2 tokens").into());
        }
        let (mut losses, mut done) = (Vec::with_capacity(tokens.len()), 0);
        for segment in tokens.chunks(segment.unwrap_or(usize::MAX)) {
            self.decoder.reset();
            if let (Some(room), Some(length)) = (self.decoder.room(), self.decoder.weights().host.length)
                && room < segment.len() as u64
            {
                return Err(MemoryError::Length { tokens: segment.len() as u64, length }.into());
            }
            for piece in segment.chunks(PIECE) {
                losses.extend(self.decoder.losses(piece)?);
                done += piece.len();
                progress(done, tokens.len());
            }
        }
        self.decoder.reset();
        Ok(losses)
    }

    /// Writes the stream to a file, see [`Decoder::save`]; `created` is the time in seconds since 1970, which nothing here
    /// looks up.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path, created: Option<u64>) -> Result<(), TextError> {
        let label = Label { tokenizer: Some(self.tokenizer.hash().into()), created };
        Ok(self.decoder.save(file, &label)?)
    }
}

/// Tokens between two reports of progress.
const PIECE: usize = 64;
