//! Where sampling starts: the law that stands in for p_T (sections 4.5 and 15).
//!
//! At the paper's noise, sd 0.8 in `log x`, the images are still in p_T, and independent pixels are a poor
//! stand-in: samples are off in mean intensity (on MNIST too dim) and in classes, even with an exact score. The mends
//! are a larger terminal noise or the Gaussian of the images' covariance.

use burn::prelude::*;
use burn::tensor::DType;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::error::DiffusionError;
use crate::frechet::{Scatter, mean};
use crate::noise::Noise;
use crate::pixels::{check, count};
use crate::sampler::PaperSet;
use crate::score::Level;
use crate::state::State;

/// A Gaussian law of `y_T = log x_T`, and so a log-normal one of `x_T`.
///
/// The estimates take the log images that the model is trained on, `[images, pixels]` row-major, in the same
/// units: where the mapping takes a shift off `log x`, it is already off them. `level` is the terminal one.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    law: Law,
    pixels: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Law {
    /// `mean + sd z` with one mean and sd per pixel.
    Independent { mean: Vec<f64>, sd: Vec<f64> },
    /// `mean + sum_j sd_j z_j basis_j`; component j is `basis[j pixels..][..pixels]`.
    Components { mean: Vec<f64>, basis: Vec<f64>, sd: Vec<f64> },
    /// Image i is around the mean image of class `i mod classes`; `means` is `[classes, pixels]`.
    ClassMeans { means: Vec<f64>, sd: f64 },
}

impl Prior {
    /// `mean + sd z` at each of `pixels` pixels.
    ///
    /// # Errors
    /// For no pixels, or an sd that is not above 0.
    pub fn independent(pixels: usize, mean: f64, sd: f64) -> Result<Self, DiffusionError> {
        if pixels == 0 {
            return Err(DiffusionError::setting("pixels", 0, "at least 1"));
        }
        if !(sd > 0.0 && sd.is_finite()) {
            return Err(DiffusionError::setting("sd", sd, "a standard deviation above 0"));
        }
        if !mean.is_finite() {
            return Err(DiffusionError::setting("mean", mean, "a finite number"));
        }
        Ok(Self { law: Law::Independent { mean: vec![mean; pixels], sd: vec![sd; pixels] }, pixels })
    }

    /// The constants of the paper's code (section 4.5), which belong to `x = 1 + u` and sigma sqrt(T) = 0.8 without
    /// drift of y: `shift`, what the mapping takes off `log x`, is taken off the means. CIFAR-10's differ by channel,
    /// the first third of the pixels being red.
    ///
    /// # Errors
    /// For no pixels, pixels of CIFAR-10 that are no multiple of 3, or a shift that is not finite.
    pub fn paper(set: PaperSet, pixels: usize, shift: f64) -> Result<Self, DiffusionError> {
        let channels: &[(f64, f64)] = match set {
            PaperSet::Mnist => &[(0.15651744604110718, 0.8352777361869812)],
            PaperSet::FashionMnist => &[(0.27712640166282654, 0.8428290486335754)],
            PaperSet::Kmnist => &[(0.2140171080827713, 0.8290426135063171)],
            PaperSet::Cifar10 => &[(0.4075, 0.8016), (0.3785, 0.8004), (0.3693, 0.8005)],
        };
        DiffusionError::finite("shift", shift)?;
        if pixels == 0 || !pixels.is_multiple_of(channels.len()) {
            return Err(DiffusionError::setting("pixels", pixels, format!("a multiple of {} above 0", channels.len())));
        }
        let (mut mean, mut sd) = (Vec::new(), Vec::new());
        for &(m, s) in channels {
            mean.extend(std::iter::repeat_n(m - shift, pixels / channels.len()));
            sd.extend(std::iter::repeat_n(s, pixels / channels.len()));
        }
        Ok(Self { law: Law::Independent { mean, sd }, pixels })
    }

    /// One log-normal for all pixels, the moments estimated: `m = mean + B(T)`, `s = sqrt(V(T) + Var)`.
    ///
    /// # Errors
    /// When there are no images, values that are not finite, or a level of negative variance.
    pub fn estimated(images: &[f32], pixels: usize, level: Level) -> Result<Self, DiffusionError> {
        level.check()?;
        let (mean, variance) = total_moments(images, pixels)?;
        Self::independent(pixels, mean + level.drift, (variance + level.variance).sqrt())
    }

    /// Terminal noise about the mean of all pixels, `mean + B(T) + sd(T) z`: for a terminal sd of 10 or more, where
    /// the images' own variance no longer counts.
    ///
    /// # Errors
    /// When there are no images, values that are not finite, or a level of negative variance.
    pub fn terminal_noise(images: &[f32], pixels: usize, level: Level) -> Result<Self, DiffusionError> {
        level.check()?;
        let (mean, _) = total_moments(images, pixels)?;
        Self::independent(pixels, mean + level.drift, level.sd())
    }

