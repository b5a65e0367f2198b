//! What holds for every sampler: invariance, determinism, resumption, counts, errors.

use std::cell::Cell;
use std::ops::ControlFlow;

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::distance::w1_to_quantiles;
use dale_langevin::error::DiffusionError;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::noise::Noise;
use dale_langevin::sampler::{
    Annealed, Corrector, CorrectorSize, PaperSet, Sampled, Sampler, Solver, Start, Step, Update, paper_labels, sample,
    sample_annealed, unobserved,
};
use dale_langevin::schedule::{Grid, Schedule};
use dale_langevin::score::{Denoiser, Level};
use dale_langevin::state::State;
use plasticity_core::on_each_device;
use plasticity_core::testing::assert_close;

use super::{ALL, Counted, cpu, log_normal, noisy, run, tensor, values};

const SNR: Corrector = Corrector { steps: 2, size: CorrectorSize::SignalToNoise(0.15) };
const UPDATES: [Update; 3] = [Update::DaleLog, Update::DaleAmbient, Update::SignAgnostic];

/// Every solver, with noise to the last and a corrector.
fn samplers() -> Vec<Sampler> {
    ALL.iter().flat_map(|s| [noisy(*s), Sampler { corrector: Some(SNR), ..Sampler::new(*s) }]).collect()
}

/// A few annealed settings.
fn annealed() -> Vec<Annealed> {
    UPDATES
        .iter()
        .map(|u| Annealed { repeat_last: true, clean_up: 2, jump: true, ..Annealed::consistent(*u, 2, 0.99) })
        .collect()
}

#[test]
fn t23_scaled_data_give_scaled_samples() {
    let data = LogNormalMixture::mixture_b();
    let shift = 3f64.ln();
    let scaled = LogNormalMixture { log_means: data.log_means.iter().map(|m| m + shift).collect(), ..data.clone() };
    let grid = Grid::edm(0.01, 2.0, 7.0, 25).unwrap();
    let start = tensor(&data.stratified(200, grid.first()), 4);
    for sampler in samplers() {
        let plain = run(&data, start.clone(), &grid, &sampler, "t23").unwrap();
        let moved = run(&scaled, start.clone() + shift, &grid, &sampler, "t23").unwrap();
        assert_close(&values(&moved.state.y), &values(&(plain.state.y + shift)), 1e-12);
        assert_eq!(moved.flips, plain.flips);
    }
    let labels = paper_labels(50).unwrap();
    let start = tensor(&data.stratified(200, labels.first()), 4);
    for setting in annealed() {
        let go = |data: &LogNormalMixture, start: Tensor<2>| {
            let mut noise = Noise::new(1, "t23", 0, 4);
            sample_annealed(data, State::positive(start), &labels, &setting, &mut noise, &mut unobserved).unwrap()
        };
        let (plain, moved) = (go(&data, start.clone()), go(&scaled, start.clone() + shift));
        assert_close(&values(&moved.state.y), &values(&(plain.state.y + shift)), 1e-12);
    }
}

