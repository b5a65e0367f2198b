//! One integration binary.

mod model;
mod sampler;
mod session;
