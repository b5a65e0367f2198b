//! The exact denoiser of a finite set of images: what a network that memorises would learn
//! (sections 15 and 17, T21).

use burn::prelude::*;
use burn::tensor::activation::softmax;
use plasticity_core::device::is_cpu;
use plasticity_core::nn::is_finite;
use plasticity_core::nn::product::matmul;

use crate::error::DiffusionError;
use crate::score::{Denoiser, in_precision, same_pixels};

/// Largest number of logits at a time; longer batches are split.
const LOGITS: usize = 1 << 23;

/// E[y_0 | y_t] for y_0 uniform over n stored log images: their mean weighted by
/// softmax(-||y - y_i||^2 / (2 sd^2)).
///
/// In f32 a logit is wrong by about 1e-6 ||y_i - centre||^2 / sd^2, which blurs only between images
/// nearer to each other than that error allows (at sd 0.005, squared distance 1e-4). It is computed in the precision of
/// the stored images, whatever that of `y`.
#[derive(Debug, Clone)]
pub struct PosteriorMean {
    /// Images less their mean, `[images, pixels]`.
    images: Tensor<2>,
    /// -||image||^2 / 2, `[1, images]`.
    half_norms: Tensor<2>,
    /// Mean image, `[1, pixels]`.
    centre: Tensor<2>,
}

impl PosteriorMean {
    /// The denoiser of `images` (`[images, pixels]`, log space, f32 or f64), on their device.
    ///
    /// # Errors
    /// When there is no image or no pixel, a value that is not finite, or one so large that its square is not.
    pub fn new(images: Tensor<2>) -> Result<Self, DiffusionError> {
        let [n, pixels] = images.dims();
        if n == 0 || pixels == 0 {
            let (expected, found) = (vec![n.max(1), pixels.max(1)], vec![n, pixels]);
            return Err(DiffusionError::Shape { field: "images", expected, found });
        }
        // Centred, the norms are as small as they can be, and so is their rounding error.
        let centre = images.clone().mean_dim(0);
        let images = images - centre.clone();
        let half_norms = (images.clone().powi_scalar(2).sum_dim(1) * -0.5).transpose();
        // A value that is not finite leaves no norm finite.
        if !is_finite(&half_norms) {
            let expected = "finite log intensities whose squares are finite";
            return Err(DiffusionError::setting("images", "not finite", expected));
        }
        Ok(Self { images, half_norms, centre })
    }

    /// Number of stored images.
    pub fn images(&self) -> usize {
        self.images.dims()[0]
    }

    /// Number of pixels of an image.
    pub fn pixels(&self) -> usize {
        self.images.dims()[1]
    }

    /// Posterior probability of each stored image, `[batch, images]`.
    ///
    /// # Errors
    /// When `y` (`[batch, pixels]`) has another number of pixels, or `sd` is not above 0.
    pub fn weights(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        self.check(&y, sd)?;
        let dtype = y.dtype();
        if y.dims()[0] == 0 {
            return Ok(Tensor::zeros([0, self.images()], (&y.device(), dtype)));
        }
        let weights = self.softmax(in_precision(y, self.centre.dtype()) - self.centre.clone(), sd);
        Ok(in_precision(weights, dtype))
    }

    fn check(&self, y: &Tensor<2>, sd: f64) -> Result<(), DiffusionError> {
        same_pixels(y, self.pixels())?;
        DiffusionError::above_zero("sd", sd)
    }

    /// The columns of `weights` (`[batch, images]`) that are not 0 in every row, and their images: at low noise a row has
    /// few, and the rest adds nothing. All of both where most have weight, and on a GPU, which would have to wait.
    fn in_use(&self, weights: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let device = weights.device();
        if is_cpu(&device) {
            let data = weights.clone().max_dim(0).into_data();
            let used: Vec<i64> = (0..).zip(data.iter::<f64>()).filter(|(_, w)| *w != 0.0).map(|(i, _)| i).collect();
            if 4 * used.len() < 3 * self.images() {
                let used = Tensor::<1, Int>::from_data(used.as_slice(), &device);
                return (weights.select(1, used.clone()), self.images.clone().select(0, used));
            }
        }
        (weights, self.images.clone())
    }

    /// ||y||^2 is the same for every image and so left out of the logits.
    fn softmax(&self, centred: Tensor<2>, sd: f64) -> Tensor<2> {
        let products = matmul(centred, self.images.clone().transpose());
        // Not divided: Burn 0.22 rounds the gradient of a division by a number to f32.
        softmax((products + self.half_norms.clone()) * (sd * sd).recip(), 1)
    }
}

impl Denoiser for PosteriorMean {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        self.check(&y, sd)?;
        if y.dims()[0] == 0 {
            return Ok(y);
        }
        let dtype = y.dtype();
        let y = in_precision(y, self.centre.dtype());
        let rows = (LOGITS / self.images()).max(1);
        let part = |y: Tensor<2>| {
            let weights = self.softmax(y - self.centre.clone(), sd);
            let (weights, images) = self.in_use(weights);
            matmul(weights, images) + self.centre.clone()
        };
        let denoised = if y.dims()[0] <= rows {
            part(y)
        } else {
            Tensor::cat(y.split(rows, 0).into_iter().map(part).collect(), 0)
        };
        Ok(in_precision(denoised, dtype))
    }
}
