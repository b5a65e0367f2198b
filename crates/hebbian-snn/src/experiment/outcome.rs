//! What a run reports: the measures of the accuracy matrix, and the matrix itself.

use plasticity_core::error::RunError;
use plasticity_core::run::record::{Direction, MetricInfo, Outcome};

use super::config::{Config, Strategy};
use super::state::State;

pub(super) fn metrics(config: &Config) -> Vec<MetricInfo> {
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
    metrics
}

/// `classes`: of the images, among which one can guess.
pub(super) fn outcome(config: &Config, classes: usize, state: &State) -> Result<Outcome, RunError> {
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
    }
    outcome.matrices.insert("accuracy".into(), matrix.rows().to_vec());
    outcome.chance.insert("accuracy".into(), 1.0 / classes as f64);
    outcome.matrices.insert("accuracy_before".into(), vec![matrix.baseline().to_vec()]);
    Ok(outcome)
}
