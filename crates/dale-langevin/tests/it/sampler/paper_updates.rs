//! Dale-Langevin and the sign-agnostic update on laws that are known exactly.

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::distance::w1_to_quantiles;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::noise::Noise;
use dale_langevin::sampler::step::{Increment, dale_ambient, dale_log, langevin, langevin_size, sign_agnostic};
use dale_langevin::sampler::{Corrector, CorrectorSize, Sampler, Solver, sample};
use dale_langevin::schedule::{Grid, Schedule};
use dale_langevin::score::Level;
use dale_langevin::state::State;
use plasticity_core::testing::assert_close;
use std::ops::ControlFlow;

use super::{cpu, log_normal, moments, noisy, run, tensor, values};

/// Variance of Dale-Langevin's output on N(0.2, 0.25), N uniform steps from the true start.
fn t07_recursion(n: usize) -> f64 {
    let (s2, d) = (0.64, 1.0 / n as f64);
    (1..=n).rev().fold(0.25 + s2, |variance, k| {
        let v = 0.25 + s2 * k as f64 * d;
        (1.0 - d * s2 / v).powi(2) * variance + s2 * d
    })
}

/// `p_T` of [`log_normal`] by its quantiles, in rows of 1000.
fn start(n: usize, level: Level) -> Tensor<2> {
    // One law for all levels, scaled: quantiles are slow.
    let unit = LogNormalMixture::single(0.0, 1.0).stratified(n, Level::CLEAN);
    tensor(&unit, n / 1000) * (0.25 + level.variance).sqrt() + 0.2 + level.drift
}

#[test]
fn t07_exact_law_of_dale_langevin() {
    let table = [
        (10, 0.2821110219),
        (20, 0.2654028617),
        (50, 0.2560017620),
        (100, 0.2529742045),
        (200, 0.2514804284),
        (500, 0.2505905694),
        (1000, 0.2502950177),
    ];
    for (n, expected) in table {
        assert_close(&[t07_recursion(n)], &[expected], 1e-10);
    }
    assert!((1000.0 * (t07_recursion(1000) - 0.25) - 0.295).abs() < 1e-3);
    for (n, expected) in [(10, 3.80e-3), (100, 3.51e-5), (1000, 3.48e-7)] {
        let ratio = t07_recursion(n) / 0.25;
        let kl = 0.5 * (ratio - 1.0 - ratio.ln());
        assert!((kl / expected - 1.0).abs() < 2e-3, "{n}: {kl}");
    }

    // The sampler: two sorts of arithmetic, three drifts, one law. The start has no sampling noise, but the
    // steps have: 5 standard errors.
    let coordinates = 200_000;
    for n in [10, 20, 50] {
        let grid = |mu| Grid::uniform_time(&Schedule::Constant { sigma: 0.8, mu, horizon: 1.0 }, n).unwrap();
        let paper = grid(0.32);
        let y = run(&log_normal(), start(coordinates, paper.first()), &paper, &noisy(Solver::DaleLog), "t07").unwrap();
        let y = values(&y.state.y);
        let (mean, variance) = moments(&y);
        let expected = t07_recursion(n);
        let error = 5.0 * expected * (2.0 / coordinates as f64).sqrt();
        assert!((variance - expected).abs() < error, "N = {n}: {variance}, expected {expected} within {error}");
        assert!((mean - 0.2).abs() < 5.0 * (expected / coordinates as f64).sqrt(), "N = {n}: mean {mean}");
        // Whatever mu, the start is the same but for the drift, and the same numbers come out.
        for mu in [0.1, 0.9] {
            for solver in [Solver::DaleLog, Solver::DaleAmbient] {
                let grid = grid(mu);
                let found = run(&log_normal(), start(5000, grid.first()), &grid, &noisy(solver), "t07").unwrap();
                let plain = run(&log_normal(), start(5000, paper.first()), &paper, &noisy(Solver::DaleLog), "t07");
                assert_eq!(found.clamped, 0);
                assert_close(&values(&found.state.y), &values(&plain.unwrap().state.y), 1e-11);
            }
        }
    }
    // Without noise in the last step N = 10 gives less variance.
    let grid = Grid::uniform_time(&Schedule::PAPER, 10).unwrap();
    let y = run(&log_normal(), start(coordinates, grid.first()), &grid, &Sampler::new(Solver::DaleLog), "t07").unwrap();
    assert!((moments(&values(&y.state.y)).1 - 0.21811).abs() < 0.003);
}

