//! Every function of the library at the edges of its domain: what it cannot answer it refuses by name.

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::egd::{log_normal, signs};
use dale_langevin::frechet::{FrechetError, Gaussian, PcaBasis, frechet};
use dale_langevin::memory::PosteriorMean;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::net::NoiseLevels;
use dale_langevin::noise::Noise;
use dale_langevin::pixels::Mapping;
use dale_langevin::prior::Prior;
use dale_langevin::sampler::{
    Annealed, Corrector, CorrectorSize, PaperSet, Sampled, Sampler, Solver, Update, paper_labels, sample,
    sample_annealed, unobserved,
};
use dale_langevin::schedule::{Grid, Schedule};
use dale_langevin::score::{Denoiser, Level};
use dale_langevin::state::State;
use dale_langevin::wiener::Wiener;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu, max_difference, values};

const HOSTILE: [f64; 4] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];

/// The name of what was refused.
fn named<T: std::fmt::Debug>(result: Result<T, DiffusionError>) -> &'static str {
    match result.expect_err("must be refused") {
        DiffusionError::Setting { field, .. }
        | DiffusionError::Shape { field, .. }
        | DiffusionError::Precision { field, .. }
        | DiffusionError::NotFinite { field, .. } => field,
        DiffusionError::Levels { .. } => "levels",
        DiffusionError::ModelFile { .. } => "model file",
        DiffusionError::Pixel { .. } => "pixel",
    }
}

/// Each component is integrated on its own scale, however narrow the others are.
#[test]
fn expectations_over_components_of_any_scales() {
    for (means, sds) in [([0.0, 5.0], [1e-6, 1.0]), ([5.0, 0.0], [1.0, 1e-9]), ([-3e4, 2.0], [1e3, 1e-3])] {
        let (m, s) = (means, sds);
        let mixture = LogNormalMixture { weights: vec![0.5, 0.5], log_means: m.to_vec(), log_sds: s.to_vec() };
        let expectation = |f: fn(f64) -> f64| mixture.expectation(Level::CLEAN, f);
        assert_close(&[expectation(|_| 1.0)], &[1.0], 1e-12);
        let mean = 0.5 * (m[0] + m[1]);
        assert_close(&[expectation(|y| y) / mean], &[1.0], 1e-11);
        let square = 0.5 * (m[0] * m[0] + s[0] * s[0] + m[1] * m[1] + s[1] * s[1]);
        assert_close(&[expectation(|y| y * y) / square], &[1.0], 1e-11);
    }
    let bad = LogNormalMixture { weights: vec![1.0], log_means: vec![f64::NAN], log_sds: vec![1.0] };
    assert!(bad.expectation(Level::CLEAN, |_| 1.0).is_nan());
    // Narrower than the numbers about its mean can tell apart; a level's noise makes it wide enough.
    for sd in [1e-11, 1e-9, 1e-5] {
        assert!(LogNormalMixture::single(1e6, sd).expectation(Level::CLEAN, |_| 1.0).is_nan(), "{sd}");
    }
    assert_close(&[LogNormalMixture::single(1e6, 1e-11).expectation(Level::of_sd(1.0), |_| 1.0)], &[1.0], 1e-8);
    assert_close(&[LogNormalMixture::single(1e6, 1e-3).expectation(Level::CLEAN, |_| 1.0)], &[1.0], 1e-6);
    let none = LogNormalMixture { weights: vec![], log_means: vec![], log_sds: vec![] };
    assert!(none.expectation(Level::CLEAN, |_| 1.0).is_nan());
    let level = Level { variance: -9.0, drift: 0.0 };
    assert!(LogNormalMixture::mixture_a().expectation(level, |_| 1.0).is_nan());
    // Far apart, the Fisher information is that of the components: sum_j w_j / s_j^2.
    let mixture = LogNormalMixture { weights: vec![0.25, 0.75], log_means: vec![0.0, 100.0], log_sds: vec![1e-3, 2.0] };
    assert_close(&[mixture.fisher(Level::CLEAN) / (0.25e6 + 0.75 / 4.0)], &[1.0], 1e-10);
}

