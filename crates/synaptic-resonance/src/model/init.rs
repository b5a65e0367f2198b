//! Initial parameters (section 3), and parameters that are given by path.

use std::cell::RefCell;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;

use super::tensors::Tensors;
use super::{Block, Model};
use crate::attention::{Attention, Biases};
use crate::error::MemoryError;
use crate::memory::{Memory, parameter};
use crate::settings::{Activation, MemoryConfig, ModelConfig};

const EMBEDDING_STD: f64 = 0.05;

/// Where the numbers of a parameter come from.
enum Origin<'a> {
    /// Every parameter has a sub-stream of its own path: what a variant has more or less moves no other's numbers.
    Drawn(u64),
    /// From somewhere else, in numbers of a type.
    Given(RefCell<Tensors<'a>>, DType),
}

/// Makes the parts of a model.
struct Parts<'a> {
    origin: Origin<'a>,
    device: &'a Device,
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Parts<'_> {
    fn tensor<const D: usize>(
        &self,
        path: &str,
        name: &str,
        shape: [usize; D],
        drawn: impl FnOnce(u64, &str) -> Tensor<D>,
    ) -> Result<Param<Tensor<D>>, MemoryError> {
        let full = joined(path, name);
        let value = match &self.origin {
            Origin::Drawn(seed) => drawn(*seed, &full),
            Origin::Given(tensors, dtype) => {
                let values = tensors.borrow_mut().take(&full, &shape)?;
                Tensor::from_data(TensorData::new(values, shape), (self.device, *dtype))
            }
        };
        Ok(parameter(path, name, value))
    }

    fn normal(&self, path: &str, name: &str, shape: [usize; 2], std: f64) -> Result<Param<Tensor<2>>, MemoryError> {
        self.tensor(path, name, shape, |seed, full| {
            let mut stream = Stream::new(seed, full, 0);
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (stream.normal() * std) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), self.device)
        })
    }

    /// A matrix `[inputs, outputs]` of standard deviation `0.5 / sqrt(inputs)`, times `scale`.
    fn matrix(&self, path: &str, name: &str, shape: [usize; 2], scale: f64) -> Result<Param<Tensor<2>>, MemoryError> {
        self.normal(path, name, shape, scale * 0.5 / (shape[0] as f64).sqrt())
    }

    fn ones(&self, path: &str, name: &str, n: usize) -> Result<Param<Tensor<1>>, MemoryError> {
        self.tensor(path, name, [n], |_, _| Tensor::ones([n], self.device))
    }

    fn zeros<const D: usize>(
        &self,
        path: &str,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, MemoryError> {
        self.tensor(path, name, shape, |_, _| Tensor::zeros(shape, self.device))
    }

    fn memory(&self, config: &MemoryConfig, model: &ModelConfig, layer: usize) -> Result<Memory, MemoryError> {
        let path = format!("blocks.{layer}.memory");
        match &self.origin {
            Origin::Drawn(seed) => {
                let mut stream = Stream::new(*seed, &format!("{path}.projections"), 0);
                Memory::new(config, model, &path, &mut |n| stream.normal_vec(n), self.device)
            }
            Origin::Given(tensors, dtype) => {
                // A memory is small: its initial values may be made for nothing.
                let memory = Memory::new(config, model, &path, &mut |n| vec![0.0; n], self.device)?;
                let mut replace = Replace { path: vec![path], tensors, dtype: *dtype, error: None };
                let memory = memory.map(&mut replace);
                replace.error.map_or(Ok(memory), Err)
            }
        }
    }

    fn block(&self, config: &ModelConfig, layer: usize) -> Result<Block, MemoryError> {
        let path = format!("blocks.{layer}");
        let below = format!("{path}.attention");
        let (d, mlp, width) = (config.width, config.mlp(), config.head_width());
        let (queries, keys) = (config.heads * width, config.groups() * width);
        // Two terms a layer are added to the stream of the residual.
        let residual = (2.0 * config.layers as f64).sqrt().recip();
        let memory = config.memory.as_ref().map(|memory| self.memory(memory, config, layer)).transpose()?;
        let biases = || {
            let [q, k, v] = [("biases.q", queries), ("biases.k", keys), ("biases.v", keys)]
                .map(|(name, n)| self.zeros(&below, name, [n]));
            Ok::<_, MemoryError>(Biases { q: q?, k: k?, v: v? })
        };
        let mu = || self.zeros(&below, "mu", [config.groups(), width]);
        let gate = || self.matrix(&path, "gate", [d, mlp], 1.0);
        Ok(Block {
            norm1: self.ones(&path, "norm1", d)?,
            attention: Attention {
                q: self.matrix(&below, "q", [d, queries], 1.0)?,
                k: self.matrix(&below, "k", [d, keys], 1.0)?,
                v: self.matrix(&below, "v", [d, keys], 1.0)?,
                o: self.matrix(&below, "o", [queries, d], residual)?,
                mu: config.attention_blend.then(mu).transpose()?,
                biases: config.biases.then(biases).transpose()?,
            },
            memory,
            norm2: self.ones(&path, "norm2", d)?,
            up: self.matrix(&path, "up", [d, mlp], 1.0)?,
            down: self.matrix(&path, "down", [mlp, d], residual)?,
            gate: (config.activation == Activation::SwiGlu).then(gate).transpose()?,
        })
    }

    fn model(&self, config: &ModelConfig) -> Result<Model, MemoryError> {
        config.check()?;
        let table = |name: &str| self.normal("", name, [config.vocabulary, config.width], EMBEDDING_STD);
        Ok(Model {
            embedding: table("embedding")?,
            blocks: (0..config.layers).map(|layer| self.block(config, layer)).collect::<Result<_, _>>()?,
            norm: self.ones("", "norm", config.width)?,
            head: config.own_head.then(|| table("head")).transpose()?,
            config: config.clone(),
        })
    }
}