#[test]
fn t08_sign_agnostic_against_dale_langevin() {
    // N, coordinates; Dale: Var, W1; sign-agnostic: flips, E log, Var, W1.
    let table = [
        (4, 100_000, [0.3387, 0.0652], [3.4e-2, 0.0698, 0.5392, 0.1678]),
        (10, 100_000, [0.2809, 0.0240], [5.8e-4, 0.1580, 0.3052, 0.0514]),
        (30, 50_000, [0.2603, 0.0084], [0.0, 0.1894, 0.2621, 0.0132]),
        (100, 20_000, [0.2522, 0.0020], [0.0, 0.1968, 0.2540, 0.0042]),
        (1000, 10_000, [0.2498, 0.0011], [0.0, 0.2007, 0.2501, 0.0009]),
    ];
    for (n, coordinates, dale, agnostic) in table {
        let (dale, agnostic): ([f64; 2], [f64; 4]) = (dale, agnostic);
        let grid = Grid::uniform_time(&Schedule::PAPER, n).unwrap();
        let target = values(&start(coordinates, Level::CLEAN));
        let sampled = |solver| {
            let found = run(&log_normal(), start(coordinates, grid.first()), &grid, &noisy(solver), "t08").unwrap();
            let mut y = values(&found.state.y);
            let w1 = w1_to_quantiles(&mut y, |p| target[(p * coordinates as f64) as usize]);
            let (mean, variance) = moments(&y);
            (found, mean, variance, w1)
        };
        let root = (coordinates as f64).sqrt();
        // 4 standard errors of our figure and one of the table's (4e5 draws), a half of its last digit.
        let near = |what: &str, found: f64, expected: f64, sd: f64| {
            let tolerance = 4.0 * sd / root + sd / 632.0 + 6e-5;
            assert!(
                (found - expected).abs() < tolerance,
                "N = {n}, {what}: {found}, expected {expected} +- {tolerance}"
            );
        };
        let (found, mean, variance, w1) = sampled(Solver::DaleLog);
        assert_eq!((found.flips, found.negative()), (0, 0));
        near("Dale mean", mean, 0.2, dale[0].sqrt());
        near("Dale Var", variance, dale[0], dale[0] * 2f64.sqrt());
        near("Dale W1", w1, dale[1], 0.5);
        let (found, mean, variance, w1) = sampled(Solver::SignAgnostic);
        let flipped = found.negative() as f64 / coordinates as f64;
        near("flips", flipped, agnostic[0], (agnostic[0] * (1.0 - agnostic[0])).sqrt());
        assert!(found.flips >= found.negative() as u64);
        near("E log", mean, agnostic[1], agnostic[2].sqrt());
        // log |x| has a heavy lower tail where x nearly vanishes.
        let tail = if n <= 10 { 6.0 } else { 1.0 };
        near("Var", variance, agnostic[2], agnostic[2] * 2f64.sqrt() * tail);
        near("W1", w1, agnostic[3], 0.6);
    }
}

#[test]
fn t09_signs_under_any_score() {
    let (rows, pixels) = (100, 1000);
    let mut noise = Noise::new(2, "t09", 0, rows);
    let mut draw = || noise.normal(pixels, &cpu(), DType::F64);
    // Half of the coordinates negative.
    let sign = tensor(&(0..rows * pixels).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect::<Vec<_>>(), rows);
    let level = Level::of_sd(0.32f64.sqrt());
    for d in [1e-3f64, 1.0, 25.0] {
        let by = Increment { variance: 0.64 * d, mu: 0.32 * d, noise: (0.64 * d).sqrt() };
        let first = State { y: draw() * 0.57f64.sqrt() + 0.2, sign: Some(sign.clone()) };
        // The exact score of T2, clipped: everything stays finite.
        let mut state = first.clone();
        let mut clamped = 0;
        for _ in 0..50 {
            let v = 0.25 + level.variance;
            let h = ((state.y.clone() - 0.2) / -v - 1.0).clamp(-50.0, 50.0);
            let (next, count) = dale_ambient(state, h, by, Some(draw()));
            (state, clamped) = (next, clamped + count);
            let x = values(&state.x());
            assert!(x.iter().all(|x| x.is_finite() && *x != 0.0), "d = {d}");
        }
        assert_eq!(values(&state.sign.unwrap()), values(&sign), "d = {d}");
        assert_eq!(clamped > 0, d > 10.0, "d = {d}: {clamped} exponents clamped");
        // Any score: noise of every size.
        let mut state = first;
        for scale in [0.1, 10.0, 1e3, 0.1, 10.0, 1e3] {
            let h = draw() * scale;
            let y = dale_log(state.y.clone(), h.clone() + 1.0, by, None);
            let (next, count) = dale_ambient(state, h, by, None);
            if count == 0 {
                assert_close(&values(&next.y), &values(&y), 1e-9);
            }
            state = State { y: next.y.clamp(-50.0, 50.0), sign: next.sign };
        }
        assert_eq!(values(&state.sign.unwrap()), values(&sign), "d = {d}");
    }
}

