//! The samplers that a suite can name, and what each costs.

use std::ops::ControlFlow;

use plasticity_core::config::Invalid;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use serde::{Deserialize, Serialize};

use super::config::MOST_CALLS;
use super::data::Space;
use super::evaluate::{ANCHORS, RESERVED};
use crate::DiffusionError;
use crate::frechet::{Scatter, mean};
use crate::noise::Noise;
use crate::prior::Prior;
use crate::sampler::{
    Annealed, PaperSet, Sampled, Sampler, Solver, Start as PaperStart, Update, paper_labels, sample, sample_annealed,
};
use crate::schedule::{EDM_RHO, Grid};
use crate::score::{Denoiser, Level};

/// The noise sigma sqrt(T) at which the paper's process ends, and that its constants belong to.
pub(super) const PAPER_SD: f64 = 0.8;
/// Anneal ratio of the paper's Dale-Langevin on MNIST (section 7.4).
const PAPER_RATIO: f64 = 0.995;

/// Where sampling starts (section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Independent log-normal pixels with the paper's constants for the data set (section 4.5), which belong to noise
    /// of sd 0.8.
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
    /// Dale-Langevin as the paper runs it: tuned step, annealed noise, constants of the data set (section 7.4).
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
    /// Name in the metrics (`pca_frechet_<id>`): words of lower-case letters and digits, joined by single
    /// underscores; not one of a metric's own names (`floor`, `noisy`, `blurred`, `gaussian`, `real`) and without a
    /// number of images (`_n2000`) at its end.
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
    /// Images drawn. Above 64 they are compared with held-out images, of which there must be as many beside the half
    /// of the test images that both are compared with.
    pub samples: usize,
}

fn iid() -> Start {
    Start::Iid
}

fn sd_min() -> f64 {
    0.005
}

/// The constants of the paper that belong to a data set, by its name. The built-in glyphs stand in for MNIST and
/// take MNIST's.
pub(super) fn paper_set(data: &str) -> Option<PaperSet> {
    match data {
        "mnist" | STAND_IN => Some(PaperSet::Mnist),
        "fashion-mnist" => Some(PaperSet::FashionMnist),
        "kmnist" => Some(PaperSet::Kmnist),
        _ => None,
    }
}

/// The data set that is none of the paper's, and is taken for MNIST.
const STAND_IN: &str = "glyphs";

/// What a reader of the report must know of a run with the paper's constants; `start` is whether images start from
/// them. To be given at the first step only: a resumed run has them already.
pub(super) fn warn_of_constants(start: bool, ctx: &mut RunContext) -> Result<(), RunError> {
    if start {
        ctx.warn(
            "the paper's start, independent log-normal pixels, is not the law of the noisy images, in which pixels \
             depend on each other: samples are off in mean intensity and in classes even with an exact score",
        );
    }
    if ctx.data()?.name == STAND_IN {
        ctx.warn(format!("the paper has no constants for {STAND_IN}: those of MNIST are used"));
    }
    Ok(())
}

/// [`paper_set`] of a run's own data, whose plan has made sure of it.
pub(super) fn paper_set_of(ctx: &RunContext) -> Result<PaperSet, RunError> {
    let name = &ctx.data()?.name;
    paper_set(name).ok_or_else(|| RunError::Failed(no_constants(name)))
}

/// Why the paper's constants cannot be used with a data set.
pub(super) fn no_constants(data: &str) -> String {
    format!("the paper has no constants for `{data}`: they are for mnist, fashion-mnist and kmnist")
}

/// Whether an id is words of lower-case letters and digits, joined by single underscores: then no two ids become one
/// in the name of a file.
fn is_plain(id: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    id.split('_').all(word)
}

/// Whether a metric's name made of an id could be one that is made without it, or of another id.
fn is_reserved(id: &str) -> bool {
    let of_a_number =
        |end: &str| end.strip_prefix('n').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    RESERVED.contains(&id)
        || ANCHORS.iter().any(|(name, _)| *name == id)
        || id.rsplit_once('_').is_some_and(|(_, end)| of_a_number(end))
}

