//! A pre-norm decoder (section 3), with or without memory.

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::rng::Stream;

use crate::attention::Attention;
use crate::error::MemoryError;
use crate::memory::Memory;
use crate::settings::ModelConfig;
use crate::state::State;
use crate::tokens::Tokens;

/// One layer.
#[derive(Module, Debug)]
pub struct Block {
    /// Scale of the norm before attention, `[d]`.
    pub norm1: Param<Tensor<1>>,
    /// Attention.
    pub attention: Attention,
    /// The memory.
    pub memory: Option<Memory>,
    /// Scale of the norm before the MLP, `[d]`.
    pub norm2: Param<Tensor<1>>,
    /// `[d, mlp]`.
    pub up: Param<Tensor<2>>,
    /// `[mlp, d]`.
    pub down: Param<Tensor<2>>,
}

/// The model.
#[derive(Module, Debug)]
pub struct Model {
    /// E, tied with the output layer, `[vocabulary, d]`.
    pub embedding: Param<Tensor<2>>,
    /// The layers.
    pub blocks: Vec<Block>,
    /// Scale of the last norm, `[d]`.
    pub norm: Param<Tensor<1>>,
    /// What it is made of.
    #[module(skip)]
    pub config: ModelConfig,
}

/// How a batch is passed through a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pass {
    /// Valid tokens of each row, the rest is padding; none: all. Padding stands at the end and changes nothing.
    pub lengths: Option<Vec<usize>>,
    /// First tokens of documents, `[batch, time]` row-major; none: no document begins after the state.
    pub starts: Option<Vec<bool>>,
    /// The memory is read and not changed (section 6); keys, ring and position still advance.
    pub frozen: bool,
}

/// What a layer's memory shows of itself (section 12.4).
#[derive(Debug, Clone)]
pub struct Trace {
    /// beta, `[batch, time, groups]`.
    pub write_rate: Tensor<3>,
    /// |e|, `[batch, time, groups]`.
    pub surprise: Tensor<3>,
    /// rho, `[batch, time, heads]`.
    pub familiarity: Tensor<3>,
    /// g, `[batch, time, heads]`.
    pub gate: Tensor<3>,
    /// Half-life in tokens, `[batch, time, groups]`; none without decay.
    pub half_life: Option<Tensor<3>>,
    /// ||S||_F, `[batch, time, groups]`.
    pub norm: Tensor<3>,
}

impl Model {
    /// Draws the parameters as section 3 says; ids are hashes of the parameters' paths. Parameters that two variants
    /// share are drawn alike from the same stream, whatever else the variants have.
    ///
    /// # Errors
    /// When the config is wrong.
    pub fn new(config: &ModelConfig, stream: &mut Stream, device: &Device) -> Result<Self, MemoryError> {
        config.check()?;
        let _ = (stream, device);
        Err(MemoryError::State("not here yet".into()))
    }

    /// Hidden states after the last norm `[batch, time, d]`, and the state after the last token of each row.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or state or pass do not fit.
    pub fn hidden(&self, tokens: &Tokens, state: State, pass: &Pass) -> Result<(Tensor<3>, State), MemoryError> {
        let _ = (tokens, pass);
        Err(MemoryError::State(format!("not here yet: {}", state.batch())))
    }

    /// Logits `[rows, vocabulary]` of hidden states `[rows, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.embedding.val().transpose())
    }

    /// Logits `[batch, time, vocabulary]`, and the state after the last token of each row.
    ///
    /// # Errors
    /// As [`Model::hidden`].
    pub fn forward(&self, tokens: &Tokens, state: State, pass: &Pass) -> Result<(Tensor<3>, State), MemoryError> {
        let (hidden, state) = self.hidden(tokens, state, pass)?;
        let [batch, time, d] = hidden.dims();
        let logits = self.logits(hidden.reshape([batch * time, d]));
        Ok((logits.reshape([batch, time, self.config.vocabulary]), state))
    }

    /// The empty state of `batch` streams.
    pub fn start(&self, batch: usize) -> State {
        State::empty(&self.config, batch, &self.embedding.val().device())
    }

    /// What the memory of every layer shows while `tokens` pass from the empty state; empty without memory.
    ///
    /// # Errors
    /// As [`Model::hidden`].
    pub fn trace(&self, tokens: &Tokens) -> Result<Vec<Trace>, MemoryError> {
        let _ = tokens;
        Err(MemoryError::State("not here yet".into()))
    }
}

/// Parameters that a memory adds to a model, by the formula of section 4.2.
pub fn memory_parameters(config: &ModelConfig) -> usize {
    let _ = config;
    0
}
