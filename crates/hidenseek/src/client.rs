//! What a client does in a round (section 3.3): the contract of the fused loop and of its composed reference.

use serde::{Deserialize, Serialize};

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::Architecture;
use crate::supermask::{MaskKind, Surrogate, same_network};

/// What the server broadcasts once: everything that never changes. Its parts belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnetwork {
    architecture: Architecture,
    weights: Vec<f32>,
    mask: PruneMask,
}

impl Subnetwork {
    /// A network, its frozen initial weights W0 (canonical order, all N) and the prune mask P.
    ///
    /// # Errors
    /// When there are not N weights, one is not finite, or the mask is of another network.
    pub fn new(architecture: Architecture, weights: Vec<f32>, mask: PruneMask) -> Result<Self, FederationError> {
        FederationError::length("weights", architecture.weights(), weights.len())?;
        FederationError::finite("weights", &weights)?;
        same_network(&architecture, &mask)?;
        Ok(Self { architecture, weights, mask })
    }

    /// The network.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// W0 of all N weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// P.
    pub fn mask(&self) -> &PruneMask {
        &self.mask
    }

    /// Refuses a mask that leaves a layer nothing: no tensor operation takes it.
    ///
    /// # Errors
    /// [`FederationError::EmptyLayer`].
    pub(crate) fn refuse_empty(&self) -> Result<(), FederationError> {
        let layers = self.architecture.prunable().zip(self.mask.per_layer()).enumerate();
        for (index, (layer, kept)) in layers {
            if kept == 0 {
                let density = self.mask.survivors() as f64 / self.weights.len() as f64;
                return Err(FederationError::EmptyLayer { layer: index, name: layer.to_string(), density });
            }
        }
        Ok(())
    }
}

/// A client's images: `[images, inputs]` row-major, and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientData {
    /// Normalised pixels.
    pub x: Vec<f32>,
    /// Classes.
    pub labels: Vec<u8>,
}

impl ClientData {
    /// That these are images of `inputs` finite values, at least one, each with a label below `classes`.
    ///
    /// # Errors
    /// When there is no image, the lengths do not fit, a value is not finite, or a label is no class.
    pub fn check(&self, inputs: usize, classes: usize) -> Result<(), FederationError> {
        FederationError::length("x", self.labels.len().saturating_mul(inputs), self.x.len())?;
        if self.labels.is_empty() {
            let mend = "give the client an image";
            return Err(FederationError::NotEnough { field: "data", needed: 1, found: 0, mend });
        }
        FederationError::finite("x", &self.x)?;
        match self.labels.iter().find(|label| usize::from(**label) >= classes) {
            Some(label) => {
                Err(FederationError::setting("labels", label, format!("below {classes}, the number of classes")))
            }
            None => Ok(()),
        }
    }
}

/// Number of images of `inputs` values each in `x`.
pub(crate) fn images(x: &[f32], inputs: usize) -> Result<usize, FederationError> {
    let images = x.len() / inputs.max(1);
    FederationError::length("x", images * inputs, x.len())?;
    Ok(images)
}

/// Logits that are numbers: of others no largest one could be told.
pub(crate) fn finite_logits(logits: Vec<f32>) -> Result<Vec<f32>, FederationError> {
    if logits.iter().all(|logit| logit.is_finite()) {
        return Ok(logits);
    }
    Err(FederationError::NotFinite { field: "logits", step: 0 })
}

/// The optimiser of scores or weights; fresh in every round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    /// v = momentum v + g, s -= lr v (no dampening).
    Sgd {
        /// Learning rate.
        lr: f32,
        /// Momentum.
        momentum: f32,
    },
    /// Adam, betas 0.9 and 0.999, epsilon 1e-8.
    Adam {
        /// Learning rate.
        lr: f32,
    },
}

/// How a client trains in one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalTraining {
    /// Passes over the client's images, E.
    pub epochs: usize,
    /// Images of a step, B; the last may be shorter.
    pub batch: usize,
    /// The optimiser.
    pub optimiser: Optimiser,
}

impl LocalTraining {
    /// That the settings make sense.
    ///
    /// # Errors
    /// When there is no epoch or no image in a batch, or a rate is negative or not finite.
    pub fn check(&self) -> Result<(), FederationError> {
        for (field, size) in [("epochs", self.epochs), ("batch", self.batch)] {
            if size == 0 {
                return Err(FederationError::setting(field, size, "at least 1"));
            }
        }
        let (lr, momentum) = match self.optimiser {
            Optimiser::Sgd { lr, momentum } => (lr, momentum),
            Optimiser::Adam { lr } => (lr, 0.0),
        };
        for (field, rate) in [("lr", lr), ("momentum", momentum)] {
            if !(rate >= 0.0 && rate.is_finite()) {
                return Err(FederationError::setting(field, rate, "finite and at least 0"));
            }
        }
        Ok(())
    }
}

/// What is trained on the survivors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainable {
    /// Scores of a mask; the weights stay frozen.
    Scores {
        /// What a score becomes.
        kind: MaskKind,
        /// What stands for its derivative.
        surrogate: Surrogate,
    },
    /// The weights of the survivors themselves (FedAvg; dense when the mask is).
    Weights,
}

impl Trainable {
    /// Whether its settings are in their domain.
    ///
    /// # Errors
    /// As [`MaskKind::check`].
    pub fn check(self) -> Result<(), FederationError> {
        match self {
            Self::Scores { kind, .. } => kind.check(),
            Self::Weights => Ok(()),
        }
    }
}

/// What a client's training ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The new values of the survivors: scores, or weights.
    pub values: Vec<f32>,
    /// Mean cross-entropy over the last epoch, before each step.
    pub loss: f32,
}
