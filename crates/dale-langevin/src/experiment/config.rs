//! The experiment's config. Its default is the multiplicative model of the small suite.

use std::collections::BTreeSet;

use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one, sizes};
use plasticity_core::data::digits;
use serde::{Deserialize, Serialize};

use super::data::Space;
use super::samplers::{SamplerConfig, Start};
use crate::loss::Weighting;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Study {
    /// Samplers with exact scores of log-normal data: signs, and distance to the exact quantiles.
    ClosedForm,
    /// Where sampling starts, with the posterior mean over real images for a model (section 15).
    Prior,
    /// A U-Net is trained, denoises held-out images, and draws new ones.
    Network,
}

/// How noise levels weigh in the loss (section 8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossWeight {
    /// Squared error of the denoiser, the paper's.
    Paper,
    /// Squared error of the noise prediction.
    Eps,
    /// EDM's.
    Edm,
}

impl LossWeight {
    /// For data of standard deviation `sd_data`.
    pub(super) fn weighting(self, sd_data: f64) -> Weighting {
        match self {
            Self::Paper => Weighting::Paper,
            Self::Eps => Weighting::Eps,
            Self::Edm => Weighting::Edm { sd_data },
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the run does.
    pub study: Study,
    /// In which variable noise is added. Only for `network`.
    pub space: Space,
    /// Side of the squares of pixels that are averaged into one: 2 makes 14x14 of 28x28.
    pub pool: usize,
    /// Training images: the first of the file.
    pub train_images: usize,
    /// Test images: the first of the file.
    pub test_images: usize,
    /// For `closed-form`.
    pub closed_form: ClosedFormConfig,
    /// For `prior`.
    pub prior: PriorConfig,
    /// For `network`.
    pub network: NetworkConfig,
    /// For `network`.
    pub training: TrainingConfig,
    /// For `network`: who draws how many images.
    pub sampling: Vec<SamplerConfig>,
}

/// Sizes of the closed-form study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClosedFormConfig {
    /// Coordinates whose signs are watched.
    pub coordinates: usize,
    /// Chains of each sampler whose distance to the exact quantiles is measured.
    pub chains: usize,
}

/// The study of the terminal prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriorConfig {
    /// Where sampling starts.
    pub start: Start,
    /// Standard deviation of the noise at the start, in log space.
    pub sd_max: f64,
    /// Standard deviation of the last level.
    pub sd_min: f64,
    /// Network calls.
    pub calls: usize,
    /// Images drawn.
    pub samples: usize,
}

/// The U-Net.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Channels of the first level.
    pub base: usize,
    /// Width of each level as a multiple of `base`.
    pub multipliers: Vec<usize>,
}

/// How the network learns (section 19.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Images of a step.
    pub batch: usize,
    /// Learning rate after warm-up; it falls to 0 as a cosine.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Noise levels are drawn as `ln sd ~ N(level_mean, level_sd^2)`.
    pub level_mean: f64,
    /// Spread of `ln sd`.
    pub level_sd: f64,
    /// Least noise level.
    pub sd_min: f64,
    /// Greatest noise level.
    pub sd_max: f64,
    /// How noise levels weigh in the loss.
    pub weighting: LossWeight,
    /// Decay of the averaged weights.
    pub ema: f64,
    /// Limit of the gradient's norm.
    pub clip: f64,
}

impl Default for ClosedFormConfig {
    fn default() -> Self {
        Self { coordinates: 20_000, chains: 400_000 }
    }
}

impl Default for PriorConfig {
    fn default() -> Self {
        Self { start: Start::Paper, sd_max: 0.8, sd_min: 0.01, calls: 20, samples: 1000 }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { base: 16, multipliers: vec![1, 2] }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 4000,
            batch: 64,
            learning_rate: 2e-3,
            warmup: 100,
            level_mean: -1.2,
            level_sd: 1.5,
            sd_min: 0.005,
            sd_max: 10.0,
            weighting: LossWeight::Edm,
            ema: 0.999,
            clip: 1.0,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            study: Study::Network,
            space: Space::Log,
            pool: 2,
            train_images: 60_000,
            test_images: 10_000,
            closed_form: ClosedFormConfig::default(),
            prior: PriorConfig::default(),
            network: NetworkConfig::default(),
            training: TrainingConfig::default(),
            sampling: Vec::new(),
        }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        match self.study {
            Study::ClosedForm => self.closed_form.validate(),
            Study::Prior => self.images()?.prior.validate(),
            Study::Network => self.images()?.validate_network(),
        }
    }
}

impl ClosedFormConfig {
    fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[("closed_form.coordinates", self.coordinates), ("closed_form.chains", self.chains)])
    }
}

impl PriorConfig {
    fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[("prior.calls", self.calls), ("prior.samples", self.samples)])?;
        above_zero(&[("prior.sd_min", self.sd_min)])?;
        if !(self.sd_max.is_finite() && self.sd_max > self.sd_min) {
            return Err(Invalid::new("prior.sd_max", "must be above `prior.sd_min`"));
        }
        Ok(())
    }
}

impl Config {
    fn images(&self) -> Result<&Self, Invalid> {
        at_least_one(&[("pool", self.pool), ("train_images", self.train_images), ("test_images", self.test_images)])?;
        digits::pool(self.pool)?;
        Ok(self)
    }

    fn validate_network(&self) -> Result<(), Invalid> {
        let training = &self.training;
        at_least_one(&[
            ("network.base", self.network.base),
            ("training.steps", training.steps),
            ("training.batch", training.batch),
        ])?;
        above_zero(&[
            ("training.learning_rate", training.learning_rate),
            ("training.level_sd", training.level_sd),
            ("training.sd_min", training.sd_min),
            ("training.clip", training.clip),
        ])?;
        sizes("network.multipliers", "level", &self.network.multipliers)?;
        if !(training.sd_max.is_finite() && training.sd_max > training.sd_min) {
            return Err(Invalid::new("training.sd_max", "must be above `training.sd_min`"));
        }
        if !training.level_mean.is_finite() {
            return Err(Invalid::new("training.level_mean", "must be a number"));
        }
        if !(0.0..1.0).contains(&training.ema) {
            return Err(Invalid::new("training.ema", "must lie in [0, 1)"));
        }
        if training.batch > self.train_images {
            return Err(Invalid::new("training.batch", "must be at most `train_images`"));
        }
        let mut ids = BTreeSet::new();
        for sampler in &self.sampling {
            sampler.validate(self.space)?;
            if !ids.insert(&sampler.id) {
                return Err(Invalid::new("sampling", format!("two samplers have the id `{}`", sampler.id)));
            }
        }
        Ok(())
    }
}
