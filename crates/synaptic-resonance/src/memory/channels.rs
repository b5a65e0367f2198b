//! Gates of single channels (A12, A13): what they add to the gates of their head.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{sigmoid, softplus};
use plasticity_core::nn::product::matmul;

use super::parameter;
use crate::error::MemoryError;
use crate::kernel::Channels;
use crate::settings::MemoryConfig;

/// Draws a matrix of `d` rows by its name and its columns.
type Draw<'a> = dyn FnMut(&str, usize) -> Result<Param<Tensor<2>>, MemoryError> + 'a;

/// What one gate of the channels of all groups adds to what its head has before the sigmoid (the softplus).
#[derive(Module, Debug)]
pub struct Gate {
    /// `[d or rank, groups D]`, zero at the start.
    pub matrix: Param<Tensor<2>>,
    /// `[groups D]`, zero at the start.
    pub bias: Param<Tensor<1>>,
}

/// The parameters of the gates of channels of one layer: with all of these zero, the memory is the one without them.
#[derive(Module, Debug)]
pub struct ChannelGates {
    /// `[d, rank]`, with a rank: all gates are computed from these numbers of a token.
    pub narrow: Option<Param<Tensor<2>>>,
    /// Of forgetting, by key channel.
    pub decay: Option<Gate>,
    /// Of erasing, by key channel.
    pub erase: Option<Gate>,
    /// Of writing, by value channel.
    pub write: Option<Gate>,
}

impl Gate {
    fn new(path: &str, inputs: usize, outputs: usize, device: &Device) -> Self {
        Self {
            matrix: parameter(path, "matrix", Tensor::zeros([inputs, outputs], device)),
            bias: parameter(path, "bias", Tensor::zeros([outputs], device)),
        }
    }

    /// For every channel of `[batch, time, groups, D]`: what it adds to its head's `[batch, time, groups]`, and that.
    fn add(&self, x: &Tensor<2>, head: Tensor<3>) -> Tensor<4> {
        let [batch, time, groups] = head.dims();
        let own = matmul(x.clone(), self.matrix.val()) + self.bias.val().unsqueeze();
        let width = own.dims()[1] / groups;
        own.reshape([batch, time, groups, width]) + head.unsqueeze_dim::<4>(3)
    }

    fn check(&self, names: [&'static str; 2], inputs: usize, outputs: usize) -> Result<(), MemoryError> {
        MemoryError::shape(names[0], &self.matrix.dims(), &[inputs, outputs])?;
        MemoryError::shape(names[1], &self.bias.dims(), &[outputs])
    }
}

impl ChannelGates {
    /// The gates of a config, of `d` numbers of a token; none where all gates are of heads.
    ///
    /// # Errors
    /// Those of `draw`.
    pub(super) fn new(
        config: &MemoryConfig,
        path: &str,
        [d, groups, width]: [usize; 3],
        draw: &mut Draw,
        device: &Device,
    ) -> Result<Option<Self>, MemoryError> {
        let gated = config.gated();
        if !gated.contains(&true) {
            return Ok(None);
        }
        let path = if path.is_empty() { "channels".to_owned() } else { format!("{path}.channels") };
        let inputs = config.gate_rank.unwrap_or(d);
        let gate = |name: &str| Gate::new(&format!("{path}.{name}"), inputs, groups * width, device);
        let [decay, erase, write] = gated;
        Ok(Some(Self {
            narrow: config.gate_rank.map(|rank| draw("channels.narrow", rank)).transpose()?,
            decay: decay.then(|| gate("decay")),
            erase: erase.then(|| gate("erase")),
            write: write.then(|| gate("write")),
        }))
    }

    /// The gates of `n` `[batch, time, d]`, from what the heads have before the sigmoid (`write`) and the softplus
    /// (`forget`), `[batch, time, groups]`.
    pub(super) fn of(&self, n: &Tensor<3>, write: &Tensor<3>, forget: Option<&Tensor<3>>, least: f64) -> Channels {
        let [batch, time, d] = n.dims();
        let x = n.clone().reshape([batch * time, d]);
        let x = match &self.narrow {
            Some(narrow) => matmul(x, narrow.val()),
            None => x,
        };
        let share = |gate: &Option<Gate>| gate.as_ref().map(|gate| sigmoid(gate.add(&x, write.clone())));
        let log_decay = self.decay.as_ref().zip(forget).map(|(gate, forget)| {
            let rate = softplus(gate.add(&x, forget.clone()), 1.0) + least;
            rate.neg()
        });
        Channels { log_decay, erase: share(&self.erase), write: share(&self.write) }
    }

    /// # Errors
    /// When the parameters, which anybody can replace, do not fit each other, or the config.
    pub(super) fn check(&self, config: &MemoryConfig, [d, groups, width]: [usize; 3]) -> Result<(), MemoryError> {
        let inputs = match &self.narrow {
            Some(narrow) => {
                let rank = narrow.dims()[1];
                MemoryError::shape("channels.narrow", &narrow.dims(), &[d, rank])?;
                rank
            }
            None => d,
        };
        let gates = [
            (["channels.decay.matrix", "channels.decay.bias"], &self.decay),
            (["channels.erase.matrix", "channels.erase.bias"], &self.erase),
            (["channels.write.matrix", "channels.write.bias"], &self.write),
        ];
        for ((names, gate), there) in gates.into_iter().zip(config.gated()) {
            if gate.is_some() != there {
                let expected =
                    format!("of `gates` {:?}: make the memory with `Memory::new` of its config", config.gates);
                return Err(MemoryError::setting(names[0], if there { "missing" } else { "given" }, expected));
            }
            gate.as_ref().map_or(Ok(()), |gate| gate.check(names, inputs, groups * width))?;
        }
        Ok(())
    }
}
