//! The constants of the lateral rule (section 6.2).

use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// No entry of a Hebbian step is larger than this.
pub const CLAMP: f32 = 10.0;

/// Constants of the lateral rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LateralRule {
    /// Learning rate: 0.01, and 0.001 for the 784 pixels.
    pub lr: f64,
    /// Momentum of the average form `V' = m V + (1 - m) D`.
    pub momentum: f64,
    /// Steps on the same batch.
    pub iterations: usize,
}

impl Default for LateralRule {
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, iterations: 5 }
    }
}

impl LateralRule {
    /// Refuses constants for which the rule has no meaning.
    ///
    /// # Errors
    /// [`SnnError::Setting`] for a rate below 0 or infinite in F32, a momentum outside [0, 1) and no iterations.
    pub fn check(&self) -> Result<(), SnnError> {
        if !((self.lr as f32).is_finite() && self.lr >= 0.0) {
            return Err(SnnError::setting("lr", self.lr, "a number of at least 0, of F32"));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(SnnError::setting("momentum", self.momentum, "in [0, 1)"));
        }
        if self.iterations == 0 {
            return Err(SnnError::setting("iterations", 0, "at least 1"));
        }
        Ok(())
    }
}
