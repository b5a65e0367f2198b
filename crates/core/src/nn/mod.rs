//! What two or more papers need of networks: the state of a model and of an optimiser
//! as bytes.

mod state;

pub use state::{load_model, load_optimiser, save_model, save_optimiser};
