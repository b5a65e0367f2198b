//! The experiment's config. Its default is the paper's permuted MNIST (section 11).

use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one, sizes};
use plasticity_core::data::digits::{CLASSES, PIXELS, SIDE};
use plasticity_core::data::{Facts, Split};
use serde::{Deserialize, Serialize};

use super::data::{PERMUTATIONS, TURNS, TaskStream};
use crate::hlop::Projection;
use crate::network::MlpConfig;
use crate::neuron::DsrLif;
use crate::subspace::{Consolidate, LateralRule};
use crate::train::Optimiser;

/// More batches of a task than this are a mistake: they would take years.
const MOST_BATCHES: usize = 1 << 36;

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
    /// Optimiser of the weights, `sgd` or `momentum`; its momentum is empty when a task begins.
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

    /// Batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.train_images.div_ceil(self.batch.max(1))
    }

    /// Optimiser steps of a task.
    pub fn batches_per_task(&self) -> usize {
        self.epochs.saturating_mul(self.batches_per_epoch())
    }

    /// Optimiser steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.tasks as u64 * self.batches_per_task() as u64
    }

    /// Holds it against the set that its suite resolved.
    pub(super) fn fits(&self, data: &Facts) -> Result<(), Invalid> {
        if data.shape != Some([1, SIDE, SIDE]) {
            let is = data.shape.map_or("a text".into(), |[c, h, w]| format!("images of {c}x{h}x{w}"));
            let message =
                format!("`{}` has {is}; hebbian-snn needs grey images of {SIDE}x{SIDE}, as mnist has", data.name);
            return Err(Invalid::new("data", message));
        }
        if data.classes.is_none_or(|classes| classes < 2) {
            return Err(Invalid::new("data", format!("`{}` has less than two classes", data.name)));
        }
        let counts = [
            ("train_images", "training", self.train_images, data.count(Split::Train)),
            ("test_images", "test", self.test_images, data.count(Split::Test)),
        ];
        for (field, what, asked, there) in counts {
            if asked > there {
                let message =
                    format!("is {asked}, and `{}` has {there} {what} images: ask for at most {there}", data.name);
                return Err(Invalid::new(field, message));
            }
        }
        Ok(())
    }

    /// Weights of the network for the known data sets.
    fn weights(&self) -> f64 {
        let widths: Vec<f64> = [PIXELS].iter().chain(&self.hidden).chain(&[CLASSES]).map(|w| *w as f64).collect();
        widths.windows(2).map(|pair| pair[0] * pair[1]).sum()
    }

    /// Seconds as `Plan::seconds` means them, and bytes on disk: two checkpoints of weights and lateral rows, and the
    /// records. HLOP adds to a step what grows with the weights and, at each layer, what does not.
    pub(super) fn cost(&self) -> (f64, u64) {
        let weights = self.weights();
        let (lateral, fixed, rows) = match self.strategy {
            Strategy::Naive => (0.0, 5e-4, 0.0),
            Strategy::Hlop => (1.1, 1.5e-3, self.row_values()),
        };
        let step = weights * self.batch as f64 * (6.7e-11 * (1.0 + lateral)) + fixed;
        let evaluations = (self.tasks * (self.tasks + 1) / 2 + 2 * self.tasks) as f64 * self.test_images as f64;
        let seconds = self.steps() as f64 * step + evaluations * weights * 4e-11 + 0.2;
        (seconds, (8.0 * (weights.trunc() + rows)) as u64 + 200_000)
    }

    /// Numbers in the lateral rows at the end: each is as long as its layer has inputs.
    fn row_values(&self) -> f64 {
        let inputs = [PIXELS].into_iter().chain(self.hidden.iter().copied());
        let rows = |layer: usize| self.rows.iter().filter_map(|task| task.get(layer)).map(|k| *k as f64).sum::<f64>();
        inputs.enumerate().map(|(layer, inputs)| inputs as f64 * rows(layer)).sum()
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
        let (most, why) = match self.stream {
            TaskStream::Permuted => (PERMUTATIONS, "the permutations of the protocol"),
            TaskStream::Rotated => (TURNS, "the turns of 30 degrees before the first task comes again"),
        };
        if self.tasks > most {
            return Err(Invalid::new("tasks", format!("must be at most {most}, {why}")));
        }
        if self.batches_per_task() > MOST_BATCHES {
            let message = format!("gives a task more than {MOST_BATCHES} batches, which is more than a run can do");
            return Err(Invalid::new("epochs", message));
        }
        sizes("hidden", "width", &self.hidden)?;
        above_zero(&[("learning_rate", self.learning_rate)])?;
        if !(self.learning_rate as f32).is_normal() {
            return Err(Invalid::new("learning_rate", "must be a number that 32 bits can hold"));
        }
        let lif = DsrLif { steps: self.time_steps, ..DsrLif::default() };
        lif.check().map_err(|e| Invalid::new("time_steps", e.to_string()))?;
        match self.strategy {
            Strategy::Naive => Ok(()),
            Strategy::Hlop => self.validate_lateral(),
        }
    }
}

