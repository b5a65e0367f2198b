//! The study of the terminal prior: what it alone does to the images; the posterior mean over stored images stands in
//! for a perfect network, so that every path ends at one of them.

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
use super::samplers::{Start, start_prior, warn_of_constants};
use super::state::Work;
use super::steps::{Phases, covariance, sampling, scatter_steps};
use crate::memory::PosteriorMean;
use crate::noise::Noise;
use crate::sampler::{Sampler, Solver, sample};
use crate::score::Level;

/// Images drawn together.
const CHUNK: usize = 100;
/// Calls of the sampler that make one step of the run.
const STRIDE: usize = 5;
/// Images whose nearest neighbours are found in one step.
const COMPARED: usize = 256;
/// Images of the picture, at most.
const SHOWN: usize = 64;
/// The picture.
const REACHED: &str = "stored-images-reached.png";
/// In [`Work::measured`]: the index of the stored image nearest to each that was drawn.
const NEAREST: &str = "nearest";
/// In [`Work::drawn`]: the one sampler there is.
const DRAWN: &str = "drawn";

pub(super) fn describe(config: &Config) -> Plan {
    let (seconds, disk) = cost(config);
    let steps = covariance_steps(config) + drawing_steps(config) + compare_steps(config);
    Plan { metrics: metrics(config), steps, seconds, disk }
}

fn covariance_steps(config: &Config) -> u64 {
    if config.prior.start == Start::Pca { scatter_steps(config.train_images) } else { 0 }
}

fn drawing_steps(config: &Config) -> u64 {
    (config.prior.samples.div_ceil(CHUNK) * config.prior.calls.div_ceil(STRIDE)) as u64
}

fn compare_steps(config: &Config) -> u64 {
    config.prior.samples.div_ceil(COMPARED) as u64
}

/// Seconds as `Plan::seconds` means them, and bytes on disk.
fn cost(config: &Config) -> (f64, u64) {
    let values = config.prior.samples * (SIDE / config.pool).pow(2);
    let flops = 4.0 * config.train_images as f64 * values as f64 * config.prior.calls as f64;
    let pixels = ((SIDE / config.pool) as u64).pow(2);
    let covariance = if config.prior.start == Start::Pca { 16 * pixels * pixels } else { 0 };
    (2.0 + flops * 1.4e-11, 1_000_000 + 8 * values as u64 + covariance)
}

fn metrics(config: &Config) -> Vec<MetricInfo> {
    let side = SIDE / config.pool;
    let basis = format!(
        "ends of {} paths against the {} stored images, {side}x{side}",
        config.prior.samples, config.train_images
    );
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
        metric("distinct", "different nearest stored images / paths", "fraction", Direction::Higher),
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
    let levels = study.grid()?;

    let mut work = Work::new(ctx.device());
    let start = ctx.restore(describe(config).steps, &mut work)?;
    if start == 0 && study.start == Start::Paper {
        warn_of_constants(true, ctx)?;
    }
    let mut phases = Phases::new(start);
    covariance(phases.phase(covariance_steps(config)), &rows, pixels, &mut work, |work| work, ctx)?;
    if !phases.are_done(drawing_steps(config)) {
        ctx.task("drawing");
        let level = Level::of_sd(study.sd_max);
        let prior = start_prior(study.start, &rows, pixels, coordinates.shift(), level, work.scatter.as_ref(), ctx)?;
        for first in (0..study.samples).step_by(CHUNK) {
            let left = phases.phase(levels.len().div_ceil(STRIDE) as u64);
            if left.is_done() {
                continue;
            }
            let n = CHUNK.min(study.samples - first);
            let mut noise = Noise::new(ctx.seed(), "dale-langevin/prior", first as u64, n);
            let device = ctx.device().clone();
            let sampled = sampling(
                left.before(),
                levels.len(),
                STRIDE,
                &mut work,
                |work| work,
                ctx,
                |from, observe| {
                    let from = from.unwrap_or_else(|| prior.draw(&mut noise, &device, DType::F32).into());
                    sample(&model, from, &levels, &Sampler::new(Solver::DpmSolver2M), &mut noise, observe)
                },
            )?;
            work.drawn.entry(DRAWN.into()).or_default().extend(coordinates.decode(sampled.state.y));
            ctx.step_done(phases.at, true, &work)?;
        }
    } else {
        phases.phase(drawing_steps(config));
    }

    ctx.task("comparing");
    for (at, done) in phases.phase(compare_steps(config)) {
        let drawn = work.images(DRAWN).chunks(COMPARED * pixels).nth(at as usize).unwrap_or_default();
        let near = nearest(drawn, &stored.pixels, pixels, ctx.device());
        work.measured.entry(NEAREST.into()).or_default().extend(near.iter().map(|(_, i)| *i as f64));
        ctx.step_done(done, false, &work)?;
    }
    let near: Vec<usize> = work.measured.get(NEAREST).into_iter().flatten().map(|i| *i as usize).collect();
    let measured = evaluate(work.images(DRAWN), &near, &stored);
    outcome(config, measured, work.images(DRAWN), &stored, ctx)
}

/// `near`: the stored image nearest to each that was drawn.
fn evaluate(drawn: &[f32], near: &[usize], stored: &Pictures) -> [(&'static str, f64); 5] {
    let (found, real) = (mean(drawn), stored.mean_intensity());
    let means: Vec<f64> = drawn.chunks(stored.size()).map(mean).collect();
    let classes = |labels: &mut dyn Iterator<Item = u8>| {
        let mut counts = vec![0usize; stored.classes];
        labels.for_each(|label| counts[usize::from(label)] += 1);
        counts
    };
    let of_drawn = classes(&mut near.iter().map(|i| stored.labels[*i]));
    let of_stored = classes(&mut stored.labels.iter().copied());
    let mut distinct = near.to_vec();
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
    let n = stored.size() * (drawn.len() / stored.size()).min(SHOWN);
    ctx.artifact(REACHED, &picture::Grid::new(stored.side, stored.side, 16).png(&drawn[..n])?)?;
    outcome.pictures.push(Picture {
        file: REACHED.into(),
        title: "Stored images that the start leads to".into(),
        caption: format!(
            "where paths from sd {} end with the exact posterior mean over {} stored images in place of a network: at \
             stored images, not at new ones. Look for: how bright they are, and how often one comes again",
            config.prior.sd_max,
            stored.len()
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
