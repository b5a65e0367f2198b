//! What can be wrong with the input of this crate.

use std::path::{Path, PathBuf};

/// A wrong argument, state or file; every text names the field and the mend.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A setting outside its domain.
    #[error("`{field}` is {found}: {expected}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value as text.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A tensor or a buffer of another shape.
    #[error("`{field}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the argument.
        field: &'static str,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A value that is not finite.
    #[error("`{field}` is not finite at step {step}")]
    NotFinite {
        /// Name of the value.
        field: &'static str,
        /// The step.
        step: u64,
    },
    /// A state, an output or weights with a value that is not finite.
    #[error("{what} holds a value that is not finite: {mend}")]
    Poisoned {
        /// Where.
        what: String,
        /// What to do.
        mend: &'static str,
    },
    /// A saved state that cannot be used.
    #[error("{}: {what}", .file.display())]
    Saved {
        /// The file.
        file: PathBuf,
        /// What is wrong, and the mend.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{}: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A state that is not one of this model for this batch: another model or batch has left it, or none could have.
    #[error("the state is not one of this model: {0}")]
    State(String),
    /// Weights that are not the blocks that they should be.
    #[error(transparent)]
    Blocks(#[from] crate::blocks::BlockError),
    /// A parameter that a model needs and nobody has given.
    #[error("the tensor `{path}` is missing: give it, or change the setting that asks for it")]
    MissingTensor {
        /// Its path.
        path: String,
    },
    /// A parameter of another shape than the model's settings say.
    #[error("the tensor `{path}` has shape {found:?}, the model's settings make it {expected:?}")]
    TensorShape {
        /// Its path.
        path: String,
        /// The shape given.
        found: Vec<usize>,
        /// The shape needed.
        expected: Vec<usize>,
    },
    /// Parameters that the model does not have.
    #[error(
        "{count} tensors are left over that a model of these settings does not have, the first is `{path}`: leave them out, or change the setting that has them"
    )]
    LeftOver {
        /// Path of the first.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// A stream longer than the model was made for.
    #[error(
        "{tokens} tokens are more than the {length} that the model was made for: give it a window, with which a stream may be of any length, or begin a new one"
    )]
    Length {
        /// Tokens of the stream.
        tokens: u64,
        /// What the model was made for.
        length: usize,
    },
    /// A token that the model does not know.
    #[error("token {token} at position {position} of row {row} is outside the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Row of the batch.
        row: usize,
        /// Position in the row.
        position: usize,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
}

impl MemoryError {
    /// A [`MemoryError::Setting`].
    pub fn setting(field: &'static str, found: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Setting { field, found: found.to_string(), expected: expected.into() }
    }

    /// A [`MemoryError::Shape`], where the shapes differ.
    ///
    /// # Errors
    /// When they do.
    pub fn shape(field: &'static str, found: &[usize], expected: &[usize]) -> Result<(), Self> {
        match found == expected {
            true => Ok(()),
            false => Err(Self::Shape { field, expected: expected.to_vec(), found: found.to_vec() }),
        }
    }

    /// An I/O error with its file.
    pub fn io(file: &Path, source: std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause: source }
    }
}
