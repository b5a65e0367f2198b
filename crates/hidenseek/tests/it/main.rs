//! The oracles of `docs/papers/hidenseek.md`, one file per room.

mod aggregate;
mod codec;
mod dead_zone;
#[cfg(feature = "experiment")]
mod experiment;
mod federation;
mod fused;
mod hostile;
mod partition;
mod prune;
mod supermask;
