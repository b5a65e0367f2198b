//! What two or more papers need of networks: parameters, the state of a model and of an
//! optimiser as bytes, convolution, clipping of gradients, averaged weights, the learning rate,
//! and what kernels on the CPU need ([`host`], [`share`]).

mod clip;
mod conv;
mod ema;
pub mod host;
mod schedule;
pub mod share;
mod state;

pub use clip::clip_grad_norm;
pub use conv::{Conv2d, conv2d, conv2d_reference};
pub use ema::{ema_decay, ema_update};
pub use schedule::LearningRate;
pub use state::{Files, file, load_model, load_optimiser, parameter, save_model, save_optimiser};
