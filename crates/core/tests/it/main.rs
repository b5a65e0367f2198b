//! The integration tests of plasticity-core, in one binary.

#[cfg(any(feature = "flex", feature = "ndarray"))]
mod conv;
#[cfg(feature = "data")]
mod fetch;
#[cfg(feature = "data")]
mod glyphs;
#[cfg(feature = "data")]
mod idx;
#[cfg(feature = "data")]
mod lookup;
#[cfg(feature = "data")]
mod mnist;
#[cfg(feature = "data")]
mod own;
#[cfg(feature = "data")]
mod package;
#[cfg(all(feature = "data", feature = "run"))]
mod resumed;
#[cfg(feature = "data")]
mod small_set;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod state;
#[cfg(all(feature = "data", feature = "run"))]
mod text;
