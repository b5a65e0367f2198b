//! Schedules, grids, the kernel, and the mapping of pixels.

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::kernel;
use dale_langevin::loss::{Weighting, denoising};
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::noise::Noise;
use dale_langevin::pixels::Mapping;
use dale_langevin::schedule::{Grid, Schedule};
use dale_langevin::score::Level;
use dale_langevin::state::State;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu, max_difference, tensor, values};
use proptest::prelude::*;

pub fn column(values: Vec<f64>, device: &Device) -> Tensor<2> {
    tensor(&values, [values.len(), 1], device, DType::F64)
}

/// Standard normal numbers at the quantiles (i + 1/2) / n.
fn normal_quantiles(n: usize) -> Vec<f64> {
    LogNormalMixture::single(0.0, 1.0).stratified(n, Level::CLEAN)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let m = mean(values);
    (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

on_each_device!(t01_kernel_moments, |device: Device| {
    let expected = [(1.0, 2.0656916465, 1.9558520914), (0.25, 1.6249306015, 0.6768589292)];
    let eps = normal_quantiles(200_000);
    for (t, mean_x, sd_x) in expected {
        let level = Schedule::PAPER.level(t);
        assert_close(&[kernel::mean(1.5, level), kernel::standard_deviation(1.5, level)], &[mean_x, sd_x], 5e-10);
        assert_eq!(kernel::median(1.5, level), 1.5);
        let y0 = column(vec![1.5f64.ln(); eps.len()], &device);
        let mut x = values(State::positive(kernel::corrupt(y0, level, column(eps.clone(), &device))).x());
        assert!((mean(&x) / mean_x - 1.0).abs() < 5e-4, "t {t}: {}", mean(&x));
        assert!((deviation(&x) / sd_x - 1.0).abs() < 5e-3, "t {t}: {}", deviation(&x));
        x.sort_unstable_by(f64::total_cmp);
        assert!((x[x.len() / 2] - 1.5).abs() < 1e-4);
    }
});

#[test]
fn moments_with_a_drift_and_the_density() {
    // E X_t = x_0 exp(mu t) whatever sigma; the density integrates to the three moments.
    let level = Schedule::Constant { sigma: 0.6, mu: 0.5, horizon: 1.0 }.level(0.7);
    for x0 in [1.3, -0.4f64] {
        assert_close(&[kernel::mean(x0, level)], &[x0 * 0.35f64.exp()], 1e-14);
        assert_close(&[kernel::median(x0, level)], &[x0 * (0.7 * (0.5 - 0.18f64)).exp()], 1e-14);
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            let step = 1e-3;
            let point = |i: i32| x0.signum() * (f64::from(i) * step).exp();
            (-9000..9000).map(|i| kernel::density(point(i), x0, level) * f(point(i)) * point(i).abs() * step).sum()
        };
        assert_close(&[moment(&|_| 1.0), moment(&|x| x)], &[1.0, kernel::mean(x0, level)], 1e-10);
        let variance = moment(&|x| (x - kernel::mean(x0, level)).powi(2));
        assert_close(&[variance.sqrt()], &[kernel::standard_deviation(x0, level)], 1e-10);
        assert_eq!([kernel::density(-x0, x0, level), kernel::density(0.0, x0, level)], [0.0, 0.0]);
    }
}

on_each_device!(signs_are_carried_and_each_image_has_its_own_level, |device: Device| {
    let level = Level { variance: 4.0, drift: -0.3 };
    let sign = column(vec![1.0, -1.0, -1.0], &device);
    let clean = State { y: column(vec![0.1, 0.2, 0.3], &device), sign: Some(sign.clone()) };
    let eps = column(vec![1.0, -2.0, 0.5], &device);
    let noisy = kernel::corrupt_state(clean.clone(), level, eps.clone());
    assert_eq!(values(noisy.sign.clone().unwrap()), values(sign));
    assert_close(&values(noisy.y.clone()), &[1.8, -4.1, 1.0], 1e-14);
    assert_close(&values(noisy.x()), &[1.8f64.exp(), -(-4.1f64).exp(), -1f64.exp()], 1e-14);
    let sd = Tensor::<1>::from_data(TensorData::new(vec![0.5, 1.0, 2.0], [3]), (&device, DType::F64));
    assert_close(&values(kernel::corrupt_each(clean.y, sd, eps)), &[0.6, -1.8, 1.3], 1e-14);
});

on_each_device!(noise_of_an_image_does_not_depend_on_the_batch, |device: Device| {
    let draw = |first, n| values(Noise::new(5, "test", first, n).normal(7, &device, DType::F64));
    let mut all = draw(0, 40);
    assert!((deviation(&all) - 1.0).abs() < 0.2 && mean(&all).abs() < 0.2);
    assert_eq!(all.split_off(20 * 7), draw(20, 20));
    let mut noise = Noise::new(5, "test", 0, 20);
    let first = noise.normal(7, &device, DType::F32);
    assert_eq!((noise.images(), first.dtype()), (20, DType::F32));
    assert!(max_difference(&values(first), &all) < 1e-6);
    assert_ne!(values(noise.normal(7, &device, DType::F64)), all, "the streams go on");
});

proptest! {
    #[test]
    fn schedules_are_consistent(sigma in 0.05..5.0f64, mu in -2.0..2.0f64, horizon in 0.1..10.0f64, f in 0.01..1.0f64) {
        let constant = Schedule::Constant { sigma, mu, horizon };
        let geometric = Schedule::GeometricSd { sd_min: sigma / 100.0, sd_max: sigma * horizon };
        for schedule in [constant, geometric] {
            prop_assert_eq!(schedule.check(), Ok(()));
            let t = f * schedule.horizon();
            let level = schedule.level(t);
            prop_assert!((level.sd() / schedule.sd(t) - 1.0).abs() < 1e-12);
            prop_assert!((schedule.time_of_sd(schedule.sd(t)) - t).abs() < 1e-9 * schedule.horizon());
            prop_assert_eq!(level.drift, schedule.drift(t));
        }
        // B and V are the integrals of mu - sigma^2 / 2 and of sigma^2.
        let t = f * horizon;
        prop_assert!((constant.variance(t) - sigma * sigma * t).abs() < 1e-12 * sigma * sigma * t);
        prop_assert!((constant.drift(t) - (mu * t - constant.variance(t) / 2.0)).abs() < 1e-12 * 30.0);
    }

    #[test]
    fn grids_fall_from_sd_max_to_sd_min(low in -8.0..0.0f64, span in 0.1..8.0f64, rho in 0.5..12.0f64, calls in 2usize..60) {
        let (sd_min, sd_max) = (low.exp(), (low + span).exp());
        for grid in [Grid::edm(sd_min, sd_max, rho, calls).unwrap(), Grid::geometric(sd_min, sd_max, calls).unwrap()] {
            prop_assert_eq!(grid.len(), calls);
            prop_assert_eq!(grid.first(), Level::of_sd(sd_max));
            prop_assert_eq!(grid.levels()[calls - 1], Level::of_sd(sd_min));
            let steps: Vec<_> = grid.steps().collect();
            prop_assert_eq!(steps.len(), calls);
            prop_assert!(steps.iter().all(|(from, to)| from.variance > to.variance));
            prop_assert!(steps.windows(2).all(|pair| pair[0].1 == pair[1].0));
            prop_assert_eq!(steps[calls - 1].1, Level::CLEAN);
        }
    }
}

#[test]
fn grids_have_the_levels_that_hand_values_say() {
    let sds = |grid: Grid| grid.levels().iter().map(Level::sd).collect::<Vec<_>>();
    // rho 1: equal steps. rho 2: equal steps of the root, 3, 2, 1 here.
    assert_close(&sds(Grid::edm(1.0, 9.0, 1.0, 5).unwrap()), &[9.0, 7.0, 5.0, 3.0, 1.0], 1e-12);
    assert_close(&sds(Grid::edm(1.0, 9.0, 2.0, 3).unwrap()), &[9.0, 4.0, 1.0], 1e-12);
    assert_close(&sds(Grid::geometric(0.01, 10.0, 4).unwrap()), &[10.0, 1.0, 0.1, 0.01], 1e-12);
    assert_eq!(Grid::edm(0.01, 10.0, 7.0, 1).unwrap().levels(), [Level::of_sd(10.0)]);
    assert_eq!(Grid::geometric(0.01, 10.0, 1).unwrap().levels(), [Level::of_sd(10.0)]);
    let with_drift = Schedule::Constant { sigma: 0.5, mu: 1.0, horizon: 2.0 };
    let grid = Grid::uniform_time(&with_drift, 4).unwrap();
    let found: Vec<f64> = grid.levels().iter().flat_map(|l| [l.variance, l.drift]).collect();
    assert_close(&found, &[0.5, 1.75, 0.375, 1.3125, 0.25, 0.875, 0.125, 0.4375], 1e-12);
    assert_eq!(Grid::uniform_time(&Schedule::PAPER, 1000).unwrap().first(), Schedule::PAPER.level(1.0));
}

#[test]
fn wrong_schedules_and_grids_name_the_field() {
    let field = |result: Result<Grid, DiffusionError>| match result {
        Err(DiffusionError::Setting { field, .. } | DiffusionError::Shape { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let constant = |sigma, mu, horizon| Grid::uniform_time(&Schedule::Constant { sigma, mu, horizon }, 3);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(field(Grid::edm(bad, 1.0, 7.0, 3)), "sd_min");
        assert_eq!(field(Grid::edm(0.1, 1.0, bad, 3)), "rho");
        assert_eq!(field(Grid::geometric(0.1, bad, 3)), "sd_max");
        assert_eq!(field(constant(bad, 0.3, 1.0)), "sigma");
        assert_eq!(field(constant(0.3, 0.3, bad)), "horizon");
        let geometric = Schedule::GeometricSd { sd_min: bad, sd_max: 2.0 };
        assert_eq!(field(Grid::uniform_time(&geometric, 3)), "sd_min");
        assert_eq!(field(Grid::from_levels(vec![Level { variance: bad, drift: 0.0 }])), "variance");
    }
    assert_eq!(field(constant(0.3, f64::NAN, 1.0)), "mu");
    assert_eq!(field(Grid::from_levels(vec![Level { variance: 1.0, drift: f64::NAN }])), "drift");
    assert_eq!(field(Grid::from_levels(vec![])), "levels");
    for calls in [Grid::edm(0.1, 1.0, 7.0, 0), Grid::geometric(0.1, 1.0, 0), Grid::uniform_time(&Schedule::PAPER, 0)] {
        assert_eq!(field(calls), "calls");
    }
    assert_eq!(field(Grid::edm(1.0, 1.0, 7.0, 3)), "sd_min");
    assert_eq!(field(Grid::geometric(2.0, 1.0, 3)), "sd_min");
    for (sds, index) in [([3.0, 1.0, 2.0], 2), ([3.0, 3.0, 2.0], 1)] {
        let error = Grid::from_levels(sds.map(Level::of_sd).to_vec()).unwrap_err();
        let before = sds[index - 1];
        match error {
            DiffusionError::Levels { index: i, before: b, after } => {
                assert_eq!(i, index);
                assert_close(&[b, after], &[before, sds[index]], 1e-12);
            }
            other => panic!("{other:?}"),
        }
    }
}

on_each_device!(images_go_to_log_space_and_back, |device: Device| {
    let images = Stream::new(3, "pixels", 0).uniform_vec(6 * 9, 0.0, 1.0);
    let images: Vec<f32> = images.into_iter().chain([0.0, 1.0, 0.5, 1.0, 0.0, 0.0, 1.0, 0.25, 1.0 / 255.0]).collect();
    let mapping = Mapping::centred(&images, 9).unwrap();
    let y = mapping.to_log(&images, 9, &device).unwrap();
    assert_eq!(y.dims(), [7, 9]);
    let logs: Vec<f64> = images.iter().map(|u| f64::from(*u).ln_1p()).collect();
    assert!((mapping.shift - mean(&logs)).abs() < 1e-12);
    assert_close(&values(y.clone()), &logs.iter().map(|y| y - mapping.shift).collect::<Vec<_>>(), 1e-6);
    assert!((mapping.sd_data(&images, 9).unwrap() - deviation(&logs)).abs() < 1e-12);
    let raw = Mapping::default().sd_data(&images, 9).unwrap();
    assert!((raw.powi(2) - deviation(&logs).powi(2) - mean(&logs).powi(2)).abs() < 1e-12, "about 0, not the mean");

    let wide: Vec<f64> = images.iter().map(|u| f64::from(*u)).collect();
    assert_close(&values(mapping.from_log(y)), &wide, 2e-7);
    let x: Vec<f32> = images.iter().map(|u| 1.0 + u).collect();
    let same = mapping.from_ambient(&x, 9, &device).unwrap();
    assert_close(&values(mapping.from_log(same)), &wide, 3e-7);
    // Far outside, where exp overflows in f32, and exactly at the ends of [0, 1].
    let ends = Tensor::<2>::from_floats([[-1e30, 1e30, 500.0, 0.8]], &device);
    assert_eq!(values(mapping.from_log(ends)), [0.0, 1.0, 1.0, 1.0]);
    // Ambient values beyond an image's are no error, and are not clamped on the way in.
    let far = mapping.from_ambient(&[1e-3, 50.0], 2, &device).unwrap();
    let expected = [1e-3f64, 50.0].map(|x| x.ln() - mapping.shift);
    assert_close(&values(far), &expected, 1e-6);
});

#[test]
fn pixels_outside_the_domain_are_named() {
    let device = cpu();
    let mapping = Mapping::default();
    for bad in [-0.01, 1.001, f32::NAN, f32::INFINITY] {
        let images = [0.0, 0.5, 1.0, 0.1, 0.2, bad];
        let errors = [
            mapping.to_log(&images, 3, &device).unwrap_err(),
            Mapping::centred(&images, 3).unwrap_err(),
            mapping.sd_data(&images, 3).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, DiffusionError::Pixel { image: 1, pixel: 2, .. }), "{error}");
        }
    }
    for bad in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = mapping.from_ambient(&[1.0, bad, 1.0, 1.0], 2, &device).unwrap_err();
        assert!(matches!(error, DiffusionError::Pixel { image: 0, pixel: 1, .. }), "{error}");
        assert!(error.to_string().contains("pixel 1 of image 0"), "{error}");
    }
    for (len, pixels) in [(0, 3), (4, 3)] {
        let error = mapping.to_log(&vec![0.5; len], pixels, &device).unwrap_err();
        assert!(matches!(error, DiffusionError::Shape { field: "images", .. }), "{error}");
        let error = mapping.from_ambient(&vec![0.5; len], pixels, &device).unwrap_err();
        assert!(matches!(error, DiffusionError::Shape { field: "x", .. }), "{error}");
    }
    let error = mapping.to_log(&[0.5], 0, &device).unwrap_err();
    assert!(matches!(error, DiffusionError::Setting { field: "pixels", .. }), "{error}");
}

