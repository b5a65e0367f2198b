//! The experiment's config. Its default is the small protocol of section 9.

use plasticity_core::config::{Invalid, Validate, at_least_one, sizes};
use plasticity_core::data::Facts;
use plasticity_core::data::digits::{self, CLASSES, SIDE};
use serde::{Deserialize, Serialize};

use crate::aggregate::{Coding, Rule, Zeros};
use crate::client::{LocalTraining, Optimiser, Trainable};
use crate::error::FederationError;
use crate::federation::Settings;
use crate::network::Architecture;
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
        let all = self.rounds as u128 * self.per_round as u128 * self.epochs as u128;
        usize::try_from(all / self.clients as u128).unwrap_or(usize::MAX).max(1)
    }

    /// Cuts of the pruning that take a computation of the saliency each.
    pub(super) fn cuts(&self) -> usize {
        if self.density == 1.0 { 0 } else { self.pruner.cuts() }
    }

    /// Cuts, each client's part of each round, and each client that trains for itself.
    pub fn steps(&self) -> u64 {
        let rounds = if self.method == Method::Standalone { 0 } else { self.rounds as u64 };
        self.cuts() as u64 + rounds * self.per_round as u64 + self.clients as u64
    }

    /// Images that a client holds, on average.
    fn images_each(&self) -> f64 {
        match self.partition {
            Scheme::Shards { .. } | Scheme::Iid { shots: Some(_) } => self.held().unwrap_or(0) as f64,
            Scheme::Iid { shots: None } | Scheme::Dirichlet { .. } => self.train_images as f64 / self.clients as f64,
        }
    }

    /// Images that every client holds, where all hold as many.
    fn held(&self) -> Option<usize> {
        match self.partition {
            Scheme::Shards { ways, shots, unbalance, .. } => {
                let later = (unbalance * shots as f64).floor() as usize;
                Some(shots.saturating_add(later.saturating_mul(ways.saturating_sub(1))))
            }
            Scheme::Iid { shots } => shots,
            Scheme::Dirichlet { .. } => None,
        }
    }

    /// Who holds how many of which images.
    pub(super) fn dealt(&self) -> String {
        let Self { clients, train_images, .. } = self;
        match self.held() {
            Some(held) => format!("{clients} clients of {held} of {train_images} training images"),
            None => format!("{clients} clients that share {train_images} training images"),
        }
    }

    /// Weights times images that a client trains on in so many epochs.
    fn work(&self, epochs: usize) -> f64 {
        self.trained() * self.images_each() * epochs as f64
    }

    /// Clients between two ends of a step: what takes a quarter of a second at 1.5 ns for each weight and image, which a
    /// slow machine needs too, and 16 for each thread at most.
    pub(super) fn clients_a_step(&self, epochs: usize) -> usize {
        a_step(self.work(epochs) * 1.5e-9).saturating_mul(rayon::current_num_threads())
    }

    /// Cuts between two ends of a step.
    pub(super) fn cuts_a_step(&self) -> usize {
        a_step(self.weights() as f64 * CUT)
    }

    /// Whether the pruning is worth a checkpoint.
    pub(super) fn heavy(&self) -> bool {
        self.cuts() as f64 * self.weights() as f64 * CUT > 5.0
    }

    /// Seconds as `Plan::seconds` means them, and bytes on disk: two checkpoints and the records.
    pub(super) fn cost(&self) -> (f64, u64) {
        let (rounds, per_round, clients) = (self.rounds as f64, self.per_round as f64, self.clients as f64);
        let pruning = self.cuts() as f64 * self.weights() as f64 * CUT;
        let work = match self.method {
            Method::Standalone => clients * self.work(self.epochs_alone()),
            Method::Mask | Method::Fedavg => {
                let evaluated = rounds * self.test_images as f64 * self.trained();
                (rounds * per_round + clients) * self.work(self.epochs) + evaluated
            }
        };
        // For each weight and image: survivors are gathered one by one, the rows of a dense matrix are not.
        let training = work * if self.density == 1.0 { 6e-11 } else { 1.6e-10 };
        // What a round costs beside its clients' training.
        let sent = if self.method == Method::Standalone { 0.0 } else { 8e-5 * rounds * per_round };
        // Scores, the sums of a round under way, the mask, a line a round, an accuracy a client.
        let state =
            20.0 * self.trained() + self.weights() as f64 / 8.0 + 200.0 * rounds + 8.0 * clients + 60.0 * per_round;
        (0.12 + pruning + training + sent, 50_000 + (2.0 * state) as u64 + (400.0 * rounds) as u64)
    }

    /// N on images of the known data sets.
    pub(super) fn weights(&self) -> usize {
        let side = SIDE / self.pool;
        let widths = self.widths(side * side, CLASSES);
        widths.windows(2).fold(0, |sum: usize, pair| sum.saturating_add(pair[0].saturating_mul(pair[1])))
    }

    /// n.
    fn trained(&self) -> f64 {
        self.weights() as f64 * self.density
    }

    /// Holds the config against what is known of its data set before anything is read.
    pub(super) fn fits(&self, data: &Facts) -> Result<(), Invalid> {
        let name = &data.name;
        let (Some([channels, height, width]), Some(classes)) = (data.shape, data.classes) else {
            return Err(Invalid::new(
                "train_images",
                format!("counts images, but {name} is a text: name images as `data`"),
            ));
        };
        if channels != 1 {
            let what = format!("images of {channels} colours, as {name} has, are not normalised as this protocol does");
            return Err(Invalid::new("pool", format!("{what}: name a grey set as `data`")));
        }
        if !height.is_multiple_of(self.pool) || !width.is_multiple_of(self.pool) {
            let pool = self.pool;
            return Err(Invalid::new(
                "pool",
                format!("{pool} does not divide the {height} x {width} pixels of {name}"),
            ));
        }
        let too_many = |field, asked: usize, found: usize, what: &str| {
            Err(Invalid::new(field, format!("{asked} are asked for, {name} has {found} {what}")))
        };
        let Self { train_images, test_images, .. } = *self;
        match self.evaluate_on {
            _ if train_images > data.train => {
                return too_many("train_images", train_images, data.train, "training images");
            }
            Evaluation::Test if test_images > data.test => {
                return too_many("test_images", test_images, data.test, "test images");
            }
            Evaluation::Validation if test_images > data.train - train_images => {
                let left = data.train - train_images;
                return too_many("test_images", test_images, left, "training images beside `train_images`");
            }
            Evaluation::Test | Evaluation::Validation => {}
        }
        self.partition.fits(train_images, classes, self.clients).map_err(|fault| invalid("partition", fault))?;
        let inputs = height * width / (self.pool * self.pool);
        let network = Architecture::mlp(&self.widths(inputs, classes));
        network.map(drop).map_err(|fault| Invalid::new("hidden", fault.to_string()))
    }
}

