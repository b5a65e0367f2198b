//! Decoding of one stream with weights in blocks: a token reads a quarter or an eighth of what it reads in f32.
//!
//! The model is that of [`crate::model`]; its numbers differ from those of the f32 model of the same (dequantised) weights
//! by rounding alone. A step goes through phases whose parts all threads share, and nothing of it depends on how many
//! threads there are.
//!
//! With a window a stream keeps the keys and values of so many tokens and no more, however long it is, and its memory is a
//! matrix per head. **It holds what it has read**, as a [`Session`](crate::session::Session) does, and so does the file that it is
//! saved to.
//!
//! ```no_run
//! use plasticity_core::rng::Stream;
//! use std::ops::ControlFlow;
//! use synaptic_resonance::decode::{Decoder, Until};
//! use synaptic_resonance::load::{Options, load_blocks};
//! use synaptic_resonance::sampler::Sampler;
//!
//! let options = Options { window: Some(1024), sinks: 4, ..Options::default() };
//! let loaded = load_blocks("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref(), &options, &mut |_, _| {})?;
//! let mut decoder = Decoder::new(loaded.weights)?;
//! decoder.feed(&[504, 3575, 282, 4649, 314])?;
//! let until = Until { tokens: 20, stops: &[2] };
//! decoder.generate(&until, &Sampler::greedy(), &mut Stream::new(0, "tokens", 0), |token| {
//!     println!("{token}");
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod generate;
mod group;
mod of_model;
mod remember;
mod small;
mod step;
mod store;
mod trace;
mod weights;

#[cfg(test)]
mod tests;

pub use generate::{Ended, Until};
pub use store::{Saved, inspect};
pub use trace::Trace;
pub use weights::{Host, Layer, MemoryWeights, Weights};

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use plasticity_core::nn::vector::Isa;

use crate::error::MemoryError;
use crate::session::Label;

use self::group::Group;
use self::small::rms_norm;
use self::step::{Left, Logits, Step};

/// Tokens that go through the weights together: each block of weights is widened once for up to four of them.
const TOGETHER: usize = 8;

/// A model that several streams share, and its hash once it has been asked for.
#[derive(Debug)]
struct Served {
    weights: Weights,
    hash: OnceLock<String>,
}

impl Served {
    fn hash(&self) -> &str {
        self.hash.get_or_init(|| self.weights.hash())
    }
}

/// A model and one stream through it.
#[derive(Debug)]
pub struct Decoder {
    served: Arc<Served>,
    /// The keys, values and memory of every group of every layer, `[layers][groups]`.
    groups: Vec<Mutex<Group>>,
    /// The stream after the last layer, of the last token, `[d]`; empty before the first one.
    last: Vec<f32>,
    position: u64,
    frozen: bool,
}

impl Decoder {
    /// A stream that has seen nothing.
    ///
    /// # Errors
    /// When a size is outside its domain or a part is of another shape; the text names it.
    pub fn new(weights: Weights) -> Result<Self, MemoryError> {
        weights.check()?;
        Ok(Self::begin(Arc::new(Served { weights, hash: OnceLock::new() })))
    }

    fn begin(served: Arc<Served>) -> Self {
        let Weights { host, layers, .. } = &served.weights;
        let groups = layers.iter().flat_map(|layer| (0..host.groups).map(move |_| layer.memory.is_some()));
        let groups = groups.map(|memory| Mutex::new(Group::new(host, memory))).collect();
        Self { groups, last: Vec::new(), position: 0, frozen: false, served }
    }

    /// A second stream that has seen the same and goes its own way. It holds the same text, and shares the weights.
    pub fn fork(&self) -> Self {
        let copy = |group: &Mutex<Group>| Mutex::new(group.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Self {
            served: self.served.clone(),
            groups: self.groups.iter().map(copy).collect(),
            last: self.last.clone(),
            ..*self
        }
    }

    /// The model.
    pub fn weights(&self) -> &Weights {
        &self.served.weights
    }

    /// A blake3 hash of the model as hexadecimal digits, see [`Weights::hash`]. It is computed when it is first asked for.
    pub fn hash(&self) -> &str {
        self.served.hash()
    }

    /// Tokens that it has seen.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Tokens that it can still see; none: any number. A model that sees all of a text was made for texts of some length,
    /// and gives noise beyond it; one with a window never sees farther than that.
    pub fn room(&self) -> Option<u64> {
        let host = &self.weights().host;
        let length = host.length.filter(|_| host.window.is_none())?;
        Some((length as u64).saturating_sub(self.position))
    }

    /// Whether the memory is read and not changed.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Forgets everything that it has seen. Whether it is frozen stays.
    pub fn reset(&mut self) {
        self.position = 0;
        self.last.clear();
        self.groups.iter_mut().for_each(|group| group::of(group).clear());
    }

    /// Takes tokens in, and gives the logits `[vocabulary]` of what follows the last one.
    ///
    /// # Errors
    /// When there is no token, one is outside the vocabulary, or they are more than there is [`Decoder::room`] for, and
    /// nothing has changed then; or when the logits are not finite: the stream is of no use then.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, MemoryError> {
        if tokens.is_empty() {
            return Err(MemoryError::setting("tokens", 0, "there must be at least one"));
        }
        self.check(tokens)?;
        let (steps, mut logits) = (tokens.len().div_ceil(TOGETHER), Vec::new());
        for (i, tokens) in tokens.chunks(TOGETHER).enumerate() {
            logits = self.step(tokens, if i + 1 == steps { Logits::Last } else { Logits::None })?;
        }
        Ok(logits)
    }

