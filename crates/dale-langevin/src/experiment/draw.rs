//! Drawing images with a trained network, some network calls to a step of the run.

use burn::tensor::DType;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::Config;
use super::data::Coordinates;
use super::evaluate::CALL_BATCH;
use super::samplers::{Kind, SamplerConfig, paper_set_of, start_prior};
use super::state::State;
use super::steps::{Phases, sampling};
use crate::DiffusionError;
use crate::net::NetDenoiser;
use crate::noise::Noise;
use crate::sampler::{PaperSet, Sampled};
use crate::score::Level;

/// Steps of a sampler that make one step of the run: the most that a kill can lose.
const SAMPLER_STEPS: usize = 5;

/// Steps of the run for one chunk of images.
fn chunk_steps(sampler: &SamplerConfig) -> u64 {
    // A sampler that cannot be is refused before anything runs, and so is one that takes other steps on other data.
    sampler.route(PaperSet::Mnist).map_or(1, |route| route.steps.div_ceil(SAMPLER_STEPS)) as u64
}

/// Steps of the run that drawing takes.
pub(super) fn drawing_steps(config: &Config) -> u64 {
    let steps = |s: &SamplerConfig| chunk_steps(s).saturating_mul(s.samples.div_ceil(CALL_BATCH) as u64);
    config.sampling.iter().map(steps).fold(0, u64::saturating_add)
}

/// What drawing needs of the run.
pub(super) struct Drawing<'a> {
    /// The trained network.
    pub denoiser: &'a NetDenoiser,
    /// The training images in the diffused variable, for the start.
    pub rows: &'a [f32],
    /// From that variable to images.
    pub coordinates: &'a Coordinates,
}

impl Drawing<'_> {
    /// Draws what is still missing.
    pub(super) fn run(
        &self,
        config: &Config,
        phases: &mut Phases,
        state: &mut State,
        ctx: &mut RunContext,
    ) -> Result<(), RunError> {
        let Self { denoiser, rows, coordinates } = *self;
        let pixels = rows.len() / config.train_images;
        for sampler in &config.sampling {
            let (per_chunk, chunks) = (chunk_steps(sampler), sampler.samples.div_ceil(CALL_BATCH));
            if phases.are_done(per_chunk * chunks as u64) {
                phases.phase(per_chunk * chunks as u64);
                continue;
            }
            let set = if sampler.kind == Kind::Paper { paper_set_of(ctx)? } else { PaperSet::Mnist };
            let route = sampler.route(set)?;
            let level = Level::of_sd(sampler.sd_max);
            let scatter = state.work.scatter.as_ref();
            let prior = start_prior(sampler.start, rows, pixels, coordinates.shift(), level, scatter, ctx)?;
            for chunk in 0..chunks {
                let left = phases.phase(per_chunk);
                if left.is_done() {
                    continue;
                }
                ctx.task(format!("drawing, {}: {} of {chunks}", sampler.id, chunk + 1));
                let first = chunk * CALL_BATCH;
                let n = CALL_BATCH.min(sampler.samples - first);
                // One label for all: samplers share their start and their noise, so that they are paired.
                let mut noise = Noise::new(ctx.seed(), "dale-langevin/samples", first as u64, n);
                let device = ctx.device().clone();
                let run = sampling(
                    left.before(),
                    route.steps,
                    SAMPLER_STEPS,
                    state,
                    |s| &mut s.work,
                    ctx,
                    |from, observe| {
                        let from = from.unwrap_or_else(|| Sampled::from(prior.draw(&mut noise, &device, DType::F32)));
                        route.run(denoiser, from, &mut noise, observe)
                    },
                )?;
                if run.clamped > 0 {
                    return Err(DiffusionError::NotFinite { field: "exponent", step: run.step }.into());
                }
                let images = coordinates.decode(run.state.y);
                state.work.drawn.entry(sampler.id.clone()).or_default().extend(images);
                ctx.step_done(phases.at, chunk + 1 == chunks, state)?;
            }
        }
        Ok(())
    }
}
