//! One integration binary.

mod attention;
mod fused;
mod kernel;
mod model;
mod resume;
mod sampler;
mod session;
mod tasks;
mod training;
