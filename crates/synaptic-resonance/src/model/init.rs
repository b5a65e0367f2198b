//! Initial parameters (section 3).

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::rng::Stream;

use super::{Block, Model};
use crate::attention::Attention;
use crate::error::MemoryError;
use crate::memory::{Memory, parameter};
use crate::settings::{MemoryConfig, ModelConfig};

const EMBEDDING_STD: f64 = 0.05;

/// Every parameter has a sub-stream of its own path: what a variant has more or less moves no other's numbers.
struct Draw<'a> {
    seed: u64,
    device: &'a Device,
}

impl Draw<'_> {
    fn normal(&self, path: &str, name: &str, shape: [usize; 2], std: f64) -> Param<Tensor<2>> {
        let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut stream = Stream::new(self.seed, &full, 0);
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (stream.normal() * std) as f32).collect();
        parameter(path, name, Tensor::<2>::from_data(TensorData::new(values, shape), self.device))
    }

    /// A matrix `[inputs, outputs]` of standard deviation `0.5 / sqrt(inputs)`, times `scale`.
    fn matrix(&self, path: &str, name: &str, shape: [usize; 2], scale: f64) -> Param<Tensor<2>> {
        self.normal(path, name, shape, scale * 0.5 / (shape[0] as f64).sqrt())
    }

    fn ones(&self, path: &str, name: &str, n: usize) -> Param<Tensor<1>> {
        parameter(path, name, Tensor::ones([n], self.device))
    }

    fn memory(&self, config: &MemoryConfig, model: &ModelConfig, layer: usize) -> Result<Memory, MemoryError> {
        let path = format!("blocks.{layer}.memory");
        let mut stream = Stream::new(self.seed, &format!("{path}.projections"), 0);
        Memory::new(config, model, &path, &mut |n| stream.normal_vec(n), self.device)
    }

    fn block(&self, config: &ModelConfig, layer: usize) -> Result<Block, MemoryError> {
        let path = format!("blocks.{layer}");
        let below = format!("{path}.attention");
        let (d, mlp, width) = (config.width, config.mlp(), config.head_width());
        let (queries, keys) = (config.heads * width, config.groups() * width);
        // Two terms a layer are added to the stream of the residual.
        let residual = (2.0 * config.layers as f64).sqrt().recip();
        let memory = config.memory.as_ref().map(|memory| self.memory(memory, config, layer)).transpose()?;
        let zero_mu = || parameter(&below, "mu", Tensor::zeros([config.groups(), width], self.device));
        Ok(Block {
            norm1: self.ones(&path, "norm1", d),
            attention: Attention {
                q: self.matrix(&below, "q", [d, queries], 1.0),
                k: self.matrix(&below, "k", [d, keys], 1.0),
                v: self.matrix(&below, "v", [d, keys], 1.0),
                o: self.matrix(&below, "o", [queries, d], residual),
                mu: config.attention_blend.then(zero_mu),
            },
            memory,
            norm2: self.ones(&path, "norm2", d),
            up: self.matrix(&path, "up", [d, mlp], 1.0),
            down: self.matrix(&path, "down", [mlp, d], residual),
        })
    }
}

impl Model {
    /// Draws the parameters as section 3 says; ids are hashes of the parameters' paths. Parameters that two variants
    /// share are drawn alike from the same stream, whatever else the variants have.
    ///
    /// # Errors
    /// When the config is wrong.
    pub fn new(config: &ModelConfig, stream: &mut Stream, device: &Device) -> Result<Self, MemoryError> {
        config.check()?;
        let draw = Draw { seed: stream.bits(), device };
        Ok(Self {
            embedding: draw.normal("", "embedding", [config.vocabulary, config.width], EMBEDDING_STD),
            blocks: (0..config.layers).map(|layer| draw.block(config, layer)).collect::<Result<_, _>>()?,
            norm: draw.ones("", "norm", config.width),
            config: config.clone(),
        })
    }

    /// The model with a fresh memory in every layer, in place of any that it has (section 8.12): its logits stay those
    /// of the model without memory, bit for bit, until the gate opens.
    ///
    /// # Errors
    /// When the memory's config is wrong, or does not fit the model.
    pub fn with_memory(mut self, memory: &MemoryConfig, stream: &mut Stream) -> Result<Self, MemoryError> {
        let config = ModelConfig { memory: Some(memory.clone()), ..self.config };
        config.check()?;
        let draw = Draw { seed: stream.bits(), device: &self.embedding.val().device() };
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            block.memory = Some(draw.memory(memory, &config, layer)?);
        }
        Ok(Self { config, ..self })
    }
}

/// Parameters that a memory adds to a model, by the formula of section 4.2; 0 for a config that is wrong.
pub fn memory_parameters(config: &ModelConfig) -> usize {
    let Some(memory) = config.memory.as_ref().filter(|_| config.check().is_ok()) else { return 0 };
    let (d, heads, groups, width) = (config.width, config.heads, config.groups(), config.head_width());
    let part = |used: bool, count: usize| if used { count } else { 0 };
    let layer = groups * (d + 1)
        + part(memory.decay, groups * (d + 1))
        + heads * (d + 1)
        + heads
        + part(memory.blend, groups * width)
        + part(memory.read_norm, heads * width)
        + part(memory.own_projections, d * (heads + 2 * groups) * width);
    layer * config.layers
}