/// Seconds of a cut, per weight, roughly.
const CUT: f64 = 1.5e-8;

/// How many of what takes so many seconds come between two ends of a step.
fn a_step(seconds: f64) -> usize {
    ((0.25 / seconds) as usize).clamp(1, 16)
}

/// The library's error, under the key of the config.
fn invalid(key: &'static str, error: FederationError) -> Invalid {
    match error {
        FederationError::Setting { field, found, expected } => {
            Invalid::new(key, format!("`{field}` is {found}: {expected}"))
        }
        error => Invalid::new(key, error.to_string()),
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
        let most = u32::MAX as usize - 1;
        for (field, value) in [("clients", self.clients), ("rounds", self.rounds)] {
            if value > most {
                return Err(Invalid::new(field, format!("must be at most {most}: a message counts in 32 bits")));
            }
        }
        let rate = match self.optimiser {
            Optimiser::Sgd { lr, .. } | Optimiser::Adam { lr } => lr,
        };
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Invalid::new("optimiser", "`lr` must be above 0"));
        }
        self.rule.check().map_err(|fault| invalid("rule", fault))?;
        self.mask.check().map_err(|fault| invalid("mask", fault))?;
        self.scores.check().map_err(|fault| invalid("scores", fault))?;
        self.pruner.check().map_err(|fault| invalid("pruner", fault))?;
        self.partition.check().map_err(|fault| invalid("partition", fault))?;
        let settings = self.settings(0);
        settings.training.check().map_err(|fault| invalid("optimiser", fault))?;
        settings.check().map_err(|fault| invalid("rule", fault))
    }
}
