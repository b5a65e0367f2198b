//! The experiment's config. Its default is the small protocol of section 9.

use plasticity_core::config::{Invalid, Validate, at_least_one, sizes};
use plasticity_core::data::digits::{self, CLASSES, SIDE};
use serde::{Deserialize, Serialize};

use crate::aggregate::{Coding, Rule, Zeros};
use crate::client::{LocalTraining, Optimiser, Trainable};
use crate::federation::Settings;
use crate::partition::{Scheme, ShardDraw};
use crate::prune::{Pruner, Scope};
use crate::supermask::{MaskKind, ScoreInit, Surrogate};

/// What is trained, and whether anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Clients train the scores of a mask on the pruned network.
    Mask,
    /// Clients train the weights themselves; dense where `density` is 1.
    Fedavg,
    /// Every client trains the scores of a mask alone, as many epochs as it would get in the federation.
    Standalone,
}

/// Which images give the accuracies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluation {
    /// The first test images: what is reported.
    Test,
    /// Training images that no client holds: what learning rates are chosen on.
    Validation,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is trained.
    pub method: Method,
    /// What a score becomes.
    pub mask: MaskKind,
    /// What stands for the mask's derivative.
    pub surrogate: Surrogate,
    /// How scores begin.
    pub scores: ScoreInit,
    /// How the server aggregates.
    pub rule: Rule,
    /// How masks are written.
    pub coding: Coding,
    /// By what weights are kept.
    pub pruner: Pruner,
    /// Among what they are ranked.
    pub scope: Scope,
    /// Share of the weights that is kept.
    pub density: f64,
    /// Survivors are scaled so that each layer keeps its variance.
    pub rescale_survivors: bool,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Registered clients, K.
    pub clients: usize,
    /// Clients of a round.
    pub per_round: usize,
    /// How the images are dealt.
    pub partition: Scheme,
    /// Rounds, T.
    pub rounds: usize,
    /// The last rounds, whose accuracies are averaged.
    pub tail: usize,
    /// Local epochs, E.
    pub epochs: usize,
    /// Images of a step, B.
    pub batch: usize,
    /// Optimiser of scores or weights, fresh in every round.
    pub optimiser: Optimiser,
    /// Side of the squares of pixels that are averaged into one.
    pub pool: usize,
    /// Training images that clients share: the first of the file.
    pub train_images: usize,
    /// Which images give the accuracies.
    pub evaluate_on: Evaluation,
    /// How many of them.
    pub test_images: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            method: Method::Mask,
            mask: MaskKind::Sign,
            surrogate: Surrogate::Identity,
            scores: ScoreInit::Uniform { a: 0.1 },
            rule: Rule::ScaledSignDelta { zeros: Zeros::Keyed },
            coding: Coding::Raw,
            pruner: Pruner::SynFlow { iterations: 100 },
            scope: Scope::Global,
            density: 0.2,
            rescale_survivors: false,
            hidden: vec![100, 50],
            clients: 100,
            per_round: 10,
            partition: Scheme::Shards { ways: 2, shots: 20, unbalance: 1.0, draw: ShardDraw::Distinct },
            rounds: 60,
            tail: 20,
            epochs: 5,
            batch: 20,
            optimiser: Optimiser::Sgd { lr: 1.0, momentum: 0.5 },
            pool: 2,
            train_images: 8000,
            evaluate_on: Evaluation::Test,
            test_images: 2000,
        }
    }
}

impl Config {
    /// Widths of the network on `inputs` pixels and `classes` classes.
    pub(super) fn widths(&self, inputs: usize, classes: usize) -> Vec<usize> {
        [inputs].into_iter().chain(self.hidden.iter().copied()).chain([classes]).collect()
    }

    /// Magnitude of a score, a.
    fn magnitude(&self) -> f64 {
        match self.scores {
            ScoreInit::Uniform { a } | ScoreInit::Constant { a } => a,
            ScoreInit::XavierUniform => 0.1,
        }
    }

    /// The settings of the federation.
    pub(super) fn settings(&self, seed: u64) -> Settings {
        let scores = Trainable::Scores { kind: self.mask, surrogate: self.surrogate };
        Settings {
            trainable: if self.method == Method::Fedavg { Trainable::Weights } else { scores },
            rule: if self.method == Method::Fedavg { Rule::ScoreMean } else { self.rule },
            coding: self.coding,
            a: self.magnitude() as f32,
            training: LocalTraining { epochs: self.epochs, batch: self.batch, optimiser: self.optimiser },
            per_round: self.per_round,
            seed,
            ..Settings::default()
        }
    }

    /// Local epochs that a client gets on average in the federation.
    pub(super) fn epochs_alone(&self) -> usize {
        (self.rounds * self.per_round * self.epochs / self.clients).max(1)
    }

    /// Rounds, and the fine-tuning after them.
    pub fn steps(&self) -> u64 {
        self.rounds as u64 + 1
    }

    /// Seconds, roughly, and bytes on disk: two checkpoints and the records.
    pub(super) fn cost(&self) -> (f64, u64) {
        // 1.5 ns for each weight that a client trains and image that it sees, 1 ns where a model is measured.
        let trained = self.weights() as f64 * self.density;
        let seen = (self.rounds * self.per_round * self.epochs * 40) as f64;
        let evaluated = (self.rounds * self.test_images) as f64;
        (0.5 + seen * trained * 1.5e-9 + evaluated * trained * 1e-9, 500_000)
    }

    /// N on images of the known data sets.
    pub(super) fn weights(&self) -> usize {
        let side = SIDE / self.pool;
        self.widths(side * side, CLASSES).windows(2).map(|pair| pair[0] * pair[1]).sum()
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[
            ("clients", self.clients),
            ("per_round", self.per_round),
            ("rounds", self.rounds),
            ("tail", self.tail),
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("train_images", self.train_images),
            ("test_images", self.test_images),
        ])?;
        if !(self.density > 0.0 && self.density <= 1.0) {
            return Err(Invalid::new("density", "must be above 0 and at most 1"));
        }
        if self.per_round > self.clients {
            return Err(Invalid::new("per_round", "must be at most `clients`"));
        }
        if self.tail > self.rounds {
            return Err(Invalid::new("tail", "must be at most `rounds`"));
        }
        sizes("hidden", "width", &self.hidden)?;
        digits::pool(self.pool)?;
        let rate = match self.optimiser {
            Optimiser::Sgd { lr, .. } | Optimiser::Adam { lr } => lr,
        };
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Invalid::new("optimiser", "`lr` must be above 0"));
        }
        self.rule.check().map_err(|e| Invalid::new("rule", e.to_string()))?;
        self.mask.check().map_err(|e| Invalid::new("mask", e.to_string()))
    }
}
