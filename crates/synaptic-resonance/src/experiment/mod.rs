//! The paper's claims as experiments: recall, retention, and a character model, each with and without memory.
//!
//! [`run`](SynapticResonance) reads top to bottom: a model is drawn, learns, and is put to the test. Weights, batches
//! and tests are those of the seed, whatever the arm is made of.

mod config;
mod evaluate;
mod outcome;
mod picture;
mod selftest;
mod state;

pub use config::{Config, EvaluationConfig, Host, Study, TextConfig, TrainingConfig, Variant};
pub use selftest::selftest;

use burn::module::Module;
use plasticity_core::config::Checked;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::MemoryError;
use crate::model::Model;
use crate::train::{StepOptions, Training};
use evaluate::{Source, exams};
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
        Plan {
            metrics: outcome::metrics(config),
            steps: (config.training.steps + exams(config).len()) as u64,
            seconds: outcome::seconds(config),
            disk: 12_000_000,
        }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let source = Source::open(config, ctx)?;
        let device = ctx.device().clone().autodiff();
        let mut weights = ctx.stream("synaptic-resonance/weights", 0);
        let model = Model::new(&config.model(source.vocabulary()), &mut weights, &device)?;
        let mut state = State::new(Training::new(model, config.training.weight_decay));

        let (steps, exams) = (config.training.steps as u64, exams(config));
        let start = ctx.restore(steps + exams.len() as u64, &mut state)?;

        let (rate, every) = (config.learning_rate(), config.evaluation.every as u64);
        ctx.task("training");
        for at in start..steps {
            let (tokens, targets) = source.batch(config, at, ctx)?;
            let options = StepOptions { lr: rate.at(at), clip: Some(config.training.clip) };
            state.curve.add(state.training.step(&tokens, None, &targets, &options)?.loss);

            let done = at + 1;
            if done.is_multiple_of(EVENT_EVERY) || done == steps {
                let (loss, n) = state.curve.take();
                ctx.event(done, "train", "loss", loss, n * targets.len() as u64)?;
            }
            if done.is_multiple_of(every) || done == steps {
                source.look(config, &state.training.model, done, ctx)?;
            }
            ctx.step_done(done, done == steps, &state)?;
        }

        let model = state.training.model.valid();
        for (at, exam) in (steps..).zip(&exams).skip(start.saturating_sub(steps) as usize) {
            ctx.task(exam.task());
            exam.sit(config, &source, &model, &mut state.found, ctx)?;
            ctx.step_done(at + 1, true, &state)?;
        }
        outcome::outcome(config, &source, &model, &state.found, ctx)
    }
}
