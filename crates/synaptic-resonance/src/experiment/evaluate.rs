//! What is measured: looks at a model in training, and the tests after it.

use burn::module::Module;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::{Config, NOISE, Study};
use super::data::Source;
use super::state::{Answers, Found, Loss};
use crate::model::{Model, Pass};
use crate::tasks::text;
use crate::tasks::{self, Batch, Mqar, Recall};

/// Tokens of a test that pass through the model at once: bounds the memory of full attention.
const TOKENS_AT_ONCE: usize = 8192;
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

/// How well a model in training does, after step `at`, for the curves.
pub(super) fn look(
    config: &Config,
    source: &Source,
    model: &Model,
    at: u64,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    let model = model.valid();
    match source {
        Source::Recall(task) => {
            let total = asked(task, config.evaluation.sequences, &model, ctx)?.total();
            ctx.event(at, "test", "accuracy", total.accuracy().unwrap_or(0.0), total.asked)
        }
        Source::Text(text) => {
            let loss = text::evaluate(&model, text.part(config))?;
            ctx.event(at, "validation", "loss", loss.mean().unwrap_or(0.0), loss.n())
        }
    }
}

impl Exam {
    /// What is being done, for the progress line.
    pub fn title(&self) -> String {
        match self {
            Self::Recall(length) => format!("recall in {length} tokens"),
            Self::Segments => "validation".into(),
            Self::Carried => "validation, state carried".into(),
            Self::Noise(p) => format!("{} % wrong characters", 100.0 * p),
        }
    }

    /// Puts the model to the test.
    pub fn run(
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
            (Self::Noise(p), Source::Text(text)) => {
                (noise_name(*p), text::evaluate(model, &text.noisy(*p, config, ctx)?)?)
            }
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
