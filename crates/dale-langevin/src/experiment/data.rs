//! Images of a run: pooled, in `[0, 1]`, in the variable that is diffused.

use burn::prelude::*;
use plasticity_core::data::{Images, Split};
use plasticity_core::error::RunError;
use plasticity_core::rng::Stream;
use plasticity_core::run::RunContext;
use serde::{Deserialize, Serialize};

use crate::DiffusionError;
use crate::pixels::Mapping;

/// In which variable noise is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// `y = log(1 + u)`: multiplicative noise, the paper's.
    Log,
    /// `u` itself: additive diffusion, the baseline of section 18.2.
    Pixel,
}

/// Square grey images in `[0, 1]`.
pub(super) struct Pictures {
    /// `[images, side, side]` row-major.
    pub pixels: Vec<f32>,
    /// Rows, and columns, of an image.
    pub side: usize,
    /// One class per image.
    pub labels: Vec<u8>,
    /// Number of classes.
    pub classes: usize,
}

impl Pictures {
    /// The first `limit` images of a split, `pool` x `pool` pixels averaged into one.
    pub fn load(ctx: &RunContext, split: Split, limit: usize, pool: usize) -> Result<Self, RunError> {
        let images: Images = ctx.images(split, limit)?;
        if images.channels != 1 || images.height != images.width {
            let (c, h, w) = (images.channels, images.height, images.width);
            return Err(RunError::Failed(format!("dale-langevin needs square grey images, not {c}x{h}x{w}")));
        }
        Ok(Self {
            pixels: images.pooled(pool)?,
            side: images.height / pool,
            labels: images.labels,
            classes: images.classes,
        })
    }

    /// The same images in a fixed random order: the halves of MNIST's test file come from different writers, so
    /// its order must not decide what is compared with what.
    pub fn shuffled(self) -> Self {
        let order = Stream::new(0, "dale-langevin/halves", 0).permutation(self.len());
        let pixels = order.iter().flat_map(|i| self.rows(*i..i + 1)).copied().collect();
        let labels = order.iter().map(|i| self.labels[*i]).collect();
        Self { pixels, labels, ..self }
    }

    /// Pixels of an image.
    pub fn size(&self) -> usize {
        self.side * self.side
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Images `range`, row-major.
    pub fn rows(&self, range: std::ops::Range<usize>) -> &[f32] {
        &self.pixels[range.start * self.size()..range.end * self.size()]
    }

    /// Mean over all pixels.
    pub fn mean_intensity(&self) -> f64 {
        mean(&self.pixels)
    }
}

pub(super) fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
}

/// The diffused variable of a space: `log(1 + u)` or `u`, less its mean over all pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coordinates {
    space: Space,
    mapping: Mapping,
    /// sqrt of the mean square of the centred variable, EDM's sd_data.
    pub sd_data: f64,
}

impl Coordinates {
    /// Centred on `pictures`.
    pub fn fit(space: Space, pictures: &Pictures) -> Result<Self, DiffusionError> {
        let pixels = pictures.size();
        match space {
            Space::Log => {
                let mapping = Mapping::centred(&pictures.pixels, pixels)?;
                Ok(Self { space, mapping, sd_data: mapping.sd_data(&pictures.pixels, pixels)? })
            }
            Space::Pixel => {
                let shift = pictures.mean_intensity();
                let square = |u: &f32| (f64::from(*u) - shift).powi(2);
                let sd_data = (pictures.pixels.iter().map(square).sum::<f64>() / pictures.pixels.len() as f64).sqrt();
                Ok(Self { space, mapping: Mapping { shift }, sd_data })
            }
        }
    }

    /// How pixels become the variable; `None` for pixels themselves, whose mapping is no logarithm.
    pub fn mapping(&self) -> Option<Mapping> {
        (self.space == Space::Log).then_some(self.mapping)
    }

    /// What the mapping takes off.
    pub fn shift(&self) -> f64 {
        self.mapping.shift
    }

    /// Images in `[0, 1]`, row-major, as the diffused variable, `[images, pixels]`.
    pub fn encode(&self, images: &[f32], pixels: usize, device: &Device) -> Result<Tensor<2>, DiffusionError> {
        match self.space {
            Space::Log => self.mapping.to_log(images, pixels, device),
            Space::Pixel => {
                let shift = self.mapping.shift as f32;
                let values: Vec<f32> = images.iter().map(|u| u - shift).collect();
                let n = values.len() / pixels;
                Ok(Tensor::from_data(TensorData::new(values, [n, pixels]), device))
            }
        }
    }

    /// The diffused variable as images in `[0, 1]`, row-major.
    pub fn decode(&self, y: Tensor<2>) -> Vec<f32> {
        let u = match self.space {
            Space::Log => self.mapping.from_log(y),
            Space::Pixel => (y + self.mapping.shift).clamp(0.0, 1.0),
        };
        u.into_data().iter::<f32>().collect()
    }
}
