//! Federated lottery tickets, after HideNseek (arXiv 2206.04385), on Burn 0.22.1: the server prunes a
//! random network at initialisation, clients train sign supermasks on what is left, and every byte is counted.
//!
//! ```
//! use hidenseek::codec::bits::{pack, signs, unpack};
//!
//! // A mask is the signs of its scores, a bit each.
//! let mask = signs(&[0.3, -0.1, 0.0, -2.0, 0.7, -0.4, -0.1, 0.9, 0.2]);
//! let packed = pack(&mask);
//! assert_eq!(packed.len(), 2);
//! assert_eq!(unpack(&packed, mask.len())?, mask);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
