//! One integration binary.

mod sampler;