/// Probability that one sign-agnostic step at h = -1 flips a sign (section 7.5).
#[test]
fn t09_flips_of_one_sign_agnostic_step() {
    let (rows, pixels) = (1000, 1000);
    let n = (rows * pixels) as f64;
    let z = Noise::new(3, "t09 flips", 0, rows).normal(pixels, &cpu(), DType::F64);
    for (d, expected) in [(1e-3, 0.0), (0.05, 6.8e-9), (0.1, 2.3e-5), (0.25, 3.5e-3), (0.5, 2.0e-2), (1.0, 4.9e-2)] {
        let by = Increment { variance: 0.64 * d, mu: 0.32 * d, noise: (0.64f64 * d).sqrt() };
        let state = State::positive(z.zeros_like());
        let (state, flips) = sign_agnostic(state, z.full_like(-1.0), by, Some(z.clone()));
        let found = flips as f64 / n;
        // The table has two digits.
        let tolerance = 0.03 * expected + 4.0 * (expected / n).sqrt() + 1e-7;
        assert!((found - expected).abs() < tolerance, "d = {d}: {found}, expected {expected}");
        let negative = values(&state.sign.unwrap()).iter().filter(|s| **s < 0.0).count();
        assert_eq!(negative as u64, flips);
        // A second, mirrored step on the flipped state counts changes, not negative signs.
        let again = State { y: state.y.clone(), sign: Some(z.full_like(-1.0)) };
        assert_eq!(sign_agnostic(again, z.full_like(-1.0), by, Some(z.clone())).1, flips);
    }
    // One step by hand: x = 2, h = 0.5, z = -1, general drift.
    let by = Increment { variance: 0.3, mu: 0.7, noise: 0.4 };
    let one = |x: f64| tensor(&[x], 1);
    let (state, _) = sign_agnostic(State::positive(one(2f64.ln())), one(0.5), by, Some(one(-1.0)));
    assert_close(&values(&state.x()), &[2.0 * (1.0 + 0.6 - 0.7 + 0.15 - 0.4)], 1e-14);
    let (state, _) = dale_ambient(State::positive(one(2f64.ln())), one(0.5), by, Some(one(-1.0)));
    assert_close(&values(&state.x()), &[2.0 * (0.15 - (0.7 - 0.45) - 0.4f64).exp()], 1e-14);
    let y = dale_log(one(2f64.ln()), one(1.5), by, Some(one(-1.0)));
    assert_close(&values(&y), &[2f64.ln() + 0.45 - (0.7 - 0.15) - 0.4], 1e-14);
}

#[test]
fn t18_stationary_variance_of_the_corrector() {
    let v = 0.57;
    for (eps, expected) in [(0.01, 0.575044248), (0.1, 0.624807692), (0.3, 0.773571429)] {
        // The step is linear, y' = a y + b z: its law is exact.
        let [y, z] = [[1.0, 0.0], [0.0, 1.0]].map(|x| tensor(&x, 2));
        let moved = values(&langevin(y.clone(), y / -v, tensor(&[eps, eps], 2), z));
        let (a, b) = (moved[0], moved[1]);
        assert_close(&[b * b / (1.0 - a * a)], &[expected], 1e-9);
        assert_close(&[v / (1.0 - eps / (2.0 * v))], &[expected], 1e-9);
        // The sampler's corrector at the level of V = 0.32 over data of variance 0.25.
        let grid = Grid::from_levels(vec![Level::of_sd(0.8), Level::of_sd(0.32f64.sqrt())]).unwrap();
        let corrector = Corrector { steps: (3.0 / eps) as usize, size: CorrectorSize::Fixed(eps) };
        let sampler = Sampler { corrector: Some(corrector), ..noisy(Solver::Ddim) };
        let n = 50_000;
        let mut noise = Noise::new(4, "t18", 0, 50);
        let first = State::positive(start(n, grid.first()).reshape([50, n / 50]));
        let stop = &mut |_: &_| ControlFlow::Break(());
        let found = sample(&log_normal(), first, &grid, &sampler, &mut noise, stop).unwrap();
        let (mean, variance) = moments(&values(&found.state.y));
        assert!((variance / expected - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "eps = {eps}: {variance}");
        assert!((mean - 0.2).abs() < 4.0 * (expected / n as f64).sqrt(), "eps = {eps}: {mean}");
    }
    // eps = 2 (r |z| / |u|)^2, each image its own.
    let (u, z) = (tensor(&[3.0, 4.0, 1.0, 0.0], 2), tensor(&[1.0, 0.0, 0.0, 3.0], 2));
    let eps = values(&langevin_size(&u, &z, 0.1));
    assert_close(&eps, &[2.0 * (0.1f64 / 5.0).powi(2), 2.0 * 0.3f64.powi(2)], 1e-15);
}
