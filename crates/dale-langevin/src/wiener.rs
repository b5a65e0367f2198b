//! The best linear denoiser, the bar that a network has to clear (section 17, T16).

use burn::prelude::*;
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::error::DiffusionError;
use crate::frechet::{FrechetError, Gaussian};
use crate::score::{Denoiser, same_pixels};

/// The posterior mean of a Gaussian, `m + C (C + V)^-1 (y - m)` with `V = sd^2`: exact where the
/// clean log images are Gaussian, and of all affine maps the one of least mean squared error
/// wherever their mean and covariance are m and C.
#[derive(Debug, Clone, PartialEq)]
pub struct Wiener {
    mean: Vec<f64>,
    /// `[pixels, pixels]`, row by row: entry (i, j) is pixel i of eigenvector j.
    vectors: Vec<f64>,
    variances: Vec<f64>,
}

impl Wiener {
    /// Mean and covariance (divisor n - 1) of clean log images, `[n, pixels]`.
    ///
    /// # Errors
    /// Fewer than two images, a buffer that does not hold whole images, values that are not finite.
    pub fn fit(rows: &[f32], pixels: usize) -> Result<Self, DiffusionError> {
        let Gaussian { mean, covariance } = Gaussian::fit(rows, pixels).map_err(|error| match error {
            FrechetError::TooFewRows { found, .. } => DiffusionError::setting("rows", found, "at least 2 images"),
            FrechetError::NotFinite { row, column } => DiffusionError::Pixel {
                image: row,
                pixel: column,
                value: f64::from(rows[row * pixels + column]),
                expected: "a finite log intensity",
            },
            _ => DiffusionError::setting("rows", rows.len(), format!("a multiple of `pixels` = {pixels}, above 0")),
        })?;
        Ok(Self::of_moments(&mean, covariance))
    }

    /// The filter of a given Gaussian; `covariance` is symmetric, `[pixels, pixels]`.
    pub(crate) fn of_moments(mean: &DVector<f64>, covariance: DMatrix<f64>) -> Self {
        let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(covariance);
        Self {
            mean: mean.as_slice().to_vec(),
            vectors: eigenvectors.transpose().as_slice().to_vec(),
            // Below 0 by rounding only.
            variances: eigenvalues.iter().map(|v| v.max(0.0)).collect(),
        }
    }

    /// Values of an image.
    pub fn pixels(&self) -> usize {
        self.mean.len()
    }

    /// Variances of the clean log images along their principal axes, in no order.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// The expected squared error on the images that it was fitted on, summed over pixels, at
    /// noise `sd`: `sum_i l_i V / (l_i + V)`.
    pub fn expected_loss(&self, sd: f64) -> f64 {
        let v = sd * sd;
        self.variances.iter().map(|l| v * gain(*l, v)).sum()
    }
}

/// l / (l + V), 0 where nothing varies.
fn gain(variance: f64, noise: f64) -> f64 {
    if variance > 0.0 { variance / (variance + noise) } else { 0.0 }
}

