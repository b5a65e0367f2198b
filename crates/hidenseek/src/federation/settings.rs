//! How a federation is run.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Coding, Rule, Zeros};
use crate::client::{LocalTraining, Optimiser, Trainable};
use crate::error::FederationError;
use crate::supermask::{MaskKind, Surrogate};

/// How a federation is run; the default is section 3's, with five local epochs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What clients train.
    pub trainable: Trainable,
    /// How the server aggregates.
    pub rule: Rule,
    /// How masks are written.
    pub coding: Coding,
    /// [`Rule::MaskMean`] broadcasts vote counts where they stand for its state.
    pub votes: bool,
    /// Magnitude of a score, a.
    pub a: f32,
    /// Local training.
    pub training: LocalTraining,
    /// Clients of a round, |S_t|.
    pub per_round: usize,
    /// Key of sampling, shuffling and stochastic masks.
    pub seed: u64,
    /// A client that comes again begins with its own scores where their signs agree with the server's. Memory grows
    /// with every client that was ever sampled.
    pub keep_local_scores: bool,
    /// The prune mask is sent to every client at the start instead of computed there.
    pub send_bitmap: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trainable: Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity },
            rule: Rule::ScaledSignDelta { zeros: Zeros::Keyed },
            coding: Coding::Raw,
            votes: false,
            a: 0.1,
            training: LocalTraining { epochs: 5, batch: 20, optimiser: Optimiser::Sgd { lr: 1.0, momentum: 0.5 } },
            per_round: 10,
            seed: 0,
            keep_local_scores: false,
            send_bitmap: false,
        }
    }
}

impl Settings {
    /// FedAvg with momentum 0.5: trained weights, averaged.
    pub fn fedavg(lr: f32) -> Self {
        let training = LocalTraining { optimiser: Optimiser::Sgd { lr, momentum: 0.5 }, ..Self::default().training };
        Self { trainable: Trainable::Weights, rule: Rule::ScoreMean, training, ..Self::default() }
    }

    /// Whether Adam cannot flip a typical score within a round of `images`: `lr * steps <= a` (section 3.2).
    pub fn dead_zone(&self, images: usize) -> bool {
        let steps = self.training.epochs * images.div_ceil(self.training.batch.max(1));
        match (self.trainable, self.training.optimiser) {
            (Trainable::Scores { .. }, Optimiser::Adam { lr }) => lr * steps as f32 <= self.a,
            _ => false,
        }
    }

    /// # Errors
    /// When a setting is outside its domain, or two do not go together.
    pub(super) fn check(&self) -> Result<(), FederationError> {
        self.rule.check()?;
        self.training.check()?;
        if let Trainable::Scores { kind, .. } = self.trainable {
            kind.check()?;
        }
        if !(self.a > 0.0 && self.a.is_finite()) {
            return Err(FederationError::setting("a", self.a, "above 0"));
        }
        if self.per_round == 0 {
            return Err(FederationError::setting("per_round", 0, "at least 1"));
        }
        let ternary = matches!(self.trainable, Trainable::Scores { kind: MaskKind::Ternary { .. }, .. });
        let changes = matches!(self.rule, Rule::ScoreMean | Rule::ScaledSignDelta { .. });
        let rule = format!("{:?}", self.rule);
        if self.trainable == Trainable::Weights && !changes {
            return Err(FederationError::setting("rule", rule, "score-mean or scaled-sign-delta, for weights"));
        }
        if ternary && !changes {
            let expected = "score-mean or scaled-sign-delta: a ternary mask does not fit into a bit";
            return Err(FederationError::setting("rule", rule, expected));
        }
        if self.trainable == Trainable::Weights && self.keep_local_scores {
            return Err(FederationError::setting("keep_local_scores", true, "false, for weights"));
        }
        Ok(())
    }
}
