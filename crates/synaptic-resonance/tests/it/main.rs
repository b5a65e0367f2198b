//! One integration binary.

mod kernel;
mod model;
mod sampler;
mod session;
mod tasks;
mod training;
