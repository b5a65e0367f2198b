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
mod describe;
pub mod digits;
mod entry;
mod facts;
mod fetch;
pub mod glyphs;
pub mod idx;
mod images;
mod load;
mod lookup;
pub mod manifest;
mod own;
mod package;
mod resolved;
mod strokes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod verify;
mod wheel;

pub use batches::{Batches, order};
pub use describe::describe;
pub use facts::Facts;
pub use images::{ImageItem, Images, Split};
pub use load::{load, load_from};
pub use lookup::{Location, Lookup, Source, Status, locate, locations, resolve, resolve_among};
pub use manifest::names;
pub use own::beside;
pub use package::{Package, unpack};
pub use resolved::{Place, Resolved};
pub use text::{load_text, load_text_from};
