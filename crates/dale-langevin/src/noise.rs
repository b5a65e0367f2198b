//! Noise drawn per image, so that a sample does not depend on how images are split into batches.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use rayon::prelude::*;

/// One random stream per image: image `i` sees the same numbers in any batch (section 20).
#[derive(Debug, Clone)]
pub struct Noise {
    streams: Vec<Stream>,
}

impl Noise {
    /// Streams `(seed, label, first..first + n)`.
    pub fn new(seed: u64, label: &str, first: u64, n: usize) -> Self {
        Self { streams: (first..first + n as u64).map(|index| Stream::new(seed, label, index)).collect() }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.streams.len()
    }

    /// Standard normal numbers `[images, pixels]` of the given type, the next of each stream.
    pub fn normal(&mut self, pixels: usize, device: &Device, dtype: DType) -> Tensor<2> {
        let n = self.streams.len();
        let draw = |s: &mut Stream| (0..pixels).map(|_| s.normal()).collect::<Vec<_>>();
        let values: Vec<f64> = self.streams.par_iter_mut().flat_map_iter(draw).collect();
        Tensor::from_data(TensorData::new(values, [n, pixels]), (device, dtype))
    }
}
