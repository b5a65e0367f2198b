//! Oracles of the specification, one file per room.

mod fused;
mod hlop;
mod neuron;
#[cfg(feature = "experiment")]
mod resume;
mod subspace;
mod support;
mod train;
