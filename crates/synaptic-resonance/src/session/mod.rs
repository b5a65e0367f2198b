//! A stream of tokens through a model, with constant memory (section 12.1), saved and restored (section 12.2).
//!
//! **A memory holds what it has read.** The associations in it, the window of attention and the files written from
//! them can be read back by whoever has the model: treat a session and its file as the text that was fed to it. Keep
//! one session per user, never hand a fork of one user's session to another, and use [`Session::wipe`] when the text
//! must be gone (of the session: files that were saved are the caller's to delete).
//!
//! There is no way to merge two sessions: a sum of two states of the delta rule is no state that any text would have
//! led to.

mod restore;
mod store;

pub use restore::inspect;
pub use store::{Dims, Label, Saved, model_hash};

use std::path::Path;
use std::sync::{Arc, OnceLock};

use burn::prelude::*;
use plasticity_core::rng::Stream;

use crate::error::MemoryError;
use crate::model::{Model, Pass};
use crate::sampler::Sampler;
use crate::state::{LayerState, State};
use crate::tokens::Tokens;

/// What to do about a model that gives what is not finite.
const DIVERGED: &str = "the model gives it for finite input; has its training diverged?";
/// Tokens that pass through the model at once, unless [`Session::with_segment`] says otherwise.
const SEGMENT: usize = 512;

/// A model that several sessions share, and its hash once it has been asked for.
#[derive(Debug)]
struct Served {
    model: Model,
    hash: OnceLock<String>,
}

impl Served {
    fn hash(&self) -> &str {
        self.hash.get_or_init(|| model_hash(&self.model))
    }
}

/// One stream of tokens and what the model remembers of it.
///
/// For a model with a window its size does not depend on how many tokens it has seen (see [`Session::values`]); with
/// full attention every token adds its key and value. A call that fails leaves the session as it was.
#[derive(Debug)]
pub struct Session {
    served: Arc<Served>,
    state: State,
    /// After the last norm, `[1, width]`, of the last token.
    hidden: Option<Tensor<2>>,
    tokens: u64,
    frozen: bool,
    segment: usize,
}

impl Session {
    /// A stream that has seen nothing yet, of an inference copy of the model. The copy shares the parameters' memory,
    /// as forks of the session do.
    pub fn new(model: &Model) -> Self {
        let model = model.valid();
        let state = model.start(1);
        let served = Arc::new(Served { model, hash: OnceLock::new() });
        Self { served, state, hidden: None, tokens: 0, frozen: false, segment: SEGMENT }
    }

    /// As [`Session::new`], with a memory prepared elsewhere: the state of one stream. `tokens` begins at 0.
    ///
    /// # Errors
    /// When the state is not one of this model for one stream, or is not finite. Nothing tells the state of another
    /// model of the same sizes.
    pub fn with_state(model: &Model, state: State) -> Result<Self, MemoryError> {
        state.check(&model.config, 1)?;
        model.check_values(&state)?;
        Ok(Self { state: without_autodiff(state), ..Self::new(model) })
    }

    /// Cuts long feeds into segments of this many tokens: fewer need less memory while they pass, more are faster. The
    /// result is the same but for rounding.
    ///
    /// # Errors
    /// When it is 0.
    pub fn with_segment(self, tokens: usize) -> Result<Self, MemoryError> {
        match tokens {
            0 => Err(MemoryError::setting("segment", 0, "must be at least 1 token")),
            segment => Ok(Self { segment, ..self }),
        }
    }

