//! The samplers that a suite can name, and what each costs.

use std::ops::ControlFlow;

use plasticity_core::config::Invalid;
use serde::{Deserialize, Serialize};

use super::data::Space;
use crate::DiffusionError;
use crate::noise::Noise;
use crate::prior::Prior;
use crate::sampler::{
    Annealed, PaperSet, Sampled, Sampler, Solver, Start as PaperStart, Update, paper_labels, sample, sample_annealed,
};
use crate::schedule::{EDM_RHO, Grid};
use crate::score::{Denoiser, Level};

/// What a reader of the report must know of images that start from the paper's constants.
pub(super) const PAPER_START: &str = "the paper's start, independent log-normal pixels of log sd 0.8, is not the law of the \
     noisy images: samples come out too dim whatever the network";
/// Anneal ratio of the paper's Dale-Langevin on MNIST (section 7.4).
const PAPER_RATIO: f64 = 0.995;

/// Where sampling starts (section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Independent log-normal pixels with the paper's constants for MNIST (section 4.5).
    Paper,
    /// Independent log-normal pixels with the mean and variance of all pixels.
    Iid,
    /// Independent log-normal pixels, each with its own mean and variance.
    Pixel,
    /// A Gaussian with the covariance of the images.
    Pca,
}

/// How images are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// DDIM, Euler's method on the probability flow.
    Ddim,
    /// The ancestral sampler.
    Ancestral,
    /// Heun's method of EDM.
    Heun,
    /// DPM-Solver++(2M).
    DpmSolver2m,
    /// The Dale-Langevin step on a geometric grid.
    DaleLangevin,
    /// Dale-Langevin as the paper runs it: tuned step, annealed noise (section 7.4, MNIST).
    Paper,
    /// Dale-Langevin with step 1/N and full noise.
    Faithful,
    /// Dale-Langevin with annealed noise and the step that keeps the marginals (section 16).
    ConsistentAnnealed,
}

impl Kind {
    /// Whether it walks the paper's N levels rather than a grid from `sd_max` to `sd_min`.
    pub fn is_annealed(self) -> bool {
        matches!(self, Self::Paper | Self::Faithful | Self::ConsistentAnnealed)
    }
}

/// One entry of `sampling`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// Name in the metrics (`frechet_<id>`).
    pub id: String,
    /// How images are drawn.
    pub kind: Kind,
    /// Where sampling starts.
    #[serde(default = "iid")]
    pub start: Start,
    /// Levels of the grid; for the paper's samplers N.
    pub calls: usize,
    /// Noise at the start; for the paper's samplers sigma sqrt(T) = 0.8.
    pub sd_max: f64,
    /// Noise of the grid's last level; the paper's samplers do not use it.
    #[serde(default = "sd_min")]
    pub sd_min: f64,
    /// Images drawn.
    pub samples: usize,
}

fn iid() -> Start {
    Start::Iid
}

fn sd_min() -> f64 {
    0.005
}

impl SamplerConfig {
    /// Whether it can be run in this space.
    pub(super) fn validate(&self, space: Space) -> Result<(), Invalid> {
        let fault = |what: String| Err(Invalid::new("sampling", format!("sampler `{}`: {what}", self.id)));
        if self.id.is_empty() || !self.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return fault("`id` needs lower-case letters, digits and underscores".into());
        }
        if self.calls == 0 {
            return fault("`calls` must be at least 1".into());
        }
        if self.samples < 2 {
            return fault("`samples` must be at least 2".into());
        }
        if !(self.sd_min.is_finite() && self.sd_min > 0.0 && self.sd_max.is_finite() && self.sd_max > self.sd_min) {
            return fault("`sd_min` must be above 0 and `sd_max` above it".into());
        }
        if self.kind.is_annealed() && (self.sd_max != 0.8 || self.calls < 2) {
            return fault("the paper's samplers need `sd_max = 0.8`, sigma sqrt(T), and at least 2 calls".into());
        }
        if self.kind == Kind::Paper && self.calls != 1000 {
            return fault("the paper's constants are for 1000 calls".into());
        }
        if space == Space::Pixel && (self.kind == Kind::Paper || self.start == Start::Paper) {
            return fault("the paper's constants are for `space = \"log\"`".into());
        }
        Ok(())
    }

    /// Network calls that an image costs.
    pub fn network_calls(&self) -> usize {
        if self.kind == Kind::Heun { (2 * self.calls).saturating_sub(1) } else { self.calls }
    }
}

/// The prior of a start, for images in the diffused variable (`rows`, `[images, pixels]`).
pub(super) fn start_prior(
    start: Start,
    rows: &[f32],
    pixels: usize,
    shift: f64,
    level: Level,
) -> Result<Prior, DiffusionError> {
    match start {
        Start::Paper => Prior::paper(PaperSet::Mnist, pixels, shift),
        Start::Iid => Prior::estimated(rows, pixels, level),
        Start::Pixel => Prior::per_pixel(rows, pixels, level),
        Start::Pca => Prior::gaussian_pca(rows, pixels, level),
    }
}

/// A sampler ready to run.
pub(super) struct Route {
    pub grid: Grid,
    pub rule: Rule,
    /// Steps that a sampling takes.
    pub steps: usize,
}

pub(super) enum Rule {
    Solver(Sampler),
    Annealed(Annealed),
}

impl SamplerConfig {
    /// The grid and the rule.
    pub(super) fn route(&self) -> Result<Route, DiffusionError> {
        if self.kind.is_annealed() {
            // N labels cost N - 1 calls, as t = 0 is never asked for: the last call is the jump to the posterior
            // mean, or, in the paper's own loop, a second visit of the lowest level.
            let grid = paper_labels(self.calls)?;
            let annealed = match self.kind {
                Kind::Paper => Annealed::paper(PaperSet::Mnist, Update::DaleLog, PaperStart::Noise)?,
                Kind::Faithful => Annealed { jump: true, ..Annealed::faithful(Update::DaleLog) },
                _ => Annealed { jump: true, ..Annealed::consistent(Update::DaleLog, 1, PAPER_RATIO) },
            };
            let steps = annealed.steps(grid.len());
            return Ok(Route { grid, rule: Rule::Annealed(annealed), steps });
        }
        let (solver, grid) = match self.kind {
            Kind::DaleLangevin => (Solver::DaleLog, Grid::geometric(self.sd_min, self.sd_max, self.calls)?),
            kind => {
                let solver = match kind {
                    Kind::Ddim => Solver::Ddim,
                    Kind::Ancestral => Solver::Ancestral,
                    Kind::Heun => Solver::Heun,
                    _ => Solver::DpmSolver2M,
                };
                (solver, Grid::edm(self.sd_min, self.sd_max, EDM_RHO, self.calls)?)
            }
        };
        let steps = grid.len();
        Ok(Route { grid, rule: Rule::Solver(Sampler::new(solver)), steps })
    }
}

impl Route {
    /// Runs on from `from`.
    pub(super) fn run(
        &self,
        denoiser: &dyn Denoiser,
        from: Sampled,
        noise: &mut Noise,
        observe: &mut dyn FnMut(&Sampled) -> ControlFlow<()>,
    ) -> Result<Sampled, DiffusionError> {
        match &self.rule {
            Rule::Solver(sampler) => sample(denoiser, from, &self.grid, sampler, noise, observe),
            Rule::Annealed(annealed) => sample_annealed(denoiser, from, &self.grid, annealed, noise, observe),
        }
    }
}
