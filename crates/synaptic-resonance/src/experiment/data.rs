//! What a run learns from: sequences of a recall task, or a text.

use plasticity_core::data::Split;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::{Config, Study};
use crate::MemoryError;
use crate::tasks::Mqar;
use crate::tasks::text::{self, Alphabet, TextBatch};
use crate::tokens::Tokens;
use crate::train::Targets;

/// Where a run's sequences come from.
pub(super) enum Source {
    /// Generated.
    Recall(Mqar),
    /// Cut out of a text.
    Text(Text),
}

/// A text as tokens.
pub(super) struct Text {
    train: Vec<u32>,
    /// The validation text: batch `i` holds segment `i` of every reader.
    pub validation: Vec<TextBatch>,
    symbols: usize,
}

impl Source {
    /// Generated, or read and encoded.
    pub fn load(config: &Config, ctx: &RunContext) -> Result<Self, RunError> {
        if config.study != Study::Characters {
            return Ok(Self::Recall(config.task.clone()));
        }
        let train = ctx.text(Split::Train)?;
        let alphabet = Alphabet::of(&train)?;
        let validation = alphabet.encode(&ctx.text(Split::Test)?)?;
        Ok(Self::Text(Text {
            train: alphabet.encode(&train)?,
            validation: text::streams(&validation, config.text.readers, config.text.segment)?,
            symbols: alphabet.size(),
        }))
    }

    /// Tokens that a model of this source must know.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Recall(task) => task.vocabulary,
            Self::Text(text) => text.symbols,
        }
    }

    /// The batch of a training step, a function of seed and step: all arms see the same.
    pub fn batch(&self, config: &Config, step: u64, ctx: &RunContext) -> Result<(Tokens, Targets), RunError> {
        let (rows, mut stream) = (config.training.batch, ctx.stream("synaptic-resonance/batch", step));
        match self {
            Self::Recall(task) => {
                let batch = task.batch(rows, &mut stream)?;
                let targets = batch.targets();
                Ok((batch.tokens, targets))
            }
            Self::Text(text) => {
                let clean = text::windows(&text.train, rows, config.text.segment, &mut stream)?;
                let mut stream = ctx.stream("synaptic-resonance/training-noise", step);
                let batch = match config.training.noise {
                    0.0 => clean,
                    p => clean.noisy(p, text.symbols, &mut stream)?,
                };
                let targets = batch.targets();
                Ok((batch.inputs, targets))
            }
        }
    }
}

impl Text {
    /// The first segments of every reader.
    pub fn part(&self, config: &Config) -> &[TextBatch] {
        &self.validation[..config.text.part.min(self.validation.len())]
    }

    /// Batch `i` of [`Text::part`] with wrong characters among those that are read; what is to be predicted stays clean.
    /// The noise is the same for all models.
    pub fn noisy(&self, p: f64, config: &Config, i: usize, ctx: &RunContext) -> Result<TextBatch, MemoryError> {
        self.part(config)[i].noisy(p, self.symbols, &mut ctx.stream("synaptic-resonance/noise", i as u64))
    }
}
