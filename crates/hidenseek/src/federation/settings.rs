//! How a federation is run.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Coding, Rule, Zeros};
use crate::client::{LocalTraining, Optimiser, Trainable};
use crate::codec::Kind;
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

    /// How far a score can move at most in a client's round of so many images, or none where that depends on the size
    /// of the gradients (SGD) or weights are trained: Adam's steps are `lr m / sqrt(v)`, and over `t` gradients g_i the
    /// inequality of Cauchy and Schwarz bounds m / sqrt(v), whatever they are:
    ///
    /// (1 - b1) sum b1^(t-i) g_i <= (1 - b1) / sqrt(1 - b2) sqrt(sum (b1^2 / b2)^(t-i)) sqrt(v_t).
    ///
    /// The first step is `lr` exactly, the tenth at most 1.04 `lr`, a late one 7.3 `lr`.
    pub fn reach(&self, images: usize) -> Option<f64> {
        let (Trainable::Scores { .. }, Optimiser::Adam { lr }) = (self.trainable, self.training.optimiser) else {
            return None;
        };
        let steps = self.training.epochs.saturating_mul(images.div_ceil(self.training.batch.max(1)));
        let (b1, b2) = (0.9f64, 0.999f64);
        let (ratio, first) = (b1 * b1 / b2, (1.0 - b1) / (1.0 - b2).sqrt());
        let bound = |t: f64| {
            let sums = ((1.0 - ratio.powf(t)) / (1.0 - ratio)).sqrt();
            first * sums * (1.0 - b2.powf(t)).sqrt() / (1.0 - b1.powf(t))
        };
        // Later steps have reached the limit.
        let early = steps.min(50_000);
        let late = (steps - early) as f64 * bound(f64::INFINITY);
        let all = (1..=early).map(|t| bound(t as f64)).sum::<f64>() + late;
        // What a step's arithmetic in f32 may add.
        Some(f64::from(lr) * all * (1.0 + 1e-6 * steps as f64))
    }

    /// Share of these scores that are so far from a change of their mask entry that no client of so many images can
    /// change it in a round (the dead zone, section 3.2): 0 where [`Settings::reach`] knows no bound.
    pub fn out_of_reach(&self, scores: &[f32], images: usize) -> f64 {
        let (Trainable::Scores { kind, .. }, Some(reach)) = (self.trainable, self.reach(images)) else { return 0.0 };
        let tau = if let MaskKind::Ternary { tau } = kind { tau } else { 0.0 };
        let far = scores.iter().filter(|s| (f64::from(s.abs()) - f64::from(tau)).abs() > reach).count();
        far as f64 / scores.len().max(1) as f64
    }

    /// The kind of the clients' messages.
    pub(super) fn upload_kind(&self) -> Kind {
        self.rule.upload_kind(self.coding)
    }

    /// Whether each setting is in its domain, and they go together.
    ///
    /// # Errors
    /// Names the first that is not, or does not.
    pub fn check(&self) -> Result<(), FederationError> {
        self.rule.check()?;
        self.training.check()?;
        self.trainable.check()?;
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
