//! Images in `[0, 1]` to log space and back: x = 1 + u, y = log x - shift (sections 1, 11, 19.1).

use burn::prelude::*;

use crate::error::DiffusionError;

/// y = ln(1 + u) - shift.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mapping {
    /// Scalar taken off every log pixel; 0 is the paper's mapping.
    pub shift: f64,
}

impl Mapping {
    /// The mapping whose shift is the mean of ln(1 + u) over all pixels of `images`
    /// (`[images * pixels]`, row-major, u in `[0, 1]`).
    ///
    /// # Errors
    /// As [`Mapping::to_log`].
    pub fn centred(images: &[f32], pixels: usize) -> Result<Self, DiffusionError> {
        Ok(Self { shift: Self::default().moment(images, pixels, |y| y)? })
    }

    /// sd_data: sqrt(E y^2) over all pixels of `images`, the constant of EDM's preconditioning. About 0
    /// after the shift, not about the pixels' mean.
    ///
    /// # Errors
    /// As [`Mapping::to_log`].
    pub fn sd_data(&self, images: &[f32], pixels: usize) -> Result<f64, DiffusionError> {
        Ok(self.moment(images, pixels, |y| y * y)?.sqrt())
    }

    /// Log images `[images, pixels]` (f32) from row-major pixels u in `[0, 1]`.
    ///
    /// # Errors
    /// When a pixel is outside `[0, 1]` or not a number, `images` is empty or not a whole number of
    /// images, or the shift is not finite.
    pub fn to_log(&self, images: &[f32], pixels: usize, device: &Device) -> Result<Tensor<2>, DiffusionError> {
        let n = count("images", images.len(), pixels)?;
        check(images, pixels, "in [0, 1]", |u| (0.0..=1.0).contains(&u))?;
        DiffusionError::finite("shift", self.shift)?;
        let y: Vec<f32> = images.iter().map(|u| self.log(*u) as f32).collect();
        Ok(Tensor::from_data(TensorData::new(y, [n, pixels]), device))
    }

    /// Log images `[images, pixels]` (f32) from positive ambient pixels x, row-major: ln x - shift.
    ///
    /// # Errors
    /// When a pixel is zero, negative or not finite, `x` is empty or not a whole number of images, or the shift is
    /// not finite.
    pub fn from_ambient(&self, x: &[f32], pixels: usize, device: &Device) -> Result<Tensor<2>, DiffusionError> {
        let n = count("x", x.len(), pixels)?;
        check(x, pixels, "above 0 and finite: map an image u in [0, 1] to 1 + u first", |x| x > 0.0 && x.is_finite())?;
        DiffusionError::finite("shift", self.shift)?;
        let y: Vec<f32> = x.iter().map(|x| (f64::from(*x).ln() - self.shift) as f32).collect();
        Ok(Tensor::from_data(TensorData::new(y, [n, pixels]), device))
    }

    /// Images u = clamp(exp(y + shift), 1, 2) - 1, `[images, pixels]` in `[0, 1]`. Where exp overflows the
    /// pixel is 1.
    pub fn from_log(&self, y: Tensor<2>) -> Tensor<2> {
        (y + self.shift).exp().clamp(1.0, 2.0) - 1.0
    }

    fn log(&self, u: f32) -> f64 {
        f64::from(u).ln_1p() - self.shift
    }

    fn moment(&self, images: &[f32], pixels: usize, f: impl Fn(f64) -> f64) -> Result<f64, DiffusionError> {
        count("images", images.len(), pixels)?;
        check(images, pixels, "in [0, 1]", |u| (0.0..=1.0).contains(&u))?;
        DiffusionError::finite("shift", self.shift)?;
        Ok(images.iter().map(|u| f(self.log(*u))).sum::<f64>() / images.len() as f64)
    }
}

/// Number of images in a buffer, at least 1.
pub(crate) fn count(field: &'static str, len: usize, pixels: usize) -> Result<usize, DiffusionError> {
    if pixels == 0 {
        return Err(DiffusionError::setting("pixels", pixels, "at least 1"));
    }
    if len == 0 || !len.is_multiple_of(pixels) {
        let n = len.div_ceil(pixels).max(1);
        return Err(DiffusionError::Shape { field, expected: vec![n * pixels], found: vec![len] });
    }
    Ok(len / pixels)
}

/// Names the first value that is not `good`.
pub(crate) fn check(
    values: &[f32],
    pixels: usize,
    expected: &'static str,
    good: impl Fn(f32) -> bool,
) -> Result<(), DiffusionError> {
    match values.iter().position(|v| !good(*v)) {
        None => Ok(()),
        Some(i) => {
            let (image, pixel, value) = (i / pixels, i % pixels, f64::from(values[i]));
            Err(DiffusionError::Pixel { image, pixel, value, expected })
        }
    }
}