impl SamplerConfig {
    /// Whether it can be run in this space; `at` is its place in the list.
    pub(super) fn validate(&self, at: usize, space: Space) -> Result<(), Invalid> {
        let fault = |key: &str, what: &str| Err(Invalid::new(format!("sampling.{at}.{key}"), what));
        if !is_plain(&self.id) {
            return fault("id", "must be words of lower-case letters and digits, joined by single underscores");
        }
        if is_reserved(&self.id) {
            let id = &self.id;
            return fault("id", &format!("`{id}` is what a metric of the study itself ends in: choose another name"));
        }
        if self.calls == 0 || self.calls > MOST_CALLS {
            return fault("calls", &format!("must be from 1 to {MOST_CALLS}"));
        }
        if self.samples < 2 {
            return fault("samples", "must be at least 2");
        }
        if !(self.sd_min.is_finite() && self.sd_min > 0.0) {
            return fault("sd_min", "must be above 0");
        }
        if !(self.sd_max.is_finite() && self.sd_max > self.sd_min) {
            return fault("sd_max", "must be above `sd_min`");
        }
        if self.kind.is_annealed() && self.sd_max != PAPER_SD {
            return fault("sd_max", "must be 0.8, sigma sqrt(T), for the paper's samplers");
        }
        if self.kind.is_annealed() && self.calls < 2 {
            return fault("calls", "must be at least 2 for the paper's samplers");
        }
        if self.kind == Kind::Paper && self.calls != 1000 {
            return fault("calls", "must be 1000: the paper's constants are for it");
        }
        if self.start == Start::Paper && self.sd_max != PAPER_SD {
            return fault("sd_max", "must be 0.8 for `start = \"paper\"`: its constants are those of that noise");
        }
        if space == Space::Pixel && self.kind == Kind::Paper {
            return fault("kind", "the paper's constants are for `space = \"log\"`");
        }
        if space == Space::Pixel && self.start == Start::Paper {
            return fault("start", "the paper's constants are for `space = \"log\"`");
        }
        // What the grid itself refuses: levels that do not fall in double precision.
        match self.route(PaperSet::Mnist) {
            Ok(_) => Ok(()),
            Err(error) => fault("sd_max", &format!("gives no grid with these `sd_min` and `calls`: {error}")),
        }
    }

    /// Whether the paper has constants for the data set, where they are asked for.
    pub(super) fn fits(&self, at: usize, data: &str) -> Result<(), Invalid> {
        let fault = |key: &str, what: String| Err(Invalid::new(format!("sampling.{at}.{key}"), what));
        let set = paper_set(data);
        if self.start == Start::Paper && set.is_none() {
            return fault("start", no_constants(data));
        }
        if self.kind == Kind::Paper {
            let Some(set) = set else { return fault("kind", no_constants(data)) };
            // What a run costs is known by its config alone.
            let steps = |set| self.route(set).map(|route| route.steps).ok();
            if steps(set) != steps(PaperSet::Mnist) {
                let found = steps(set).unwrap_or_default();
                return fault("kind", format!("the paper's constants for `{data}` take {found} calls and not 1000"));
            }
        }
        Ok(())
    }

    /// Network calls that an image costs.
    pub fn network_calls(&self) -> usize {
        if self.kind == Kind::Heun { (2 * self.calls).saturating_sub(1) } else { self.calls }
    }
}

/// The prior of a start, for images in the diffused variable (`rows`, `[images, pixels]`), whose covariance is in
/// `scatter` where the start needs it.
pub(super) fn start_prior(
    start: Start,
    rows: &[f32],
    pixels: usize,
    shift: f64,
    level: Level,
    scatter: Option<&Scatter>,
    ctx: &RunContext,
) -> Result<Prior, RunError> {
    let prior = match (start, scatter) {
        (Start::Paper, _) => Prior::paper(paper_set_of(ctx)?, pixels, shift)?,
        (Start::Iid, _) => Prior::estimated(rows, pixels, level)?,
        (Start::Pixel, _) => Prior::per_pixel(rows, pixels, level)?,
        (Start::Pca, Some(scatter)) => Prior::of_moments(mean(rows, pixels).as_slice(), scatter.covariance(), level)?,
        (Start::Pca, None) => Prior::gaussian_pca(rows, pixels, level)?,
    };
    Ok(prior)
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
    /// The grid and the rule, with the constants of `set` where they are the paper's.
    pub(super) fn route(&self, set: PaperSet) -> Result<Route, DiffusionError> {
        if self.kind.is_annealed() {
            // N labels cost N - 1 calls, as t = 0 is never asked for: the last call is the jump to the posterior
            // mean, or, in the paper's own loop, a second visit of the lowest level.
            let grid = paper_labels(self.calls)?;
            let annealed = match self.kind {
                Kind::Paper => Annealed::paper(set, Update::DaleLog, PaperStart::Noise)?,
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
