//! One integration binary.

mod kernel;
mod model;
