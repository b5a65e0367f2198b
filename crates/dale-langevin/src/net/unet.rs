//! The U-Net: residual blocks at falling and rising resolution, joined by skip connections.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use super::groups::GROUP;
use super::init::initialise;
use super::layers::{Conv2d, Linear, NormSilu, join};
use super::norm::{norm_silu, silu};
use crate::error::DiffusionError;

/// Frequencies of the Fourier features, log-spaced over `LOWEST..=HIGHEST` radians. The noise
/// input ln(sd)/4 spans about 2: the lowest sees it as a slope, the highest tells apart levels
/// whose sd differs by a fifth.
const FREQUENCIES: usize = 16;
const LOWEST: f64 = 1.0;
const HIGHEST: f64 = 32.0;

/// No layer is wider than this, which bounds what the sizes of a file can ask for.
const MOST_CHANNELS: usize = 1 << 14;
const MOST_LEVELS: usize = 16;
const MOST_BLOCKS: usize = 64;
/// No network has more parameters: 4 GiB in f32.
const MOST_PARAMETERS: usize = 1 << 30;

/// Sizes of a [`UNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of an image: 1 for grey.
    pub channels: usize,
    /// Channels of the first level, a multiple of 4 (channels are normalised in groups of four).
    pub base: usize,
    /// Channels of each level in units of `base`; each level has half the resolution of the one
    /// before.
    pub multipliers: Vec<usize>,
    /// Residual blocks of a level, on the way down and on the way up.
    pub blocks: usize,
    /// Width of the embedding of the noise level.
    pub embedding: usize,
}

impl UNetConfig {
    /// Grey images, one block per level, an embedding of four times `base`.
    pub fn new(base: usize, multipliers: &[usize]) -> Self {
        Self { channels: 1, base, multipliers: multipliers.to_vec(), blocks: 1, embedding: base.saturating_mul(4) }
    }

    fn check(&self) -> Result<(), DiffusionError> {
        let positive = [("channels", self.channels), ("blocks", self.blocks), ("embedding", self.embedding)];
        if let Some((field, _)) = positive.into_iter().find(|(_, n)| *n == 0) {
            return Err(DiffusionError::setting(field, 0, "above 0"));
        }
        if self.base == 0 || !self.base.is_multiple_of(GROUP) {
            return Err(DiffusionError::setting("base", self.base, format!("a multiple of {GROUP} above 0")));
        }
        if self.multipliers.is_empty() || self.multipliers.contains(&0) {
            let found = format!("{:?}", self.multipliers);
            return Err(DiffusionError::setting("multipliers", found, "one number above 0 per level"));
        }
        if self.multipliers.len() > MOST_LEVELS {
            let found = format!("{} levels", self.multipliers.len());
            return Err(DiffusionError::setting("multipliers", found, format!("at most {MOST_LEVELS} levels")));
        }
        if self.blocks > MOST_BLOCKS {
            return Err(DiffusionError::setting("blocks", self.blocks, format!("at most {MOST_BLOCKS}")));
        }
        let widest = self.multipliers.iter().map(|m| m.saturating_mul(self.base)).fold(self.base, usize::max);
        for (field, width) in [("channels", self.channels), ("embedding", self.embedding), ("base", widest)] {
            if width > MOST_CHANNELS {
                let expected = format!("at most {MOST_CHANNELS} channels of a layer");
                return Err(DiffusionError::setting(field, width, expected));
            }
        }
        match self.count() {
            0..=MOST_PARAMETERS => Ok(()),
            n => Err(DiffusionError::setting("base", format!("{n} parameters"), format!("at most {MOST_PARAMETERS}"))),
        }
    }

    /// Channels of each level.
    fn widths(&self) -> Vec<usize> {
        self.multipliers.iter().map(|m| m * self.base).collect()
    }