on_each_device!(denoisers_take_both_precisions_no_image_and_no_level_but_their_own, |device: Device| {
    let rows: Vec<f32> = Stream::new(1, "rows", 0).normal_vec(20 * 6);
    let images = Tensor::<2>::from_data(TensorData::new(rows.clone(), [20, 6]), &device);
    let memory = PosteriorMean::new(images.clone()).unwrap();
    let wiener = Wiener::fit(&rows, 6).unwrap();
    let mixture = LogNormalMixture::mixture_a();
    let denoisers: [(&dyn Denoiser, bool); 3] = [(&memory, false), (&wiener, true), (&mixture, true)];
    for (denoiser, at_zero) in denoisers {
        let y = images.clone().narrow(0, 0, 4) + 0.1;
        let single = denoiser.denoise(y.clone(), 0.5).unwrap();
        let double = denoiser.denoise(y.clone().cast(DType::F64), 0.5).unwrap();
        assert_eq!((single.dtype(), double.dtype()), (DType::F32, DType::F64));
        assert!(max_difference(&values(single), &values(double)) < 1e-5);
        assert_eq!(denoiser.denoise(Tensor::zeros([0, 6], &device), 0.5).unwrap().dims(), [0, 6]);
        for sd in HOSTILE {
            assert_eq!(named(denoiser.denoise(y.clone(), sd)), "sd", "{sd}");
        }
        assert_eq!(denoiser.denoise(y, 0.0).is_ok(), at_zero);
    }
    assert_eq!(memory.weights(Tensor::zeros([0, 6], &device), 0.5).unwrap().dims(), [0, 20]);
    assert_eq!(named(memory.weights(images.clone(), 0.0)), "sd");
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let broken = images.clone() * Tensor::<2>::full([1, 1], bad, &device).expand([20, 6]);
        assert_eq!(named(PosteriorMean::new(broken)), "images", "{bad}");
    }
    assert_eq!(named(PosteriorMean::new(Tensor::zeros([0, 6], &device))), "images");
});

#[test]
fn levels_grids_and_labels() {
    for calls in [0, 1_000_001, usize::MAX] {
        assert_eq!(named(Grid::edm(0.01, 1.0, 7.0, calls)), "calls");
        assert_eq!(named(Grid::geometric(0.01, 1.0, calls)), "calls");
        assert_eq!(named(Grid::uniform_time(&Schedule::PAPER, calls)), "calls");
        assert_eq!(named(paper_labels(calls)), "levels");
    }
    for bad in HOSTILE {
        assert_eq!(named(Grid::edm(bad, 1.0, 7.0, 3)), "sd_min");
        assert_eq!(named(Grid::geometric(0.01, bad, 3)), "sd_max");
        assert_eq!(named(Grid::edm(0.01, 1.0, bad, 3)), "rho");
    }
    // So small an exponent takes the levels out of all bounds.
    assert!(Grid::edm(0.01, 1e3, 1e-3, 3).is_err());
}

#[test]
fn priors_of_levels_and_shifts_that_are_none() {
    let images = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
    type Estimate = fn(&[f32], usize, Level) -> Result<Prior, DiffusionError>;
    let estimates: [Estimate; 5] =
        [Prior::estimated, Prior::terminal_noise, Prior::per_pixel, Prior::gaussian_pca, Prior::class_means];
    for estimate in estimates {
        for bad in HOSTILE {
            assert_eq!(named(estimate(&images, 3, Level { variance: bad, drift: 0.0 })), "level.variance");
        }
        for bad in &HOSTILE[..3] {
            assert_eq!(named(estimate(&images, 3, Level { variance: 1.0, drift: *bad })), "level.drift");
        }
    }
    assert_eq!(named(Prior::paper(PaperSet::Mnist, 4, f64::NAN)), "shift");
    // The last index of images there is does not end in a panic.
    let mut noise = Noise::new(1, "prior", u64::MAX, 2);
    let law = Prior::class_means(&images, 3, Level::CLEAN).unwrap();
    assert_eq!(law.draw(&mut noise, &cpu(), DType::F64).y.dims(), [2, 3]);
}

#[test]
fn mappings_weights_and_noise_levels() {
    for bad in &HOSTILE[..3] {
        let mapping = Mapping { shift: *bad };
        assert_eq!(named(mapping.to_log(&[0.5], 1, &cpu())), "shift");
        assert_eq!(named(mapping.from_ambient(&[1.5], 1, &cpu())), "shift");
        assert_eq!(named(mapping.sd_data(&[0.5], 1)), "shift");
        let levels = NoiseLevels { mean: 0.0, dev: 1.0, sd_min: *bad, sd_max: 0.5 };
        // Nothing is asked of the numbers here, and nothing panics: a step refuses what comes out.
        assert_eq!(levels.draw(3, &mut Stream::new(1, "levels", 0)).len(), 3);
        assert!(levels.check().is_err());
    }
    let draw = |mean, sd| log_normal(&[1.0, -1.0], 3, mean, sd, &mut Stream::new(1, "weights", 0));
    assert_eq!(named(draw(200.0, 0.1)), "log_mean");
    assert_eq!(named(draw(-200.0, 0.1)), "log_mean");
    assert_eq!(named(draw(f64::NAN, 0.1)), "log_mean");
    assert_eq!(named(draw(0.0, -0.1)), "log_sd");
    assert_eq!(named(signs(3, f64::NAN, &mut Stream::new(1, "signs", 0))), "excitatory");
}

