//! What is measured: looks at a model in training, and the tests after it.

use burn::module::Module;
use plasticity_core::error::RunError;
use plasticity_core::rng::Stream;
use plasticity_core::run::RunContext;

use super::config::{Config, NOISE, Study};
use super::data::Source;
use super::schedule::rows_of;
use super::state::{Answers, Loss, State};
use crate::model::{Model, Pass};
use crate::tasks::{self, Batch, Mqar};

/// One test after training.
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
    let doublings = std::iter::successors(Some(64usize), |edge| edge.checked_mul(2));
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

/// What is looked at in a model in training.
pub(super) fn look(source: &Source) -> Exam {
    match source {
        Source::Recall(task) => Exam::Recall(task.time),
        Source::Text(_) => Exam::Noise(0.0),
    }
}

/// Ends a look at a model after so many steps of training: a point of its curve.
pub(super) fn looked(source: &Source, after: u64, state: &mut State, ctx: &mut RunContext) -> Result<(), RunError> {
    let partial = std::mem::take(&mut state.partial);
    let (split, metric, value, n) = match source {
        Source::Recall(_) => {
            let total = partial.answers.recall().total();
            ("test", "accuracy", total.accuracy().unwrap_or(0.0), total.asked)
        }
        Source::Text(_) => ("validation", "loss", partial.losses.mean().unwrap_or(0.0), partial.losses.n()),
    };
    state.found.looks.push((after, value));
    ctx.event(after, split, metric, value, n)
}

/// The last look at a model in the first three quarters of its training, in steps; none where there is no such look.
pub(super) fn late(config: &Config) -> Option<u64> {
    let (steps, every) = (config.training.steps as u64, config.evaluation.every as u64);
    Some((steps - steps.div_ceil(4)) / every * every).filter(|look| *look > 0)
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

    /// Puts the model to a part of the test.
    pub fn read(
        &self,
        config: &Config,
        source: &Source,
        part: u64,
        state: &mut State,
        asker: &mut Asker,
        ctx: &RunContext,
    ) -> Result<(), RunError> {
        let model = state.training.model.valid();
        let (losses, at) = (&mut state.partial.losses, part as usize);
        match (self, source) {
            (Self::Recall(length), _) => {
                let batch = asker.batch(&config.retention().test(*length)?, config, part, ctx)?;
                let mut recall = state.partial.answers.recall();
                recall.add(&tasks::recall(&model, &batch)?);
                state.partial.answers = Answers::from(&recall);
            }
            (_, Source::Recall(_)) => {}
            (Self::Segments, Source::Text(text)) => losses.read(&model, &text.validation[at])?,
            (Self::Carried, Source::Text(text)) => {
                let carried = state.partial.carried.take();
                state.partial.carried = Some(losses.read_after(&model, &text.validation[at], carried)?);
            }
            (Self::Noise(p), Source::Text(text)) => losses.read(&model, &text.noisy(*p, config, at, ctx)?)?,
        }
        Ok(())
    }

    /// Ends the test: keeps what its parts have found.
    pub fn end(&self, config: &Config, state: &mut State) {
        let partial = std::mem::take(&mut state.partial);
        let name = match self {
            Self::Recall(length) => {
                state.found.recall.insert(*length, partial.answers);
                return;
            }
            Self::Segments => "segments".into(),
            Self::Carried => "carried".into(),
            Self::Noise(p) => noise_name(*p),
        };
        state.found.losses.insert(name, Loss::of(&partial.losses, &edges(config)));
    }
}

/// Test sequences, the same for all arms and at every look. They are drawn one after the other from one stream, which is
/// kept from part to part, and gone through once more where a run goes on in the middle of a test.
#[derive(Default)]
pub(super) struct Asker {
    /// Length of the sequences, the next part, and the stream before it.
    next: Option<(usize, u64, Stream)>,
}

impl Asker {
    /// Part `part` of the test sequences of `task`.
    fn batch(&mut self, task: &Mqar, config: &Config, part: u64, ctx: &RunContext) -> Result<Batch, RunError> {
        let begin = || (task.time, 0, ctx.stream("synaptic-resonance/test", task.time as u64));
        let kept = self.next.take().filter(|(time, next, _)| *time == task.time && *next <= part);
        let (time, mut next, mut stream) = kept.unwrap_or_else(begin);
        loop {
            let batch = task.batch(rows_of(task, config.evaluation.sequences, next), &mut stream)?;
            next += 1;
            if next > part {
                self.next = Some((time, next, stream));
                return Ok(batch);
            }
        }
    }
}

/// Refuses, before anything is trained, test sequences that do not ask what a metric is about.
pub(super) fn asks_what_is_reported(config: &Config, ctx: &RunContext) -> Result<(), RunError> {
    if config.study != Study::Recall || !config.far() {
        return Ok(());
    }
    let (mut asker, mut part, mut left) = (Asker::default(), 0, config.evaluation.sequences);
    while left > 0 {
        let batch = asker.batch(&config.task, config, part, ctx)?;
        if batch.questions.iter().any(|question| question.distance() > config.reach()) {
            return Ok(());
        }
        (part, left) = (part + 1, left - batch.tokens.batch());
    }
    let (sequences, reach) = (config.evaluation.sequences, config.reach());
    Err(RunError::Failed(format!(
        "none of the {sequences} test sequences of seed {} asks about a pair more than {reach} tokens back, out of \
         attention's reach: set more `evaluation.sequences`",
        ctx.seed()
    )))
}

/// The first test sequence, and what the model answers to its questions.
pub(super) fn shown(task: &Mqar, model: &Model, ctx: &RunContext) -> Result<(Batch, Vec<u32>), RunError> {
    let batch = task.batch(1, &mut ctx.stream("synaptic-resonance/test", task.time as u64))?;
    let (hidden, _) = model.hidden(&batch.tokens, model.start(1), &Pass::default())?;
    let logits = model.logits(batch.targets().select(hidden)?);
    let answers = logits.argmax(1).into_data().iter::<i64>().map(|token| token as u32).collect();
    Ok((batch, answers))
}
