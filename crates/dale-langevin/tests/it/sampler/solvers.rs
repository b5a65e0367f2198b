//! Solvers against the probability flow's exact map, and their error at few steps.

use dale_langevin::distance::w1_to_quantiles;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::sampler::{Sampler, Solver};
use dale_langevin::schedule::{Grid, Schedule};
use dale_langevin::score::{Denoiser, Level, View, convert};
use plasticity_core::testing::assert_close;

use super::{log_normal, noisy, run, tensor, values};

/// The flow of section 6 in t, dY/dt = (mu - sigma^2/2) - sigma^2 u / 2, from 1 to 0: a small integrator of this
/// test's own over the crate's views (the solvers of section 19.2 run in sd), u taken directly at t = 0.
fn flow(n: usize, heun: bool, mu: f64) -> f64 {
    let (data, schedule) = (log_normal(), Schedule::Constant { sigma: 0.8, mu, horizon: 1.0 });
    let velocity = |y: f64, t: f64| {
        let level = schedule.level(t);
        let u = if t == 0.0 {
            data.log_score(y, level)
        } else {
            let y = tensor(&[y], 1);
            let denoised = data.denoise(y.clone() - level.drift, level.sd()).unwrap();
            values(&convert(denoised, View::Denoised, View::LogScore, &y, None, level))[0]
        };
        mu - 0.32 - 0.32 * u
    };
    let h = 1.0 / n as f64;
    let begin = 1.2 + schedule.drift(1.0);
    let end = (1..=n).rev().fold(begin, |y, k| {
        let (t, next) = (k as f64 * h, (k - 1) as f64 * h);
        let slope = velocity(y, t);
        let euler = y - h * slope;
        if heun { y - 0.5 * h * (slope + velocity(euler, next)) } else { euler }
    });
    end - 0.2
}

#[test]
fn t10_probability_flow_in_t() {
    let exact = 0.5 / (0.25f64 + 0.64).sqrt();
    assert_close(&[exact], &[0.5299989400], 1e-10);
    let euler = [10, 20, 40].map(|n| flow(n, false, 0.32) - exact);
    assert_close(&euler, &[0.01229, 0.00613, 0.00306], 6e-6);
    let heun = [10, 20, 40].map(|n| flow(n, true, 0.32) - exact);
    assert_close(&heun, &[-1.06e-3, -2.58e-4, -6.35e-5], 6e-6);
    assert!((heun[2] + 6.35e-5).abs() < 6e-8);
    for (errors, ratio) in [(euler, 2.0), (heun, 4.0)] {
        assert!(
            (errors[0] / errors[1] / ratio - 1.0).abs() < 0.04 && (errors[1] / errors[2] / ratio - 1.0).abs() < 0.03
        );
    }
    assert_close(&[flow(20, true, 0.9)], &[flow(20, true, 0.32)], 1e-12);
}

#[test]
fn t11_quantile_map_of_the_flow() {
    let data = LogNormalMixture::mixture_b();
    let cases = [
        (0.8, [-0.365, 0.019, 0.035, 0.435, 1.235], [0.05890737, 0.42433418, 0.44127188, 0.55419778, 0.65530839]),
        (10.0, [-9.565, -4.765, -4.565, 0.435, 10.435], [0.05365391, 0.37303433, 0.42014500, 0.55472381, 0.65996233]),
    ];
    for (sd, start, end) in cases {
        let map = start.map(|y| data.quantile(data.cdf(y, Level::of_sd(sd)), Level::CLEAN));
        assert_close(&map, &end, 6e-9);
        for (calls, tolerance) in [(400, 1e-4), (80, 2e-3)] {
            let grid = Grid::edm(1e-3, sd, 7.0, calls).unwrap();
            let found = run(&data, tensor(&start, 1), &grid, &Sampler::new(Solver::Heun), "t11").unwrap();
            assert_close(&values(&found.state.y), &end, tolerance);
            assert_eq!(found.calls, 2 * calls - 1);
        }
        // First order and the multistep method arrive there too.
        for (solver, tolerance) in [(Solver::Ddim, 3e-2), (Solver::DpmSolver2M, 2e-3)] {
            let grid = Grid::edm(1e-3, sd, 7.0, 400).unwrap();
            let found = run(&data, tensor(&start, 1), &grid, &Sampler::new(solver), "t11").unwrap();
            assert_close(&values(&found.state.y), &end, tolerance);
        }
    }
}