    /// Number of parameters.
    ///
    /// # Errors
    /// As [`UNetConfig::init`].
    pub fn parameters(&self) -> Result<usize, DiffusionError> {
        self.check()?;
        Ok(self.count())
    }

    /// [`UNetConfig::parameters`] of sizes that are known to be in range.
    fn count(&self) -> usize {
        let filters = |inputs: usize, outputs: usize, kernel: usize| outputs * (inputs * kernel * kernel + 1);
        let linear = |inputs: usize, outputs: usize| outputs * (inputs + 1);
        let block = |inputs: usize, outputs: usize| {
            let shortcut = if inputs == outputs { 0 } else { filters(inputs, outputs, 1) };
            let film = linear(self.embedding, 2 * outputs);
            2 * inputs + filters(inputs, outputs, 3) + film + filters(outputs, outputs, 3) + shortcut
        };
        let widths = self.widths();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let embedding = linear(2 * FREQUENCIES, self.embedding) + linear(self.embedding, self.embedding);
        let ends = filters(self.channels, first, 3) + 2 * first + filters(first, self.channels, 3);
        let down: usize = widths.iter().map(|w| self.blocks * block(*w, *w)).sum();
        let halvings: usize = widths.windows(2).map(|w| filters(w[0], w[1], 3)).sum();
        let up: usize =
            widths.windows(2).map(|w| block(w[1] + w[0], w[0]) + (self.blocks - 1) * block(2 * w[0], w[0])).sum();
        embedding + ends + down + halvings + block(last, last) + up
    }

    /// A network with weights drawn from `stream`; the output convolution is zero, so that the
    /// network starts as the zero function. Parameter ids are hashes of the parameters' paths.
    ///
    /// # Errors
    /// When a size is 0, `base` is not a multiple of 4, or the network would be beyond bounds (16,384 channels of a
    /// level, 2^30 parameters).
    pub fn init(&self, stream: &mut Stream, device: &Device) -> Result<UNet, DiffusionError> {
        self.check()?;
        let widths = self.widths();
        let block = |inputs, outputs| ResBlock::zeros(inputs, outputs, self.embedding, device);
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let down = (0..widths.len())
            .map(|level| Down {
                halve: (level > 0).then(|| Conv2d::zeros(widths[level - 1], widths[level], 3, 2, device)),
                blocks: (0..self.blocks).map(|_| block(widths[level], widths[level])).collect(),
            })
            .collect();
        let up = (0..widths.len() - 1)
            .rev()
            .map(|level| {
                let inputs = |i| if i == 0 { widths[level + 1] } else { widths[level] };
                let blocks = (0..self.blocks).map(|i| block(inputs(i) + widths[level], widths[level])).collect();
                Up { blocks }
            })
            .collect();
        let net = UNet {
            embed: Linear::zeros(2 * FREQUENCIES, self.embedding, device),
            embed_out: Linear::zeros(self.embedding, self.embedding, device),
            input: Conv2d::zeros(self.channels, first, 3, 1, device),
            down,
            middle: block(last, last),
            up,
            norm: NormSilu::zeros(first, device),
            output: Conv2d::zeros(first, self.channels, 3, 1, device),
            config: self.clone(),
        };
        Ok(initialise(net, stream))
    }
}

/// A U-Net without attention. A halving of the resolution is a convolution of stride 2 with zero
/// padding, which takes a side n to ceil(n / 2) (28, 14, 7, 4); the way up doubles by nearest
/// neighbours and cuts to the side of the skip connection (4 to 8, cut to 7). Any side will do.
#[derive(Module, Debug)]
pub struct UNet {
    embed: Linear,
    embed_out: Linear,
    input: Conv2d,
    down: Vec<Down>,
    middle: ResBlock,
    up: Vec<Up>,
    norm: NormSilu,
    output: Conv2d,
    #[module(skip)]
    config: UNetConfig,
}

/// A level on the way down.
#[derive(Module, Debug)]
struct Down {
    halve: Option<Conv2d>,
    blocks: Vec<ResBlock>,
}

