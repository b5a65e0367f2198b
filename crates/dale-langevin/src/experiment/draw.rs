//! Drawing images with a trained network, some network calls to a step of the run.

use std::ops::ControlFlow;

use burn::tensor::DType;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::Config;
use super::data::Coordinates;
use super::evaluate::CALL_BATCH;
use super::samplers::{PAPER_START, SamplerConfig, Start, start_prior};
use super::state::State;
use crate::DiffusionError;
use crate::net::NetDenoiser;
use crate::noise::Noise;
use crate::sampler::Sampled;
use crate::score::Level;

/// Steps of a sampler that make one step of the run: the most that a kill can lose.
const SAMPLER_STEPS: usize = 20;

/// Steps of the run for one chunk of images.
fn chunk_steps(sampler: &SamplerConfig) -> u64 {
    // A sampler that cannot be is refused before anything runs.
    sampler.route().map_or(1, |route| route.steps.div_ceil(SAMPLER_STEPS)) as u64
}

/// Steps of the run that drawing takes.
pub(super) fn drawing_steps(config: &Config) -> u64 {
    config.sampling.iter().map(|s| chunk_steps(s) * s.samples.div_ceil(CALL_BATCH) as u64).sum()
}

/// What drawing needs of the run.
pub(super) struct Drawing<'a> {
    /// The trained network.
    pub denoiser: &'a NetDenoiser,
    /// The training images in the diffused variable, for the start.
    pub rows: &'a [f32],
    /// From that variable to images.
    pub coordinates: &'a Coordinates,
    /// The last step of the run before drawing.
    pub before: u64,
}

impl Drawing<'_> {
    /// Draws what is still missing after step `start` of the run.
    pub(super) fn run(
        &self,
        config: &Config,
        start: u64,
        state: &mut State,
        ctx: &mut RunContext,
    ) -> Result<(), RunError> {
        let Self { denoiser, rows, coordinates, before } = *self;
        let pixels = rows.len() / config.train_images;
        let mut at = before;
        for sampler in &config.sampling {
            let per_chunk = chunk_steps(sampler);
            let chunks = sampler.samples.div_ceil(CALL_BATCH);
            if at + per_chunk * chunks as u64 <= start {
                at += per_chunk * chunks as u64;
                continue;
            }
            let route = sampler.route()?;
            if sampler.start == Start::Paper && at >= start {
                ctx.warn(PAPER_START);
            }
            let level = Level::of_sd(sampler.sd_max);
            let prior = start_prior(sampler.start, rows, pixels, coordinates.shift(), level)?;
            for chunk in 0..chunks {
                if at + per_chunk <= start {
                    at += per_chunk;
                    continue;
                }
                ctx.task(format!("drawing, {}: {} of {chunks}", sampler.id, chunk + 1));
                let first = chunk * CALL_BATCH;
                let n = CALL_BATCH.min(sampler.samples - first);
                // One label for all: samplers share their start and their noise, so that they are paired.
                let mut noise = Noise::new(ctx.seed(), "dale-langevin/samples", first as u64, n);
                let from = match state.drawing.take() {
                    Some(run) => run,
                    None => Sampled::from(prior.draw(&mut noise, ctx.device(), DType::F32)),
                };
                let mut stopped = None;
                let run = route.run(denoiser, from, &mut noise, &mut |run| {
                    if run.step % SAMPLER_STEPS == 0 && run.step < route.steps {
                        state.drawing = Some(run.clone());
                        let done = ctx.step_done(at + (run.step / SAMPLER_STEPS) as u64, false, state);
                        state.drawing = None;
                        if let Err(error) = done {
                            stopped = Some(error);
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                })?;
                if let Some(error) = stopped {
                    return Err(error);
                }
                if run.clamped > 0 {
                    return Err(DiffusionError::NotFinite { field: "exponent", step: run.step }.into());
                }
                state.drawn.entry(sampler.id.clone()).or_default().extend(coordinates.decode(run.state.y));
                at += per_chunk;
                ctx.step_done(at, chunk + 1 == chunks, state)?;
            }
        }
        Ok(())
    }
}
