//! The state of the diffusion: signs and log magnitudes.

use burn::prelude::*;

/// x = sign o exp(y). Only the sign-agnostic sampler ever changes a sign.
#[derive(Debug, Clone)]
pub struct State {
    /// log |x|, `[batch, pixels]`.
    pub y: Tensor<2>,
    /// +1 or -1, `[batch, pixels]`; `None` means that all are positive.
    pub sign: Option<Tensor<2>>,
}

impl State {
    /// A positive state.
    pub fn positive(y: Tensor<2>) -> Self {
        Self { y, sign: None }
    }

    /// The ambient variable, `[batch, pixels]`. Shapes of `y` and `sign` that do not fit panic as Burn's operations
    /// do.
    pub fn x(&self) -> Tensor<2> {
        match &self.sign {
            None => self.y.clone().exp(),
            Some(sign) => self.y.clone().exp() * sign.clone(),
        }
    }
}
