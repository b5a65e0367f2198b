//! The paper's continual-learning experiment: tasks one after the other, each seen once,
//! and the accuracy on all of them after each.
//!
//! [`run`](HebbianSnn) reads top to bottom: a task begins, is learned step by step, and ends
//! (section 8).

mod config;
mod data;
mod evaluate;
mod outcome;
mod selftest;
mod state;

pub use config::{Config, Rule, Strategy};
pub use data::{Task, TaskStream};
pub use selftest::selftest;

use plasticity_core::config::Checked;
use plasticity_core::data::{Batches, Split, order};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{EVENT_EVERY, Experiment, RunContext};

use crate::SnnError;
use crate::train::{StepOptions, step};
use state::State;

/// `hebbian-snn` in suites.
pub struct HebbianSnn;

impl From<SnnError> for RunError {
    fn from(error: SnnError) -> Self {
        RunError::Failed(error.to_string())
    }
}

impl Experiment for HebbianSnn {
    const NAME: &'static str = "hebbian-snn";
    const ABOUT: &'static str =
        "arXiv 2402.11984: spiking networks learn task after task, with Hebbian projection (HLOP) and without";
    type Config = Config;

    fn describe(config: &Checked<Config>) -> Plan {
        let (seconds, disk) = config.cost();
        Plan { metrics: outcome::metrics(config), steps: config.steps(), seconds, disk }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let train = data::load(ctx, Split::Train, config.train_images)?;
        let test = data::load(ctx, Split::Test, config.test_images)?;
        let tasks: Vec<Task> =
            (0..config.tasks).map(|task| Task::new(config.stream, task)).collect::<Result<_, _>>()?;
        let batches_per_epoch = train.len().div_ceil(config.batch);
        let steps_per_task = (config.epochs * batches_per_epoch) as u64;

        let mut state = State::new(config, train.size(), train.classes, ctx)?;
        let start = ctx.restore(config.steps(), &mut state)?;
        let mut batches = Batches::new(Vec::new(), config.batch);
        for at in start..config.steps() {
            let (task, in_task) = ((at / steps_per_task) as usize, (at % steps_per_task) as usize);
            let (epoch, index) = (in_task / batches_per_epoch, in_task % batches_per_epoch);
            let last = in_task as u64 + 1 == steps_per_task;
            if in_task == 0 || at == start {
                ctx.task(format!("task {} of {}", task + 1, config.tasks));
            }
            // A task begins: a fresh optimiser, new rows, and how well it is done already.
            if in_task == 0 {
                state.optimiser = config.optimiser.init(config.strategy == Strategy::Hlop)?;
                if let Some(hlop) = &mut state.hlop {
                    hlop.begin_task(&config.rows[task], &mut ctx.stream("hebbian-snn/rows", task as u64))?;
                }
                evaluate::before_task(task, &tasks, &test, &mut state, ctx)?;
            }

            // A step.
            if index == 0 || at == start {
                let epochs_before = (task * config.epochs + epoch) as u64;
                let stream = ctx.stream("hebbian-snn/order", epochs_before);
                batches = Batches::new(order(stream, train.len()), config.batch);
            }
            let (x, labels) = tasks[task].batch(&train, batches.get(index), ctx.device());
            let options = StepOptions {
                lr: config.learning_rate,
                thresholds: task == 0,
                hlop: state.hlop.as_mut(),
                update_hlop: true,
            };
            let (mlp, report) = step(state.mlp, &mut state.optimiser, x, labels, options)?;
            state.mlp = mlp;
            let n = batches.get(index).len();
            state.loss.add(report.loss * n as f64, n as u64);
            state.accuracy.add(report.correct as f64, n as u64);
            if (at + 1).is_multiple_of(EVENT_EVERY) || last {
                point(at + 1, &mut state, &report.firing, ctx)?;
            } else if !report.loss.is_finite() {
                ctx.event(at + 1, "train", "loss", report.loss, 1)?;
            }

            // A task ends: the accuracy on all that were seen, and its rows are fixed.
            if last {
                evaluate::after_task(task, at + 1, &tasks, &test, &mut state, ctx)?;
                if let Some(hlop) = &mut state.hlop {
                    hlop.finish_task();
                }
                evaluate::projectors(at + 1, &mut state, ctx)?;
            }
            ctx.step_done(at + 1, last, &state)?;
        }
        outcome::outcome(config, &state)
    }
}

/// A point of the training curves, at step `at`; `firing` is that of the last batch.
fn point(at: u64, state: &mut State, firing: &[f64], ctx: &mut RunContext) -> Result<(), RunError> {
    let (Some((loss, n)), Some((accuracy, _))) = (state.loss.take(), state.accuracy.take()) else { return Ok(()) };
    ctx.event(at, "train", "loss", loss, n)?;
    ctx.event(at, "train", "accuracy", accuracy, n)?;
    for (layer, rate) in firing.iter().enumerate() {
        ctx.event(at, &format!("layer/{layer}"), "firing", *rate, n)?;
    }
    Ok(())
}
