//! One integration binary.

mod kernel;
mod model;
mod resume;
mod tasks;
mod training;
