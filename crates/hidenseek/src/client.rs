//! What a client does in a round (section 3.3): the contract of the fused loop and of its composed reference.

use serde::{Deserialize, Serialize};

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::Architecture;
use crate::supermask::{MaskKind, Surrogate};

/// What the server broadcasts once: everything that never changes.
#[derive(Debug, Clone)]
pub struct Subnetwork {
    /// The network.
    pub architecture: Architecture,
    /// Frozen initial weights W0, canonical order, all N.
    pub weights: Vec<f32>,
    /// The prune mask P.
    pub mask: PruneMask,
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
    /// That these are images of `inputs` values, at least one, each with a label below `classes`.
    ///
    /// # Errors
    /// When there is no image, the lengths do not fit, or a label is no class.
    pub fn check(&self, inputs: usize, classes: usize) -> Result<(), FederationError> {
        FederationError::length("x", self.labels.len() * inputs, self.x.len())?;
        if self.labels.is_empty() {
            let mend = "give the client an image";
            return Err(FederationError::NotEnough { field: "data", needed: 1, found: 0, mend });
        }
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
    let images = x.len() / inputs;
    FederationError::length("x", images * inputs, x.len())?;
    Ok(images)
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

/// What a client's training ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The new values of the survivors: scores, or weights.
    pub values: Vec<f32>,
    /// Mean cross-entropy over the last epoch, before each step.
    pub loss: f32,
}
