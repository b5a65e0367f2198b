//! The paper's claims as experiments: recall, retention, and a character model, each with and without memory.
//!
//! [`run`](SynapticResonance) reads top to bottom: a model is drawn, learns, and is put to the test. Weights, batches
//! and tests are those of the seed, whatever the arm is made of.

mod config;
mod data;
mod evaluate;
mod outcome;
mod picture;
mod selftest;
mod state;

pub use config::{Config, EvaluationConfig, HostConfig, Study, TextConfig, TrainingConfig, Variant};
pub use selftest::selftest;

use burn::module::Module;
use plasticity_core::config::Checked;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::MemoryError;
use crate::model::Model;
use crate::train::{StepOptions, Training};
use data::Source;
use evaluate::exams;
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
        let steps = (config.training.steps + exams(config).len()) as u64;
        Plan { metrics: outcome::metrics(config), steps, seconds, disk }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let source = Source::load(config, ctx)?;
        let mut weights = ctx.stream("synaptic-resonance/weights", 0);
        let model = Model::new(&config.model(source.vocabulary()), &mut weights, &ctx.device().clone().autodiff())?;
        let mut state = State::new(Training::new(model, config.training.weight_decay));

        let (steps, exams) = (config.training.steps as u64, exams(config));
        let start = ctx.restore(steps + exams.len() as u64, &mut state)?;

        let (rate, every) = (config.learning_rate(), config.evaluation.every as u64);
        ctx.task("training");
        for at in start..steps {
            let (tokens, targets) = source.batch(config, at, ctx)?;
            let options = StepOptions { lr: rate.at(at), clip: Some(config.training.clip) };
            state.curve.add(state.training.step(&tokens, None, &targets, &options)?.loss, 1);
            let (done, last) = (at + 1, at + 1 == steps);
            let due = done.is_multiple_of(EVENT_EVERY) || last;
            if due && let Some((mean, n)) = state.curve.take() {
                ctx.event(done, "train", "loss", mean, n * targets.len() as u64)?;
            }
            if done.is_multiple_of(every) || last {
                evaluate::look(config, &source, &state.training.model, done, ctx)?;
            }
            ctx.step_done(done, last, &state)?;
        }

        // The tests, each a step.
        let model = state.training.model.valid();
        for (at, exam) in (steps..).zip(&exams).skip(start.saturating_sub(steps) as usize) {
            ctx.task(exam.title());
            exam.run(config, &source, &model, &mut state.found, ctx)?;
            ctx.step_done(at + 1, true, &state)?;
        }
        outcome::outcome(config, &source, &state, ctx)
    }
}