on_each_device!(t24_determinism_and_batch_splits, |device: Device| {
    let data = LogNormalMixture::mixture_a();
    let (images, pixels) = (5, 37);
    let grid = Grid::edm(0.02, 5.0, 7.0, 6).unwrap();
    let bits = |y: Tensor<2>| y.into_data().iter::<f64>().map(f64::to_bits).collect::<Vec<_>>();
    for dtype in [DType::F32, DType::F64] {
        // The whole batch, and its parts by index of the first image.
        let go = |parts: &[usize], seed: u64, f: &dyn Fn(State, &mut Noise) -> Sampled| {
            let mut all = Vec::new();
            let mut first = 0;
            for n in parts {
                let mut noise = Noise::new(seed, "t24", first, *n);
                let y = noise.normal(pixels, &device, dtype) * 5.0;
                let found = f(State::positive(y), &mut noise);
                assert_eq!(found.state.y.dtype(), dtype);
                all.extend(bits(found.state.y));
                first += *n as u64;
            }
            all
        };
        let check = |what: String, f: &dyn Fn(State, &mut Noise) -> Sampled| {
            let whole = go(&[images], 9, f);
            assert_eq!(whole, go(&[images], 9, f), "{what} twice");
            assert_eq!(whole, go(&[1, 3, 1], 9, f), "{what} in parts");
            assert_ne!(whole, go(&[images], 10, f), "{what}, another seed");
        };
        for sampler in samplers() {
            check(format!("{sampler:?}"), &|state, noise| {
                sample(&data, state, &grid, &sampler, noise, &mut unobserved).unwrap()
            });
        }
        let labels = paper_labels(10).unwrap();
        for setting in annealed() {
            check(format!("{setting:?}"), &|state, noise| {
                sample_annealed(&data, state, &labels, &setting, noise, &mut unobserved).unwrap()
            });
        }
    }
});

