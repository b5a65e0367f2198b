//! Spiking networks that learn task after task, after HLOP-SNN (arXiv 2402.11984), on Burn 0.22.1: Hebbian learning
//! of lateral connections that project weight updates.
//!
//! ```
//! use burn::prelude::*;
//! use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
//! use plasticity_core::{device::by_name, rng::Stream};
//!
//! let device = by_name("auto")?;
//! // What a layer has read in an old task: all along one direction.
//! let old = Tensor::<2>::from_data([[3.0, 0.0, 4.0], [-0.6, 0.0, -0.8]], &device);
//! let mut subspace = Subspace::new(3, LateralRule::default(), &device)?;
//! subspace.grow(1, &mut Stream::new(0, "rows", 0))?;
//! for _ in 0..100 {
//!     subspace.update(old.clone())?;
//! }
//! subspace.finish_task(Consolidate::Qr);
//! // No projected gradient changes what the layer answers to it.
//! let gradient = subspace.project_gradient(Tensor::ones([3, 2], &device))?;
//! assert!(old.matmul(gradient).abs().max().into_scalar::<f32>() < 1e-3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
