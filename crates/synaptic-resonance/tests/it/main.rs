//! Oracles of the specification, one file per room.

mod attention;
mod fused;
mod kernel;
mod memory;
mod model;
mod resume;
mod sampler;
mod session;
mod tasks;
mod training;
