//! The score network: a U-Net, its EDM preconditioning in log space, and its training
//! (section 19.1).
//!
//! - [`UNetConfig`], [`UNet`]: residual blocks that the noise level modulates (FiLM)
//! - [`Edm`], [`NetDenoiser`]: the denoiser that the network is a part of; [`Edm::save`] and [`Edm::load`]: as a file
//!   that says what it is
//! - [`NoiseLevels`], [`LearningRate`], [`Training`]: a training run as a value

mod edm;
mod ema;
mod file;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod fused;
mod groups;
mod init;
mod layers;
mod norm;
mod train;
mod unet;

pub use edm::{Coefficients, Edm, NetDenoiser};
pub use train::{Batch, LearningRate, NoiseLevels, StepOptions, Training, adam};
pub use unet::{UNet, UNetConfig};
