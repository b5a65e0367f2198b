//! Training (section 19.1): noise levels, learning rate, one step, averaged weights.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use plasticity_core::error::RunError;
use plasticity_core::nn;
pub use plasticity_core::nn::LearningRate;
use plasticity_core::rng::Stream;

use super::edm::Edm;
use super::ema::{ema_decay, ema_update};
use crate::error::DiffusionError;
use crate::loss::{Weighting, denoising};

/// The noise levels of training: ln sd ~ N(mean, dev^2), clipped to the range of the sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevels {
    /// Mean of ln sd.
    pub mean: f64,
    /// Standard deviation of ln sd.
    pub dev: f64,
    /// Lowest level.
    pub sd_min: f64,
    /// Highest level.
    pub sd_max: f64,
}

impl NoiseLevels {
    /// # Errors
    /// When a number is not finite, `dev` is below 0, or not 0 < `sd_min` < `sd_max`.
    pub fn check(&self) -> Result<(), DiffusionError> {
        if !self.mean.is_finite() {
            return Err(DiffusionError::setting("mean", self.mean, "a number"));
        }
        if !(self.dev >= 0.0 && self.dev.is_finite()) {
            return Err(DiffusionError::setting("dev", self.dev, "a number of at least 0"));
        }
        if !(self.sd_min > 0.0 && self.sd_min.is_finite()) {
            return Err(DiffusionError::setting("sd_min", self.sd_min, "a number above 0"));
        }
        if !(self.sd_max > self.sd_min && self.sd_max.is_finite()) {
            return Err(DiffusionError::setting("sd_max", self.sd_max, "a number above `sd_min`"));
        }
        Ok(())
    }

    /// The next `n` levels, one per image.
    pub fn draw(&self, n: usize, stream: &mut Stream) -> Vec<f64> {
        let mut draw = || (self.mean + self.dev * stream.normal()).exp().clamp(self.sd_min, self.sd_max);
        (0..n).map(|_| draw()).collect()
    }
}

/// Adam as the paper uses it: betas 0.9 and 0.999, epsilon 1e-8, no decay of weights.
pub fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_beta_1(0.9).with_beta_2(0.999).with_epsilon(1e-8).init()
}

/// What one step learns from.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Centred clean log images, `[batch, pixels]`.
    pub y0: Tensor<2>,
    /// Noise level of each image.
    pub sds: Vec<f64>,
    /// Standard normal noise, `[batch, pixels]`.
    pub eps: Tensor<2>,
}

/// How one step learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Learning rate.
    pub lr: f64,
    /// Weight of each noise level in the loss; [`Weighting::Edm`] as a rule.
    pub weighting: Weighting,
    /// Limit of the gradient's norm over all parameters.
    pub clip: Option<f64>,
}

/// The denoising loss of a batch, `[1]`.
fn batch_loss(edm: &Edm, batch: &Batch, weighting: Weighting) -> Result<Tensor<1>, DiffusionError> {
    let [n, _] = batch.y0.dims();
    if batch.eps.dims() != batch.y0.dims() {
        let (expected, found) = (batch.y0.dims().to_vec(), batch.eps.dims().to_vec());
        return Err(DiffusionError::Shape { field: "eps", expected, found });
    }
    if batch.sds.len() != n {
        return Err(DiffusionError::Shape { field: "sds", expected: vec![n], found: vec![batch.sds.len()] });
    }
    let sd: Tensor<1> =
        Tensor::from_data(TensorData::new(batch.sds.clone(), [n]), (&batch.y0.device(), batch.y0.dtype()));
    let y = batch.y0.clone() + batch.eps.clone() * sd.clone().unsqueeze_dim(1);
    let denoised = edm.denoise_batch(y, &batch.sds)?;
    Ok(denoising(denoised, batch.y0.clone(), sd, weighting))
}

/// One step of training; returns the new model and the loss before it. A loss that is not finite
/// leaves the model as it was: the caller sees it in the loss.
///
/// # Errors
/// When the shapes of the batch do not fit the model.
pub fn step(
    edm: Edm,
    optimiser: &mut ModuleOptimizer,
    batch: &Batch,
    options: &StepOptions,
) -> Result<(Edm, f64), DiffusionError> {
    let loss = batch_loss(&edm, batch, options.weighting)?;
    let value: f64 = loss.clone().into_scalar();
    if !value.is_finite() {
        return Ok((edm, value));
    }
    let mut grads = GradientsParams::from_grads(loss.backward(), &edm);
    if let Some(limit) = options.clip {
        grads = nn::clip_grad_norm(grads, &edm, limit).0;
    }
    Ok((optimiser.step(options.lr, edm, grads), value))
}

/// A training run between two steps.
#[derive(Clone)]
pub struct Training {
    /// The model in training.
    pub model: Edm,
    /// Its averaged weights: what samples are drawn with.
    pub average: Edm,
    /// The optimiser with its state.
    pub optimiser: ModuleOptimizer,
    /// Steps taken.
    pub steps: u64,
    /// Decay of the average in the long run; update k (from 0) has (1 + k) / (10 + k) if that is less.
    pub decay: f64,
}

impl Training {
    /// A run that starts from `model`, with [`adam`].
    pub fn new(model: Edm, decay: f64) -> Self {
        Self { average: model.valid(), model, optimiser: adam(), steps: 0, decay }
    }

    /// One step, and one update of the average. Returns the loss before the step.
    ///
    /// # Errors
    /// When the shapes of the batch do not fit, or the loss is not finite: the model is then
    /// unchanged.
    pub fn step(&mut self, batch: &Batch, options: &StepOptions) -> Result<f64, DiffusionError> {
        let (model, loss) = step(self.model.clone(), &mut self.optimiser, batch, options)?;
        if !loss.is_finite() {
            return Err(DiffusionError::NotFinite { field: "loss", step: self.steps as usize });
        }
        let decay = ema_decay(self.decay, self.steps);
        self.average = ema_update(self.average.clone(), &model, decay);
        self.model = model;
        self.steps += 1;
        Ok(loss)
    }

    /// Model, average and optimiser as files of a checkpoint.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn save(&self) -> Result<nn::Files, RunError> {
        Ok(nn::Files::from([
            ("model.safetensors".into(), nn::save_model(&self.model)?),
            ("average.safetensors".into(), nn::save_model(&self.average)?),
            ("optimiser.bpk".into(), nn::save_optimiser(&self.optimiser)?),
            ("steps.txt".into(), self.steps.to_string().into_bytes()),
        ]))
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When a file is missing or is of another network; the message names the parameter. The
    /// state is then unchanged.
    pub fn load(&mut self, files: &nn::Files) -> Result<(), RunError> {
        let fault = |file: &str, what: &str| RunError::Checkpoint { file: file.into(), what: what.into() };
        let file = |name| nn::file(files, name);
        let (mut model, mut average) = (self.model.clone(), self.average.clone());
        nn::load_model(&mut model, file("model.safetensors")?)?;
        nn::load_model(&mut average, file("average.safetensors")?)?;
        let optimiser = nn::load_optimiser(adam(), &model, file("optimiser.bpk")?)?;
        let steps = std::str::from_utf8(file("steps.txt")?).ok().and_then(|text| text.parse().ok());
        let steps = steps.ok_or_else(|| fault("steps.txt", "not a number of steps"))?;
        (self.model, self.average, self.optimiser, self.steps) = (model, average, optimiser, steps);
        Ok(())
    }
}
