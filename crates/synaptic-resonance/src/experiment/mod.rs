//! The paper's claims as experiments: recall, retention, and a character model, each with and without memory.
//!
//! [`run`](SynapticResonance) reads top to bottom: a model is drawn, learns, and is put to the test. Weights, batches
//! and tests are those of the seed, whatever the arm is made of.

mod config;
mod data;
mod evaluate;
mod limits;
mod outcome;
mod picture;
mod schedule;
mod selftest;
mod state;

pub use config::{Config, EvaluationConfig, HostConfig, Study, TextConfig, TrainingConfig, Variant};
pub use selftest::selftest;

use plasticity_core::config::{Checked, Invalid};
use plasticity_core::data::Facts;
use plasticity_core::data::manifest::Kind;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::MemoryError;
use crate::model::Model;
use crate::train::{StepOptions, Training};
use data::Source;
use evaluate::{Asker, exams};
use schedule::{Schedule, Step};
use state::State;

/// Steps between two points of the training curve.
const EVENT_EVERY: u64 = 10;

/// `synaptic-resonance` in suites.
pub struct SynapticResonance;

impl From<MemoryError> for RunError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::NotFinite { field, step } => {
                RunError::Diverged { metric: field.into(), value: f64::NAN, step }
            }
            MemoryError::Poisoned { what, .. } => RunError::Diverged { metric: what, value: f64::NAN, step: 0 },
            error => RunError::Failed(error.to_string()),
        }
    }
}

impl Experiment for SynapticResonance {
    const NAME: &'static str = "synaptic-resonance";
    const ABOUT: &'static str =
        "arXiv 2502.10699: fast-weight memory beside windowed attention, on recall tasks and on text";
    type Config = Config;

    fn describe(config: &Checked<Config>) -> Plan {
        let (seconds, disk) = config.cost();
        let steps = Schedule::expected(config).steps();
        Plan { metrics: outcome::metrics(config), steps, seconds, disk }
    }

    fn reads(config: &Checked<Config>) -> Option<Kind> {
        (config.study == Study::Characters).then_some(Kind::Text)
    }

    fn fits(config: &Checked<Config>, data: &Facts) -> Result<(), Invalid> {
        config.fits(data)
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let source = Source::load(config, ctx)?;
        evaluate::asks_what_is_reported(config, ctx)?;
        let mut weights = ctx.stream("synaptic-resonance/weights", 0);
        let model = Model::new(&config.model(source.vocabulary()), &mut weights, &ctx.device().clone().autodiff())?;
        let mut state = State::new(Training::new(model, config.training.weight_decay));

        let (schedule, exams) = (Schedule::new(config, &source), exams(config));
        let start = ctx.restore(schedule.steps(), &mut state)?;
        let (mut asker, mut doing) = (Asker::default(), None);
        for done in start..schedule.steps() {
            let Some(step) = schedule.step(done) else { break };
            // Looks are part of training.
            let exam = if let Step::Test { exam, .. } = step { Some(exam) } else { None };
            if doing != Some(exam) {
                ctx.task(exam.map_or_else(|| "training".into(), |exam| exams[exam].title()));
                doing = Some(exam);
            }
            let boundary = match step {
                Step::Train(at) => train(config, &source, at, &mut state, ctx)?,
                Step::Look { after, part, last } => {
                    let look = evaluate::look(&source);
                    look.read(config, &source, part, &mut state, &mut asker, ctx)?;
                    if last {
                        evaluate::looked(&source, after, &mut state, ctx)?;
                    }
                    last && after == config.training.steps as u64
                }
                Step::Test { exam, part, last } => {
                    exams[exam].read(config, &source, part, &mut state, &mut asker, ctx)?;
                    if last {
                        exams[exam].end(config, &mut state);
                    }
                    last
                }
            };
            ctx.step_done(done + 1, boundary, &state)?;
        }
        outcome::outcome(config, &source, &state, ctx)
    }
}

/// One step of training, the first is 0. Tells whether it was the last.
fn train(config: &Config, source: &Source, at: u64, state: &mut State, ctx: &mut RunContext) -> Result<bool, RunError> {
    let (tokens, targets) = source.batch(config, at, ctx)?;
    let options = StepOptions { lr: config.learning_rate().at(at), clip: Some(config.training.clip) };
    state.curve.add(state.training.step(&tokens, None, &targets, &options)?.loss, 1);
    let (done, last) = (at + 1, at + 1 == config.training.steps as u64);
    let due = done.is_multiple_of(EVENT_EVERY) || last;
    if due && let Some((mean, n)) = state.curve.take() {
        ctx.event(done, "train", "loss", mean, n * targets.len() as u64)?;
    }
    Ok(last)
}
