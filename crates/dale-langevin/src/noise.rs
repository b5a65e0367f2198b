//! Noise drawn per image, so that a sample does not depend on how images are split into batches.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use rayon::prelude::*;

/// One random stream per image: image `i` sees the same numbers in any batch (section 20).
///
/// The numbers come in rounds. Round 0 is where [`Noise::new`] stands; a sampler draws those of its
/// step k from round k + 1 ([`Noise::seek`]), so that they depend on the seed, the label, the image and
/// the step alone, and a sampling that goes on from step k sees what an uninterrupted one saw. Two
/// samplings with one seed, label and image share their noise.
#[derive(Debug, Clone)]
pub struct Noise {
    seed: u64,
    label: String,
    first: u64,
    streams: Vec<Stream>,
}

impl Noise {
    /// Streams `(seed, label, first..first + n)`; after the last index comes 0.
    pub fn new(seed: u64, label: &str, first: u64, n: usize) -> Self {
        let mut noise = Self { seed, label: label.to_string(), first, streams: Vec::new() };
        noise.streams = noise.streams_of(label, n);
        noise
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.streams.len()
    }

    /// Index of the first image.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Goes to the beginning of a round: streams `(seed, "label/round", image)`, or those of [`Noise::new`]
    /// for round 0. What has been drawn so far does not matter.
    pub fn seek(&mut self, round: u64) {
        let label = if round == 0 { self.label.clone() } else { format!("{}/{round}", self.label) };
        self.streams = self.streams_of(&label, self.streams.len());
    }

    /// Standard normal numbers `[images, pixels]` of the given type, the next of each stream.
    pub fn normal(&mut self, pixels: usize, device: &Device, dtype: DType) -> Tensor<2> {
        let n = self.streams.len();
        let values = self.normal_values(pixels);
        Tensor::from_data(TensorData::new(values, [n, pixels]), (device, dtype))
    }

    /// The same numbers on the host, `[images, pixels]` row-major.
    pub fn normal_values(&mut self, pixels: usize) -> Vec<f64> {
        let mut values = vec![0.0; self.streams.len() * pixels];
        if pixels > 0 {
            let rows = values.par_chunks_mut(pixels).zip(self.streams.par_iter_mut());
            rows.for_each(|(row, stream)| row.iter_mut().for_each(|z| *z = stream.normal()));
        }
        values
    }

    fn streams_of(&self, label: &str, n: usize) -> Vec<Stream> {
        (0..n as u64).map(|i| Stream::new(self.seed, label, self.first.wrapping_add(i))).collect()
    }
}
