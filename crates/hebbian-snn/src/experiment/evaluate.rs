//! What is measured between tasks: accuracies, and the state of the projectors.

use burn::prelude::*;
use plasticity_core::data::Images;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::data::Task;
use super::state::State;
use crate::continual::MatrixError;
use crate::dsr;
use crate::network::Mlp;
use crate::train::correct;

/// Images of a batch: nothing is kept of it.
const EVALUATION_BATCH: usize = 250;
/// Below this an old gradient is reversed by a sizeable factor (section 6.5).
const EIGENVALUE_WARNING: f64 = -0.1;

/// How well a task is done before it is learned; before the first one, how well all of them are.
pub(super) fn before_task(
    task: usize,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &RunContext,
) -> Result<(), RunError> {
    if task > 0 {
        let found = accuracy(&state.mlp, &tasks[task], test, ctx.device());
        return state.matrix.set(task - 1, task, found).map_err(failed);
    }
    for (j, task) in tasks.iter().enumerate() {
        let found = accuracy(&state.mlp, task, test, ctx.device());
        state.matrix.set_baseline(j, found).map_err(failed)?;
    }
    Ok(())
}

/// The accuracy on every task so far, after step `at`.
pub(super) fn after_task(
    task: usize,
    at: u64,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    for (j, seen) in tasks.iter().enumerate().take(task + 1) {
        let found = accuracy(&state.mlp, seen, test, ctx.device());
        state.matrix.set(task, j, found).map_err(failed)?;
        ctx.event(at, &format!("test/{j}"), "accuracy", found, test.len() as u64)?;
    }
    Ok(())
}

/// The least eigenvalue of each layer's `I - H^T H`, after step `at`. Warns once in a run.
pub(super) fn projectors(at: u64, state: &mut State, ctx: &mut RunContext) -> Result<(), RunError> {
    let Some(hlop) = &state.hlop else { return Ok(()) };
    let warned = state.least_eigenvalue < EIGENVALUE_WARNING;
    for (layer, (least, subspace)) in hlop.least_eigenvalues().into_iter().zip(hlop.subspaces()).enumerate() {
        ctx.event(at, &format!("layer/{layer}"), "least_eigenvalue", least, subspace.rows() as u64)?;
        state.least_eigenvalue = state.least_eigenvalue.min(least);
    }
    if state.least_eigenvalue < EIGENVALUE_WARNING && !warned {
        ctx.warn(format!(
            "I - H^T H has eigenvalues below {EIGENVALUE_WARNING} (the metric `least_eigenvalue`): along such a \
             direction the gradient of an old task is reversed, not removed"
        ));
    }
    Ok(())
}

/// Test accuracy on one task.
fn accuracy(mlp: &Mlp, task: &Task, test: &Images, device: &Device) -> f64 {
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

fn failed(error: MatrixError) -> RunError {
    RunError::Failed(error.to_string())
}
