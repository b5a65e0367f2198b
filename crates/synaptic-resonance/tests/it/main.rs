//! One integration binary.

mod kernel;
mod model;
mod tasks;
mod training;