impl Denoiser for Wiener {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        same_pixels(&y, self.pixels())?;
        DiffusionError::at_least_zero("sd", sd)?;
        if y.dims()[0] == 0 {
            return Ok(y);
        }
        let (device, dtype, p) = (y.device(), y.dtype(), self.pixels());
        let tensor = |values: Vec<f64>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values, shape), (&device, dtype))
        };
        let mean = tensor(self.mean.clone(), [1, p]);
        let vectors = tensor(self.vectors.clone(), [p, p]); // column j is eigenvector j
        let gains = tensor(self.variances.iter().map(|l| gain(*l, sd * sd)).collect(), [1, p]);
        let along = (y - mean.clone()).matmul(vectors.clone()); // [batch, p], along each axis
        Ok((along * gains).matmul(vectors.transpose()) + mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::DType;
    use plasticity_core::rng::Stream;

    const P: usize = 12;

    /// Rows with a covariance of no structure, in f32.
    fn rows(n: usize) -> Vec<f32> {
        let mut stream = Stream::new(3, "rows", 0);
        let mix = DMatrix::from_fn(P, P, |_, _| 0.4 * stream.normal());
        let row = |stream: &mut Stream| &mix * DVector::from_fn(P, |i, _| stream.normal() + 0.1 * i as f64);
        (0..n).flat_map(|_| row(&mut stream).iter().map(|v| *v as f32).collect::<Vec<_>>()).collect()
    }

    fn denoised(filter: &Wiener, y: &[f64], sd: f64) -> Vec<f64> {
        let device = plasticity_core::testing::cpu();
        let data = TensorData::new(y.to_vec(), [y.len() / P, P]);
        let out = filter.denoise(Tensor::from_data(data, (&device, DType::F64)), sd).unwrap();
        assert_eq!(out.dtype(), DType::F64);
        out.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn t16_filter_is_the_dense_solve() {
        let rows = rows(60);
        let filter = Wiener::fit(&rows, P).unwrap();
        let Gaussian { mean, covariance } = Gaussian::fit(&rows, P).unwrap();
        let mut stream = Stream::new(4, "noisy", 0);
        let y: Vec<f64> = (0..5 * P).map(|_| 3.0 * stream.normal()).collect();
        for sd in [0.01, 0.8, 20.0] {
            let found = denoised(&filter, &y, sd);
            let solver = (&covariance + sd * sd * DMatrix::identity(P, P)).lu();
            for (y, found) in y.chunks(P).zip(found.chunks(P)) {
                let solved = solver.solve(&(DVector::from_row_slice(y) - &mean)).unwrap();
                let expected = &mean + &covariance * solved;
                let worst = expected.iter().zip(found).map(|(e, f)| (e - f).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-9, "sd {sd}: {worst}");
            }
        }
    }

    /// The mean squared error over the fitted rows and all noise, written out for the affine map
    /// that the filter is: E |y_0 - D|^2 = tr (I - F) C (I - F)' + V tr F F'.
    #[test]
    fn t16_expected_loss_is_the_closed_form() {
        let rows = rows(60);
        let filter = Wiener::fit(&rows, P).unwrap();
        let Gaussian { mean, covariance } = Gaussian::fit(&rows, P).unwrap();
        for sd in [0.05, 0.8, 10.0] {
            // Row i of this is F' e_i.
            let unit: Vec<f64> = (0..P * P).map(|k| mean[k % P] + f64::from(u8::from(k / P == k % P))).collect();
            let image = denoised(&filter, &unit, sd);
            let map = DMatrix::from_fn(P, P, |i, j| image[j * P + i] - mean[i]);
            let rest = DMatrix::identity(P, P) - &map;
            let loss = (&rest * &covariance * rest.transpose()).trace() + sd * sd * (&map * map.transpose()).trace();
            let closed = filter.expected_loss(sd);
            assert!((closed - loss).abs() < 1e-9 * loss, "sd {sd}: {closed}, not {loss}");
            // No less than nothing done, and no more than knowing nothing.
            assert!(closed < (sd * sd * P as f64).min(covariance.trace()));
        }
    }

    #[test]
    fn images_that_never_vary_come_back_as_their_mean() {
        let filter = Wiener::fit(&[0.5; 3 * P], P).unwrap();
        assert_eq!(filter.expected_loss(0.0), 0.0);
        assert!(denoised(&filter, &[2.0; P], 0.0).iter().all(|v| *v == 0.5));
    }

    #[test]
    fn what_cannot_be_fitted_names_the_field() {
        let message = |rows: &[f32], pixels| Wiener::fit(rows, pixels).unwrap_err().to_string();
        assert_eq!(message(&[0.0; 3], 3), "`rows` is 1: at least 2 images");
        assert_eq!(message(&[0.0; 7], 3), "`rows` is 7: a multiple of `pixels` = 3, above 0");
        assert!(message(&[], 0).contains("`pixels` = 0"));
        let broken = [0.0, 0.0, 0.0, f32::NAN];
        assert_eq!(message(&broken, 2), "`images`: pixel 1 of image 1 is NaN: a finite log intensity");
    }
}
