//! The study of closed forms: samplers with the exact score; who flips signs, and how close to the data 20 and 100
//! calls come.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use plasticity_core::run::record::{Direction, MetricInfo, Outcome, Plan};

use super::config::ClosedFormConfig;
use super::state::Work;
use super::steps::{Left, Phases, sampling};
use crate::DiffusionError;
use crate::distance::{add_distances, middle};
use crate::mixture::LogNormalMixture;
use crate::noise::Noise;
use crate::sampler::{Sampler, Solver, sample, unobserved};
use crate::schedule::{EDM_RHO, Grid, Schedule};
use crate::score::Level;
use crate::state::State;

/// The start and the last level of the comparison of calls.
const SD: (f64, f64) = (0.01, 10.0);

/// Calls of a sampler that make one step of the run: the chains of one call take a fifth of a second.
const STRIDE: usize = 10;

/// Quantiles that make one step of the run: some tenths of a second of Newton's method.
const QUANTILES: usize = 10_000;

/// In [`Work::measured`]: the sum of the distances to the quantiles so far.
const SUM: &str = "w1/sum";

/// One measurement, which gives one metric.
#[derive(Clone, Copy)]
enum Part {
    /// Coordinates that end negative, with this many steps.
    Flips(Solver, usize),
    /// Distance to the exact quantiles of mixture B.
    Distance(Solver, usize),
}

const PARTS: [(&str, &str, Part); 8] = [
    ("flips_agnostic_4", "signs flipped, sign-agnostic, 4 steps", Part::Flips(Solver::SignAgnostic, 4)),
    ("flips_agnostic_10", "signs flipped, sign-agnostic, 10 steps", Part::Flips(Solver::SignAgnostic, 10)),
    ("flips_dale_4", "signs flipped, Dale-Langevin, 4 steps", Part::Flips(Solver::DaleAmbient, 4)),
    ("flips_dale_10", "signs flipped, Dale-Langevin, 10 steps", Part::Flips(Solver::DaleAmbient, 10)),
    ("w1_dpm_20", "W1 to the data, DPM-Solver++(2M), 20 calls", Part::Distance(Solver::DpmSolver2M, 20)),
    ("w1_ddim_20", "W1 to the data, DDIM, 20 calls", Part::Distance(Solver::Ddim, 20)),
    ("w1_dale_20", "W1 to the data, Dale-Langevin, 20 calls", Part::Distance(Solver::DaleLog, 20)),
    ("w1_dale_100", "W1 to the data, Dale-Langevin, 100 calls", Part::Distance(Solver::DaleLog, 100)),
];

pub(super) fn describe(config: &ClosedFormConfig) -> Plan {
    let (seconds, disk) = cost(config);
    Plan {
        metrics: metrics(config),
        steps: PARTS.iter().map(|(_, _, part)| part.steps(config).iter().sum::<u64>()).sum(),
        seconds,
        disk,
    }
}

/// Seconds as `Plan::seconds` means them, and bytes on disk.
fn cost(config: &ClosedFormConfig) -> (f64, u64) {
    let calls = PARTS.iter().map(|(_, _, part)| match part {
        Part::Flips(_, calls) => (calls * config.coordinates) as f64,
        Part::Distance(_, calls) => (calls * config.chains) as f64,
    });
    // Two checkpoints of the chains and, for DPM-Solver++(2M), of where they were before, in f64.
    (calls.sum::<f64>() * 1.25e-7 + 1.0, 100_000 + 32 * config.chains as u64)
}

impl Part {
    /// Steps of the run: of the sampling, and of what comes after it.
    fn steps(self, config: &ClosedFormConfig) -> [u64; 2] {
        match self {
            Self::Flips(..) => [0, 1],
            Self::Distance(_, calls) => [calls.div_ceil(STRIDE) as u64, config.chains.div_ceil(QUANTILES) as u64],
        }
    }
}

fn metrics(config: &ClosedFormConfig) -> Vec<MetricInfo> {
    let metric = |(name, title, part): &(&str, &str, Part)| {
        let (unit, exact, basis) = match part {
            Part::Flips(..) => {
                let n = config.coordinates;
                (
                    "",
                    true,
                    format!("{n} coordinates, log-normal data (0.2, 0.5), exact score, d = 1/N, noise on every step"),
                )
            }
            Part::Distance(..) => {
                let n = config.chains;
                ("", false, format!("mixture B, exact score, {n} stratified chains from sd {} to {}", SD.1, SD.0))
            }
        };
        MetricInfo {
            name: (*name).into(),
            title: (*title).into(),
            unit: unit.into(),
            direction: Direction::Lower,
            exact,
            basis,
        }
    };
    PARTS.iter().map(metric).collect()
}

