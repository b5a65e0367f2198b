//! Fast-weight memory in a transformer, after Synaptic Resonance (arXiv 2502.10699), on Burn 0.22.1.
//!
//! ```
//! use plasticity_core::{device::by_name, rng::Stream};
//! use synaptic_resonance::model::Model;
//! use synaptic_resonance::session::Session;
//! use synaptic_resonance::settings::ModelConfig;
//!
//! let model = Model::new(&ModelConfig::default(), &mut Stream::new(0, "model", 0), &by_name("auto")?)?;
//! // A stream of tokens of any length in constant memory; its state is a value.
//! let mut session = Session::new(&model);
//! session.feed(&[1, 60, 9, 34, 17, 51])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The paper's equations and numbers are not available to us. What is built here is one well-defined mechanism that
//! realises its claims, a design of our own: per attention head a matrix that a gated delta rule changes at every
//! token, written with the layer's keys and values, read with its queries, and added to the attention's output
//! through a gate that starts at zero. The recurrence is that of Gated DeltaNet (arXiv 2412.06464), its place beside
//! local attention that of Infini-attention (arXiv 2404.07143).
//!
//! - [`kernel`]: the rule, of tensor operations: token by token, and in chunks; [`fused`]: the same on the CPU
//! - [`memory`]: the memory with its parameters; [`attention`], [`model`]: a decoder that carries it
//! - [`load`]: models of others, from GGUF and safetensors
//! - [`blocks`]: weights of 4 and 8 bits; [`decode`]: one stream through a model of them
//! - [`state`]: what goes from token to token, a value
//! - [`session`], [`sampler`]: generation with a state that can be saved
//! - `text` (feature `resonance`): an open model that writes and answers in words, as the program `resonance` does
//! - [`tasks`], [`train`]: recall tasks, text, and one training step
//!
//! Nothing here keeps hidden state, and every random number comes from a `Stream` that the caller
//! hands in. Sections and oracles in comments are those that `docs/papers/synaptic-resonance.md` numbers, at its end.

pub mod attention;
pub mod blocks;
pub mod decode;
pub mod error;
pub mod fused;
mod inputs;
pub mod kernel;
pub mod load;
pub mod memory;
pub mod model;
pub mod rope;
pub mod sampler;
mod sealed;
pub mod session;
pub mod settings;
mod shared;
pub mod state;
pub mod tasks;
#[cfg(feature = "resonance")]
pub mod text;
#[cfg(feature = "tokenizer")]
pub mod tokenizer;
pub mod tokens;
pub mod train;

#[cfg(feature = "experiment")]
pub mod experiment;

pub use error::MemoryError;
