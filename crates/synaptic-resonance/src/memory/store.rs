//! The memories of a model without its host, as one safetensors file: what is trained where the host stays as it is.
//!
//! Tensors, f32, by the path that they have in the model, as `blocks.{i}.memory.gamma`; the settings are JSON in the metadata.

use std::path::Path;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use super::{Memory, parameter};
use crate::error::MemoryError;
use crate::model::Model;
use crate::sealed::{self, Plain, Read, bad};
use crate::settings::{MemoryConfig, ModelConfig};

/// Version of the file.
const FORMAT: u64 = 1;
/// The key of the metadata.
const KEY: &str = "synaptic-resonance-memory";

/// The content of the metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saved {
    format: u64,
    config: MemoryConfig,
    /// L, d, H, G and D of the host.
    host: [usize; 5],
}

fn sizes(config: &ModelConfig) -> [usize; 5] {
    [config.layers, config.width, config.heads, config.groups(), config.head_width()]
}

fn path(layer: usize) -> String {
    format!("blocks.{layer}.memory")
}

/// Memories that were saved, one for each layer of a host.
#[derive(Debug, Clone)]
pub struct Memories {
    /// Their settings.
    pub config: MemoryConfig,
    /// One for each layer.
    pub layers: Vec<Memory>,
}

impl Memories {
    /// Those of a model, which share its parameters; none of one without.
    pub fn of(model: &Model) -> Option<Self> {
        let layers = model.blocks.iter().filter_map(|block| block.memory.clone()).collect();
        Some(Self { config: model.config.memory.clone()?, layers })
    }

    /// Fresh ones for a host of these settings: their gates are shut, so that they change no bit of what the host gives.
    ///
    /// # Errors
    /// When the settings are wrong, or do not fit the host.
    pub fn fresh(
        config: &MemoryConfig,
        host: &ModelConfig,
        stream: &mut Stream,
        device: &Device,
    ) -> Result<Self, MemoryError> {
        let mut normal = |n: usize| stream.normal_vec(n);
        let fresh = |i| Memory::new(config, host, &path(i), &mut normal, device);
        Ok(Self { config: config.clone(), layers: (0..host.layers).map(fresh).collect::<Result<_, _>>()? })
    }

    /// Writes them to a file, whole or not at all, for hosts of the sizes of `host`.
    ///
    /// # Errors
    /// When a parameter is not finite, or the file cannot be written; an older file then still stands.
    pub fn save(&self, file: &Path, host: &ModelConfig) -> Result<(), MemoryError> {
        let mut all = Vec::new();
        for (i, memory) in self.layers.iter().enumerate() {
            let mut visitor = Collect { path: vec![path(i)], all: Vec::new() };
            memory.visit(&mut visitor);
            all.extend(visitor.all);
        }
        let saved = Saved { format: FORMAT, config: self.config.clone(), host: sizes(host) };
        sealed::write(file, KEY, saved, all)
    }

    /// Reads a file for a host of these settings; the numbers are f32. Nothing tells the memories of another host of the
    /// same sizes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or of another version, its settings are wrong, or they are of a host of
    /// other sizes.
    pub fn load(file: &Path, host: &ModelConfig, device: &Device) -> Result<Self, MemoryError> {
        let opened = sealed::open::<Saved>(file, KEY, FORMAT)?;
        let Saved { config, host: theirs, .. } = opened.saved().clone();
        let ours = sizes(host);
        if theirs != ours {
            let what = "layers, width, heads, groups and width of a head";
            return bad(
                file,
                format!("saved for {theirs:?} ({what}), the model has {ours:?}: take that of this model"),
            );
        }
        let of = |e: MemoryError| MemoryError::Saved { file: file.into(), what: e.to_string() };
        let mut nothing = Stream::new(0, "memory", 0);
        let Self { layers: fresh, .. } = Self::fresh(&config, host, &mut nothing, device).map_err(of)?;
        let mut expected = Vec::new();
        for (i, memory) in fresh.iter().enumerate() {
            let mut visitor = Collect { path: vec![path(i)], all: Vec::new() };
            memory.visit(&mut visitor);
            expected.extend(visitor.all.into_iter().map(|plain| (plain.name, plain.shape)));
        }
        let (_, mut data) = opened.tensors(&expected)?;
        let layers = fresh.into_iter().enumerate().map(|(i, memory)| {
            let mut fill = Fill { path: vec![path(i)], data: &mut data };
            memory.map(&mut fill)
        });
        Ok(Self { layers: layers.collect(), config })
    }
}

impl Model {
    /// The model with these memories in place of any that it has, in numbers of its type if that is f32.
    ///
    /// # Errors
    /// When they are not as many as the layers, or their settings do not fit the model.
    pub fn with_memories(mut self, memories: Memories) -> Result<Self, MemoryError> {
        let Memories { config, layers } = memories;
        MemoryError::shape("memories", &[layers.len()], &[self.blocks.len()])?;
        self.config = ModelConfig { memory: Some(config), ..self.config };
        self.config.check()?;
        self.blocks.iter_mut().zip(layers).for_each(|(block, memory)| block.memory = Some(memory));
        Ok(self)
    }
}

/// All parameters on the host, in f32.
struct Collect {
    path: Vec<String>,
    all: Vec<Plain>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().cast(DType::F32).into_data().iter::<f32>().collect();
        self.all.push(Plain { name: self.path.join("."), shape: param.dims().to_vec(), values });
    }
}

/// Puts what was read in the place of every parameter.
struct Fill<'a> {
    path: Vec<String>,
    data: &'a mut Read,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let full = self.path.join(".");
        let Some((values, shape)) = self.data.remove(&full) else { return param };
        let (at, name) = full.rsplit_once('.').unwrap_or(("", &full));
        let device = param.val().device();
        parameter(at, name, Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32)))
    }
}