pub(super) fn run(config: &ClosedFormConfig, ctx: &mut RunContext) -> Result<Outcome, RunError> {
    let mut work = Work::new(ctx.device());
    let mut phases = Phases::new(ctx.restore(describe(config).steps, &mut work)?);
    // All distances are to the same quantiles: each is looked for once.
    let mut quantiles = vec![None; config.chains];
    for (name, title, part) in PARTS {
        let steps = part.steps(config);
        if phases.are_done(steps.iter().sum()) {
            phases.phase(steps.iter().sum());
            continue;
        }
        ctx.task(title);
        match part {
            Part::Flips(solver, calls) => {
                let value = flips(solver, calls, config.coordinates, ctx)?;
                phases.phase(1);
                work.note(name, value, phases.at)?;
                ctx.step_done(phases.at, true, &work)?;
            }
            Part::Distance(solver, calls) => {
                walk(phases.phase(steps[0]), solver, calls, config.chains, &mut work, ctx)?;
                distance(phases.phase(steps[1]), name, &mut quantiles, &mut work, ctx)?;
            }
        }
    }
    let value = |(name, _, _): &(&str, &str, Part)| Some(((*name).to_owned(), *work.measured.get(*name)?.first()?));
    Ok(Outcome { metrics: PARTS.iter().filter_map(value).collect(), ..Outcome::default() })
}

fn row(values: Vec<f64>, device: &Device) -> Tensor<2> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [1, n]), (device, DType::F64))
}

/// Coordinates of log-normal data (log mean 0.2, log sd 0.5) whose sign ends changed (oracle T8).
fn flips(solver: Solver, steps: usize, n: usize, ctx: &RunContext) -> Result<f64, DiffusionError> {
    let data = LogNormalMixture::single(0.2, 0.5);
    let grid = Grid::uniform_time(&Schedule::PAPER, steps)?;
    let mut stream = ctx.stream("dale-langevin/start", 0);
    let sd = data.variance(Schedule::PAPER.level(1.0)).sqrt();
    let y = (0..n).map(|_| data.mean(Schedule::PAPER.level(1.0)) + sd * stream.normal()).collect();
    let mut noise = Noise::new(ctx.seed(), "dale-langevin/flips", 0, 1);
    let sampler = Sampler { last_noise: true, ..Sampler::new(solver) };
    let state = State::positive(row(y, ctx.device()));
    let sampled = sample(&data, state, &grid, &sampler, &mut noise, &mut unobserved)?;
    Ok(sampled.negative() as f64)
}

/// Stratified chains to their end, which stays in [`Work::drawing`]. The stochastic sampler walks the geometric grid,
/// the deterministic ones EDM's.
fn walk(
    left: Left,
    solver: Solver,
    calls: usize,
    n: usize,
    work: &mut Work,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    if left.is_done() {
        return Ok(());
    }
    let grid = match solver {
        Solver::DaleLog => Grid::geometric(SD.0, SD.1, calls)?,
        _ => Grid::edm(SD.0, SD.1, EDM_RHO, calls)?,
    };
    let (data, device) = (LogNormalMixture::mixture_b(), ctx.device().clone());
    let mut noise = Noise::new(ctx.seed(), "dale-langevin/chains", calls as u64, 1);
    let sampled = sampling(
        left.before(),
        grid.len(),
        STRIDE,
        work,
        |work| work,
        ctx,
        |from, observe| {
            let start = || State::positive(row(data.stratified(n, Level::of_sd(SD.1)), &device)).into();
            sample(&data, from.unwrap_or_else(start), &grid, &Sampler::new(solver), &mut noise, observe)
        },
    )?;
    work.drawing = Some(sampled);
    ctx.step_done(left.end(), true, work)
}

/// W1 between the ends of the chains and mixture B (oracle T22).
fn distance(
    left: Left,
    name: &str,
    quantiles: &mut [Option<f64>],
    work: &mut Work,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    let data = LogNormalMixture::mixture_b();
    let chains = work.drawing.as_ref().ok_or_else(|| RunError::Failed("no chains are there".into()))?;
    let mut ends: Vec<f64> = chains.state.y.to_data().iter::<f64>().collect();
    ends.sort_by(f64::total_cmp);
    let end = left.end();
    for (at, done) in left {
        let first = at as usize * QUANTILES;
        let part = first..(first + QUANTILES).min(ends.len());
        let so_far = work.measured.get(SUM).and_then(|sum| sum.first()).copied().unwrap_or(0.0);
        let n = ends.len();
        let sum = add_distances(so_far, &ends, part, |i| {
            *quantiles[i].get_or_insert_with(|| data.quantile(middle(i, n), Level::CLEAN))
        });
        if done == end {
            work.measured.remove(SUM);
            work.drawing = None;
            work.note(name, sum / n as f64, done)?;
        } else {
            work.note(SUM, sum, done)?;
        }
        ctx.step_done(done, done == end, work)?;
    }
    Ok(())
}