/// W1 of a solver's output on mixture B to the exact quantiles, from a stratified start.
fn w1(sampler: &Sampler, grid: &Grid, n: usize) -> f64 {
    let data = LogNormalMixture::mixture_b();
    let start = tensor(&data.stratified(n, grid.first()), n / 1000);
    let mut y = values(&run(&data, start, grid, sampler, "t22").unwrap().state.y);
    w1_to_quantiles(&mut y, |p| data.quantile(p, Level::CLEAN))
}

#[test]
fn t22_few_steps() {
    let steps = [5, 8, 10, 12, 16, 20, 32, 64];
    let table = [
        (Solver::Ddim, [0.0648, 0.0403, 0.0310, 0.0252, 0.0182, 0.0142, 0.0085, 0.0039]),
        (Solver::DpmSolver2M, [0.0523, 0.0285, 0.0183, 0.0116, 0.0055, 0.0031, 0.0016, 0.0016]),
        (Solver::Heun, [0.1344, 0.0243, 0.0130, 0.0082, 0.0043, 0.0029, 0.0018, 0.0017]),
        (Solver::Ancestral, [0.0886, 0.0557, 0.0450, 0.0407, 0.0282, 0.0244, 0.0158, 0.0078]),
    ];
    for (solver, row) in table {
        // The table is against a sample of 16,000; the ancestral steps are noisy themselves.
        let (tolerance, n) = if solver == Solver::Ancestral { (0.004, 16_000) } else { (0.0013, 4_000) };
        for (calls, expected) in steps.into_iter().zip(row) {
            let grid = Grid::edm(0.01, 10.0, 7.0, calls).unwrap();
            let found = w1(&Sampler::new(solver), &grid, n);
            assert!((found - expected).abs() < tolerance, "{solver:?}, {calls} steps: {found}, expected {expected}");
        }
    }
    // The second measurement, against exact quantiles: 20 calls of DPM-Solver++(2M).
    let (edm, geometric) = (|min, max| Grid::edm(min, max, 7.0, 20), |min, max| Grid::geometric(min, max, 20));
    for (grid, expected) in [
        (edm(0.01, 10.0), 0.0031),
        (geometric(0.01, 10.0), 0.0018),
        (geometric(0.02, 10.0), 0.0023),
        (edm(0.01, 0.8), 0.0007),
        (geometric(0.01, 0.8), 0.0007),
        (geometric(0.02, 0.8), 0.0021),
    ] {
        let grid = grid.unwrap();
        let found = w1(&Sampler::new(Solver::DpmSolver2M), &grid, 4_000);
        assert!((found - expected).abs() < 1e-4, "{:?}: {found}, expected {expected}", grid.first());
    }
}

/// As many calls as the paper's process has levels, down to the lowest of them: the steps between neighbours are the
/// smallest that there are, and the last goes to noise 0.
#[test]
fn as_many_calls_as_there_are_levels_stay_numbers_and_come_closer() {
    for solver in [Solver::Ddim, Solver::Heun, Solver::DpmSolver2M] {
        let error = |calls| w1(&Sampler::new(solver), &Grid::uniform_time(&Schedule::PAPER, calls).unwrap(), 4_000);
        let (few, all) = (error(20), error(1000));
        assert!(all < 0.3 * few && all < 0.01, "{solver:?}: {all} after {few}");
    }
}

/// The Dale-Langevin rows, whose noise moves W1 by about 0.0012 (one sd) at 40,000 coordinates.
#[test]
fn t22_dale_langevin() {
    let uniform = |n| Grid::uniform_time(&Schedule::PAPER, n).unwrap();
    let noise = noisy(Solver::DaleLog);
    let quiet = Sampler::new(Solver::DaleLog);
    for (sampler, grid, n, expected) in [
        (noise, uniform(20), 40_000, 0.0826),
        (noise, uniform(100), 40_000, 0.0238),
        (noise, uniform(1000), 8_000, 0.0037),
        (quiet, uniform(20), 40_000, 0.0363),
        (quiet, uniform(100), 40_000, 0.0128),
        (noise, Grid::geometric(0.01, 0.8, 50).unwrap(), 40_000, 0.0067),
        (noise, Grid::geometric(0.01, 10.0, 100).unwrap(), 40_000, 0.0055),
    ] {
        let found = w1(&sampler, &grid, n);
        let tolerance = if n < 10_000 { 0.006 } else { 0.003 };
        let name = (grid.levels().len(), grid.first().sd(), sampler.last_noise);
        assert!((found - expected).abs() < tolerance, "{name:?}: {found}, expected {expected}");
    }
}