    /// Mean and variance of each pixel.
    ///
    /// # Errors
    /// When there are no images, values that are not finite, or a level of negative variance.
    pub fn per_pixel(images: &[f32], pixels: usize, level: Level) -> Result<Self, DiffusionError> {
        level.check()?;
        let n = finite(images, pixels)? as f64;
        let mean = mean(images, pixels);
        let mut variance = vec![0.0; pixels];
        for row in images.chunks_exact(pixels) {
            for ((v, y), m) in variance.iter_mut().zip(row).zip(mean.as_slice()) {
                *v += (f64::from(*y) - m).powi(2);
            }
        }
        let sd = variance.iter().map(|v| (v / n + level.variance).sqrt()).collect();
        let mean = mean.iter().map(|m| m + level.drift).collect();
        Ok(Self { law: Law::Independent { mean, sd }, pixels })
    }

    /// The Gaussian of the images' mean and covariance, `N(mean + B(T), C + V(T) I)`: with `C = U diag(l) U^T` it
    /// is drawn as `mean + U diag(sqrt(l + V(T))) z` (section 15, mend B).
    ///
    /// # Errors
    /// When there are no images, values that are not finite, a level of negative variance, or no eigendecomposition
    /// is found.
    pub fn gaussian_pca(images: &[f32], pixels: usize, level: Level) -> Result<Self, DiffusionError> {
        let n = finite(images, pixels)?;
        let mean = mean(images, pixels);
        let mut scatter = Scatter::new(pixels);
        scatter.add(images, &mean, n);
        Self::of_moments(mean.as_slice(), scatter.covariance(), level)
    }

    /// The Gaussian of a mean and a covariance, `[pixels, pixels]`.
    pub(crate) fn of_moments(mean: &[f64], covariance: DMatrix<f64>, level: Level) -> Result<Self, DiffusionError> {
        level.check()?;
        let pixels = mean.len();
        let eigen = SymmetricEigen::try_new(covariance, f64::EPSILON, 1000 * pixels)
            .ok_or_else(|| DiffusionError::setting("images", "a covariance", "one whose eigenvalues converge"))?;
        let sd = eigen.eigenvalues.iter().map(|l| (l.max(0.0) + level.variance).sqrt()).collect();
        let basis = eigen.eigenvectors.as_slice().to_vec();
        let mean = mean.iter().map(|m| m + level.drift).collect();
        Ok(Self { law: Law::Components { mean, basis, sd }, pixels })
    }

    /// Noise about the mean images of the classes, in turn: image i of the noise's count is of class `i mod classes`.
    /// `means`: `[classes, pixels]` row-major, log of the mean image in the mapping's units, as `x = (1 + A_c) o exp(B + sd z)`.
    /// Not an unconditional prior: it brings the data's classes along (section 4.5, in its consistent form).
    ///
    /// # Errors
    /// When there are no means, values that are not finite, or a level of negative variance.
    pub fn class_means(means: &[f32], pixels: usize, level: Level) -> Result<Self, DiffusionError> {
        level.check()?;
        finite(means, pixels)?;
        let means = means.iter().map(|m| f64::from(*m) + level.drift).collect();
        Ok(Self { law: Law::ClassMeans { means, sd: level.sd() }, pixels })
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// One state per image of `noise`, `[images, pixels]`, from the next numbers of each image's stream.
    ///
    /// The arithmetic is f64 on the host, image by image, so that a state has the same bits in any batch.
    pub fn draw(&self, noise: &mut Noise, device: &Device, dtype: DType) -> State {
        let first = noise.first();
        let mut values = noise.normal_values(self.pixels);
        values.par_chunks_mut(self.pixels).enumerate().for_each(|(i, z)| match &self.law {
            Law::Independent { mean, sd } => {
                z.iter_mut().zip(mean).zip(sd).for_each(|((z, m), s)| *z = m + s * *z);
            }
            Law::Components { mean, basis, sd } => {
                let mut y = mean.clone();
                for ((z, s), component) in z.iter().zip(sd).zip(basis.chunks_exact(self.pixels)) {
                    let scale = z * s;
                    y.iter_mut().zip(component).for_each(|(y, u)| *y += scale * u);
                }
                z.copy_from_slice(&y);
            }
            Law::ClassMeans { means, sd } => {
                let classes = (means.len() / self.pixels) as u64;
                let class = (first.wrapping_add(i as u64) % classes) as usize;
                let mean = &means[class * self.pixels..][..self.pixels];
                z.iter_mut().zip(mean).for_each(|(z, m)| *z = m + sd * *z);
            }
        });
        State::positive(Tensor::from_data(TensorData::new(values, [noise.images(), self.pixels]), (device, dtype)))
    }
}

/// Number of `images`, `[images, pixels]` row-major, not empty, all finite.
fn finite(images: &[f32], pixels: usize) -> Result<usize, DiffusionError> {
    let n = count("images", images.len(), pixels)?;
    check(images, pixels, "a finite log intensity", f32::is_finite)?;
    Ok(n)
}

/// Mean and variance over all pixels of all images.
fn total_moments(images: &[f32], pixels: usize) -> Result<(f64, f64), DiffusionError> {
    finite(images, pixels)?;
    let n = images.len() as f64;
    let mean = images.iter().map(|y| f64::from(*y)).sum::<f64>() / n;
    Ok((mean, images.iter().map(|y| (f64::from(*y) - mean).powi(2)).sum::<f64>() / n))
}
