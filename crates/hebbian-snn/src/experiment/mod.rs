//! The paper's continual-learning experiment: tasks one after the other, each seen once,
//! and the accuracy on all of them after each.
//!
//! [`run`](HebbianSnn) reads top to bottom: a task begins, is learned batch by batch, and ends
//! (section 8).

mod config;
mod data;
mod evaluate;
mod outcome;
mod schedule;
mod selftest;
mod state;

pub use config::{Config, Rule, Strategy};
pub use data::{Task, TaskStream};
pub use selftest::selftest;

use plasticity_core::config::{Checked, Invalid};
use plasticity_core::data::manifest::Kind;
use plasticity_core::data::{Batches, Facts, Split, order};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{EVENT_EVERY, Experiment, RunContext};

use crate::SnnError;
use schedule::{Schedule, Step};
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
        Plan { metrics: outcome::metrics(config), steps: Schedule::new(config).steps(), seconds, disk }
    }

    fn reads(_: &Checked<Config>) -> Option<Kind> {
        Some(Kind::Images)
    }

    fn fits(config: &Checked<Config>, data: &Facts) -> Result<(), Invalid> {
        config.fits(data)
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let train = data::load(ctx, Split::Train, config.train_images)?;
        let test = data::load(ctx, Split::Test, config.test_images)?;
        let tasks: Vec<Task> =
            (0..config.tasks).map(|task| Task::new(config.stream, task)).collect::<Result<_, _>>()?;
        let schedule = Schedule::new(config);

        let mut state = State::new(config, train.size(), train.classes, ctx)?;
        let start = ctx.restore(schedule.steps(), &mut state)?;
        let mut batches = Epoch::default();
        for at in start..schedule.steps() {
            let step = schedule.step(at);
            match step {
                Step::Baseline { tested } => {
                    ctx.task("before training");
                    evaluate::baseline(tested, &tasks, &test, &mut state, ctx)?;
                }
                Step::Before { task } => {
                    let learned = schedule.learned_with(task - 1);
                    evaluate::before_task(task, learned, &tasks, &test, &mut state, ctx)?;
                }
                Step::Learn { task, batch } => {
                    if batch == 0 || at == start {
                        ctx.task(format!("task {} of {}", task + 1, config.tasks));
                    }
                    let indices = batches.get(config, ctx, train.len(), task, batch);
                    let (x, labels) = tasks[task].batch(&train, indices, ctx.device());
                    let n = indices.len() as u64;
                    let learned = schedule.learned(task, batch);
                    let report =
                        state.task(config, task, ctx)?.step(x, labels).map_err(|error| diverged(error, learned))?;
                    state.loss.add(report.loss * n as f64, n);
                    state.accuracy.add(report.correct as f64, n);
                    if learned.is_multiple_of(EVENT_EVERY) || learned == schedule.learned_with(task) {
                        point(learned, &mut state, (&report.firing, n), ctx)?;
                    }
                }
                Step::After { task, tested } => {
                    let learned = schedule.learned_with(task);
                    evaluate::after_task((task, tested), learned, &tasks, &test, &mut state, ctx)?;
                }
                Step::End { task } => {
                    let end = state.finish_task()?;
                    if end.dropped.iter().any(|dropped| *dropped > 0) {
                        ctx.warn(format!(
                            "task {}: `consolidate` dropped rows that others span already, by layer: {:?}",
                            task + 1,
                            end.dropped
                        ));
                    }
                    evaluate::projectors(schedule.learned_with(task), &mut state, ctx)?;
                }
            }
            ctx.step_done(at + 1, matches!(step, Step::End { .. }), &state)?;
        }
        outcome::outcome(config, train.classes, &state)
    }
}

/// What a step or an evaluation refuses because it is not finite ends the run as diverged, with its last good
/// checkpoint. `step` counts the batches that have been learned, as the records do.
fn diverged(error: SnnError, step: u64) -> RunError {
    match error {
        SnnError::NotFinite { what, value } => RunError::Diverged { metric: what, value, step },
        other => other.into(),
    }
}

/// The batches of the epoch that was asked for last.
#[derive(Default)]
struct Epoch {
    drawn: Option<(u64, Batches)>,
}

impl Epoch {
    /// The images of batch `batch` of a task, counted over its epochs.
    fn get(&mut self, config: &Config, ctx: &RunContext, images: usize, task: usize, batch: usize) -> &[usize] {
        let per_epoch = config.batches_per_epoch();
        let epoch = (task * config.epochs + batch / per_epoch) as u64;
        let (_, batches) = match self.drawn.take() {
            Some((drawn, batches)) if drawn == epoch => self.drawn.insert((drawn, batches)),
            _ => {
                let order = order(ctx.stream("hebbian-snn/order", epoch), images);
                self.drawn.insert((epoch, Batches::new(order, config.batch)))
            }
        };
        batches.get(batch % per_epoch)
    }
}

/// A point of the training curves, at step `at`; `firing` is that of the last batch, with its number of images.
fn point(at: u64, state: &mut State, (firing, images): (&[f64], u64), ctx: &mut RunContext) -> Result<(), RunError> {
    let (Some((loss, n)), Some((accuracy, _))) = (state.loss.take(), state.accuracy.take()) else { return Ok(()) };
    ctx.event(at, "train", "loss", loss, n)?;
    ctx.event(at, "train", "accuracy", accuracy, n)?;
    for (layer, rate) in firing.iter().enumerate() {
        ctx.event(at, &format!("layer/{layer}"), "firing", *rate, images)?;
    }
    Ok(())
}
