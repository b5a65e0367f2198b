//! Labelled images in memory.

use burn_dataset::{Dataset, DatasetError};
use serde::{Deserialize, Serialize};

use super::digits::{DEVIATION, MEAN};
use crate::error::DataError;

/// The two parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// For training.
    Train,
    /// For testing.
    Test,
}

/// Labelled images of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Colours of an image.
    pub channels: usize,
    /// `[image, channel, row, column]`, 0 to 255.
    pub pixels: Vec<u8>,
    /// One label per image, below `classes`.
    pub labels: Vec<u8>,
    /// Number of classes.
    pub classes: usize,
}

/// One image of a data set, as a Burn user's batcher gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageItem {
    /// `[channel, row, column]`, 0 to 255.
    pub pixels: Vec<u8>,
    /// The class.
    pub label: u8,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// There is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of values of an image.
    pub fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The values of image `i`, `[channel, row, column]`. Panics if `i >= len()`, as a
    /// slice does.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.size()..(i + 1) * self.size()]
    }

    /// The first `n` images, or all of them if there are fewer.
    pub fn take(mut self, n: usize) -> Self {
        let n = n.min(self.len());
        self.pixels.truncate(n * self.size());
        self.labels.truncate(n);
        self
    }

    /// Intensities in `[0, 1]` averaged over blocks of `factor` by `factor` pixels:
    /// `[image, channel, row / factor, column / factor]`. The mean is not rounded to bytes.
    ///
    /// # Errors
    /// [`DataError::Pooling`] when `factor` is 0 or does not divide height and width, or one of
    /// them is 0.
    pub fn pooled(&self, factor: usize) -> Result<Vec<f32>, DataError> {
        let Self { height, width, .. } = *self;
        if factor == 0 || height * width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            return Err(DataError::Pooling { factor, height, width });
        }
        let most = 255.0 * (factor * factor) as f64;
        let mut out = Vec::with_capacity(self.pixels.len() / (factor * factor));
        let mut sums = vec![0_u64; width / factor];
        // Blocks of rows do not cross images, since `factor` divides the height.
        for rows in self.pixels.chunks_exact(factor * width) {
            sums.fill(0);
            for row in rows.chunks_exact(width) {
                for (sum, block) in sums.iter_mut().zip(row.chunks_exact(factor)) {
                    *sum += block.iter().map(|v| u64::from(*v)).sum::<u64>();
                }
            }
            out.extend(sums.iter().map(|sum| (*sum as f64 / most) as f32));
        }
        Ok(out)
    }

    /// [`pooled`](Self::pooled), less [`MEAN`], divided by [`DEVIATION`].
    ///
    /// # Errors
    /// As `pooled`.
    pub fn normalised(&self, factor: usize) -> Result<Vec<f32>, DataError> {
        Ok(self.pooled(factor)?.into_iter().map(|u| (u - MEAN) / DEVIATION).collect())
    }
}

impl Dataset<ImageItem> for Images {
    fn get(&self, index: usize) -> Result<ImageItem, DatasetError> {
        match self.labels.get(index) {
            Some(label) => Ok(ImageItem { pixels: self.image(index).to_vec(), label: *label }),
            None => {
                let what = format!("there is no image {index} among {}", self.labels.len());
                Err(DatasetError::new(std::io::Error::new(std::io::ErrorKind::InvalidInput, what)))
            }
        }
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::glyphs;
    use super::*;

    #[test]
    fn images_are_a_burn_dataset() {
        let images = glyphs::generate(1, Split::Test, 12);
        assert_eq!(Dataset::len(&images), 12);
        let item = images.get(7).unwrap();
        assert_eq!((item.pixels.as_slice(), item.label), (images.image(7), images.labels[7]));
        assert_eq!(images.iter().count(), 12);
        assert!(images.get(12).is_err());
    }

    #[test]
    fn take_keeps_the_first_and_never_more_than_there_are() {
        let images = glyphs::generate(1, Split::Test, 12);
        assert_eq!(images.clone().take(5), glyphs::generate(1, Split::Test, 5));
        assert_eq!(images.clone().take(50), images);
    }

    fn counting(images: usize, channels: usize, height: usize, width: usize) -> Images {
        let n = images * channels * height * width;
        let pixels = (0..n).map(|i| (i * 37 % 256) as u8).collect();
        Images { height, width, channels, pixels, labels: vec![0; images], classes: 1 }
    }

    #[test]
    fn pooling_is_the_mean_of_each_block() {
        let images = counting(3, 2, 4, 6);
        let pooled = images.pooled(2).unwrap();
        assert_eq!(pooled.len(), 3 * 2 * 2 * 3);
        for (index, found) in pooled.iter().enumerate() {
            let (plane, row, column) = (index / 6, index / 3 % 2, index % 3);
            let at = |r: usize, c: usize| f64::from(images.pixels[plane * 24 + (2 * row + r) * 6 + 2 * column + c]);
            let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0 / 255.0;
            assert!((f64::from(*found) - mean).abs() < 1e-7, "value {index}: {found}, not {mean}");
        }
        // A quarter of a byte's step is kept.
        let one = Images { pixels: vec![0, 1, 0, 0], ..counting(1, 1, 2, 2) };
        assert_eq!(one.pooled(2).unwrap(), [1.0 / 1020.0]);
        let white = Images { pixels: vec![255; 28 * 28], ..counting(1, 1, 28, 28) };
        assert_eq!(white.pooled(2).unwrap(), [1.0; 196]);
        assert_eq!(counting(1, 1, 2, 2).pooled(1).unwrap()[1], 37.0 / 255.0);
    }

    #[test]
    fn sides_that_do_not_divide_are_refused() {
        for (factor, height, width) in [(0, 28, 28), (3, 28, 28), (2, 28, 27), (2, 27, 28), (1, 28, 0), (1, 0, 28)] {
            let error = counting(1, 1, height, width).pooled(factor).unwrap_err();
            let expected = (factor, height, width);
            assert!(
                matches!(error, DataError::Pooling { factor, height, width } if (factor, height, width) == expected),
                "{error}"
            );
        }
    }
}