#[test]
fn samplings_that_cannot_be() {
    let data = LogNormalMixture::mixture_a();
    let grid = Grid::edm(0.01, 10.0, 7.0, 3).unwrap();
    let y = |n: usize, pixels: usize| Tensor::<2>::zeros([n, pixels], (&cpu(), DType::F64));
    let run = |from: Sampled, sampler: &Sampler, images: usize| {
        sample(&data, from, &grid, sampler, &mut Noise::new(1, "noise", 0, images), &mut unobserved)
    };
    let ddim = Sampler::new(Solver::Ddim);
    assert_eq!(named(run(State::positive(y(0, 3)).into(), &ddim, 0)), "state");
    assert_eq!(named(run(State::positive(y(2, 0)).into(), &ddim, 2)), "state");
    let signed = |sign: Tensor<2>| Sampled::from(State { y: y(2, 3), sign: Some(sign) });
    assert_eq!(named(run(signed(y(2, 3)), &ddim, 2)), "sign");
    assert_eq!(named(run(signed(y(2, 3) + f64::NAN), &ddim, 2)), "sign");
    assert_eq!(named(run(signed(Tensor::ones([2, 3], (&cpu(), DType::F32))), &ddim, 2)), "sign");
    let previous = Some(Tensor::ones([2, 3], (&cpu(), DType::F32)));
    assert_eq!(named(run(Sampled { previous, ..State::positive(y(2, 3)).into() }, &ddim, 2)), "previous");
    for bad in HOSTILE {
        for size in [CorrectorSize::Fixed(bad), CorrectorSize::SignalToNoise(bad)] {
            let sampler = Sampler { corrector: Some(Corrector { steps: 1, size }), ..ddim };
            assert!(run(State::positive(y(2, 3)).into(), &sampler, 2).is_err());
        }
    }
    let annealed = |annealed: Annealed| {
        let from = State::positive(y(2, 3));
        sample_annealed(&data, from, &grid, &annealed, &mut Noise::new(1, "noise", 0, 2), &mut unobserved)
    };
    let good = Annealed::faithful(Update::DaleLog);
    assert_eq!(named(annealed(Annealed { inner: usize::MAX, ..good })), "inner");
    assert_eq!(named(annealed(Annealed { clean_up: usize::MAX, ..good })), "clean_up");
    assert_eq!(named(annealed(Annealed { ratio: f64::NAN, ..good })), "ratio");
    assert_eq!(Annealed { inner: usize::MAX, ..good }.steps(usize::MAX), usize::MAX);
    let corrector = Some(Corrector { steps: usize::MAX, size: CorrectorSize::Fixed(0.1) });
    assert_eq!(Sampler { corrector, ..Sampler::new(Solver::Heun) }.calls(usize::MAX), usize::MAX);
}

/// Answers in another precision than it was asked in.
struct Single;

impl Denoiser for Single {
    fn denoise(&self, y: Tensor<2>, _: f64) -> Result<Tensor<2>, DiffusionError> {
        Ok(y.cast(DType::F32))
    }
}

#[test]
fn a_denoiser_of_another_precision_is_named() {
    let from = State::positive(Tensor::zeros([1, 3], (&cpu(), DType::F64)));
    let grid = Grid::geometric(0.1, 1.0, 2).unwrap();
    let mut noise = Noise::new(1, "noise", 0, 1);
    let run = sample(&Single, from, &grid, &Sampler::new(Solver::Ddim), &mut noise, &mut unobserved);
    assert_eq!(named(run), "denoised");
}

#[test]
fn gaussians_that_are_none() {
    let rows: Vec<f32> = Stream::new(1, "rows", 0).normal_vec(12);
    let good = Gaussian::fit(&rows, 3).unwrap();
    let with = |change: fn(&mut Gaussian)| {
        let mut changed = good.clone();
        change(&mut changed);
        [frechet(&good, &changed).unwrap_err(), frechet(&changed, &good).unwrap_err()]
    };
    let nan = with(|g| g.covariance[(1, 2)] = f64::NAN);
    assert!(nan.iter().all(|e| matches!(e, FrechetError::NotFinite { .. })), "{nan:?}");
    let nan = with(|g| g.mean[0] = f64::INFINITY);
    assert!(nan.iter().all(|e| matches!(e, FrechetError::NotFinite { .. })), "{nan:?}");
    let narrow = with(|g| g.covariance = g.covariance.clone().remove_column(1));
    assert!(narrow.iter().all(|e| matches!(e, FrechetError::Width { found: 2, expected: 3 })), "{narrow:?}");
    assert!(frechet(&good, &good).unwrap() < 1e-9);
    assert!(matches!(Gaussian::fit::<f32>(&[], 0), Err(FrechetError::Buffer { .. })));
    assert!(matches!(PcaBasis::fit(&rows, 3, 4), Err(FrechetError::Components { .. })));
}
