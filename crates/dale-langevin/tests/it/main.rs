//! The oracles of `docs/papers/dale-langevin.md`, one file per room.

mod domains;
mod egd;
mod experiment;
mod kernel;
mod loss;
mod network;
mod pictures;
mod prior;
mod resume;
mod sampler;
mod score;
