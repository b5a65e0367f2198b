//! Models of others: checkpoints of the Llama family from GGUF, and from safetensors with the `config.json` of the
//! transformers library.
//!
//! ```no_run
//! use burn::tensor::DType;
//! use plasticity_core::device::by_name;
//! use synaptic_resonance::load::{Options, load};
//!
//! // Full attention, as the file was trained; a window makes a stream of constant memory.
//! let loaded = load("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref(), &Options::default(), &by_name("auto")?)?;
//! println!("{:?}, {:?} tokens at most", loaded.model.config, loaded.length);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | | GGUF | safetensors |
//! | --- | --- | --- |
//! | architectures | `llama`, `qwen2` | `llama`, `qwen2` |
//! | numbers | F32, F16, BF16, Q8_0, Q4_0, Q4_1 | F32, F16, BF16 |
//! | pairs of rotary positions | `llama`: neighbours, since the converter has turned the rows of q and k already; `qwen2`: halves | halves |
//! | several files | no | by `model.safetensors.index.json` |
//!
//! [`load`] gives a model of tensors, [`load_blocks`] weights that stay in the blocks of the file, for
//! [`decode`](crate::decode).
//!
//! Nothing in a file is believed: every count and size is held against the length of the file before anything is
//! allocated, and a tensor against the model's settings before it is read. Tensors are read one after the other.

pub mod gguf;
mod in_blocks;
mod llama;
mod matrix;
mod pretrained;
mod weights;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;

use crate::error::MemoryError;
use crate::model::Model;
use crate::settings::ModelConfig;
use gguf::Gguf;

pub use in_blocks::{InBlocks, Progress, load_blocks};
pub use pretrained::Pretrained;
#[cfg(feature = "tokenizer")]
pub(crate) use pretrained::small;

/// A file of weights that cannot be used; every text names the file and the mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{}: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is not what its format says.
    #[error("{}: {what} at byte {offset}: the file is cut off or damaged, get it again", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// Where.
        offset: u64,
    },
    /// It is what its format says, and nothing here can use it.
    #[error("{}: {what}: {mend}", .file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What is not understood.
        what: String,
        /// What can be done.
        mend: &'static str,
    },
    /// A field of it is missing or outside its domain.
    #[error("{}: `{field}` is {found}: {expected}", .file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// What must stand there.
        expected: String,
    },
    /// Its weights make no model.
    #[error("{}: {cause}", .file.display())]
    Model {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: MemoryError,
    },
}

impl LoadError {
    fn io(file: &Path, cause: std::io::Error) -> Self {
        Self::Io { file: file.into(), cause }
    }

    fn malformed(file: &Path, what: impl Into<String>, offset: u64) -> Self {
        Self::Malformed { file: file.into(), what: what.into(), offset }
    }

    fn unsupported(file: &Path, what: impl Into<String>, mend: &'static str) -> Self {
        Self::Unsupported { file: file.into(), what: what.into(), mend }
    }

    fn field(file: &Path, field: &str, found: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Field { file: file.into(), field: field.into(), found: found.to_string(), expected: expected.into() }
    }
}

/// What is chosen when a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// w, see [`ModelConfig::window`]: none for the full attention that the model was trained with.
    pub window: Option<usize>,
    /// First tokens that stay visible beside a window, see [`ModelConfig::sinks`]: 4 keep a model that was trained with
    /// full attention from falling apart.
    pub sinks: usize,
    /// Numbers of the parameters: F32, F64, F16 or BF16.
    pub dtype: DType,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: None, sinks: 0, dtype: DType::F32 }
    }
}

/// A model out of a file.
#[derive(Debug)]
pub struct Loaded {
    /// The model, without memory: [`Model::with_memory`] inserts one.
    pub model: Model,
    /// Its architecture, as the file names it.
    pub architecture: String,
    /// Tokens that it was made for: beyond, positions are new to it. None where the file does not say.
    pub length: Option<usize>,
}

/// What a file says of its model.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Settings of the model, with full attention and without memory.
    pub config: ModelConfig,
    /// See [`Loaded`].
    pub architecture: String,
    /// See [`Loaded`].
    pub length: Option<usize>,
}

/// The model of a GGUF file, or of a folder with `config.json` and safetensors.
///
/// # Errors
/// When the file cannot be read, is damaged, or is of an architecture or in numbers that are not understood; when the
/// options do not fit, or a tensor is missing, of another shape or left over.
pub fn load(path: &Path, options: &Options, device: &Device) -> Result<Loaded, LoadError> {
    if path.is_dir() {
        let pretrained = Pretrained::open(path)?;
        return llama::model(pretrained.describe(), pretrained.weights(), path, options, device);
    }
    let file = Gguf::open(path)?;
    llama::model(file.describe()?, file.weights(), path, options, device)
}
