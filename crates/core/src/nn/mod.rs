//! What two or more papers need of networks: parameters, the state of a model and of an
//! optimiser as bytes, convolution, clipping of gradients, the learning rate,
//! matrix products ([`product`]), and what kernels on the CPU need ([`host`], [`share`], [`vector`]).

mod clip;
mod conv;
mod finite;
pub mod host;
pub mod product;
mod schedule;
pub mod share;
mod state;
pub mod vector;

pub use clip::clip_grad_norm;
pub use conv::{conv2d, conv2d_reference};
pub use finite::{grad_norm, is_finite, is_finite_model};
pub use schedule::LearningRate;
pub use state::{Files, file, load_model, load_optimiser, parameter, save_model, save_optimiser};
