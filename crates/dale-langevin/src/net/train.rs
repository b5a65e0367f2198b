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
use crate::score::same_precision;

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

    /// The next `n` levels, one per image. Numbers that [`NoiseLevels::check`] refuses give levels that a step of
    /// training refuses.
    pub fn draw(&self, n: usize, stream: &mut Stream) -> Vec<f64> {
        // Not `clamp`, which panics where the limits are in no order.
        let mut draw = || (self.mean + self.dev * stream.normal()).exp().max(self.sd_min).min(self.sd_max);
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
    /// Limit of the gradient's norm over all parameters, above 0.
    pub clip: Option<f64>,
}

impl StepOptions {
    fn check(&self) -> Result<(), DiffusionError> {
        DiffusionError::at_least_zero("lr", self.lr)?;
        self.weighting.check()?;
        self.clip.map_or(Ok(()), |limit| DiffusionError::above_zero("clip", limit))
    }
}

/// The denoising loss of a batch, `[1]`.
fn batch_loss(edm: &Edm, batch: &Batch, weighting: Weighting) -> Result<Tensor<1>, DiffusionError> {
    let [n, pixels] = batch.y0.dims();
    if n == 0 {
        return Err(DiffusionError::Shape { field: "y0", expected: vec![1, pixels], found: vec![0, pixels] });
    }
    if batch.eps.dims() != batch.y0.dims() {
        let (expected, found) = (batch.y0.dims().to_vec(), batch.eps.dims().to_vec());
        return Err(DiffusionError::Shape { field: "eps", expected, found });
    }
    same_precision("eps", batch.eps.dtype(), batch.y0.dtype())?;
    if batch.sds.len() != n {
        return Err(DiffusionError::Shape { field: "sds", expected: vec![n], found: vec![batch.sds.len()] });
    }
    let sd: Tensor<1> =
        Tensor::from_data(TensorData::new(batch.sds.clone(), [n]), (&batch.y0.device(), batch.y0.dtype()));
    let y = batch.y0.clone() + batch.eps.clone() * sd.clone().unsqueeze_dim(1);
    let denoised = edm.denoise_batch(y, &batch.sds)?;
    Ok(denoising(denoised, batch.y0.clone(), sd, weighting))
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
    /// Decay of the average in the long run, in [0, 1); update k (from 0) has (1 + k) / (10 + k) if that is less.
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
    /// When the shapes or precisions of the batch do not fit or an option is outside its domain; when the loss, the
    /// gradient's norm or a new weight is not finite. Model, average and optimiser are then as before.
    pub fn step(&mut self, batch: &Batch, options: &StepOptions) -> Result<f64, DiffusionError> {
        options.check()?;
        if !(0.0..1.0).contains(&self.decay) {
            return Err(DiffusionError::setting("decay", self.decay, "in [0, 1)"));
        }
        let not_finite = |field| Err(DiffusionError::NotFinite { field, step: self.steps as usize });
        let loss = batch_loss(&self.model, batch, options.weighting)?;
        let value: f64 = loss.clone().into_scalar();
        if !value.is_finite() {
            return not_finite("loss");
        }
        let mut grads = GradientsParams::from_grads(loss.backward(), &self.model);
        let norm = match options.clip {
            Some(limit) => {
                let norm;
                (grads, norm) = nn::clip_grad_norm(grads, &self.model, limit);
                norm
            }
            None => nn::grad_norm(&grads, &self.model),
        };
        // Such a gradient would leave moments that are infinite, and with them weights that never move again.
        if !norm.is_finite() {
            return not_finite("gradient");
        }
        let mut optimiser = self.optimiser.clone();
        let model = optimiser.step(options.lr, self.model.clone(), grads);
        if !nn::is_finite_model(&model) {
            return not_finite("weight");
        }
        self.average = ema_update(self.average.clone(), &model, ema_decay(self.decay, self.steps));
        (self.model, self.optimiser) = (model, optimiser);
        self.steps += 1;
        Ok(value)
    }

    /// Model, average and optimiser as files of a checkpoint. `average.safetensors` is what [`super::NetDenoiser::load`]
    /// denoises with.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn save(&self) -> Result<nn::Files, RunError> {
        Ok(nn::Files::from([
            (MODEL.into(), self.model.save().map_err(|e| fault(MODEL, e))?),
            (AVERAGE.into(), self.average.save().map_err(|e| fault(AVERAGE, e))?),
            ("optimiser.bpk".into(), nn::save_optimiser(&self.optimiser)?),
            ("steps.txt".into(), self.steps.to_string().into_bytes()),
        ]))
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When a file is missing or is of another network, shape, sd_data or mapping; the message names what differs.
    /// The state is then unchanged.
    pub fn load(&mut self, files: &nn::Files) -> Result<(), RunError> {
        let read = |name: &str, fresh: &Edm| {
            let mut loaded = fresh.clone();
            loaded.load_same(nn::file(files, name)?).map_err(|e| fault(name, e))?;
            Ok::<_, RunError>(loaded)
        };
        let (model, average) = (read(MODEL, &self.model)?, read(AVERAGE, &self.average)?);
        let optimiser = nn::load_optimiser(adam(), nn::file(files, "optimiser.bpk")?)?;
        let steps = std::str::from_utf8(nn::file(files, "steps.txt")?).ok().and_then(|text| text.parse().ok());
        let steps = steps.ok_or_else(|| fault("steps.txt", "not a number of steps"))?;
        (self.model, self.average, self.optimiser, self.steps) = (model, average, optimiser, steps);
        Ok(())
    }
}

const MODEL: &str = "model.safetensors";
const AVERAGE: &str = "average.safetensors";

fn fault(file: &str, what: impl std::fmt::Display) -> RunError {
    RunError::Checkpoint { file: file.into(), what: what.to_string() }
}
