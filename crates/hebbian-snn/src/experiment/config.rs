//! The experiment's config. Its default is the paper's permuted MNIST (section 11).

use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one, sizes};
use plasticity_core::data::digits::{CLASSES, PIXELS};
use serde::{Deserialize, Serialize};

use super::data::{PERMUTATIONS, TaskStream};
use crate::hlop::Projection;
use crate::network::MlpConfig;
use crate::neuron::DsrLif;
use crate::subspace::{Consolidate, LateralRule};
use crate::train::Optimiser;

/// How old tasks are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Not at all.
    Naive,
    /// By Hebbian-learning-based orthogonal projection.
    Hlop,
}

/// How the network learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Differentiation on spike representation (section 4.1).
    Dsr,
}

/// One run: a sequence of tasks with one network and one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How old tasks are protected.
    pub strategy: Strategy,
    /// How the network learns.
    pub rule: Rule,
    /// Where the tasks come from.
    pub stream: TaskStream,
    /// Number of tasks.
    pub tasks: usize,
    /// Training images: the first of the file.
    pub train_images: usize,
    /// Test images: the first of the file.
    pub test_images: usize,
    /// Widths of the spiking layers.
    pub hidden: Vec<usize>,
    /// Time steps, T.
    pub time_steps: usize,
    /// Passes over a task's images.
    pub epochs: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Learning rate of the weights.
    pub learning_rate: f64,
    /// Optimiser of the weights, fresh for every task.
    pub optimiser: Optimiser,
    /// Subspace rows that each task adds, one number per layer.
    pub rows: Vec<Vec<usize>>,
    /// Lateral learning rate of each layer.
    pub lateral_rates: Vec<f64>,
    /// Steps of the lateral rule on each batch.
    pub lateral_iterations: usize,
    /// What happens to the rows at the end of a task. The paper: `none`.
    pub consolidate: Consolidate,
    /// Where the projection acts; both give the same gradient.
    pub projection: Projection,
}

impl Default for Config {
    fn default() -> Self {
        let rows = [[80, 200, 100], [70, 70, 70], [70, 70, 70], [50, 50, 50], [50, 50, 50], [50, 50, 50]];
        let late = [[30, 30, 30], [30, 30, 30], [30, 30, 30], [10, 10, 10]];
        Self {
            strategy: Strategy::Hlop,
            rule: Rule::Dsr,
            stream: TaskStream::Permuted,
            tasks: 10,
            train_images: 60_000,
            test_images: 10_000,
            hidden: vec![800, 800],
            time_steps: 20,
            epochs: 1,
            batch: 64,
            learning_rate: 0.1,
            optimiser: Optimiser::Sgd,
            rows: rows.iter().chain(&late).map(|row| row.to_vec()).collect(),
            lateral_rates: vec![0.001, 0.01, 0.01],
            lateral_iterations: 5,
            consolidate: Consolidate::None,
            projection: Projection::Input,
        }
    }
}

impl Config {
    /// The network.
    pub fn network(&self, inputs: usize, classes: usize) -> MlpConfig {
        let lif = DsrLif { steps: self.time_steps, ..DsrLif::default() };
        MlpConfig { inputs, hidden: self.hidden.clone(), classes, lif }
    }

    /// The lateral rule of each layer.
    pub fn lateral_rules(&self) -> Vec<LateralRule> {
        let rule = |&lr| LateralRule { lr, iterations: self.lateral_iterations, ..LateralRule::default() };
        self.lateral_rates.iter().map(rule).collect()
    }

    /// Optimiser steps of the whole run.
    pub fn steps(&self) -> u64 {
        (self.tasks * self.epochs * self.train_images.div_ceil(self.batch.max(1))) as u64
    }

    /// Weights of the network for the known data sets.
    fn weights(&self) -> f64 {
        let widths: Vec<f64> = [PIXELS].iter().chain(&self.hidden).chain(&[CLASSES]).map(|w| *w as f64).collect();
        widths.windows(2).map(|pair| pair[0] * pair[1]).sum()
    }

    /// Seconds, roughly, from the figures in `docs/performance.md`, and bytes on disk: two checkpoints of
    /// weights and lateral rows, and the records.
    pub(super) fn cost(&self) -> (f64, u64) {
        let weights = self.weights();
        let (lateral, rows) = match self.strategy {
            Strategy::Naive => (0.0, 0),
            Strategy::Hlop => {
                (0.8, self.rows.iter().flatten().sum::<usize>() * self.hidden.iter().max().unwrap_or(&0).max(&PIXELS))
            }
        };
        let step = weights * self.batch as f64 * (6.7e-11 * (1.0 + lateral)) + 5e-4;
        let evaluations = (self.tasks * (self.tasks + 1) / 2 + 2 * self.tasks) * self.test_images;
        let seconds = self.steps() as f64 * step + evaluations as f64 * weights * 4e-11 + 0.5;
        (seconds, 2 * 4 * (weights as u64 + rows as u64) + 1_000_000)
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[
            ("train_images", self.train_images),
            ("test_images", self.test_images),
            ("time_steps", self.time_steps),
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("lateral_iterations", self.lateral_iterations),
        ])?;
        if self.tasks < 2 {
            return Err(Invalid::new("tasks", "must be at least 2: backward transfer needs two"));
        }
        if self.stream == TaskStream::Permuted && self.tasks > PERMUTATIONS {
            return Err(Invalid::new(
                "tasks",
                format!("must be at most {PERMUTATIONS}, the permutations of the protocol"),
            ));
        }
        sizes("hidden", "width", &self.hidden)?;
        above_zero(&[("learning_rate", self.learning_rate)])?;
        if self.strategy == Strategy::Naive {
            return Ok(());
        }
        self.validate_lateral()
    }
}

impl Config {
    fn validate_lateral(&self) -> Result<(), Invalid> {
        let layers = self.hidden.len() + 1;
        if self.lateral_rates.len() != layers {
            return Err(Invalid::new(
                "lateral_rates",
                format!("must have {layers} values, one per layer with the head"),
            ));
        }
        for rule in self.lateral_rules() {
            rule.check().map_err(|e| Invalid::new("lateral_rates", e.to_string()))?;
        }
        if self.rows.len() != self.tasks {
            let message = format!("must have {} lists, one per task; it has {}", self.tasks, self.rows.len());
            return Err(Invalid::new("rows", message));
        }
        if self.rows.iter().any(|row| row.len() != layers) {
            return Err(Invalid::new(
                "rows",
                format!("every list must have {layers} numbers, one per layer with the head"),
            ));
        }
        let inputs = [PIXELS].into_iter().chain(self.hidden.iter().copied());
        for (layer, inputs) in inputs.enumerate() {
            let sum: usize = self.rows.iter().map(|row| row[layer]).sum();
            if sum > inputs {
                let message = format!("layer {} has {inputs} inputs and cannot have {sum} rows", layer + 1);
                return Err(Invalid::new("rows", message));
            }
        }
        self.optimiser.init(true).map(|_| ()).map_err(|e| Invalid::new("optimiser", e.to_string()))
    }
}
