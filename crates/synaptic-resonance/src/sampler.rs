//! Drawing the next token.

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::MemoryError;

/// Temperature and nucleus (arXiv 1904.09751).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// Logits are divided by it; 0 takes the most likely token, the lowest id among equals.
    pub temperature: f64,
    /// Share of the probability that the nucleus holds, in (0, 1]; 1 draws among all tokens.
    pub top_p: f64,
}

impl Default for Sampler {
    /// Draws from the model's own distribution.
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0 }
    }
}

impl Sampler {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// # Errors
    /// When a setting is outside its domain.
    pub fn check(&self) -> Result<(), MemoryError> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(MemoryError::setting("temperature", self.temperature, "must be a number of at least 0"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(MemoryError::setting("top_p", self.top_p, "must be above 0 and at most 1"));
        }
        Ok(())
    }

    /// The probability of every token: those outside the nucleus have 0, the others sum to 1. The nucleus is the
    /// smallest set of tokens that holds `top_p`: the most likely ones, lowest ids first among equals. A token whose logit
    /// is minus infinity is never drawn.
    ///
    /// # Errors
    /// When a setting is outside its domain, there is no logit, or one is neither finite nor minus infinity; when all are
    /// minus infinity.
    pub fn probabilities(&self, logits: &[f32]) -> Result<Vec<f64>, MemoryError> {
        self.check()?;
        if logits.is_empty() {
            return Err(MemoryError::setting("logits", "empty", "must hold a number for every token"));
        }
        if let Some(token) = logits.iter().position(|l| !l.is_finite() && *l != f32::NEG_INFINITY) {
            let found = format!("{} for token {token}", logits[token]);
            let expected = "must be finite, or minus infinity for a token that is left out: has the training diverged?";
            return Err(MemoryError::setting("logits", found, expected));
        }
        // The first of the largest ones.
        let best = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        if logits[best] == f32::NEG_INFINITY {
            return Err(MemoryError::setting("logits", logits[best], "must be finite for one token at least"));
        }
        let mut weights = vec![0.0; logits.len()];
        if self.temperature == 0.0 {
            weights[best] = 1.0;
            return Ok(weights);
        }
        // Every exponent is at most 0 and the best one is 0: nothing overflows and the sum is at least 1.
        let peak = f64::from(logits[best]);
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = ((f64::from(*logit) - peak) / self.temperature).exp();
        }
        if self.top_p < 1.0 {
            keep_nucleus(&mut weights, self.top_p);
        }
        let total = weights.iter().sum::<f64>().recip();
        weights.iter_mut().for_each(|weight| *weight *= total);
        Ok(weights)
    }

    /// The next token, by one uniform number of the stream; by none at temperature 0.
    ///
    /// # Errors
    /// As [`Sampler::probabilities`].
    pub fn draw(&self, logits: &[f32], stream: &mut Stream) -> Result<u32, MemoryError> {
        let probabilities = self.probabilities(logits)?;
        let u = if self.temperature == 0.0 { 0.0 } else { stream.uniform() };
        let (mut sum, mut last) = (0.0, 0);
        for (token, p) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            (sum, last) = (sum + p, token);
            if u < sum {
                break;
            }
        }
        // Where rounding leaves the sum below u, the last token of the nucleus.
        Ok(last as u32)
    }
}

/// Zeroes what is outside the nucleus.
fn keep_nucleus(weights: &mut [f64], top_p: f64) {
    let total = weights.iter().sum::<f64>();
    // Tokens below this hold less than `1 - top_p` together, so that none of them is in the nucleus: the few others are
    // sorted, not the whole vocabulary. A little below, for the rounding of sums.
    let least = (1.0 - top_p) * total / weights.len() as f64 * 0.999;
    let mut order: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] >= least).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    let enough = top_p * total;
    let mut sum = 0.0;
    let size = order.iter().position(|i| {
        sum += weights[*i];
        sum >= enough
    });
    order.truncate(size.map_or(order.len(), |at| at + 1));
    let kept: Vec<(usize, f64)> = order.into_iter().map(|i| (i, weights[i])).collect();
    weights.fill(0.0);
    for (i, weight) in kept {
        weights[i] = weight;
    }
}
