//! The oracles of `docs/papers/synaptic-resonance.md`, one file per room.

mod attention;
mod blocks;
mod fused;
mod kernel;
mod load;
mod memory;
mod model;
mod resume;
mod sampler;
mod session;
mod tasks;
#[cfg(feature = "resonance")]
mod text;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod training;
