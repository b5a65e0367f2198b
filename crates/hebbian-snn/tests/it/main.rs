//! The oracles of `docs/papers/hebbian-snn.md`, one file per room.

mod domains;
#[cfg(feature = "experiment")]
mod experiment;
mod fused;
mod hlop;
mod learner;
mod neuron;
mod subspace;
mod support;
mod train;
