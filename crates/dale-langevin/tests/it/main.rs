//! Oracles of the specification, one file per room.

mod egd;
mod kernel;
mod loss;
mod network;
mod prior;
mod sampler;
mod score;