    /// The logits `[vocabulary]` of what follows the last token.
    ///
    /// # Errors
    /// When there was none.
    pub fn logits(&self) -> Result<Vec<f32>, MemoryError> {
        if self.last.is_empty() {
            return Err(MemoryError::setting("tokens", 0, "the stream has seen no token yet: feed at least one first"));
        }
        let Weights { host, norm, .. } = self.weights();
        let (mut x, output) = (self.last.clone(), self.weights().output());
        rms_norm(&mut x, norm, host.norm_epsilon);
        let mut logits = vec![0.0; output.rows()];
        output.product(&x, &mut logits)?;
        Ok(logits)
    }

    /// Takes tokens in, and gives `-log p` of each after all before it, in nats: of a stream's first token nothing is
    /// known, so that a new stream gives one number less.
    ///
    /// # Errors
    /// As [`Decoder::feed`].
    pub fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f64>, MemoryError> {
        self.check(tokens)?;
        let vocabulary = self.weights().embedding.rows();
        let mut before = if self.last.is_empty() { Vec::new() } else { self.logits()? };
        let mut losses = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(TOGETHER) {
            let logits = self.step(tokens, Logits::All)?;
            let rows = std::iter::once(before.as_slice()).chain(logits.chunks_exact(vocabulary));
            let known = rows.zip(tokens).filter(|(logits, _)| !logits.is_empty());
            losses.extend(known.map(|(logits, token)| loss(logits, *token as usize)));
            before = logits[(tokens.len() - 1) * vocabulary..].to_vec();
        }
        Ok(losses)
    }

    /// # Errors
    /// When a token is outside the vocabulary, or there is no room for all of them.
    fn check(&self, tokens: &[u32]) -> Result<(), MemoryError> {
        let vocabulary = self.weights().embedding.rows();
        if let Some(position) = tokens.iter().position(|token| *token as usize >= vocabulary) {
            return Err(MemoryError::Token { token: tokens[position], row: 0, position, vocabulary });
        }
        match (self.room(), self.weights().host.length) {
            (Some(room), Some(length)) if room < tokens.len() as u64 => {
                Err(MemoryError::Length { tokens: self.position + tokens.len() as u64, length })
            }
            _ => Ok(()),
        }
    }

    /// A few tokens that have been looked at.
    fn step(&mut self, tokens: &[u32], logits: Logits) -> Result<Vec<f32>, MemoryError> {
        let step = Step::new(&self.served.weights, &self.groups, self.position, self.frozen, tokens, logits);
        let Left { logits, last } = step.run(Isa::widest());
        self.position += tokens.len() as u64;
        self.last = last;
        match self.last.iter().chain(&logits).all(|x| x.is_finite()) {
            true => Ok(logits),
            false => Err(MemoryError::NotFinite { field: "logits", step: self.position }),
        }
    }

    /// Bytes of the weights, and of what a stream keeps.
    pub fn bytes(&self) -> (usize, usize) {
        let kept = |group: &Mutex<Group>| group.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        (self.weights().bytes(), self.groups.iter().map(kept).sum())
    }

    /// Writes the stream to one safetensors file, whole or not at all: equal streams with equal labels give equal bytes.
    /// **The file holds the text in recoverable form**; it is created readable by its owner only, where the system knows
    /// owners.
    ///
    /// # Errors
    /// When the file cannot be written; an older file then still stands.
    pub fn save(&self, file: &Path, label: &Label) -> Result<(), MemoryError> {
        store::save(self, file, label)
    }

    /// A saved stream, which goes on bit for bit as if it had never been interrupted. `tokenizer` is compared with the hash
    /// in the file's label, where both are there.
    ///
    /// # Errors
    /// When the weights do not fit each other; when the file cannot be read, is damaged or of another version, was saved
    /// with another model, tokeniser or window, or holds a value that is not finite.
    pub fn restore(file: &Path, weights: Weights, tokenizer: Option<&str>) -> Result<Self, MemoryError> {
        store::restore(file, Self::new(weights)?, tokenizer)
    }
}

/// `-log softmax(logits)[token]`
fn loss(logits: &[f32], token: usize) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits.iter().map(|x| (f64::from(*x) - highest).exp()).sum();
    highest + total.ln() - f64::from(logits[token])
}
