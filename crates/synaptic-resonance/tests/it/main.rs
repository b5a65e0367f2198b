//! One integration binary.

mod fused;
mod kernel;
mod model;
