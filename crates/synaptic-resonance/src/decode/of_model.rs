//! The weights of a model of [`crate::model`].

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::nn::host::take;

use super::weights::{Host, Layer, MemoryWeights, Weights};
use crate::attention::Biases;
use crate::blocks::{BlockType, Matrix};
use crate::error::MemoryError;
use crate::memory::{Memories, Memory};
use crate::model::{Block, Model};
use crate::settings::{ModelConfig, Pairs};

impl Weights {
    /// The weights of a model, its matrices rounded to blocks of `kind`; the memory's rates stay in f32.
    ///
    /// # Errors
    /// When attention blends its keys or the memory has projections of its own or gates of channels, which is not decoded
    /// here; when a row is no whole number of blocks, or a weight is not finite.
    pub fn of(model: &Model, kind: BlockType) -> Result<Self, MemoryError> {
        let table = |table: &Param<Tensor<2>>| {
            let [vocabulary, d] = table.dims();
            Ok::<_, MemoryError>(Matrix::quantised(kind, vocabulary, d, &numbers(table.val()))?)
        };
        Ok(Self {
            host: Host::of(&model.config)?,
            embedding: table(&model.embedding)?,
            head: model.head.as_ref().map(table).transpose()?,
            norm: vector(&model.norm),
            layers: model.blocks.iter().map(|block| layer(block, kind)).collect::<Result<_, _>>()?,
        })
    }

    /// The same with these memories, one for each layer, in place of any that there are.
    ///
    /// # Errors
    /// When they are not as many as the layers, or one has projections of its own or a number that is not finite. Shapes
    /// are held against the model's by [`Decoder::new`](super::Decoder::new).
    pub fn with_memories(mut self, memories: &Memories) -> Result<Self, MemoryError> {
        MemoryError::shape("memories", &[memories.layers.len()], &[self.layers.len()])?;
        for (layer, of) in self.layers.iter_mut().zip(&memories.layers) {
            layer.memory = Some(memory(of)?);
        }
        Ok(self)
    }
}

impl Host {
    /// Sizes and constants of a model.
    ///
    /// # Errors
    /// When the config is wrong, or attention blends its keys, which is not decoded here.
    pub fn of(config: &ModelConfig) -> Result<Self, MemoryError> {
        config.check()?;
        if config.attention_blend {
            return Err(MemoryError::setting("attention_blend", true, "weights in blocks need attention without"));
        }
        Ok(Self {
            width: config.width,
            heads: config.heads,
            groups: config.groups(),
            head_width: config.head_width(),
            window: config.window,
            sinks: config.sinks,
            rope_base: config.rope_base,
            rope_halves: config.rope_pairs == Pairs::Halves,
            norm_epsilon: config.norm_epsilon as f32,
            length: None,
        })
    }
}

fn layer(block: &Block, kind: BlockType) -> Result<Layer, MemoryError> {
    let attention = &block.attention;
    Ok(Layer {
        norm1: vector(&block.norm1),
        qkv: [matrix(&attention.q, kind)?, matrix(&attention.k, kind)?, matrix(&attention.v, kind)?],
        biases: match &attention.biases {
            Some(Biases { q, k, v }) => [q, k, v].map(vector),
            None => Default::default(),
        },
        output: matrix(&attention.o, kind)?,
        norm2: vector(&block.norm2),
        gate: block.gate.as_ref().map(|gate| matrix(gate, kind)).transpose()?,
        up: matrix(&block.up, kind)?,
        down: matrix(&block.down, kind)?,
        memory: block.memory.as_ref().map(memory).transpose()?,
    })
}

fn memory(memory: &Memory) -> Result<MemoryWeights, MemoryError> {
    if memory.projections.is_some() {
        let expected = "weights in blocks need a memory that shares its layer's projections";
        return Err(MemoryError::setting("memory.own_projections", true, expected));
    }
    if memory.channels.is_some() {
        let expected = "weights in blocks need a memory whose gates are of heads, `gates = \"heads\"`";
        return Err(MemoryError::setting(
            "memory.gates",
            format!("{:?}", memory.config.gates).to_lowercase(),
            expected,
        ));
    }
    let matrices = [Some(&memory.write), memory.forget.as_ref(), Some(&memory.gate)];
    let (mut rates, mut rows, d) = (Vec::new(), 0, memory.write.dims()[0]);
    for matrix in matrices.into_iter().flatten() {
        rows += matrix.dims()[1];
        rates.extend(numbers(matrix.val().transpose()));
    }
    let biases = [Some(&memory.write_bias), memory.forget_bias.as_ref(), Some(&memory.gate_bias)];
    Ok(MemoryWeights {
        rule: memory.config.rule,
        rates: Matrix::quantised(BlockType::F32, rows, d, &rates)?,
        biases: biases.into_iter().flatten().flat_map(vector).collect(),
        decay: memory.forget.is_some(),
        lambda_min: memory.config.lambda_min as f32,
        gamma: vector(&memory.gamma),
        mu: memory.mu.as_ref().map(|mu| numbers(mu.val())),
        c: memory.c.as_ref().map(|c| numbers(c.val())),
    })
}

/// A matrix `[in, out]` as rows `[out][in]`.
fn matrix(matrix: &Param<Tensor<2>>, kind: BlockType) -> Result<Matrix, MemoryError> {
    let [columns, rows] = matrix.dims();
    Ok(Matrix::quantised(kind, rows, columns, &numbers(matrix.val().transpose()))?)
}

fn vector(x: &Param<Tensor<1>>) -> Vec<f32> {
    numbers(x.val())
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    take(x.cast(DType::F32))
}
