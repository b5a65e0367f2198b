//! Oracles of the samplers (section 17), and what every sampling must keep to.

mod annealed;
mod contract;
mod images;
mod paper_updates;
mod solvers;

use std::cell::Cell;

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::error::DiffusionError;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::noise::Noise;
use dale_langevin::sampler::{Sampled, Sampler, Solver, sample, unobserved};
use dale_langevin::schedule::Grid;
use dale_langevin::score::Denoiser;
use dale_langevin::state::State;
use plasticity_core::testing::{self, cpu};

const ALL: [Solver; 7] = [
    Solver::Ddim,
    Solver::Ancestral,
    Solver::Heun,
    Solver::DpmSolver2M,
    Solver::DaleLog,
    Solver::DaleAmbient,
    Solver::SignAgnostic,
];

/// `values` as a tensor of f64 with `rows` rows.
fn tensor(values: &[f64], rows: usize) -> Tensor<2> {
    testing::tensor(values, [rows, values.len() / rows], &cpu(), DType::F64)
}

fn values(y: &Tensor<2>) -> Vec<f64> {
    y.clone().into_data().iter::<f64>().collect()
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

/// Samples from `start`, whose rows are the images, with a seed of the test's own.
fn run(
    denoiser: &dyn Denoiser,
    start: Tensor<2>,
    grid: &Grid,
    sampler: &Sampler,
    label: &str,
) -> Result<Sampled, DiffusionError> {
    let mut noise = Noise::new(1, label, 0, start.dims()[0]);
    sample(denoiser, State::positive(start), grid, sampler, &mut noise, &mut unobserved)
}

/// The paper's updates as its code runs them: noise on the last step too.
fn noisy(solver: Solver) -> Sampler {
    Sampler { last_noise: true, ..Sampler::new(solver) }
}

/// Independent Gaussian pixels of mean `mean` and variances `variance`, `[1, pixels]`.
struct Gaussian {
    mean: f64,
    variance: Tensor<2>,
}

impl Denoiser for Gaussian {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        let gain = self.variance.clone() / (self.variance.clone() + sd * sd);
        Ok((y - self.mean) * gain + self.mean)
    }
}

/// Counts the calls of another denoiser.
struct Counted<'a>(&'a dyn Denoiser, Cell<usize>);

impl Denoiser for Counted<'_> {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        self.1.set(self.1.get() + 1);
        self.0.denoise(y, sd)
    }
}

/// The log-normal data of T2 and T7: log-mean 0.2, log-sd 0.5.
fn log_normal() -> LogNormalMixture {
    LogNormalMixture::single(0.2, 0.5)
}
