//! The memories of a model at work (section 12.4).

use burn::prelude::*;

use super::{Model, Pass};
use crate::error::MemoryError;
use crate::kernel;
use crate::memory::{Memory, Read};
use crate::tokens::Tokens;

/// What a layer's memory shows of itself (section 12.4).
#[derive(Debug, Clone)]
pub struct Trace {
    /// beta, `[batch, time, groups]`; where value channels have gates, the mean of theirs.
    pub write_rate: Tensor<3>,
    /// |e|, `[batch, time, groups]`.
    pub surprise: Tensor<3>,
    /// rho, `[batch, time, heads]`.
    pub familiarity: Tensor<3>,
    /// g, `[batch, time, heads]`.
    pub gate: Tensor<3>,
    /// Half-life in tokens, `[batch, time, groups]`; none without decay. Where key channels have a decay each, that of their
    /// mean rate.
    pub half_life: Option<Tensor<3>>,
    /// ||S||_F, `[batch, time, groups]`.
    pub norm: Tensor<3>,
}

impl Model {
    /// What the memory of every layer shows while `tokens` pass from the empty state; empty without memory.
    ///
    /// # Errors
    /// As [`Model::hidden`].
    pub fn trace(&self, tokens: &Tokens) -> Result<Vec<Trace>, MemoryError> {
        let (mut x, frame, state) = self.enter(tokens, self.start(tokens.batch()), &Pass::default())?;
        let mut traces = Vec::new();
        for (block, layer) in self.blocks.iter().zip(state.layers) {
            if let (Some(memory), Some(s)) = (&block.memory, &layer.s) {
                let read = block.read(memory, x.clone(), &self.config, &frame);
                traces.push(memory.trace(read, s.clone(), layer.prev_key.clone())?);
            }
            x = block.forward(x, layer, &self.config, &frame)?.0;
        }
        Ok(traces)
    }
}

impl Memory {
    /// What the memory shows while it reads from the state `s`, of which the familiarity row is taken to be empty.
    fn trace(&self, read: Read, s: Tensor<4>, prev_key: Option<Tensor<3>>) -> Result<Trace, MemoryError> {
        let inputs = self.rule_inputs(&read, prev_key);
        let [batch, groups, _, width] = s.dims();
        let row = Tensor::zeros([batch, groups, width], (&s.device(), s.dtype()));
        let mean = |x: &Tensor<4>| x.clone().mean_dim(3).squeeze_dim::<3>(3);
        let write_rate = match &inputs.channels.write {
            Some(write) => inputs.beta.clone() * mean(write),
            None => inputs.beta.clone(),
        };
        let log_a = inputs.log_a.clone().or_else(|| inputs.channels.log_decay.as_ref().map(mean));
        let (signals, _, _) = kernel::signals(inputs, s, row, self.config.rule)?;
        Ok(Trace {
            write_rate,
            surprise: signals.surprise,
            familiarity: signals.familiarity,
            gate: self.read_gate(read.n),
            half_life: log_a.map(|log_a| log_a.neg().recip() * std::f64::consts::LN_2),
            norm: signals.norm,
        })
    }
}
