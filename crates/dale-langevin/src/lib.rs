//! Diffusion by geometric Brownian motion, after "Dale meets Langevin" (arXiv 2510.02730), on Burn 0.22.1:
//! multiplicative score matching, and samplers that keep every sign.
//!
//! ```
//! use burn::tensor::{DType, Tensor, TensorData};
//! use dale_langevin::mixture::LogNormalMixture;
//! use dale_langevin::noise::Noise;
//! use dale_langevin::sampler::{Sampler, Solver, sample, unobserved};
//! use dale_langevin::schedule::Grid;
//! use dale_langevin::score::Level;
//! use dale_langevin::state::State;
//! use plasticity_core::device::by_name;
//!
//! let data = LogNormalMixture::mixture_b();
//! let start = data.stratified(100, Level::of_sd(10.0));
//! let y = Tensor::from_data(TensorData::new(start, [1, 100]), (&by_name("auto")?, DType::F64));
//! let (grid, sampler) = (Grid::geometric(0.01, 10.0, 20)?, Sampler::new(Solver::DpmSolver2M));
//! let mut noise = Noise::new(0, "example", 0, 1);
//! let run = sample(&data, State::positive(y), &grid, &sampler, &mut noise, &mut unobserved)?;
//! assert_eq!((run.calls, run.negative()), (20, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
