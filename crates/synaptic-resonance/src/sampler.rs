//! Drawing the next token.

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::MemoryError;

/// Temperature and nucleus.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampler {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f64,
    /// Share of the probability that the nucleus holds, in (0, 1]; 1 draws among all tokens.
    pub top_p: f64,
}

impl Sampler {
    /// # Errors
    /// When a setting is outside its domain.
    pub fn check(&self) -> Result<(), MemoryError> {
        Ok(())
    }

    /// The next token.
    ///
    /// # Errors
    /// When the sampler is wrong, or a logit is not finite.
    pub fn draw(&self, logits: &[f32], stream: &mut Stream) -> Result<u32, MemoryError> {
        let _ = (logits, stream);
        Err(MemoryError::State("not here yet".into()))
    }
}
