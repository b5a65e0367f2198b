//! A data set that has been found: what a plan holds of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::manifest::{self, Manifest};
use crate::error::DataError;

/// Where the files of a resolved data set are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Files below this directory.
    Dir(PathBuf),
    /// Generated when loaded.
    BuiltIn,
}

/// A data set that has been found and verified: what a plan and a cell's key hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Name of the manifest (`mnist`).
    pub name: String,
    /// Name of the variant in the manifest.
    pub variant: String,
    /// The variant is the published data, byte for byte.
    pub exact: bool,
    /// Where it is. Not part of the key.
    pub place: Place,
    /// Digest over the content of all its files (for a generated set: over generator and parameters).
    pub sha256: String,
    /// What describes it, where that is no manifest of this program: a cell's process reads it by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Box<Manifest>>,
}

impl Resolved {
    /// The manifest that describes it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn manifest(&self) -> Result<&Manifest, DataError> {
        match &self.manifest {
            Some(own) => Ok(own),
            None => manifest::find(&self.name),
        }
    }
}

/// Bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
