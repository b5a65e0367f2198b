//! Oracles of the specification, one file per room.

mod fused;
mod hlop;
mod neuron;
mod subspace;
mod support;
mod train;
