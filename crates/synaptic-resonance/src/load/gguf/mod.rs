//! GGUF: one file with settings, tokens and weights in blocks.
//!
//! A file is a head (metadata by key, then name, shape, type and place of every tensor) and the data. All numbers are
//! little-endian.

mod kinds;
mod parse;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::llama::{self, Naming};
use super::weights::{Source, Weight, apart};
use super::{Described, LoadError};
use parse::{Fault, head};

pub use super::weights::Place;

/// What stands under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number of a type without sign.
    Unsigned(u64),
    /// A whole number of a type with sign.
    Signed(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of numbers, or of truth values as 0 and 1.
    Numbers(Vec<f64>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(x) => x.fmt(f),
            Self::Signed(x) => x.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Bool(x) => x.fmt(f),
            Self::Text(x) => write!(f, "\"{}\"", x.escape_debug().take(80).collect::<String>()),
            Self::Texts(x) => write!(f, "an array of {} texts", x.len()),
            Self::Numbers(x) => write!(f, "an array of {} numbers", x.len()),
        }
    }
}

/// An open GGUF file whose head has been read.
#[derive(Debug)]
pub struct Gguf {
    source: Source,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Place>,
}

impl Gguf {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// When it cannot be read, is no GGUF file of version 2 or 3, is cut off, claims more than it holds, has two entries
    /// of one name or tensors that overlap, or has a tensor of a type that is not read here.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |e| LoadError::io(path, e);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let head = head(BufReader::new(&file), length).map_err(|fault| match fault {
            Fault::Malformed(what, offset) => LoadError::malformed(path, what, offset),
            Fault::Unsupported(what, mend) => LoadError::unsupported(path, what, mend),
            Fault::Io(kind, what) => io(std::io::Error::new(kind, what)),
        })?;
        apart(path, head.tensors.iter().map(|(name, place)| (name.as_str(), place)))?;
        let source = Source::new(path, file);
        Ok(Self { source, version: head.version, metadata: head.metadata, tensors: head.tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What stands under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// All keys with what stands under them.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Place> {
        &self.tensors
    }

    /// The bytes of a tensor, in blocks of its type.
    ///
    /// # Errors
    /// When the file has no such tensor, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, LoadError> {
        let Some(place) = self.tensors.get(name) else {
            let expected = "the name of a tensor of this file";
            return Err(LoadError::field(self.path(), "tensor", name, expected));
        };
        self.source.read(place).map_err(|e| LoadError::io(self.path(), e))
    }

    /// What the file says of its model.
    ///
    /// # Errors
    /// When its architecture is not known here, or a setting is missing, wrong or not understood.
    pub fn describe(&self) -> Result<Described, LoadError> {
        llama::of_gguf(self)
    }

    pub(super) fn weights(&self) -> (Naming, Vec<Weight<'_>>) {
        let all = self.tensors.iter().map(|(name, place)| Weight { name, place, source: &self.source });
        (Naming::Gguf, all.collect())
    }

    pub(super) fn missing(&self, key: &str) -> LoadError {
        LoadError::field(self.path(), key, "missing", "the model cannot be read without it: convert it anew")
    }

    /// The whole number under a key, where there is one.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let found = match self.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(x)) => usize::try_from(*x).ok(),
            Some(Value::Signed(x)) => usize::try_from(*x).ok(),
            Some(_) => None,
        };
        match found {
            Some(x) => Ok(Some(x)),
            None => Err(self.wrong(key, "must be a whole number of at least 0")),
        }
    }

    /// The number under a key, where there is one.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(_) => Err(self.wrong(key, "must be a number")),
        }
    }

    /// The text under a key, where there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(x)) => Ok(Some(x)),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    fn wrong(&self, key: &str, expected: &str) -> LoadError {
        let found = self.get(key).map_or("missing".into(), Value::to_string);
        LoadError::field(self.path(), key, found, expected)
    }
}
