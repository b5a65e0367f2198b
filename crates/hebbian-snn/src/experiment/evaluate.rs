//! What is measured between tasks: accuracies, and the state of the projectors.

use burn::prelude::*;
use plasticity_core::data::Images;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::data::Task;
use super::state::State;
use crate::continual::MatrixError;
use crate::dsr;
use crate::error::SnnError;
use crate::network::Mlp;

/// Images of a batch: nothing is kept of it.
const EVALUATION_BATCH: usize = 250;
/// Below this, what a gradient has along the direction is reversed by a sizeable factor (section 6.5).
const EIGENVALUE_WARNING: f64 = -0.1;

/// How well a task is done before any training.
pub(super) fn baseline(
    tested: usize,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &RunContext,
) -> Result<(), RunError> {
    let found = accuracy(state.mlp(), &tasks[tested], test, ctx.device())?;
    state.matrix.set_baseline(tested, found).map_err(failed)
}

/// How well a task is done before it is learned, the first of all excepted.
pub(super) fn before_task(
    task: usize,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &RunContext,
) -> Result<(), RunError> {
    let found = accuracy(state.mlp(), &tasks[task], test, ctx.device())?;
    state.matrix.set(task - 1, task, found).map_err(failed)
}

/// The accuracy on task `tested` when `task` has been learned, with `at` batches in all.
pub(super) fn after_task(
    (task, tested): (usize, usize),
    at: u64,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    let found = accuracy(state.mlp(), &tasks[tested], test, ctx.device())?;
    state.matrix.set(task, tested, found).map_err(failed)?;
    ctx.event(at, &format!("test/{tested}"), "accuracy", found, test.len() as u64)
}

/// The least eigenvalue of each layer's `I - H^T H`, after `at` batches. Warns once in a run.
pub(super) fn projectors(at: u64, state: &mut State, ctx: &mut RunContext) -> Result<(), RunError> {
    let Some(hlop) = state.hlop().cloned() else { return Ok(()) };
    let warned = state.least_eigenvalue < EIGENVALUE_WARNING;
    for (layer, (least, subspace)) in hlop.least_eigenvalues().into_iter().zip(hlop.subspaces()).enumerate() {
        ctx.event(at, &format!("layer/{layer}"), "least_eigenvalue", least, subspace.rows() as u64)?;
        state.least_eigenvalue = state.least_eigenvalue.min(least);
    }
    if state.least_eigenvalue < EIGENVALUE_WARNING && !warned {
        ctx.warn(format!(
            "I - H^T H has eigenvalues below {EIGENVALUE_WARNING} (the metric `least_eigenvalue`): what the gradient of \
             a later task has along such a direction is reversed, not removed"
        ));
    }
    Ok(())
}

/// Test accuracy on one task.
fn accuracy(mlp: &Mlp, task: &Task, test: &Images, device: &Device) -> Result<f64, SnnError> {
    let all: Vec<usize> = (0..test.len()).collect();
    let hits = all.chunks(EVALUATION_BATCH).map(|batch| {
        let (x, labels) = task.batch(test, batch, device);
        dsr::correct(dsr::evaluate(mlp, x)?, labels)
    });
    Ok(hits.sum::<Result<usize, SnnError>>()? as f64 / test.len() as f64)
}

fn failed(error: MatrixError) -> RunError {
    RunError::Failed(error.to_string())
}