/// Broken off at each step and gone on with, in a new noise: the same bits and counts.
#[test]
fn t24_a_sampling_goes_on_where_it_stopped() {
    let data = LogNormalMixture::mixture_a();
    let start = || State::positive(tensor(&data.stratified(60, Level::of_sd(0.8)), 3) + 0.1);
    let schedule = Schedule::Constant { sigma: 0.8, mu: 0.45, horizon: 1.0 };
    let grid = Grid::uniform_time(&schedule, 6).unwrap();
    let labels = Grid::uniform_time(&schedule, 3).unwrap();
    type Run<'a> = dyn Fn(Sampled, &mut Noise, &mut dyn FnMut(&Sampled) -> ControlFlow<()>) -> Sampled + 'a;
    let check = |what: String, steps: usize, go: &Run| {
        let noise = || Noise::new(11, "resume", 0, 3);
        let mut seen = Vec::new();
        let whole = go(start().into(), &mut noise(), &mut |at| {
            seen.push(at.step);
            ControlFlow::Continue(())
        });
        assert_eq!(seen, (1..=steps).collect::<Vec<_>>(), "{what}");
        for stop in 1..=steps {
            let part = go(start().into(), &mut noise(), &mut |at| match at.step == stop {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
            assert_eq!(part.step, stop);
            let rest = go(part, &mut noise(), &mut unobserved);
            assert_eq!(values(&rest.state.y), values(&whole.state.y), "{what} from {stop}");
            assert_eq!(rest.state.sign.as_ref().map(values), whole.state.sign.as_ref().map(values));
            let counts = |run: &Sampled| (run.step, run.calls, run.flips, run.clamped);
            assert_eq!(counts(&rest), counts(&whole));
        }
    };
    for sampler in samplers() {
        check(format!("{sampler:?}"), 6, &|from, noise, observe| {
            sample(&data, from, &grid, &sampler, noise, observe).unwrap()
        });
    }
    for setting in annealed() {
        let steps = 4 * 2 + 3;
        assert_eq!(setting.steps(3), steps);
        check(format!("{setting:?}"), steps, &|from, noise, observe| {
            sample_annealed(&data, from, &labels, &setting, noise, observe).unwrap()
        });
    }
}

#[test]
fn calls_are_counted() {
    let data = log_normal();
    assert!(samplers().iter().all(|sampler| sampler.calls(0) == 0));
    for n in [1, 2, 7] {
        let grid = Grid::uniform_time(&Schedule::PAPER, n).unwrap();
        for sampler in samplers() {
            let counted = Counted(&data, Cell::new(0));
            let found = run(&counted, tensor(&[0.1, 0.2], 1), &grid, &sampler, "calls").unwrap();
            assert_eq!(found.calls, counted.1.get(), "{sampler:?}");
            assert_eq!(found.calls, sampler.calls(n), "{sampler:?}");
            assert_eq!(found.step, n);
        }
    }
}

/// One step from sd a to sd b, and the last to 0, by the formulas of section 19.2, with a drift.
#[test]
fn one_step_of_each_solver() {
    let data = log_normal();
    let (a, b) = (Level { variance: 0.64, drift: 0.3 }, Level { variance: 0.09, drift: -0.2 });
    let grid = Grid::from_levels(vec![a, b]).unwrap();
    let start = 0.7;
    let d = |w: f64, sd: f64| data.posterior_mean(w, Level::of_sd(sd));
    let w = start - 0.3;
    let (da, keep) = (d(w, 0.8), 0.09 / 0.64);
    let slope = (w - da) / 0.8;
    let euler = w - 0.5 * slope;
    let mut noise = Noise::new(1, "one", 0, 1);
    noise.seek(1);
    let z = noise.normal_values(1)[0];
    let dv: f64 = 0.55;
    let cases = [
        (Solver::Ddim, da + 0.3 / 0.8 * (w - da)),
        (Solver::Ancestral, keep * w + (1.0 - keep) * da + 0.3 * (1.0 - keep).sqrt() * z),
        (Solver::Heun, w - 0.25 * (slope + (euler - d(euler, 0.3)) / 0.3)),
        (Solver::DpmSolver2M, 0.375 * w + 0.625 * da),
        (Solver::DaleLog, w + dv * (da - w) / 0.64 + dv.sqrt() * z),
        (Solver::DaleAmbient, w + dv * (da - w) / 0.64 + dv.sqrt() * z),
        (
            Solver::SignAgnostic,
            // Here mu integrates to Delta B + Delta V / 2, Delta B = 0.5, and x carries the drift.
            w + 0.5 + (1.0 + 2.0 * dv - (0.5 + 0.5 * dv) + dv * ((da - w) / 0.64 - 1.0) + dv.sqrt() * z).abs().ln(),
        ),
    ];
    for (solver, expected) in cases {
        let mut at = Vec::new();
        let mut noise = Noise::new(1, "one", 0, 1);
        let from = State::positive(tensor(&[start], 1));
        let found = sample(&data, from, &grid, &Sampler::new(solver), &mut noise, &mut |run| {
            at.push(values(&run.state.y)[0]);
            ControlFlow::Continue(())
        });
        assert_close(&at[..1], &[expected - 0.2], 1e-13);
        let last = values(&found.unwrap().state.y)[0];
        let jump = d(expected, 0.3);
        match solver {
            // Without noise there is no Ito term: y + log(1 + V u - Delta B).
            Solver::SignAgnostic => {
                assert_close(&[last], &[expected - 0.2 + (1.0 + (jump - expected) + 0.2).ln()], 1e-13);
            }
            _ => assert_close(&[last], &[jump], 1e-13),
        }
    }
    // The second step of DPM-Solver++(2M) leans on the call before.
    let levels = [0.8, 0.3, 0.2].map(Level::of_sd);
    let grid = Grid::from_levels(levels.to_vec()).unwrap();
    let mut at = Vec::new();
    let from = State::positive(tensor(&[w], 1));
    let sampler = Sampler::new(Solver::DpmSolver2M);
    sample(&data, from, &grid, &sampler, &mut Noise::new(1, "one", 0, 1), &mut |run| {
        at.push(values(&run.state.y)[0]);
        ControlFlow::Continue(())
    })
    .unwrap();
    let (one, l, before) = (0.375 * w + 0.625 * da, 1.5f64.ln(), (0.8f64 / 0.3).ln());
    let (db, ratio) = (d(one, 0.3), l / (2.0 * before));
    let two = one / 1.5 + (1.0 - 1.0 / 1.5) * ((1.0 + ratio) * db - ratio * da);
    assert_close(&at[1..], &[two, d(two, 0.2)], 1e-13);
}

#[test]
fn an_exact_zero_stays_zero_under_the_sign_agnostic_update() {
    let grid = Grid::uniform_time(&Schedule::PAPER, 5).unwrap();
    for dtype in [DType::F32, DType::F64] {
        let y = tensor(&[f64::NEG_INFINITY, 0.3], 1).cast(dtype);
        for corrector in [None, Some(SNR)] {
            let sampler = Sampler { corrector, ..noisy(Solver::SignAgnostic) };
            let found = run(&log_normal(), y.clone(), &grid, &sampler, "zero").unwrap();
            let x = values(&found.state.x());
            assert!(x[0] == 0.0 && x[1].is_finite() && x[1] != 0.0, "{x:?}");
        }
        let infinite = run(&log_normal(), -y.clone(), &grid, &noisy(Solver::SignAgnostic), "zero").unwrap_err();
        assert_eq!(infinite, DiffusionError::NotFinite { field: "state", step: 0 });
        let refused = run(&log_normal(), y, &grid, &noisy(Solver::DaleLog), "zero").unwrap_err();
        assert_eq!(refused, DiffusionError::NotFinite { field: "state", step: 0 });
    }
}

#[test]
fn signs_are_kept_and_no_graph_is() {
    let grid = Grid::edm(0.01, 3.0, 7.0, 8).unwrap();
    let tracked = cpu().autodiff();
    let y = Tensor::<2>::from_data([[0.5, -2.0, 1.0], [3.0, 0.1, -0.4]], &tracked).require_grad();
    let sign = Tensor::<2>::from_data([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]], &tracked);
    for sampler in samplers().into_iter().filter(|s| s.solver != Solver::SignAgnostic) {
        let from = State { y: y.clone(), sign: Some(sign.clone()) };
        let mut noise = Noise::new(1, "graph", 0, 2);
        let found = sample(&log_normal(), from, &grid, &sampler, &mut noise, &mut unobserved).unwrap();
        assert!(!found.state.y.is_autodiff());
        assert_eq!(values(&found.state.sign.unwrap()), values(&sign));
    }
}

/// NaN from the third call on, or another shape.
struct Broken(Cell<usize>, bool);

impl Denoiser for Broken {
    fn denoise(&self, y: Tensor<2>, _: f64) -> Result<Tensor<2>, DiffusionError> {
        self.0.set(self.0.get() + 1);
        Ok(match (self.1, self.0.get() > 2) {
            (true, true) => y.slice([0..1, 0..1]),
            (false, true) => y * f64::NAN,
            _ => y,
        })
    }
}

#[test]
fn wrong_input_is_named() {
    let grid = Grid::uniform_time(&Schedule::PAPER, 5).unwrap();
    let start = || State::positive(tensor(&[0.1, 0.2, 0.3, 0.4], 2));
    let go = |denoiser: &dyn Denoiser, from: Sampled, sampler: &Sampler, images: usize| {
        sample(denoiser, from, &grid, sampler, &mut Noise::new(1, "e", 0, images), &mut unobserved).map(|_| ())
    };
    let (data, ddim) = (log_normal(), Sampler::new(Solver::Ddim));
    let shape = |field, expected: [usize; 2], found: [usize; 2]| {
        Err(DiffusionError::Shape { field, expected: expected.to_vec(), found: found.to_vec() })
    };
    assert_eq!(go(&data, start().into(), &ddim, 3), shape("noise", [2, 2], [3, 2]));
    let sign = Some(tensor(&[1.0, 1.0], 2));
    assert_eq!(go(&data, State { sign, ..start() }.into(), &ddim, 2), shape("sign", [2, 2], [2, 1]));
    let previous = Some(tensor(&[1.0, 1.0], 1));
    let from = Sampled { previous, ..start().into() };
    assert_eq!(go(&data, from, &ddim, 2), shape("previous", [2, 2], [1, 2]));
    let beyond = go(&data, Sampled { step: 6, ..start().into() }, &ddim, 2).unwrap_err();
    assert!(matches!(beyond, DiffusionError::Setting { field: "step", .. }), "{beyond}");
    for solver in ALL {
        let sampler = Sampler::new(solver);
        let step = if solver == Solver::Heun { 2 } else { 3 };
        let broken = go(&Broken(Cell::new(0), false), start().into(), &sampler, 2);
        assert_eq!(broken, Err(DiffusionError::NotFinite { field: "state", step }), "{solver:?}");
        let broken = go(&Broken(Cell::new(0), true), start().into(), &sampler, 2);
        assert_eq!(broken, shape("denoised", [2, 2], [1, 1]), "{solver:?}");
    }
    for (size, field) in [
        (CorrectorSize::Fixed(0.0), "corrector.eps"),
        (CorrectorSize::Fixed(f64::NAN), "corrector.eps"),
        (CorrectorSize::SignalToNoise(-1.0), "corrector.r"),
    ] {
        let sampler = Sampler { corrector: Some(Corrector { steps: 1, size }), ..ddim };
        let error = go(&data, start().into(), &sampler, 2).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field: found, .. } if found == field), "{error}");
    }

    let plain = Annealed::faithful(Update::DaleLog);
    let go = |denoiser: &dyn Denoiser, from: Sampled, annealed: Annealed, images: usize| {
        sample_annealed(denoiser, from, &grid, &annealed, &mut Noise::new(1, "e", 0, images), &mut unobserved)
            .map(|_| ())
    };
    assert_eq!(go(&data, start().into(), plain, 1), shape("noise", [2, 2], [1, 2]));
    let broken = go(&Broken(Cell::new(0), false), start().into(), plain, 2);
    assert_eq!(broken, Err(DiffusionError::NotFinite { field: "state", step: 3 }));
    for (annealed, field) in [
        (Annealed { inner: 0, ..plain }, "inner"),
        (Annealed { ratio: 0.0, ..plain }, "ratio"),
        (Annealed { ratio: 1.1, ..plain }, "ratio"),
        (Annealed { ratio: f64::NAN, ..plain }, "ratio"),
        (Annealed { step: Step::Fixed(0.0), ..plain }, "step"),
    ] {
        let error = go(&data, start().into(), annealed, 2).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field: found, .. } if found == field), "{error}");
    }
    let named = |error: DiffusionError, name| assert!(error.to_string().contains(name), "{error}");
    named(paper_labels(1).unwrap_err(), "levels");
    named(Annealed::paper(PaperSet::Mnist, Update::DaleLog, Start::ClassMeans).unwrap_err(), "start");
}

