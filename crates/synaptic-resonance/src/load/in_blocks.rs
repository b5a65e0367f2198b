//! Weights that stay in the blocks of their file.

use std::collections::BTreeMap;
use std::path::Path;

use super::gguf::Gguf;
use super::llama::{Naming, name_of, path_of};
use super::weights::Weight;
use super::{Described, LoadError, Options, Pretrained};
use crate::blocks::{BlockError, BlockType, Matrix};
use crate::decode::{Host, Layer, Weights};
use crate::error::MemoryError;
use crate::settings::{Activation, ModelConfig};

/// A model out of a file, its weights as they were kept there.
#[derive(Debug)]
pub struct InBlocks {
    /// The weights, without memory: [`Weights::with_memories`] inserts one.
    pub weights: Weights,
    /// Settings of the model.
    pub config: ModelConfig,
    /// Its architecture, as the file names it.
    pub architecture: String,
}

/// Called with the bytes that have been read and those that there are.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// The weights of a GGUF file, or of a folder with `config.json` and safetensors, for a
/// [`Decoder`](crate::decode::Decoder). The window and the first tokens of the options count, not the type of numbers.
///
/// # Errors
/// As [`load`](super::load).
pub fn load_blocks(path: &Path, options: &Options, progress: &mut Progress<'_>) -> Result<InBlocks, LoadError> {
    if path.is_dir() {
        let pretrained = Pretrained::open(path)?;
        return in_blocks(pretrained.describe(), pretrained.weights(), path, options, progress);
    }
    Gguf::open(path)?.load_blocks(options, progress)
}

impl Gguf {
    /// The weights of the file, see [`load_blocks`].
    ///
    /// # Errors
    /// As [`load_blocks`].
    pub fn load_blocks(&self, options: &Options, progress: &mut Progress<'_>) -> Result<InBlocks, LoadError> {
        in_blocks(self.describe()?, self.weights(), self.path(), options, progress)
    }
}

fn in_blocks(
    described: Described,
    (naming, weights): (Naming, Vec<Weight<'_>>),
    file: &Path,
    options: &Options,
    progress: &mut Progress<'_>,
) -> Result<InBlocks, LoadError> {
    let Described { config, architecture, length } = described;
    let config = ModelConfig { window: options.window, sinks: options.sinks, ..config };
    let wrong = |cause| LoadError::Model { file: file.into(), cause };
    let host = Host { length, ..Host::of(&config).map_err(wrong)? };
    let (d, mlp) = (config.width, config.mlp());
    let [queries, keys] = [config.heads, config.groups()].map(|count| count * config.head_width());
    // A tied head that is there all the same is the embedding once more.
    let tensors =
        weights.into_iter().map(|weight| (path_of(weight.name, naming).map_or(weight.name.into(), |to| to.0), weight));
    let tensors: BTreeMap<String, Weight<'_>> = tensors.filter(|(path, _)| path != "head" || config.own_head).collect();
    let total = tensors.values().map(|weight| weight.place.bytes as u64).sum();
    let mut from = Reader { naming, file, tensors, done: 0, total, progress };
    let embedding = from.matrix("embedding", config.vocabulary, d)?;
    let head = config.own_head.then(|| from.matrix("head", config.vocabulary, d)).transpose()?;
    let norm = from.vector("norm", d)?;
    let mut layers = Vec::new();
    for i in 0..config.layers {
        let path = |name: &str| format!("blocks.{i}.{name}");
        let biases = match config.biases {
            true => [
                from.vector(&path("attention.biases.q"), queries)?,
                from.vector(&path("attention.biases.k"), keys)?,
                from.vector(&path("attention.biases.v"), keys)?,
            ],
            false => Default::default(),
        };
        let gate = config.activation == Activation::SwiGlu;
        layers.push(Layer {
            norm1: from.vector(&path("norm1"), d)?,
            qkv: [
                from.matrix(&path("attention.q"), queries, d)?,
                from.matrix(&path("attention.k"), keys, d)?,
                from.matrix(&path("attention.v"), keys, d)?,
            ],
            biases,
            output: from.matrix(&path("attention.o"), d, queries)?,
            norm2: from.vector(&path("norm2"), d)?,
            gate: gate.then(|| from.matrix(&path("gate"), mlp, d)).transpose()?,
            up: from.matrix(&path("up"), mlp, d)?,
            down: from.matrix(&path("down"), d, mlp)?,
            memory: None,
        });
    }
    from.end()?;
    Ok(InBlocks { weights: Weights { host, embedding, head, norm, layers }, config, architecture })
}

/// Tensors on their way, by the path of the model's parameter.
struct Reader<'a, 'p, 'f> {
    naming: Naming,
    file: &'a Path,
    tensors: BTreeMap<String, Weight<'a>>,
    done: u64,
    total: u64,
    progress: &'p mut Progress<'f>,
}

impl<'a> Reader<'a, '_, '_> {
    /// How the file calls the parameter at a path.
    fn name(&self, path: &str) -> String {
        name_of(path, self.naming).map_or(path.into(), |(name, _)| name)
    }

    fn wrong(&self, cause: MemoryError) -> LoadError {
        LoadError::Model { file: self.file.into(), cause }
    }

    /// The bytes of a tensor, outputs first as files have it.
    fn take(&mut self, path: &str, shape: &[usize]) -> Result<(Weight<'a>, Vec<u8>), LoadError> {
        let Some(weight) = self.tensors.remove(path) else {
            return Err(self.wrong(MemoryError::MissingTensor { path: self.name(path) }));
        };
        let place = weight.place;
        if place.shape != shape {
            let (found, expected) = (place.shape.clone(), shape.to_vec());
            return Err(self.wrong(MemoryError::TensorShape { path: self.name(path), found, expected }));
        }
        let bytes = weight.source.read(place).map_err(|e| LoadError::io(&weight.source.path, e))?;
        self.done += place.bytes as u64;
        (self.progress)(self.done, self.total);
        Ok((weight, bytes))
    }

    fn matrix(&mut self, path: &str, rows: usize, columns: usize) -> Result<Matrix, LoadError> {
        let (weight, bytes) = self.take(path, &[rows, columns])?;
        Matrix::new(weight.place.kind, rows, columns, &bytes).map_err(|e| damaged(&weight, e))
    }

    fn vector(&mut self, path: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let (weight, bytes) = self.take(path, &[n])?;
        let mut values = vec![0.0; n];
        weight.place.kind.dequantise(&bytes, &mut values).map_err(|e| damaged(&weight, e))?;
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(values),
            Some(block) => Err(damaged(&weight, BlockError::NotFinite { kind: BlockType::F32.name(), block })),
        }
    }

    /// # Errors
    /// When tensors are left over.
    fn end(self) -> Result<(), LoadError> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(path) => {
                let (path, count) = (self.name(path), self.tensors.len());
                Err(self.wrong(MemoryError::LeftOver { path, count }))
            }
        }
    }
}

/// An error about the numbers of a tensor.
fn damaged(weight: &Weight<'_>, error: BlockError) -> LoadError {
    let Weight { name, place, source } = weight;
    let what = match error {
        BlockError::NotFinite { block, .. } => format!("the tensor `{name}` is not finite in its block {block}"),
        other => format!("the tensor `{name}`: {other}"),
    };
    LoadError::malformed(&source.path, what, place.offset)
}
