//! What a run learns from and is asked: sequences of a recall task, or a text.

use burn::module::Module;
use plasticity_core::data::Split;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::{Config, Study};
use super::state::{Answers, Found, Loss};
use crate::MemoryError;
use crate::model::{Model, Pass};
use crate::tasks::text::{self, Alphabet, ByPosition, TextBatch};
use crate::tasks::{self, Batch, Mqar, Recall};
use crate::tokens::Tokens;
use crate::train::Targets;

/// Tokens of a test that pass through the model at once: bounds the memory of full attention.
const TOKENS_AT_ONCE: usize = 8192;
/// Probabilities with which an input character is replaced (section 8.8).
pub(super) const NOISE: [f64; 5] = [0.0, 0.02, 0.05, 0.1, 0.2];

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
    validation: Vec<TextBatch>,
    symbols: usize,
}

/// One test after training: a step of its own, so that a run that is cut off goes on from the last one.
pub(super) enum Exam {
    /// Recall in sequences of this length.
    Recall(usize),
    /// Loss on the validation text, each segment from the empty state.
    Segments,
    /// The same with the state carried from segment to segment.
    Carried,
    /// Loss on part of it, with this probability of a wrong input character.
    Noise(f64),
}

/// Name under which the loss with noise is kept.
pub(super) fn noise_name(p: f64) -> String {
    format!("noise-{}", (100.0 * p).round())
}

/// Edges of the ranges of positions at which a text's loss is reported: the window, 64, and doublings of it.
pub(super) fn edges(config: &Config) -> Vec<usize> {
    let (window, segment) = (config.model.window, config.text.segment);
    let doublings = std::iter::successors(Some(64), |edge| Some(edge * 2));
    let inner = std::iter::once(window).chain(doublings.skip_while(|edge| *edge <= window));
    let inner: Vec<usize> = inner.take_while(|edge| *edge < segment).collect();
    [0].into_iter().chain(inner).chain([segment]).collect()
}

/// The tests of a run, in order.
pub(super) fn exams(config: &Config) -> Vec<Exam> {
    if config.study != Study::Characters {
        return config.lengths().into_iter().map(Exam::Recall).collect();
    }
    let carried = config.variant.windowed().then_some(Exam::Carried);
    [Exam::Segments].into_iter().chain(carried).chain(NOISE.map(Exam::Noise)).collect()
}

impl Source {
    pub fn open(config: &Config, ctx: &RunContext) -> Result<Self, RunError> {
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

    /// How well a model in training does, for the curves: as an event.
    pub fn look(&self, config: &Config, model: &Model, step: u64, ctx: &mut RunContext) -> Result<(), RunError> {
        let model = model.valid();
        match self {
            Self::Recall(task) => {
                let total = asked(task, config.evaluation.sequences, &model, ctx)?.total();
                ctx.event(step, "test", "accuracy", total.accuracy().unwrap_or(0.0), total.asked)
            }
            Self::Text(text) => {
                let loss = text::evaluate(&model, text.part(config))?;
                ctx.event(step, "validation", "loss", loss.mean().unwrap_or(0.0), loss.n())
            }
        }
    }
}

impl Text {
    /// The first segments of every reader.
    fn part(&self, config: &Config) -> &[TextBatch] {
        &self.validation[..config.text.part.min(self.validation.len())]
    }

    /// Loss on part of the text with wrong characters among those that are read; what is to be predicted stays clean.
    /// The noise is the same for all models.
    fn noisy(&self, p: f64, config: &Config, model: &Model, ctx: &RunContext) -> Result<ByPosition, MemoryError> {
        let noisy = |(i, batch): (usize, &TextBatch)| {
            batch.noisy(p, self.symbols, &mut ctx.stream("synaptic-resonance/noise", i as u64))
        };
        let batches = self.part(config).iter().enumerate().map(noisy).collect::<Result<Vec<_>, _>>()?;
        text::evaluate(model, &batches)
    }
}

impl Exam {
    /// What is being done, for the progress line.
    pub fn task(&self) -> String {
        match self {
            Self::Recall(length) => format!("recall in {length} tokens"),
            Self::Segments => "validation".into(),
            Self::Carried => "validation, state carried".into(),
            Self::Noise(p) => format!("{} % wrong characters", 100.0 * p),
        }
    }

    /// Puts the model to the test.
    pub fn sit(
        &self,
        config: &Config,
        source: &Source,
        model: &Model,
        found: &mut Found,
        ctx: &RunContext,
    ) -> Result<(), RunError> {
        let (name, losses) = match (self, source) {
            (Self::Recall(length), _) => {
                let task = config.retention().test(*length)?;
                let recall = asked(&task, config.evaluation.sequences, model, ctx)?;
                found.recall.insert(*length, Answers::from(&recall));
                return Ok(());
            }
            (_, Source::Recall(_)) => return Ok(()),
            (Self::Segments, Source::Text(text)) => ("segments".into(), text::evaluate(model, &text.validation)?),
            (Self::Carried, Source::Text(text)) => ("carried".into(), text::evaluate_carried(model, &text.validation)?),
            (Self::Noise(p), Source::Text(text)) => (noise_name(*p), text.noisy(*p, config, model, ctx)?),
        };
        found.losses.insert(name, Loss::of(&losses, &edges(config)));
        Ok(())
    }
}

/// Asks the model everything in the test sequences of a task: the same for all arms and at every look.
fn asked(task: &Mqar, sequences: usize, model: &Model, ctx: &RunContext) -> Result<Recall, RunError> {
    let mut stream = ctx.stream("synaptic-resonance/test", task.time as u64);
    let (mut recall, mut left) = (Recall::default(), sequences);
    while left > 0 {
        let rows = left.min((TOKENS_AT_ONCE / task.time).max(1));
        recall.add(&tasks::recall(model, &task.batch(rows, &mut stream)?)?);
        left -= rows;
    }
    Ok(recall)
}

/// The first test sequence, and what the model answers to its questions.
pub(super) fn shown(task: &Mqar, model: &Model, ctx: &RunContext) -> Result<(Batch, Vec<u32>), RunError> {
    let batch = task.batch(1, &mut ctx.stream("synaptic-resonance/test", task.time as u64))?;
    let (hidden, _) = model.hidden(&batch.tokens, model.start(1), &Pass::default())?;
    let logits = model.logits(batch.targets().select(hidden)?);
    let answers = logits.argmax(1).into_data().iter::<i64>().map(|token| token as u32).collect();
    Ok((batch, answers))
}
