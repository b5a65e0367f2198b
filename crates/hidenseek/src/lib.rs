//! Federated lottery tickets, after HideNseek (arXiv 2206.04385): the server prunes a random network at
//! initialisation, clients train sign supermasks on what is left, and every byte is counted.
//!
//! - [`network`], [`init`]: networks without biases and their frozen weights
//! - [`prune`], [`mask`]: synaptic saliency, and what it leaves
//! - [`supermask`]: scores and the masks that they stand for
//! - [`client`]: a client's round; [`fused`] over the survivors, [`composed`] of tensor operations
//! - [`aggregate`]: the server's rules; [`federation`]: rounds
//! - [`codec`], [`ledger`]: messages as bytes, and their count
//! - [`partition`]: who holds which images
//!
//! Nothing here keeps hidden state, and every random number comes from a `Stream` that the caller
//! hands in. Sections and oracles in comments are those that `docs/papers/hidenseek.md` numbers, at its end.

pub mod aggregate;
pub mod client;
pub mod codec;
pub mod composed;
pub mod error;
pub mod federation;
pub mod fused;
pub mod init;
pub mod ledger;
pub mod mask;
pub mod network;
pub mod partition;
pub mod prune;
pub mod supermask;

#[cfg(feature = "experiment")]
pub mod experiment;

pub use error::FederationError;