// T25, the data's side: with the shift and the second moment of the mapping, D = c_skip y has an EDM loss
// of exactly 1 per pixel at every level.
on_each_device!(t25_the_mapping_makes_the_first_loss_one, |device: Device| {
    let images: Vec<f32> = Stream::new(9, "skewed", 0).uniform_vec(32 * 16, 0.0, 1.0);
    let images: Vec<f32> = images.into_iter().map(|u| u.powi(6)).collect();
    let mapping = Mapping::centred(&images, 16).unwrap();
    let q = mapping.sd_data(&images, 16).unwrap();
    let y0 = mapping.to_log(&images, 16, &device).unwrap();
    // Each image with noise +1 and -1: the first two moments of the noise are exact.
    let clean = Tensor::cat(vec![y0.clone(), y0.clone()], 0);
    let eps = Tensor::cat(vec![y0.ones_like(), -y0.ones_like()], 0);
    for sd in [0.005, 0.3, 20.0] {
        let y = kernel::corrupt(clean.clone(), Level::of_sd(sd), eps.clone());
        let denoised = y * (q * q / (sd * sd + q * q));
        let loss = denoising(denoised, clean.clone(), Tensor::full([64], sd, &device), Weighting::Edm { sd_data: q });
        assert!((loss.into_scalar::<f64>() - 1.0).abs() < 2e-4, "sd {sd}");
    }
});
