//! One integration binary.
mod model;