    /// Passes `tokens` through the model and returns the logits `[vocabulary]` of what follows the last one.
    ///
    /// # Errors
    /// When there is no token, one is outside the vocabulary, or the model gives a value that is not finite.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, MemoryError> {
        let (state, hidden) = self.advanced(tokens)?;
        let logits = self.logits_of(&hidden)?;
        (self.state, self.hidden) = (state, Some(hidden));
        self.tokens += tokens.len() as u64;
        Ok(logits)
    }

    /// The logits `[vocabulary]` of what follows the last token that was fed.
    ///
    /// # Errors
    /// When none was.
    pub fn logits(&self) -> Result<Vec<f32>, MemoryError> {
        let Some(hidden) = &self.hidden else {
            return Err(MemoryError::setting(
                "tokens",
                0,
                "the session has seen no token yet: feed at least one first",
            ));
        };
        self.logits_of(hidden)
    }

    fn logits_of(&self, hidden: &Tensor<2>) -> Result<Vec<f32>, MemoryError> {
        let logits: Vec<f32> = self.served.model.logits(hidden.clone()).into_data().iter::<f32>().collect();
        match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits),
            false => Err(MemoryError::Poisoned { what: "a logit".into(), mend: DIVERGED }),
        }
    }

    /// Draws `n` tokens after the last one and feeds each of them, the last one too: generating 5 and then 3 gives what
    /// generating 8 does.
    ///
    /// # Errors
    /// When nothing has been fed, the sampler is wrong, or a logit is not finite.
    pub fn generate(&mut self, n: usize, sampler: &Sampler, stream: &mut Stream) -> Result<Vec<u32>, MemoryError> {
        let before = self.fork();
        let mut drawn = Vec::new();
        let mut all = || {
            let mut logits = self.logits()?;
            for _ in 0..n {
                let token = sampler.draw(&logits, stream)?;
                logits = self.feed(&[token])?;
                drawn.push(token);
            }
            Ok(())
        };
        match all() {
            Ok(()) => Ok(drawn),
            Err(error) => {
                *self = before;
                Err(error)
            }
        }
    }

    /// The state after `tokens`, a segment at a time, and the last hidden state `[1, width]`.
    fn advanced(&self, tokens: &[u32]) -> Result<(State, Tensor<2>), MemoryError> {
        let model = &self.served.model;
        let vocabulary = model.config.vocabulary;
        if let Some(position) = tokens.iter().position(|t| *t as usize >= vocabulary) {
            return Err(MemoryError::Token { token: tokens[position], row: 0, position, vocabulary });
        }
        let pass = Pass { frozen: self.frozen, ..Pass::default() };
        let (mut state, mut last) = (self.state.clone(), None);
        for segment in tokens.chunks(self.segment) {
            let segment = Tokens::new(segment.to_vec(), 1, segment.len())?;
            let (hidden, next) = model.hidden_after(&segment, state, &pass)?;
            let [_, time, width] = hidden.dims();
            last = Some(hidden.narrow(1, time - 1, 1).reshape([1, width]));
            state = next;
        }
        let Some(hidden) = last else {
            return Err(MemoryError::setting("tokens", "empty", "must hold at least one token"));
        };
        // What went in was looked at: what comes out is the model's.
        model.check_values(&state).map_err(|error| match error {
            MemoryError::Poisoned { what, .. } => MemoryError::Poisoned { what, mend: DIVERGED },
            error => error,
        })?;
        Ok((state, hidden))
    }

    /// While frozen, the memory is read and not changed (section 6): a prepared memory can be served to many. The
    /// window of attention goes on.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Whether the memory is frozen.
    pub fn frozen(&self) -> bool {
        self.frozen
    }

    /// A second stream that has seen the same and goes its own way. It holds the same text.
    pub fn fork(&self) -> Self {
        let (served, state, hidden) = (self.served.clone(), self.state.clone(), self.hidden.clone());
        Self { served, state, hidden, ..*self }
    }

    /// Empties the memory of the chosen layers. The window of attention stays, and with it what it has taken from the
    /// memory, for as many tokens as layers and window reach; [`Session::wipe`] leaves nothing.
    ///
    /// # Errors
    /// When the model has no such layer.
    pub fn reset(&mut self, layers: &[usize]) -> Result<(), MemoryError> {
        let depth = self.state.layers.len();
        if let Some(layer) = layers.iter().find(|layer| **layer >= depth) {
            return Err(MemoryError::setting("layers", layer, format!("must be below {depth}")));
        }
        for layer in layers {
            let s = &mut self.state.layers[*layer].s;
            *s = s.take().map(|s| s.zeros_like());
        }
        Ok(())
    }

    /// Forgets everything: the session is as new. Whether it is frozen stays.
    pub fn wipe(&mut self) {
        self.state = self.served.model.start(1);
        self.hidden = None;
        self.tokens = 0;
    }

    /// Tokens that this session has seen since it began or was wiped, those before a save included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens that the state has seen, those of a prepared one included.
    pub fn position(&self) -> u64 {
        self.state.position.iter().copied().next().unwrap_or(0)
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Numbers that the session holds beside the model's parameters.
    pub fn values(&self) -> usize {
        let layers = self.state.layers.iter().map(|layer| {
            let size = |shape: Shape| shape.num_elements();
            let ring: usize = layer.ring.iter().flat_map(|ring| ring.tensors()).map(|(_, x)| size(x.shape())).sum();
            let s = layer.s.as_ref().map_or(0, |s| size(s.shape()));
            s + ring + layer.prev_key.as_ref().map_or(0, |k| size(k.shape()))
        });
        layers.sum::<usize>() + self.hidden.as_ref().map_or(0, |h| h.shape().num_elements())
    }

    /// Writes the session to one safetensors file (section 12.2), whole or not at all. Equal sessions with equal
    /// labels give equal bytes. **The file holds the text in recoverable form**; it is created readable by its owner
    /// only, where the system knows owners.
    ///
    /// # Errors
    /// When the model is not of f32, or the file cannot be written; an older file then still stands.
    pub fn save(&self, file: &Path, label: &Label) -> Result<(), MemoryError> {
        store::save(self, file, label)
    }

    /// A saved session, which goes on bit for bit as if it had never been interrupted, on the device that it was on. `tokenizer` is compared with
    /// the hash in the file's label, where both are there. `force` takes the session of another model or tokeniser of
    /// the same sizes: its memory is noise to this model, which dies out where this model's memory forgets (section 4.6,
    /// P4) and stays where it does not.
    ///
    /// # Errors
    /// When the file cannot be read; was saved with another model or tokeniser, unless forced; is of another version
    /// or for other sizes; is damaged; or holds a value that is not finite.
    pub fn restore(file: &Path, model: &Model, tokenizer: Option<&str>, force: bool) -> Result<Self, MemoryError> {
        restore::restore(file, model, tokenizer, force)
    }
}

fn without_autodiff(state: State) -> State {
    let layer = |layer: LayerState| LayerState {
        s: layer.s.map(Tensor::without_autodiff),
        prev_key: layer.prev_key.map(Tensor::without_autodiff),
        ring: layer.ring.map(|ring| ring.map(Tensor::without_autodiff)),
    };
    State { layers: state.layers.into_iter().map(layer).collect(), position: state.position }
}
