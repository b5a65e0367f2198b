//! Diffusion by geometric Brownian motion, after "Dale meets Langevin" (arXiv 2510.02730).
//!
//! - [`schedule`]: the forward process; [`kernel`]: noisy images from clean ones
//! - [`score`]: the five views of a score and the [`score::Denoiser`] that all models are
//! - [`mixture`]: exact log-normal mixtures; [`memory`]: the posterior mean over stored images
//! - [`loss`]: explicit, denoising and Hyvarinen's score matching
//! - [`sampler`]: the paper's two samplers and the solvers of diffusion models
//! - [`prior`]: where sampling starts; [`distance`], [`frechet`]: distances between distributions
//! - [`net`]: U-Net, EDM preconditioning, averaged weights; [`egd`]: exponentiated gradient descent
//! - [`wiener`]: the best linear denoiser
//! - [`pixels`]: images in `[0, 1]` to log space and back
//!
//! Nothing here keeps hidden state, and every random number comes from a `Stream` that the caller
//! hands in. Sections and oracles in comments are those that `docs/papers/dale-langevin.md` numbers, at its end.

pub mod distance;
pub mod egd;
pub mod error;
pub mod frechet;
pub mod kernel;
pub mod loss;
pub mod memory;
pub mod mixture;
pub mod net;
pub mod noise;
pub mod pixels;
pub mod prior;
pub mod sampler;
pub mod schedule;
pub mod score;
pub mod state;
pub mod wiener;

#[cfg(feature = "experiment")]
pub mod experiment;

pub use error::DiffusionError;
