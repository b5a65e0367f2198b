//! One integration binary.

mod sampler;
mod session;