/// A level on the way up; each block takes a skip connection in.
#[derive(Module, Debug)]
struct Up {
    blocks: Vec<ResBlock>,
}

impl UNet {
    /// Its sizes.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Channels of an image.
    pub fn channels(&self) -> usize {
        self.config.channels
    }

    /// The type of its weights.
    pub(super) fn dtype(&self) -> DType {
        self.input.weight.val().dtype()
    }

    /// The network at images `x` `[batch, channels, h, w]` and noise inputs ln(sd)/4: `[batch]`,
    /// or `[1]` for all images. The result has the shape of `x`.
    ///
    /// # Panics
    /// As tensor operations do, when the channels or the number of noise inputs do not fit;
    /// [`super::Edm::denoise_batch`] checks them first.
    pub fn forward(&self, x: Tensor<4>, noise: Tensor<1>) -> Tensor<4> {
        let embedding = self.embedding(noise);
        let mut x = self.input.forward(x);
        let mut skips = Vec::new();
        for level in &self.down {
            if let Some(halve) = &level.halve {
                x = halve.forward(x);
            }
            for block in &level.blocks {
                x = block.forward(x, &embedding);
                skips.push(x.clone());
            }
        }
        // The lowest level has no way up of its own.
        skips.truncate(skips.len() - self.down.last().map_or(0, |level| level.blocks.len()));
        x = self.middle.forward(x, &embedding);
        for level in &self.up {
            for block in &level.blocks {
                let Some(skip) = skips.pop() else { unreachable!("as many blocks up as down") };
                x = block.forward(join(x, skip), &embedding);
            }
        }
        self.output.forward(self.norm.forward(x))
    }

    /// `[rows]` to `[rows, embedding]`.
    fn embedding(&self, noise: Tensor<1>) -> Tensor<2> {
        let (device, dtype, rows) = (noise.device(), noise.dtype(), noise.dims()[0]);
        let ratio = (HIGHEST / LOWEST).powf(1.0 / (FREQUENCIES - 1) as f64);
        let frequencies: Vec<f64> = (0..FREQUENCIES).map(|i| LOWEST * ratio.powi(i as i32)).collect();
        let frequencies = Tensor::<2>::from_data(TensorData::new(frequencies, [1, FREQUENCIES]), (&device, dtype));
        let phase = noise.reshape([rows, 1]) * frequencies;
        let features = Tensor::cat(vec![phase.clone().cos(), phase.sin()], 1);
        silu(self.embed_out.forward(silu(self.embed.forward(features))))
    }
}

/// `x + conv(silu(film(norm(conv(silu(norm(x)))))))`; the shortcut is a 1x1 convolution where the
/// number of channels changes.
#[derive(Module, Debug)]
struct ResBlock {
    norm: NormSilu,
    first: Conv2d,
    /// Scale less 1, and shift, per channel.
    film: Linear,
    second: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn zeros(inputs: usize, outputs: usize, embedding: usize, device: &Device) -> Self {
        Self {
            norm: NormSilu::zeros(inputs, device),
            first: Conv2d::zeros(inputs, outputs, 3, 1, device),
            film: Linear::zeros(embedding, 2 * outputs, device),
            second: Conv2d::zeros(outputs, outputs, 3, 1, device),
            shortcut: (inputs != outputs).then(|| Conv2d::zeros(inputs, outputs, 1, 1, device)),
        }
    }

    fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        let inside = self.first.forward(self.norm.forward(x.clone()));
        let channels = inside.dims()[1];
        let film = self.film.forward(embedding.clone());
        let scale = film.clone().slice(s![.., 0..channels]) + 1.0;
        let shift = film.slice(s![.., channels..]);
        let inside = self.second.forward(norm_silu(inside, scale, shift));
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x) + inside,
            None => x + inside,
        }
    }
}