/// Points 100 e-folds away from wherever the state is.
struct Far;

impl Denoiser for Far {
    fn denoise(&self, y: Tensor<2>, _: f64) -> Result<Tensor<2>, DiffusionError> {
        Ok(y + 100.0)
    }
}

#[test]
fn clamps_are_counted() {
    let grid = Grid::from_levels(vec![Level::of_sd(1.0), Level::of_sd(0.1)]).unwrap();
    let go = |solver| run(&Far, tensor(&[0.1, 0.2, 0.3], 1), &grid, &Sampler::new(solver), "far").unwrap();
    let found = go(Solver::DaleAmbient);
    assert_eq!(found.clamped, 6);
    assert_close(&values(&found.state.y), &[120.1, 120.2, 120.3], 1e-12);
    assert_eq!(go(Solver::DaleLog).clamped, 0);
}

#[test]
fn w1_of_known_samples() {
    let uniform = |p: f64| p;
    assert_eq!(w1_to_quantiles(&mut [0.75, 0.25], uniform), 0.0);
    assert_eq!(w1_to_quantiles(&mut [2.5], uniform), 2.0);
    assert_eq!(w1_to_quantiles(&mut [0.0, 1.0, 0.5, 0.0], uniform), (0.125 + 0.375 + 0.125 + 0.125) / 4.0);
    assert!(w1_to_quantiles(&mut [], uniform).is_nan());
}