/// Puts what is given in the place of every parameter.
struct Replace<'a, 'b> {
    path: Vec<String>,
    tensors: &'a RefCell<Tensors<'b>>,
    dtype: DType,
    error: Option<MemoryError>,
}

impl ModuleMapper for Replace<'_, '_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (path, shape) = (self.path.join("."), param.dims());
        match self.tensors.borrow_mut().take(&path, &shape) {
            Ok(values) => {
                let (at, name) = path.rsplit_once('.').unwrap_or(("", &path));
                let device = param.val().device();
                parameter(at, name, Tensor::from_data(TensorData::new(values, shape), (&device, self.dtype)))
            }
            Err(error) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}

/// Puts parameters into numbers of another type; they stay leaves.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tracked = param.is_require_grad();
        param.map(|value| {
            let value = value.cast(self.0).detach();
            if tracked { value.require_grad() } else { value }
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
        Parts { origin: Origin::Drawn(stream.bits()), device }.model(config)
    }

    /// A model of the parameters that are given by path, each read when its turn comes, in numbers of `dtype`. Nothing is
    /// drawn. Paths are those of the modules' fields, as `blocks.0.attention.q`, and shapes those of these.
    ///
    /// # Errors
    /// When the config is wrong, `dtype` is none of f64, f32, f16 and bf16; when a parameter is not given, has another
    /// shape or cannot be read, or one is given that the model does not have.
    pub fn from_tensors(
        config: &ModelConfig,
        tensors: Tensors<'_>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, MemoryError> {
        if !matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16) {
            let expected = "parameters are in F64, F32, F16 or BF16";
            return Err(MemoryError::setting("dtype", format!("{dtype:?}"), expected));
        }
        let parts = Parts { origin: Origin::Given(RefCell::new(tensors), dtype), device };
        let model = parts.model(config)?;
        match parts.origin {
            Origin::Given(tensors, _) => tensors.into_inner().end().map(|()| model),
            Origin::Drawn(_) => Ok(model),
        }
    }

    /// The model with a fresh memory in every layer, in place of any that it has (section 8.12), in numbers of its type: its
    /// logits stay those of the model without memory, bit for bit, until the gate opens.
    ///
    /// # Errors
    /// When the memory's config is wrong, or does not fit the model.
    pub fn with_memory(mut self, memory: &MemoryConfig, stream: &mut Stream) -> Result<Self, MemoryError> {
        let config = ModelConfig { memory: Some(memory.clone()), ..self.config };
        config.check()?;
        let parts = Parts { origin: Origin::Drawn(stream.bits()), device: &self.embedding.val().device() };
        let dtype = self.embedding.val().dtype();
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            let memory = parts.memory(memory, &config, layer)?;
            block.memory = Some(if dtype == DType::F32 { memory } else { memory.map(&mut Cast(dtype)) });
        }
        Ok(Self { config, ..self })
    }
}

/// Parameters that a memory adds to a model, by the formula of section 4.2; 0 for a config that is wrong.
pub fn memory_parameters(config: &ModelConfig) -> usize {
    let Some(memory) = config.memory.as_ref().filter(|_| config.check().is_ok()) else { return 0 };
    let (d, heads, groups, width) = (config.width, config.heads, config.groups(), config.head_width());
    let part = |used: bool, count: usize| if used { count } else { 0 };
    let gates = memory.gated().iter().filter(|there| **there).count() * groups * width;
    let rank = memory.gate_rank.filter(|_| gates > 0);
    let layer = groups * (d + 1)
        + gates * (rank.unwrap_or(d) + 1)
        + d * rank.unwrap_or(0)
        + part(memory.decay, groups * (d + 1))
        + heads * (d + 1)
        + heads
        + part(memory.blend, groups * width)
        + part(memory.read_norm, heads * width)
        + part(memory.own_projections, d * (heads + 2 * groups) * width);
    layer * config.layers
}
