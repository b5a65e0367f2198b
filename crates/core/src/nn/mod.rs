//! What two or more papers need of networks: the state of a model and of an optimiser
//! as bytes, convolution.

mod conv;
mod state;

pub use conv::{Conv2d, conv2d, conv2d_reference};
pub use state::{load_model, load_optimiser, save_model, save_optimiser};
