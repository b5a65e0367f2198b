//! What the paper crates of plasticity share, on Burn 0.22.1.
//!
//! ```
//! use plasticity_core::rng::Stream;
//!
//! // The same numbers whatever else the program draws.
//! let weights = |index| Stream::new(0, "weights", index).normal_vec(6);
//! assert!(weights(0) == weights(0) && weights(0) != weights(1));
//! ```
//!
//! Always there: [`rng`] (random streams), [`device`] (devices by name),
//! [`stats`] (intervals and judgement), [`nn`], [`bytes`], [`files`]. Behind features: `config`
//! (TOML to a checked config), `data` (data sets), `run` (run records and
//! checkpoints), `testing` (helpers for tests).
//!
//! This crate knows no paper. A paper's crate knows this one and never another
//! paper's.

pub mod bytes;
pub mod device;
pub mod error;
pub mod files;
pub mod machine;
pub mod nn;
pub mod rng;
pub mod stats;

#[cfg(feature = "run")]
pub mod checkpoint;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "data")]
pub mod data;
#[cfg(feature = "run")]
pub mod run;
#[cfg(feature = "testing")]
pub mod testing;
