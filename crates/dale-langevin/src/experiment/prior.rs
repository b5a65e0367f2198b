//! What the terminal prior alone does to the images: the posterior mean over real images stands in for
//! a perfect network (section 15).

use plasticity_core::checkpoint::{Files, Snapshot, file};
use plasticity_core::data::Split;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use plasticity_core::run::picture;
use plasticity_core::run::record::{Direction, MetricInfo, Outcome, Picture, Plan};

use super::bytes::{from_bytes, to_bytes};
use super::config::{Config, Space};
use super::images::{Coordinates, Pictures, mean, nearest};
use super::samplers::{PAPER_START, Start, start_prior};
use crate::memory::PosteriorMean;
use crate::noise::Noise;
use crate::sampler::{Sampler, Solver, sample, unobserved};
use crate::schedule::Grid;
use crate::score::Level;
use burn::tensor::DType;

/// Images drawn together.
const CHUNK: usize = 100;
/// EDM's exponent.
const RHO: f64 = 7.0;

pub(super) fn describe(config: &Config) -> Plan {
    let side = 28 / config.pool;
    let (stored, drawn) = (config.train_images, config.prior.samples);
    let basis = format!("{drawn} samples against the {stored} stored images, {side}x{side}");
    let metric = |name: &str, title: &str, unit: &str, direction| MetricInfo {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        direction,
        exact: false,
        basis: basis.clone(),
    };
    let flops = 4.0 * (stored * drawn * side * side * config.prior.calls) as f64;
    Plan {
        metrics: vec![
            metric("intensity", "mean intensity", "", Direction::Neutral),
            metric("intensity_shift", "shift of the mean intensity", "fraction", Direction::Lower),
            metric("spread", "spread of the image means", "", Direction::Neutral),
            metric("class_kl", "KL of the classes (nats)", "", Direction::Lower),
            metric("distinct", "distinct nearest images", "fraction", Direction::Higher),
        ],
        steps: drawn.div_ceil(CHUNK) as u64,
        seconds: 2.0 + flops * 2.5e-11,
        disk: 1_000_000 + 8 * (drawn * side * side) as u64,
    }
}

/// The images drawn so far, `[images, pixels]` row-major, in `[0, 1]`.
#[derive(Default)]
struct Drawn(Vec<f32>);

impl Snapshot for Drawn {
    fn save(&self) -> Result<Files, RunError> {
        Ok(Files::from([("drawn.f32".into(), to_bytes(&self.0))]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.0 = from_bytes("drawn.f32", file(files, "drawn.f32")?)?;
        Ok(())
    }
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
    let levels = Grid::edm(study.sd_min, study.sd_max, RHO, study.calls)?;

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

    let near = nearest(&drawn.0, &stored.pixels, pixels, ctx.device());
    let mut outcome = Outcome::default();
    let (found, real) = (mean(&drawn.0), stored.mean_intensity());
    let means: Vec<f64> = drawn.0.chunks(pixels).map(mean).collect();
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
    for (name, value) in [
        ("intensity", found),
        ("intensity_shift", (found - real).abs() / real),
        ("spread", plasticity_core::stats::std_dev(&means).unwrap_or(0.0)),
        ("class_kl", divergence(&of_drawn, &of_stored)),
        ("distinct", distinct.len() as f64 / near.len() as f64),
    ] {
        outcome.metrics.insert(name.into(), value);
    }
    let shown = &drawn.0[..drawn.0.len().min(64 * pixels)];
    ctx.artifact("samples.png", &picture::Grid::new(stored.side, stored.side, 16).png(shown)?)?;
    outcome.pictures.push(Picture {
        file: "samples.png".into(),
        title: "Samples".into(),
        caption: format!("drawn with the posterior mean over {} real images, from sd {}", stored.len(), study.sd_max),
    });
    Ok(outcome)
}

/// KL divergence of one histogram from another, in nats; classes that the second lacks are left out.
fn divergence(from: &[usize], to: &[usize]) -> f64 {
    let (n, m) = (from.iter().sum::<usize>() as f64, to.iter().sum::<usize>() as f64);
    let pairs = from.iter().zip(to).filter(|(a, b)| **a > 0 && **b > 0);
    pairs.map(|(a, b)| (*a as f64 / n) * ((*a as f64 / n) / (*b as f64 / m)).ln()).sum()
}
