//! Spiking networks that learn task after task, after HLOP-SNN (arXiv 2402.11984): Hebbian learning of
//! lateral connections that project weight updates.
//!
//! - [`neuron`]: the DSR LIF neuron; [`surrogate`]: the surrogate derivative of a spike
//! - [`network`]: the multi-layer perceptron; [`dsr`]: its learning rule
//! - [`subspace`]: one layer's subspace neurons; [`hlop`]: all layers of a network
//! - [`fused`] on events, for the CPU; [`composed`] of tensor operations
//! - [`learner`]: a network that learns task after task; [`train`]: how its weights move
//! - [`continual`]: what is reported of a stream of tasks
//!
//! Nothing here keeps hidden state, and every random number comes from a `Stream` that the caller
//! hands in. Sections and oracles in comments are those that `docs/papers/hebbian-snn.md` numbers, at its end.

pub mod composed;
pub mod continual;
pub mod dsr;
pub mod error;
pub mod fused;
pub mod hlop;
mod lateral;
pub mod learner;
pub mod network;
pub mod neuron;
mod orthonormal;
mod records;
pub mod subspace;
pub mod surrogate;
pub mod train;

#[cfg(feature = "experiment")]
pub mod experiment;

pub use error::SnnError;
