//! The paper's continual-learning experiment: tasks one after the other, each seen once,
//! and the accuracy on all of them after each.
//!
//! [`run`](HebbianSnn) reads top to bottom: section 8 of the paper's protocol.

mod config;
mod state;
pub mod tasks;

pub use config::{Config, Strategy, TaskStream};

use burn::prelude::*;
use plasticity_core::config::Checked;
use plasticity_core::data::{Batches, Images, Split, order};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Direction, MetricInfo, Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::train::{StepOptions, correct, step};
use crate::{SnnError, dsr};
use state::State;
use tasks::Task;

/// Steps between two points of the training curve.
const EVENT_EVERY: u64 = 25;
/// Images of a batch in evaluation, where nothing is kept of it.
const EVALUATION_BATCH: usize = 250;
/// Below this an old gradient is reversed by a sizeable factor (section 6.5).
const EIGENVALUE_WARNING: f64 = -0.1;

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
        let basis = format!(
            "{} {} tasks, {} test images each, {} training images",
            config.tasks, config.stream, config.test_images, config.train_images
        );
        let metric = |name: &str, title: &str, direction| MetricInfo {
            name: name.into(),
            title: title.into(),
            unit: "fraction".into(),
            direction,
            exact: false,
            basis: basis.clone(),
        };
        let mut metrics = vec![
            metric("acc", "ACC", Direction::Higher),
            metric("bwt", "BWT", Direction::Higher),
            metric("learning_accuracy", "learning accuracy", Direction::Higher),
            metric("forgetting", "forgetting", Direction::Lower),
            metric("fwt", "FWT", Direction::Higher),
            metric("average_incremental", "average incremental accuracy", Direction::Higher),
        ];
        if config.strategy == Strategy::Hlop {
            metrics.push(MetricInfo {
                unit: String::new(),
                ..metric("least_eigenvalue", "least eigenvalue of the projector", Direction::Higher)
            });
        }
        Plan { metrics, steps: config.steps(), seconds: config.seconds(), disk: config.disk() }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let train = ctx.images(Split::Train, config.train_images)?;
        let test = ctx.images(Split::Test, config.test_images)?;
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
            if in_task == 0 || at == start {
                ctx.task(format!("task {} of {}", task + 1, config.tasks));
            }
            if in_task == 0 {
                begin_task(config, task, &tasks, &test, &mut state, ctx)?;
            }
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
            let (mlp, report) = step(state.mlp, &mut state.optimiser, x, labels, options);
            state.mlp = mlp;
            state.curve.add(report.loss, report.correct, batches.get(index).len());
            if (at + 1) % EVENT_EVERY == 0 || in_task as u64 + 1 == steps_per_task {
                state.curve.flush(at + 1, &report.firing, ctx)?;
            } else if !report.loss.is_finite() {
                ctx.event(at + 1, "train", "loss", report.loss, 1)?;
            }

            let last = in_task as u64 + 1 == steps_per_task;
            if last {
                finish_task(task, at + 1, &tasks, &test, &mut state, ctx)?;
            }
            ctx.step_done(at + 1, last, &state)?;
        }
        outcome(config, &state)
    }
}

/// New rows, a fresh optimiser, and how well the task is done before it is learned.
fn begin_task(
    config: &Config,
    task: usize,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    state.optimiser = config.optimiser.init(config.strategy == Strategy::Hlop)?;
    if let Some(hlop) = &mut state.hlop {
        hlop.begin_task(&config.rows[task], &mut ctx.stream("hebbian-snn/rows", task as u64))?;
    }
    if task == 0 {
        for (j, task) in tasks.iter().enumerate() {
            let accuracy = evaluate(&state.mlp, task, test, ctx.device());
            state.matrix.set_baseline(j, accuracy).map_err(|e| RunError::Failed(e.to_string()))?;
        }
    } else {
        let accuracy = evaluate(&state.mlp, &tasks[task], test, ctx.device());
        state.matrix.set(task - 1, task, accuracy).map_err(|e| RunError::Failed(e.to_string()))?;
    }
    Ok(())
}

/// The accuracy on every task so far, and the state of the projectors.
fn finish_task(
    task: usize,
    at: u64,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    for (j, seen) in tasks.iter().enumerate().take(task + 1) {
        let accuracy = evaluate(&state.mlp, seen, test, ctx.device());
        state.matrix.set(task, j, accuracy).map_err(|e| RunError::Failed(e.to_string()))?;
        ctx.event(at, &format!("test/{j}"), "accuracy", accuracy, test.len() as u64)?;
    }
    let Some(hlop) = &mut state.hlop else { return Ok(()) };
    hlop.finish_task();
    let rows: Vec<usize> = hlop.subspaces().iter().map(crate::subspace::Subspace::rows).collect();
    for (layer, (least, rows)) in hlop.least_eigenvalues().into_iter().zip(rows).enumerate() {
        ctx.event(at, &format!("layer/{layer}"), "least_eigenvalue", least, rows as u64)?;
        state.least_eigenvalue = state.least_eigenvalue.min(least);
        if least < EIGENVALUE_WARNING {
            tracing::warn!("task {}, layer {}: least eigenvalue of I - H^T H is {least:.3}", task + 1, layer + 1);
        }
    }
    Ok(())
}

/// Test accuracy on one task.
fn evaluate(mlp: &crate::network::Mlp, task: &Task, test: &Images, device: &Device) -> f64 {
    let all: Vec<usize> = (0..test.len()).collect();
    let hits: usize = all
        .chunks(EVALUATION_BATCH)
        .map(|batch| {
            let (x, labels) = task.batch(test, batch, device);
            correct(dsr::evaluate(mlp, x), labels)
        })
        .sum();
    hits as f64 / test.len() as f64
}

fn outcome(config: &Config, state: &State) -> Result<Outcome, RunError> {
    let matrix = &state.matrix;
    let mut outcome = Outcome::default();
    let defined = [
        ("acc", matrix.acc()),
        ("bwt", matrix.bwt()),
        ("learning_accuracy", matrix.learning_accuracy()),
        ("forgetting", matrix.forgetting()),
        ("fwt", matrix.fwt()),
        ("average_incremental", matrix.average_incremental()),
    ];
    for (name, value) in defined {
        let value = value.ok_or_else(|| RunError::Failed(format!("`{name}` is not defined: the matrix has gaps")))?;
        outcome.metrics.insert(name.into(), value);
    }
    if config.strategy == Strategy::Hlop {
        outcome.metrics.insert("least_eigenvalue".into(), state.least_eigenvalue);
        if state.least_eigenvalue < EIGENVALUE_WARNING {
            outcome.warnings.push(format!(
                "I - H^T H has eigenvalues below {EIGENVALUE_WARNING} (the metric `least_eigenvalue`): along such a \
                 direction the gradient of an old task is reversed, not removed"
            ));
        }
    }
    outcome.matrices.insert("accuracy".into(), matrix.rows().to_vec());
    outcome.matrices.insert("accuracy_before".into(), vec![matrix.baseline().to_vec()]);
    Ok(outcome)
}
