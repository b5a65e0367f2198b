//! One integration binary.

mod fused;
mod kernel;
mod model;
mod resume;
mod sampler;
mod session;
mod tasks;
mod training;
