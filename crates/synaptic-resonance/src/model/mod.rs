//! A pre-norm decoder (section 3), with or without memory.

mod block;
mod init;
mod pass;
mod tensors;
mod trace;

pub use block::{Block, swiglu_composed};
pub use init::memory_parameters;
pub use pass::Pass;
pub use tensors::Tensors;
pub use trace::Trace;

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::nn::product::matmul;

use self::block::rms_norm;
use self::pass::Frame;
use crate::error::MemoryError;
use crate::settings::ModelConfig;
use crate::state::State;
use crate::tokens::Tokens;

/// The model.
#[derive(Module, Debug)]
pub struct Model {
    /// E, `[vocabulary, d]`; the output layer too, unless that has a matrix of its own.
    pub embedding: Param<Tensor<2>>,
    /// The layers.
    pub blocks: Vec<Block>,
    /// Scale of the last norm, `[d]`.
    pub norm: Param<Tensor<1>>,
    /// `[vocabulary, d]`; of an output layer with a matrix of its own.
    pub head: Option<Param<Tensor<2>>>,
    /// What it is made of.
    #[module(skip)]
    pub config: ModelConfig,
}

impl Model {
    /// Hidden states after the last norm `[batch, time, d]`, and the state after the last token of each row.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, state or pass do not fit, or the state is not finite. What comes out is
    /// not looked at: weights that are not finite give hidden states that are not.
    pub fn hidden(&self, tokens: &Tokens, state: State, pass: &Pass) -> Result<(Tensor<3>, State), MemoryError> {
        self.check_values(&state)?;
        self.hidden_after(tokens, state, pass)
    }

    /// # Errors
    /// When the state is not in numbers of this model, on its device, or holds one that is not finite.
    pub(crate) fn check_values(&self, state: &State) -> Result<(), MemoryError> {
        let embedding = self.embedding.val();
        state.check_values(embedding.dtype(), &embedding.device())
    }

    /// [`Model::hidden`] after a state whose values have been looked at.
    pub(crate) fn hidden_after(
        &self,
        tokens: &Tokens,
        state: State,
        pass: &Pass,
    ) -> Result<(Tensor<3>, State), MemoryError> {
        let (mut x, frame, state) = self.enter(tokens, state, pass)?;
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (block, layer) in self.blocks.iter().zip(state.layers) {
            let (y, layer) = block.forward(x, layer, &self.config, &frame)?;
            x = y;
            layers.push(layer);
        }
        Ok((rms_norm(x, self.norm.val(), self.config.norm_epsilon), State { layers, position: frame.position }))
    }

    /// Embeddings `[batch, time, d]` and the frame of a pass, after its checks of everything but the state's values.
    fn enter(&self, tokens: &Tokens, state: State, pass: &Pass) -> Result<(Tensor<3>, Frame, State), MemoryError> {
        let (batch, time) = (tokens.batch(), tokens.time());
        let embedding = self.embedding.val();
        let (device, dtype) = (embedding.device(), embedding.dtype());
        pass.check(batch, time)?;
        state.check(&self.config, batch)?;
        let ids = tokens.upload(self.config.vocabulary, &device)?;
        let frame = Frame::new(&self.config, time, &state, pass, &device, dtype);
        Ok((burn::tensor::module::embedding(embedding, ids), frame, state))
    }

    /// Logits `[rows, vocabulary]` of hidden states `[rows, d]`.
    ///
    /// # Panics
    /// When the hidden states are of another width or type of numbers, as operations on tensors do.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        matmul(hidden, self.head.as_ref().unwrap_or(&self.embedding).val().transpose())
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
        let embedding = self.embedding.val();
        State::empty(&self.config, batch, &embedding.device()).of_type(embedding.dtype())
    }
}
