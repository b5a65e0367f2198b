//! Data sets: manifests, lookup, download, readers, generated sets.
//!
//! A name becomes pictures, or a text, in two steps. [`resolve`] finds and verifies a set,
//! once for a whole suite, and gives a [`Resolved`], which goes into the plan and into each
//! cell's key. [`load`] (or [`load_text`]) reads it, in the cell's process, and verifies it
//! again.
//!
//! ```no_run
//! use plasticity_core::data::{self, Lookup, Split};
//!
//! let lookup = Lookup::from_env(None, false);
//! let (set, passed_over) = data::resolve(&["mnist".into(), "glyphs".into()], &lookup)?;
//! let train = data::load(&set, Split::Train, Some(10_000))?;
//! # Ok::<(), plasticity_core::error::DataError>(())
//! ```

pub mod batches;
mod fetch;
pub mod glyphs;
pub mod idx;
mod images;
mod lookup;
pub mod manifest;
mod strokes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod verify;

pub use batches::{Batches, order};
pub use images::{ImageItem, Images, Split, load, load_from};
pub use lookup::{Location, Lookup, Source, Status, locate, locations, resolve, resolve_among};
pub use manifest::names;
pub use text::{load_text, load_text_from};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
}

/// Bytes as lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
