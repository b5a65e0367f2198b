//! One integration binary.

mod fused;
mod kernel;
mod model;
mod resume;
mod tasks;
mod training;
