//! EDM preconditioning in log space (section 19.1).

use burn::module::Module;
use burn::prelude::*;

use super::unet::UNet;
use crate::error::DiffusionError;
use crate::pixels::Mapping;
use crate::score::{Denoiser, in_precision, same_pixels};

/// What scales the network's input and output at one noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Of y in D.
    pub skip: f64,
    /// Of the network's output in D.
    pub out: f64,
    /// Of y in the network's input.
    pub input: f64,
    /// The network's second input, ln(sd)/4.
    pub noise: f64,
}

impl Coefficients {
    /// At noise `sd` for data of standard deviation `sd_data`, both above 0.
    pub fn new(sd: f64, sd_data: f64) -> Self {
        let total = sd * sd + sd_data * sd_data;
        Self {
            skip: sd_data * sd_data / total,
            out: sd * sd_data / total.sqrt(),
            input: total.sqrt().recip(),
            noise: sd.ln() / 4.0,
        }
    }
}

/// The log-space denoiser `D(y; sd) = c_skip y + c_out net(c_in y, ln(sd)/4)` of centred images:
/// y = log x less the data's mean, a number.
#[derive(Module, Debug)]
pub struct Edm {
    unet: UNet,
    #[module(skip)]
    shape: [usize; 3],
    #[module(skip)]
    sd_data: f64,
    #[module(skip)]
    mapping: Option<Mapping>,
}

impl Edm {
    /// A denoiser of images `[channels, height, width]`.
    ///
    /// # Errors
    /// When a side is 0, the network is for images of other channels, or `sd_data` is not a number above 0.
    pub fn new(unet: UNet, shape: [usize; 3], sd_data: f64) -> Result<Self, DiffusionError> {
        if shape.contains(&0) {
            return Err(DiffusionError::setting("shape", format!("{shape:?}"), "sides above 0"));
        }
        if shape[0] != unet.channels() {
            let expected = format!("{} channels, as the network has", unet.channels());
            return Err(DiffusionError::setting("shape", format!("{shape:?}"), expected));
        }
        if !(sd_data > 0.0 && sd_data.is_finite()) {
            return Err(DiffusionError::setting("sd_data", sd_data, "a number above 0"));
        }
        Ok(Self { unet, shape, sd_data, mapping: None })
    }

    /// The same denoiser, which also says how pixels became its variable. Denoising does not use it; whoever draws
    /// images with a model file does.
    pub fn with_mapping(self, mapping: Mapping) -> Self {
        Self { mapping: Some(mapping), ..self }
    }

    /// How pixels became the variable that is denoised; `None` where nobody said so.
    pub fn mapping(&self) -> Option<Mapping> {
        self.mapping
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// Channels, height and width of an image; their product is the number of pixels.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Standard deviation of the centred data.
    pub fn sd_data(&self) -> f64 {
        self.sd_data
    }

    /// D at `y` `[batch, pixels]`; `sds` has one noise level per image, or one for all. The result
    /// has the shape and the precision of `y` (the network inside computes in that of its weights) and keeps
    /// the graph of a tracked model.
    ///
    /// # Errors
    /// When the number of pixels or of levels does not fit, or a level is not above 0 and finite.
    pub fn denoise_batch(&self, y: Tensor<2>, sds: &[f64]) -> Result<Tensor<2>, DiffusionError> {
        let [n, pixels] = y.dims();
        let [channels, height, width] = self.shape;
        same_pixels(&y, channels * height * width)?;
        if sds.len() != n && sds.len() != 1 {
            return Err(DiffusionError::Shape { field: "sds", expected: vec![n], found: vec![sds.len()] });
        }
        if let Some(sd) = sds.iter().find(|sd| !(**sd > 0.0 && sd.is_finite())) {
            return Err(DiffusionError::setting("sds", sd, "numbers above 0"));
        }
        if n == 0 {
            return Ok(y);
        }
        let (device, dtype, own) = (y.device(), y.dtype(), self.unet.dtype());
        let column = |of: fn(&Coefficients) -> f64| {
            let values: Vec<f64> = sds.iter().map(|sd| of(&Coefficients::new(*sd, self.sd_data))).collect();
            Tensor::<2>::from_data(TensorData::new(values, [sds.len(), 1]), (&device, dtype))
        };
        let input = in_precision(y.clone() * column(|c| c.input), own).reshape([n, channels, height, width]);
        let output = self.unet.forward(input, in_precision(column(|c| c.noise), own).reshape([sds.len()]));
        let output = in_precision(output.reshape([n, pixels]), dtype);
        Ok(y * column(|c| c.skip) + output * column(|c| c.out))
    }
}

/// A trained [`Edm`] as a [`Denoiser`]: no graph, and a fixed number of images at a time.
#[derive(Debug, Clone)]
pub struct NetDenoiser {
    edm: Edm,
    batch: usize,
}

impl NetDenoiser {
    /// Evaluates `batch` images at a time, which bounds the memory. The result for an image
    /// does not depend on the images beside it.
    ///
    /// # Errors
    /// When `batch` is 0.
    pub fn new(edm: &Edm, batch: usize) -> Result<Self, DiffusionError> {
        if batch == 0 {
            return Err(DiffusionError::setting("batch", batch, "above 0"));
        }
        Ok(Self { edm: edm.valid(), batch })
    }

    /// A model file ([`Edm::save`]) ready to denoise: the file says which network it is. `batch` is that of
    /// [`NetDenoiser::new`].
    ///
    /// # Errors
    /// As [`Edm::load`]; when `batch` is 0.
    pub fn load(bytes: &[u8], batch: usize, device: &Device) -> Result<Self, DiffusionError> {
        Self::new(&Edm::load(bytes, &device.clone().without_autodiff())?, batch)
    }

    /// The denoiser inside.
    pub fn edm(&self) -> &Edm {
        &self.edm
    }
}

impl Denoiser for NetDenoiser {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        if y.dims()[0] == 0 {
            return self.edm.denoise_batch(y, &[sd]);
        }
        let parts = y.split(self.batch, 0).into_iter().map(|y| self.edm.denoise_batch(y, &[sd]));
        Ok(Tensor::cat(parts.collect::<Result<_, _>>()?, 0))
    }
}
