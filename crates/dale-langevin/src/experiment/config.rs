//! The experiment's config. Its default is the multiplicative model of the small suite.

use std::collections::BTreeSet;

use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one, sizes};
use plasticity_core::data::{Facts, Split, digits};
use serde::{Deserialize, Serialize};

use super::data::Space;
use super::evaluate::{COMPONENTS, reference};
use super::samplers::{PAPER_SD, SamplerConfig, Start, no_constants, paper_set};
use crate::DiffusionError;
use crate::loss::Weighting;
use crate::net::UNetConfig;
use crate::schedule::{EDM_RHO, Grid};

/// The most calls of a sampler.
pub(super) const MOST_CALLS: usize = 100_000;
/// The most coordinates and chains of a closed form: with more, a step of the run would take long.
const MOST_CHAINS: usize = 1_000_000;
/// The most images that the study of the prior draws.
const MOST_SAMPLES: usize = 1_000_000;

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
    /// Standard deviation of the noise at the start, in log space; 0.8 for the paper's start.
    pub sd_max: f64,
    /// Standard deviation of the last level.
    pub sd_min: f64,
    /// Network calls.
    pub calls: usize,
    /// Images drawn, at least 2.
    pub samples: usize,
}

/// The U-Net.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Channels of the first level, a multiple of 4.
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
    /// Limit of the gradient's norm over all parameters.
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
        let sizes = [("closed_form.coordinates", self.coordinates), ("closed_form.chains", self.chains)];
        at_least_one(&sizes)?;
        match sizes.into_iter().find(|(_, n)| *n > MOST_CHAINS) {
            Some((field, _)) => Err(Invalid::new(field, format!("must be at most {MOST_CHAINS}"))),
            None => Ok(()),
        }
    }
}

impl PriorConfig {
    /// The levels from the start to the last.
    pub(super) fn grid(&self) -> Result<Grid, DiffusionError> {
        Grid::edm(self.sd_min, self.sd_max, EDM_RHO, self.calls)
    }

    fn validate(&self) -> Result<(), Invalid> {
        if self.calls == 0 || self.calls > MOST_CALLS {
            return Err(Invalid::new("prior.calls", format!("must be from 1 to {MOST_CALLS}")));
        }
        // One image has no standard deviation.
        if !(2..=MOST_SAMPLES).contains(&self.samples) {
            return Err(Invalid::new("prior.samples", format!("must be from 2 to {MOST_SAMPLES}")));
        }
        above_zero(&[("prior.sd_min", self.sd_min)])?;
        if !(self.sd_max.is_finite() && self.sd_max > self.sd_min) {
            return Err(Invalid::new("prior.sd_max", "must be above `prior.sd_min`"));
        }
        if self.start == Start::Paper && self.sd_max != PAPER_SD {
            let what = "must be 0.8 for `start = \"paper\"`: its constants are those of that noise";
            return Err(Invalid::new("prior.sd_max", what));
        }
        let fault = |e| Invalid::new("prior.sd_max", format!("gives no grid with these `sd_min` and `calls`: {e}"));
        self.grid().map(|_| ()).map_err(fault)
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
        at_least_one(&[("training.steps", training.steps), ("training.batch", training.batch)])?;
        above_zero(&[
            ("training.learning_rate", training.learning_rate),
            ("training.level_sd", training.level_sd),
            ("training.sd_min", training.sd_min),
            ("training.clip", training.clip),
        ])?;
        sizes("network.multipliers", "level", &self.network.multipliers)?;
        UNetConfig::new(self.network.base, &self.network.multipliers).parameters().map_err(of_network)?;
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
        if self.space == Space::Log && self.train_images < 2 {
            return Err(Invalid::new("train_images", "must be at least 2: the Wiener filter needs a covariance"));
        }
        let mut ids = BTreeSet::new();
        for (at, sampler) in self.sampling.iter().enumerate() {
            sampler.validate(at, self.space)?;
            if !ids.insert(&sampler.id) {
                let what = format!("`{}` is the id of another sampler too", sampler.id);
                return Err(Invalid::new(format!("sampling.{at}.id"), what));
            }
        }
        if self.sampling.is_empty() { Ok(()) } else { self.validate_comparison() }
    }

    /// Whether the images that samplers draw can be compared with real ones.
    fn validate_comparison(&self) -> Result<(), Invalid> {
        let side = digits::SIDE / self.pool;
        if side * side < COMPONENTS {
            let what = format!(
                "leaves {side}x{side} pixels, too few to compare samples in {COMPONENTS} principal components: 1 or 2, or \
                 no `sampling`"
            );
            return Err(Invalid::new("pool", what));
        }
        if self.train_images <= COMPONENTS {
            let what = format!("must be above {COMPONENTS}: samples are compared in as many of their components");
            return Err(Invalid::new("train_images", what));
        }
        if self.test_images < 4 {
            return Err(Invalid::new("test_images", "must be at least 4: samples are compared with half of them"));
        }
        let (half, all) = (self.test_images - reference(self), self.test_images);
        let too_many = |(_, s): &(usize, &SamplerConfig)| s.samples > COMPONENTS && s.samples > half;
        match self.sampling.iter().enumerate().find(too_many) {
            Some((at, SamplerConfig { samples, .. })) => {
                let what = format!(
                    "is {samples}, and of {all} test images one half is what samples are compared with, which leaves \
                     {half} held-out images beside as many samples: at most {half}, or `test_images` of {} and more",
                    samples.saturating_mul(2)
                );
                Err(Invalid::new(format!("sampling.{at}.samples"), what))
            }
            None => Ok(()),
        }
    }

    /// Whether a data set has what is asked of it.
    pub(super) fn fits(&self, data: &Facts) -> Result<(), Invalid> {
        let Facts { name, shape, .. } = data;
        let counts = match self.study {
            Study::ClosedForm => return Ok(()),
            Study::Prior => vec![("train_images", self.train_images, Split::Train)],
            Study::Network => {
                vec![("train_images", self.train_images, Split::Train), ("test_images", self.test_images, Split::Test)]
            }
        };
        let side = digits::SIDE;
        match shape {
            Some([1, height, width]) if [*height, *width] == [side, side] => {}
            Some([c, h, w]) => {
                let what = format!("needs grey images of {side}x{side}, and those of `{name}` are {c}x{h}x{w}");
                return Err(Invalid::new("study", what));
            }
            None => return Err(Invalid::new("study", format!("needs images, and `{name}` is a text"))),
        }
        for (field, asked, split) in counts {
            let found = data.count(split);
            if asked > found {
                return Err(Invalid::new(field, format!("is {asked}, and `{name}` has {found}: at most {found}")));
            }
        }
        if self.study == Study::Prior {
            return match self.prior.start {
                Start::Paper if paper_set(name).is_none() => Err(Invalid::new("prior.start", no_constants(name))),
                _ => Ok(()),
            };
        }
        self.sampling.iter().enumerate().try_for_each(|(at, sampler)| sampler.fits(at, name))
    }
}

/// A size of the network that it cannot take.
fn of_network(error: DiffusionError) -> Invalid {
    let field = match error {
        DiffusionError::Setting { field: "multipliers", .. } => "network.multipliers",
        _ => "network.base",
    };
    match error {
        DiffusionError::Setting { found, expected, .. } => Invalid::new(field, format!("is {found}: {expected}")),
        error => Invalid::new(field, error.to_string()),
    }
}
