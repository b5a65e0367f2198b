//! What ends the program.

use std::path::{Path, PathBuf};

use synaptic_resonance::MemoryError;
use synaptic_resonance::text::TextError;

/// Why the program cannot do what it was asked for; each is one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The model, its text or its session.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file of text.
    #[error("{}: {cause}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A text that is too short.
    #[error("{}: {found} tokens: give a text of at least 2", .file.display())]
    Short {
        /// The file.
        file: PathBuf,
        /// Its tokens.
        found: usize,
    },
    /// Flags that do not fit each other.
    #[error("{0}")]
    Flags(String),
    /// Standard input.
    #[error("standard input: {0}")]
    Input(std::io::Error),
    /// Threads.
    #[error("--threads: {0}")]
    Threads(rayon::ThreadPoolBuildError),
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Self::Text(error.into())
    }
}

impl Failure {
    /// A file that cannot be read.
    pub fn file(file: &Path, cause: std::io::Error) -> Self {
        Self::File { file: file.into(), cause }
    }
}
