//! Experiments and their runs.
//!
//! A paper's crate implements [`Experiment`]; a runner prepares a cell from a config
//! and a seed, gives it a [`RunContext`] and publishes the [`Outcome`]. Records are the
//! types of [`record`].

mod context;
mod curve;
mod events;
mod experiment;
mod lock;
pub mod picture;
pub mod record;

pub use context::{Progress, RunContext, Setup};
pub use curve::{Curve, EVENT_EVERY};
pub use experiment::{Entry, Experiment, Prepared};
pub use lock::Lock;
pub use record::{Outcome, Plan};
