//! A session as one safetensors file (section 12.2).
//!
//! Tensors, f32: `layer.{i}.s` `[groups, D, D]`, `layer.{i}.prev_key` `[groups, D]`, `layer.{i}.ring.keys` and
//! `layer.{i}.ring.values` `[groups, columns, D]`, the same of `layer.{i}.sinks` where first tokens have left the window,
//! and `hidden` `[width]` of the last token, from which the next one is drawn. Everything else is JSON in the metadata.

use std::path::Path;

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::error::MemoryError;
use crate::model::Model;
use crate::sealed::{self, Plain, part};
use crate::settings::{HalfLives, ModelConfig};
use crate::state::blends;

/// Version of the file.
pub const FORMAT: u64 = 1;
/// The key of the metadata.
pub const KEY: &str = "synaptic-resonance";

/// What the caller says of a session that is saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// A hash of the tokeniser, by any function that the caller keeps to.
    pub tokenizer: Option<String>,
    /// When it was saved, in seconds since 1970: nothing here reads a clock.
    pub created: Option<u64>,
}

/// Sizes that a state depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dims {
    /// V.
    pub vocabulary: usize,
    /// d.
    pub width: usize,
    /// L.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// G.
    pub groups: usize,
    /// D.
    pub head_width: usize,
    /// w; none for full attention.
    pub window: Option<usize>,
    /// First tokens that stay visible beside the window.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sinks: usize,
    /// Layers have a memory.
    pub memory: bool,
    /// Some key is blended with the one before.
    pub blend: bool,
}

impl Dims {
    /// Of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            vocabulary: config.vocabulary,
            width: config.width,
            layers: config.layers,
            heads: config.heads,
            groups: config.groups(),
            head_width: config.head_width(),
            window: config.window,
            sinks: config.sinks,
            memory: config.memory.is_some(),
            blend: blends(config),
        }
    }
}

/// The window of one layer: the last `filled` of its columns hold tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    pub columns: usize,
    pub filled: usize,
    /// First tokens that have left the window.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sinks: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a file says of its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of the file.
    pub format: u64,
    /// [`model_hash`] of the model.
    pub model: String,
    /// What the caller said.
    pub label: Label,
    /// Sizes of the model.
    pub dims: Dims,
    /// Tokens that the session had seen.
    pub tokens: u64,
    /// Tokens that the state had seen.
    pub position: u64,
    /// The memory was frozen.
    pub frozen: bool,
    /// There is a last token.
    pub(super) hidden: bool,
    /// Per layer; none without a window yet.
    pub(super) rings: Vec<Option<Columns>>,
}

/// A blake3 hash of a model: of what its config decides without a parameter, and of the names, shapes and values of
/// all parameters, as hexadecimal digits.
pub fn model_hash(model: &Model) -> String {
    // The chunk decides the speed and the half-lives the beginning, neither what a trained model is.
    let mut config = model.config.canonical();
    if let Some(memory) = &mut config.memory {
        (memory.chunk, memory.half_lives) = (1, HalfLives::Bias(0.0));
    }
    let mut visitor = Hashing { path: Vec::new(), hasher: blake3::Hasher::new() };
    part(&mut visitor.hasher, serde_json::to_string(&config).unwrap_or_default().as_bytes());
    model.visit(&mut visitor);
    visitor.hasher.finalize().to_hex().to_string()
}

struct Hashing {
    path: Vec<String>,
    hasher: blake3::Hasher,
}

impl ModuleVisitor for Hashing {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        part(&mut self.hasher, self.path.join(".").as_bytes());
        part(&mut self.hasher, format!("{:?} {:?}", data.dtype(), param.dims()).as_bytes());
        part(&mut self.hasher, data.as_bytes());
    }
}

/// A tensor of a session on the host.
fn plain<const D: usize>(name: String, x: &Tensor<D>, shape: &[usize]) -> Result<Plain, MemoryError> {
    if x.dtype() != DType::F32 {
        return Err(MemoryError::State(format!("`{name}` is {:?}: only f32 can be saved", x.dtype())));
    }
    Ok(Plain { name, shape: shape.to_vec(), values: x.to_data().iter::<f32>().collect() })
}

fn tensors(session: &Session) -> Result<Vec<Plain>, MemoryError> {
    let mut all = Vec::new();
    for (i, layer) in session.state.layers.iter().enumerate() {
        if let Some(s) = &layer.s {
            all.push(plain(format!("layer.{i}.s"), s, &s.dims()[1..])?);
        }
        if let Some(key) = &layer.prev_key {
            all.push(plain(format!("layer.{i}.prev_key"), key, &key.dims()[1..])?);
        }
        if let Some(ring) = &layer.ring {
            for (name, x) in ring.tensors() {
                all.push(plain(format!("layer.{i}.{name}"), x, &x.dims()[1..])?);
            }
        }
    }
    if let Some(hidden) = &session.hidden {
        all.push(plain("hidden".into(), hidden, &hidden.dims()[1..])?);
    }
    Ok(all)
}

/// [`Session::save`].
pub fn save(session: &Session, file: &Path, label: &Label) -> Result<(), MemoryError> {
    let rings = session.state.layers.iter().map(|layer| {
        let ring = layer.ring.as_ref()?;
        Some(Columns {
            columns: ring.keys.dims()[2],
            filled: ring.filled.first().copied().unwrap_or(0),
            sinks: ring.sinks.as_ref().map_or(0, |sinks| sinks.keys.dims()[2]),
        })
    });
    let saved = Saved {
        format: FORMAT,
        model: session.served.hash().into(),
        label: label.clone(),
        dims: Dims::of(&session.served.model.config),
        tokens: session.tokens,
        position: session.position(),
        frozen: session.frozen,
        hidden: session.hidden.is_some(),
        rings: rings.collect(),
    };
    sealed::write(file, KEY, saved, tensors(session)?)
}
