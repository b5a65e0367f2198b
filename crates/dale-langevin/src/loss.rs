//! Score matching: explicit, denoising and Hyvarinen's (section 8).
//!
//! Every loss is a mean over pixels and batch, `[1]`, and differentiable. Per image the paper sums
//! over pixels: multiply by the number of pixels to print its numbers. Shapes that do not fit panic as Burn's
//! operations do.

use burn::prelude::*;

use crate::error::DiffusionError;

/// Weight of a noise level (section 8.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weighting {
    /// V^2: the paper's, unit weight on the prediction of y_0.
    Paper,
    /// V: unit weight on the prediction of the noise.
    Eps,
    /// V^2 (V + sd_data^2) / (V sd_data^2): EDM's, unit weight on its network's output.
    Edm {
        /// Root mean square of the data in y.
        sd_data: f64,
    },
}

impl Weighting {
    /// Whether the constants make a weighting.
    ///
    /// # Errors
    /// When `sd_data` is not above 0 and finite.
    pub fn check(&self) -> Result<(), DiffusionError> {
        match *self {
            Self::Edm { sd_data } if !(sd_data > 0.0 && sd_data.is_finite()) => {
                Err(DiffusionError::setting("sd_data", sd_data, "above 0 and finite"))
            }
            _ => Ok(()),
        }
    }

    /// The weight on ||u_theta - u_cond||^2 at variance V.
    pub fn weight(&self, variance: f64) -> f64 {
        self.weight_denoised(variance) * variance * variance
    }

    /// The same weight on ||D - y_0||^2 = V^2 ||u_theta - u_cond||^2.
    pub fn weight_denoised(&self, variance: f64) -> f64 {
        match *self {
            Self::Paper => 1.0,
            Self::Eps => 1.0 / variance,
            Self::Edm { sd_data } => 1.0 / variance + 1.0 / (sd_data * sd_data),
        }
    }

    /// sqrt of [`Weighting::weight_denoised`] times sd^power for each sd of a batch, `[batch, 1]`.
    fn root(&self, sd: Tensor<1>, times_sd: bool) -> Tensor<2> {
        let sd: Tensor<2> = sd.unsqueeze_dim(1);
        match (*self, times_sd) {
            (Self::Paper, false) => sd.ones_like(),
            (Self::Paper, true) => sd,
            (Self::Eps, false) => sd.recip(),
            (Self::Eps, true) => sd.ones_like(),
            (Self::Edm { sd_data }, false) => ((sd.clone() * sd_data.recip()).powi_scalar(2) + 1.0).sqrt() / sd,
            (Self::Edm { sd_data }, true) => ((sd * sd_data.recip()).powi_scalar(2) + 1.0).sqrt(),
        }
    }
}

/// Multiplicative denoising score matching, M-DSM, as denoising of y (sections 8.2 and 8.4): the mean
/// of w_D(V) (D - y_0)^2, w_D = [`Weighting::weight_denoised`].
///
/// `denoised` and `clean`: `[batch, pixels]`; `sd`: `[batch]`, the noise of each image. It equals
/// weight(V) (h_theta - h(x_t | x_0))^2, without a difference of y being divided by V. Times the number
/// of pixels, and with [`Weighting::Paper`], it is the loss that the paper prints.
pub fn denoising(denoised: Tensor<2>, clean: Tensor<2>, sd: Tensor<1>, weighting: Weighting) -> Tensor<1> {
    // Weighted before it is squared: at tiny V the square alone would leave the range of f32.
    ((denoised - clean) * weighting.root(sd, false)).powi_scalar(2).mean()
}

/// [`denoising`] for a model that predicts the noise: (D - y_0)^2 = V (eps_theta - eps)^2, exact at any
/// V, as no rounded y enters.
///
/// `predicted` and `eps`: `[batch, pixels]`; `sd`: `[batch]`.
pub fn denoising_noise(predicted: Tensor<2>, eps: Tensor<2>, sd: Tensor<1>, weighting: Weighting) -> Tensor<1> {
    ((predicted - eps) * weighting.root(sd, true)).powi_scalar(2).mean()
}

/// Explicit score matching, M-ESM (section 8.1): the mean of (h_theta - h)^2, both Hyvarinen scores
/// `[batch, pixels]` at samples of p_t. [`denoising`] of unit weight differs by a constant,
/// 1 / V - E u^2 per pixel.
pub fn explicit(h_theta: Tensor<2>, h: Tensor<2>) -> Tensor<1> {
    (h_theta - h).powi_scalar(2).mean()
}

/// Hyvarinen's non-negative score matching (section 8.3): J_NN, the mean of h^2 / 2 + h + dh/dy at samples
/// of p_t, which needs no score of the data. `h_theta` and `dh_dy` (the derivative of each pixel's h by
/// its own y): `[batch, pixels]`.
///
/// In expectation [`explicit`] = 2 J_NN + E h^2, h the exact score.
pub fn hyvarinen(h_theta: Tensor<2>, dh_dy: Tensor<2>) -> Tensor<1> {
    (h_theta.clone().powi_scalar(2) * 0.5 + h_theta + dh_dy).mean()
}
