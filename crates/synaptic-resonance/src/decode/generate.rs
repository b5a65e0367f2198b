//! Tokens drawn one after the other.

use std::ops::ControlFlow;

use plasticity_core::rng::Stream;

use super::Decoder;
use crate::error::MemoryError;
use crate::sampler::Sampler;

/// How long tokens are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Until<'a> {
    /// As many as this at most.
    pub tokens: usize,
    /// Until one of these comes.
    pub stops: &'a [u32],
}

/// Why no more tokens were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By this token, which is neither given nor fed.
    Stop(u32),
    /// There were as many as were asked for.
    Enough,
    /// The caller wanted no more.
    Asked,
    /// There is no [`Decoder::room`] for another.
    Full,
}

impl Decoder {
    /// Draws tokens after the last one; each is given to `each` and then fed, the last one too: drawing 5 and then 3 gives
    /// what drawing 8 does. A stop token is not fed, so that whoever goes on decides what comes in its place.
    ///
    /// # Errors
    /// When nothing has been fed, the sampler is wrong, or a logit is not finite.
    pub fn generate(
        &mut self,
        until: &Until<'_>,
        sampler: &Sampler,
        stream: &mut Stream,
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Ended, MemoryError> {
        sampler.check()?;
        let mut logits = self.logits()?;
        for _ in 0..until.tokens {
            if self.room() == Some(0) {
                return Ok(Ended::Full);
            }
            let token = sampler.draw(&logits, stream)?;
            if until.stops.contains(&token) {
                return Ok(Ended::Stop(token));
            }
            let go_on = each(token);
            logits = self.feed(&[token])?;
            if go_on.is_break() {
                return Ok(Ended::Asked);
            }
        }
        Ok(Ended::Enough)
    }
}
