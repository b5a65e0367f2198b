//! The study of the terminal prior: what it alone does to the images; the posterior mean over real images stands in
//! for a perfect network (section 15).

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::data::Split;
use plasticity_core::data::digits::SIDE;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use plasticity_core::run::picture;
use plasticity_core::run::record::{Direction, MetricInfo, Outcome, Picture, Plan};

use super::config::Config;
use super::data::{Coordinates, Pictures, Space, mean};
use super::evaluate::nearest;
use super::samplers::{PAPER_START, Start, start_prior};
use super::state::Drawn;
use crate::memory::PosteriorMean;
use crate::noise::Noise;
use crate::sampler::{Sampler, Solver, sample, unobserved};
use crate::schedule::{EDM_RHO, Grid};
use crate::score::Level;

/// Images drawn together.
const CHUNK: usize = 100;

pub(super) fn describe(config: &Config) -> Plan {
    let (seconds, disk) = cost(config);
    Plan { metrics: metrics(config), steps: config.prior.samples.div_ceil(CHUNK) as u64, seconds, disk }
}

/// Seconds, roughly, and bytes on disk.
fn cost(config: &Config) -> (f64, u64) {
    let values = config.prior.samples * (SIDE / config.pool).pow(2);
    let flops = 4.0 * (config.train_images * values * config.prior.calls) as f64;
    (2.0 + flops * 2.5e-11, 1_000_000 + 8 * values as u64)
}

fn metrics(config: &Config) -> Vec<MetricInfo> {
    let side = SIDE / config.pool;
    let basis =
        format!("{} samples against the {} stored images, {side}x{side}", config.prior.samples, config.train_images);
    let metric = |name: &str, title: &str, unit: &str, direction| MetricInfo {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        direction,
        exact: false,
        basis: basis.clone(),
    };
    vec![
        metric("intensity", "mean intensity", "", Direction::Neutral),
        metric("intensity_shift", "mean intensity, off the stored images' by", "fraction", Direction::Lower),
        metric("spread", "standard deviation of the images' means", "", Direction::Neutral),
        metric("class_kl", "class frequencies, KL from the stored images' (nats)", "", Direction::Lower),
        metric("distinct", "different nearest images / samples", "fraction", Direction::Higher),
    ]
}

pub(super) fn run(config: &Config, ctx: &mut RunContext) -> Result<Outcome, RunError> {
    let study = &config.prior;
    let stored = Pictures::load(ctx, Split::Train, config.train_images, config.pool)?;
    let pixels = stored.size();
    let coordinates = Coordinates::fit(Space::Log, &stored)?;
    let y0 = coordinates.encode(&stored.pixels, pixels, ctx.device())?;
    let rows: Vec<f32> = y0.clone().into_data().iter::<f32>().collect();
    let model = PosteriorMean::new(y0)?;
    let prior = start_prior(study.start, &rows, pixels, coordinates.shift(), Level::of_sd(study.sd_max))?;
    let levels = Grid::edm(study.sd_min, study.sd_max, EDM_RHO, study.calls)?;

    if study.start == Start::Paper {
        ctx.warn(PAPER_START);
    }
    let mut drawn = Drawn::default();
    let steps = study.samples.div_ceil(CHUNK) as u64;
    let start = ctx.restore(steps, &mut drawn)?;
    ctx.task("drawing");
    for at in start..steps {
        let first = at as usize * CHUNK;
        let n = CHUNK.min(study.samples - first);
        let mut noise = Noise::new(ctx.seed(), "dale-langevin/prior", first as u64, n);
        let state = prior.draw(&mut noise, ctx.device(), DType::F32);
        let sampled = sample(&model, state, &levels, &Sampler::new(Solver::DpmSolver2M), &mut noise, &mut unobserved)?;
        drawn.0.extend(coordinates.decode(sampled.state.y));
        ctx.step_done(at + 1, true, &drawn)?;
    }

    let measured = evaluate(&drawn.0, &stored, ctx.device());
    outcome(config, measured, &drawn.0, &stored, ctx)
}

fn evaluate(drawn: &[f32], stored: &Pictures, device: &Device) -> [(&'static str, f64); 5] {
    let near = nearest(drawn, &stored.pixels, stored.size(), device);
    let (found, real) = (mean(drawn), stored.mean_intensity());
    let means: Vec<f64> = drawn.chunks(stored.size()).map(mean).collect();
    let classes = |labels: &mut dyn Iterator<Item = u8>| {
        let mut counts = vec![0usize; stored.classes];
        labels.for_each(|label| counts[usize::from(label)] += 1);
        counts
    };
    let of_drawn = classes(&mut near.iter().map(|(_, i)| stored.labels[*i]));
    let of_stored = classes(&mut stored.labels.iter().copied());
    let mut distinct: Vec<usize> = near.iter().map(|(_, i)| *i).collect();
    distinct.sort_unstable();
    distinct.dedup();
    [
        ("intensity", found),
        ("intensity_shift", (found - real).abs() / real),
        ("spread", plasticity_core::stats::std_dev(&means).unwrap_or(0.0)),
        ("class_kl", divergence(&of_drawn, &of_stored)),
        ("distinct", distinct.len() as f64 / near.len() as f64),
    ]
}

fn outcome(
    config: &Config,
    measured: [(&'static str, f64); 5],
    drawn: &[f32],
    stored: &Pictures,
    ctx: &RunContext,
) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::default();
    outcome.metrics.extend(measured.map(|(name, value)| (name.into(), value)));
    let shown = &drawn[..drawn.len().min(64 * stored.size())];
    ctx.artifact("samples.png", &picture::Grid::new(stored.side, stored.side, 16).png(shown)?)?;
    outcome.pictures.push(Picture {
        file: "samples.png".into(),
        title: "Samples".into(),
        caption: format!(
            "drawn with the posterior mean over {} real images, from sd {}",
            stored.len(),
            config.prior.sd_max
        ),
    });
    Ok(outcome)
}

/// KL divergence of one histogram from another, in nats; classes that the second lacks are left out.
fn divergence(from: &[usize], to: &[usize]) -> f64 {
    let (n, m) = (from.iter().sum::<usize>() as f64, to.iter().sum::<usize>() as f64);
    let pairs = from.iter().zip(to).filter(|(a, b)| **a > 0 && **b > 0);
    pairs.map(|(a, b)| (*a as f64 / n) * ((*a as f64 / n) / (*b as f64 / m)).ln()).sum()
}