impl Config {
    /// The lists that HLOP needs: one entry per task, one per layer. Their defaults are those of the paper's network
    /// and ten tasks. Where these do not fit, the fault is that of the key that made another network of it, and the
    /// message says which keys go with it.
    fn validate_lateral(&self) -> Result<(), Invalid> {
        let paper = Self::default();
        let layers = self.hidden.len() + 1;
        let spiking = self.hidden.len();
        if self.lateral_rates.len() != layers {
            let found = self.lateral_rates.len();
            return Err(match self.lateral_rates == paper.lateral_rates {
                true => Invalid::new(
                    "hidden",
                    format!(
                        "has {spiking} spiking {}, and the default lists are for two: set \
                         `lateral_rates` to {layers} numbers and `rows` to a list of {layers} numbers per task",
                        if spiking == 1 { "layer" } else { "layers" }
                    ),
                ),
                false => Invalid::new(
                    "lateral_rates",
                    format!("must have {layers} values, one per layer of `hidden` and the head; it has {found}"),
                ),
            });
        }
        for (layer, rule) in self.lateral_rules().iter().enumerate() {
            if let Err(e) = rule.check() {
                return Err(Invalid::new(format!("lateral_rates.{layer}"), e.to_string()));
            }
        }
        let default = self.rows == paper.rows;
        if self.rows.len() != self.tasks {
            let (tasks, found) = (self.tasks, self.rows.len());
            return Err(match default {
                true => Invalid::new(
                    "tasks",
                    format!("is {tasks}, and the default of `rows` is for {found}: set `rows` to {tasks} lists"),
                ),
                false => Invalid::new("rows", format!("must have {tasks} lists, one per task; it has {found}")),
            });
        }
        if let Some(task) = self.rows.iter().position(|row| row.len() != layers) {
            return Err(match default {
                true => Invalid::new(
                    "hidden",
                    format!(
                        "needs `rows` with {layers} numbers per task, one per layer and the head: the default has 3"
                    ),
                ),
                false => Invalid::new(
                    format!("rows.{task}"),
                    format!(
                        "must have {layers} numbers, one per layer of `hidden` and the head; it has {}",
                        self.rows[task].len()
                    ),
                ),
            });
        }
        let inputs = [PIXELS].into_iter().chain(self.hidden.iter().copied());
        for (layer, inputs) in inputs.enumerate() {
            let sum = self.rows.iter().fold(0usize, |sum, row| sum.saturating_add(row[layer]));
            if sum > inputs {
                let layer = layer + 1;
                return Err(match default {
                    true => Invalid::new(
                        "hidden",
                        format!(
                            "gives layer {layer} {inputs} inputs, and the default of `rows` puts {sum} rows there: set \
                             `rows` to fewer"
                        ),
                    ),
                    false => {
                        Invalid::new("rows", format!("layer {layer} has {inputs} inputs and cannot have {sum} rows"))
                    }
                });
            }
        }
        Ok(())
    }
}
