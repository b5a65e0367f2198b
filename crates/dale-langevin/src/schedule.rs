//! Noise schedules V(t), B(t) (section 4.4), and grids of noise levels (section 19.2).

use crate::error::DiffusionError;
use crate::score::Level;

/// The forward process: how variance and drift of `y = log x` grow with t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Geometric Brownian motion of constant coefficients, the paper's (section 4.1).
    Constant {
        /// Diffusion rate; the paper: 0.8.
        sigma: f64,
        /// Drift rate of x; the paper: sigma^2 / 2.
        mu: f64,
        /// End of time, T; the paper: 1.
        horizon: f64,
    },
    /// sd(t) = sd_min (sd_max / sd_min)^t on t in [0, 1], without drift of y.
    GeometricSd {
        /// sd(0).
        sd_min: f64,
        /// sd(1).
        sd_max: f64,
    },
}

/// Noise levels from high to low; the sampler goes on from the last to noise 0. A grid of n
/// levels costs a first-order sampler n calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
}

impl Grid {
    /// A grid of given levels.
    ///
    /// # Errors
    /// When it is empty, or the variances do not fall strictly to above 0.
    pub fn from_levels(levels: Vec<Level>) -> Result<Self, DiffusionError> {
        let _ = &levels;
        todo!()
    }

    /// The levels, from high to low; all variances above 0.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}
