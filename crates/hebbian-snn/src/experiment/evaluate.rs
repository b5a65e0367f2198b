//! What is measured between tasks: accuracies, and the state of the projectors.

use burn::prelude::*;
use plasticity_core::data::Images;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::data::Task;
use super::diverged;
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
    let found = accuracy(state.mlp(), &tasks[tested], test, ctx.device(), 0)?;
    state.matrix.set_baseline(tested, found).map_err(failed)
}

/// How well a task is done before it is learned, the first of all excepted, after `at` batches in all.
pub(super) fn before_task(
    task: usize,
    at: u64,
    tasks: &[Task],
    test: &Images,
    state: &mut State,
    ctx: &RunContext,
) -> Result<(), RunError> {
    let found = accuracy(state.mlp(), &tasks[task], test, ctx.device(), at)?;
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
    let found = accuracy(state.mlp(), &tasks[tested], test, ctx.device(), at)?;
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

/// Test accuracy on one task, after `at` batches in all.
fn accuracy(mlp: &Mlp, task: &Task, test: &Images, device: &Device, at: u64) -> Result<f64, RunError> {
    let all: Vec<usize> = (0..test.len()).collect();
    let hits = all.chunks(EVALUATION_BATCH).map(|batch| {
        let (x, labels) = task.batch(test, batch, device);
        dsr::correct(dsr::evaluate(mlp, x)?, labels)
    });
    let hits = hits.sum::<Result<usize, SnnError>>().map_err(|error| diverged(error, at))?;
    Ok(hits as f64 / test.len() as f64)
}

fn failed(error: MatrixError) -> RunError {
    RunError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::TaskStream;
    use crate::neuron::DsrLif;

    // Weights may be finite, and their sums over a test image not.
    #[test]
    fn a_network_whose_currents_overflow_in_an_evaluation_has_diverged() {
        let device = Device::flex();
        let test = Images {
            height: 28,
            width: 28,
            channels: 1,
            pixels: vec![255; 3 * 784],
            labels: vec![0, 1, 0],
            classes: 2,
        };
        let task = Task::new(TaskStream::Permuted, 0).unwrap();
        let network = |weight: f32| {
            let weights = vec![Tensor::full([784, 4], weight, &device), Tensor::ones([4, 2], &device)];
            Mlp::from_weights(weights, DsrLif::default()).unwrap()
        };
        assert_eq!(accuracy(&network(0.0), &task, &test, &device, 7).unwrap(), 2.0 / 3.0);
        match accuracy(&network(1e38), &task, &test, &device, 7).unwrap_err() {
            RunError::Diverged { metric, value, step: 7 } => {
                assert_eq!((metric.as_str(), value), ("the current of layer 1", f64::INFINITY));
            }
            other => panic!("{other}"),
        }
    }
}
