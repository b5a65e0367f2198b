//! Views of a score, closed forms of mixtures, the denoiser of stored images.

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::memory::PosteriorMean;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::schedule::Schedule;
use dale_langevin::score::{Denoiser, Level, View, convert};
use dale_langevin::wiener::Wiener;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, assert_gradient, cpu, max_difference, values};
use proptest::prelude::*;

const VIEWS: [View; 5] = [View::Denoised, View::LogScore, View::Hyvarinen, View::Stein, View::Noise];

fn matrix(values: Vec<f64>, columns: usize, device: &Device, dtype: DType) -> Tensor<2> {
    let rows = values.len() / columns;
    Tensor::from_data(TensorData::new(values, [rows, columns]), (device, dtype))
}

/// Mixture A at t = .3 of the paper's schedule.
fn a_at_03() -> (LogNormalMixture, Level) {
    (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3))
}

proptest! {
    /// All 20 ordered pairs there and back, in f32 and f64, with both signs and a drift.
    #[test]
    fn views_convert_there_and_back(
        y in prop::collection::vec(-2.0..2.0f64, 6),
        u in prop::collection::vec(-3.0..3.0f64, 6),
        negative in prop::collection::vec(any::<bool>(), 6),
        sd in 0.1..3.0f64,
        drift in 0.1..1.0f64,
        falling: bool,
    ) {
        let device = cpu();
        let level = Level { variance: sd * sd, drift: if falling { -drift } else { drift } };
        let sign: Vec<f64> = negative.iter().map(|n| if *n { -1.0 } else { 1.0 }).collect();
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-4)] {
            let tensor = |v: &Vec<f64>| matrix(v.clone(), 3, &device, dtype);
            let (y, u, sign) = (tensor(&y), tensor(&u), tensor(&sign));
            for from in VIEWS {
                let value = convert(u.clone(), View::LogScore, from, &y, Some(&sign), level);
                for to in VIEWS.into_iter().filter(|to| *to != from) {
                    let there = convert(value.clone(), from, to, &y, Some(&sign), level);
                    prop_assert_eq!(there.dtype(), dtype);
                    let direct = convert(u.clone(), View::LogScore, to, &y, Some(&sign), level);
                    let scale = values(direct.clone()).iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                    let worst = max_difference(&values(there.clone()), &values(direct));
                    prop_assert!(worst < tolerance * scale, "{from:?} to {to:?}: {worst}");
                    let back = convert(there, to, from, &y, Some(&sign), level);
                    let scale = values(value.clone()).iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                    let worst = max_difference(&values(back), &values(value.clone()));
                    prop_assert!(worst < tolerance * scale, "{from:?} to {to:?} and back: {worst}");
                }
            }
        }
    }
}

on_each_device!(views_are_the_quantities_they_name, |device: Device| {
    let mixture = LogNormalMixture::mixture_a();
    let level = Level { variance: 0.3, drift: 0.17 };
    let (ys, signs) = ([-0.7, 0.1, 0.9], [1.0, -1.0, -1.0]);
    let y = matrix(ys.to_vec(), 3, &device, DType::F64);
    let sign = matrix(signs.to_vec(), 3, &device, DType::F64);
    let denoised = matrix(ys.map(|y| mixture.posterior_mean(y, level)).to_vec(), 3, &device, DType::F64);
    let view = |to| values(convert(denoised.clone(), View::Denoised, to, &y, Some(&sign), level));
    let score = ys.map(|y| mixture.log_score(y, level));
    assert_close(&view(View::LogScore), &score, 1e-12);
    assert_close(&view(View::Hyvarinen), &score.map(|u| u - 1.0), 1e-12);
    assert_close(&view(View::Noise), &score.map(|u| -0.3f64.sqrt() * u), 1e-12);
    // d/dx log p(|x|) by central differences, on either side of 0.
    let log_p = |x: f64| mixture.log_density(x.abs().ln(), level) - x.abs().ln();
    let stein: Vec<f64> = std::iter::zip(ys, signs)
        .map(|(y, s)| (log_p(s * y.exp() + 1e-5) - log_p(s * y.exp() - 1e-5)) / 2e-5)
        .collect();
    assert_close(&view(View::Stein), &stein, 1e-8);
    let unsigned = values(convert(denoised, View::Denoised, View::Stein, &y, None, level));
    assert_close(&unsigned, &std::iter::zip(stein, signs).map(|(s, sign)| s * sign).collect::<Vec<_>>(), 1e-8);
});

#[test]
fn conversions_have_gradients_in_f64() {
    let device = cpu().autodiff();
    let level = Level { variance: 0.36, drift: 0.17 };
    let point = [0.3, -0.2, 0.7, 1.1];
    let at = |values: &[f64]| matrix(values.to_vec(), 2, &device, DType::F64);
    let y = at(&[0.5, -1.0, 0.2, 0.9]);
    for from in VIEWS {
        for to in VIEWS.into_iter().filter(|to| *to != from) {
            let square = |value| convert(value, from, to, &y, None, level).powi_scalar(2).sum();
            let value = at(&point).require_grad();
            let gradient = value.grad(&square(value.clone()).backward()).unwrap();
            let plain = |values: &[f64]| square(at(values)).into_scalar::<f64>();
            assert_gradient(plain, &point, &values(gradient), 2e-9);
        }
    }
}

#[test]
fn t02_hyvarinen_score_of_log_normal_data() {
    let (data, level) = (LogNormalMixture::single(0.2, 0.5), Schedule::PAPER.level(0.5));
    let xs = [0.3, 1.0, 2.5f64];
    let found = xs.map(|x| data.hyvarinen(x.ln(), level));
    assert_close(&found, &[1.46311018, -0.64912281, -2.25665041], 5e-9);
    let log_p = |x: f64| data.log_density(x.ln(), level) - x.ln();
    let differences = xs.map(|x| x * (log_p(x + 1e-5) - log_p(x - 1e-5)) / 2e-5);
    assert_close(&found, &differences, 1e-6);
}

#[test]
fn t03_stein_identities() {
    let (data, level) = (LogNormalMixture::single(0.2, 0.5), Schedule::PAPER.level(0.5));
    let ys = data.stratified(100_000, level);
    let mean = |f: &dyn Fn(f64) -> f64| ys.iter().map(|y| f(*y)).sum::<f64>() / ys.len() as f64;
    let (h, u) = (|y| data.hyvarinen(y, level), |y| data.log_score(y, level));
    assert_close(&[mean(&h), mean(&u), mean(&|y| u(y) * u(y))], &[-1.0, 0.0, 1.0 / 0.57], 2e-4);
    assert_close(&[data.fisher(level)], &[1.7543860], 5e-8);
    // E[f h] = -E[f + x df/dx] and E[f u] = -E[df/dy], also where p is no Gaussian.
    let (mixture, level) = a_at_03();
    let expect = |f: &dyn Fn(f64) -> f64| mixture.expectation(level, f);
    let (left, right) = (expect(&|y| y.sin() * mixture.hyvarinen(y, level)), -expect(&|y| y.sin() + y.cos()));
    assert_close(&[left], &[right], 1e-12);
    let (left, right) = (expect(&|y| y.sin() * mixture.log_score(y, level)), -expect(&f64::cos));
    assert_close(&[left], &[right], 1e-12);
}

on_each_device!(t04_scores_of_mixture_a, |device: Device| {
    let (mixture, level) = a_at_03();
    let ys = [0.5, 1.0, 1.5, 2.5].map(f64::ln);
    let h = [0.6980560536, -0.3091095078, -0.6865407014, -2.2913016827];
    let d = [-0.3671204183, 0.1326509745, 0.4656492934, 0.6683608088];
    assert_close(&ys.map(|y| mixture.hyvarinen(y, level)), &h, 1e-10);
    assert_close(&ys.map(|y| mixture.posterior_mean(y, level)), &d, 1e-10);
    let y = matrix(ys.to_vec(), 2, &device, DType::F64);
    let denoised = mixture.denoise(y.clone(), level.sd()).unwrap();
    assert_close(&values(denoised.clone()), &d, 1e-10);
    assert_close(&values(convert(denoised, View::Denoised, View::Hyvarinen, &y, None, level)), &h, 1e-9);
    let denoised = mixture.denoise(matrix(ys.to_vec(), 2, &device, DType::F32), level.sd()).unwrap();
    assert_eq!(denoised.dtype(), DType::F32);
    assert_close(&values(denoised), &d, 1e-6);
});

on_each_device!(the_denoiser_is_the_same_inside_a_graph_and_has_gradients, |device: Device| {
    let (mixture, level) = a_at_03();
    let ys: Vec<f64> = (0..12).map(|i| -30.0 + 5.0 * f64::from(i) + 0.1).collect();
    let plain = values(mixture.denoise(matrix(ys.clone(), 3, &device, DType::F64), level.sd()).unwrap());
    assert_close(&plain, &ys.iter().map(|y| mixture.posterior_mean(*y, level)).collect::<Vec<_>>(), 1e-12);
    let at = |ys: &[f64]| matrix(ys.to_vec(), 3, &device.clone().autodiff(), DType::F64).require_grad();
    assert_close(&values(mixture.denoise(at(&ys), level.sd()).unwrap().inner()), &plain, 1e-12);
    let ys = [-0.9, -0.2, 0.0, 0.1, 0.6, 1.7];
    let y = at(&ys);
    let gradients = (mixture.denoise(y.clone(), level.sd()).unwrap().powi_scalar(2)).sum().backward();
    let found = values(y.grad(&gradients).unwrap());
    assert_gradient(|y| y.iter().map(|y| mixture.posterior_mean(*y, level).powi(2)).sum(), &ys, &found, 1e-8);
});

#[test]
fn the_posterior_mean_is_tweedies_at_any_noise() {
    // D - (y - B + V u) in f64, relative to what cancels in the right-hand side.
    let mixture = LogNormalMixture::mixture_b();
    for variance in [1e-10, 1e-4, 0.64, 100.0, 1e6] {
        let level = Level { variance, drift: 0.2 };
        for q in [0.001, 0.3, 0.5, 0.99] {
            let y = mixture.quantile(q, level);
            let tweedie = y - level.drift + variance * mixture.log_score(y, level);
            let difference = (mixture.posterior_mean(y, level) - tweedie).abs();
            assert!(difference < 1e-14 * (1.0 + y.abs()) * 10.0, "V {variance}, y {y}: {difference}");
        }
    }
}

#[test]
fn distribution_functions_fit_each_other() {
    let mixture = LogNormalMixture {
        weights: vec![0.2, 0.5, 0.3],
        log_means: vec![-3.0, 0.0, 4.0],
        log_sds: vec![0.01, 1.0, 0.3],
    };
    assert_eq!(mixture.check(), Ok(()));
    for level in [Level::CLEAN, Level { variance: 0.01, drift: 0.5 }, Level { variance: 100.0, drift: -1.0 }] {
        for p in [1e-12, 1e-3, 0.1999, 0.2, 0.2001, 0.5, 0.7, 0.99, 1.0 - 1e-12] {
            let y = mixture.quantile(p, level);
            assert!((mixture.cdf(y, level) - p).abs() < 1e-13, "{level:?} {p}: {}", mixture.cdf(y, level));
        }
        let (y, h) = (mixture.quantile(0.37, level), 1e-5);
        let slope = (mixture.cdf(y + h, level) - mixture.cdf(y - h, level)) / (2.0 * h);
        assert!((slope / mixture.log_density(y, level).exp() - 1.0).abs() < 1e-6);
        let log_slope = (mixture.log_density(y + h, level) - mixture.log_density(y - h, level)) / (2.0 * h);
        assert!((log_slope - mixture.log_score(y, level)).abs() < 1e-6 * (1.0 + log_slope.abs()));
        let (mean, variance) = (mixture.mean(level), mixture.variance(level));
        let moments = [mixture.expectation(level, |_| 1.0), mixture.expectation(level, |y| y)];
        assert_close(&moments, &[1.0, mean], 1e-10);
        assert!((mixture.expectation(level, |y| (y - mean).powi(2)) / variance - 1.0).abs() < 1e-10);
        let sample = mixture.stratified(20_000, level);
        assert!(sample.windows(2).all(|w| w[0] < w[1]));
        assert!((sample.iter().sum::<f64>() / 20_000.0 - mean).abs() < 1e-3 * variance.sqrt());
    }
    assert_eq!(mixture.quantile(0.0, Level::CLEAN), f64::NEG_INFINITY);
    assert_eq!(mixture.quantile(1.0, Level::CLEAN), f64::INFINITY);
    assert!(mixture.quantile(f64::NAN, Level::CLEAN).is_nan());
}

#[test]
fn independent_draws_follow_the_distribution() {
    // Kolmogorov's distance of 50,000 draws; 1.63 / sqrt(n) is its 99 % quantile.
    for mixture in [LogNormalMixture::mixture_a(), LogNormalMixture::mixture_b()] {
        let mut sample = mixture.sample(&mut Stream::new(4, "mixture", 0), 50_000);
        sample.sort_unstable_by(f64::total_cmp);
        let n = sample.len() as f64;
        let distance = |(i, y): (usize, &f64)| (mixture.cdf(*y, Level::CLEAN) - (i as f64 + 0.5) / n).abs();
        let worst = sample.iter().enumerate().map(distance).fold(0.0, f64::max);
        assert!(worst < 1.63 / n.sqrt(), "{worst}");
    }
}

#[test]
fn wrong_mixtures_name_the_field() {
    let good = LogNormalMixture::mixture_a();
    assert_eq!((good.check(), LogNormalMixture::mixture_b().check()), (Ok(()), Ok(())));
    let named = |change: &dyn Fn(&mut LogNormalMixture)| {
        let mut mixture = good.clone();
        change(&mut mixture);
        match mixture.check() {
            Err(DiffusionError::Setting { field, .. } | DiffusionError::Shape { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(named(&|m| m.weights[0] = 0.4), "weights");
    assert_eq!(named(&|m| m.weights = vec![1.3, -0.3]), "weights");
    assert_eq!(named(&|m| m.log_sds[1] = 0.0), "log_sds");
    assert_eq!(named(&|m| m.log_means[1] = f64::NAN), "log_means");
    assert_eq!(named(&|m| m.log_means.truncate(1)), "log_means");
    assert_eq!(named(&|m| m.log_sds.push(1.0)), "log_sds");
    assert_eq!(named(&|m| *m = LogNormalMixture { weights: vec![], log_means: vec![], log_sds: vec![] }), "weights");
}

#[test]
fn t13_tweedie_and_the_ambient_posterior_mean() {
    let (mixture, level) = a_at_03();
    // y_0 and the noise, each at its quantiles, paired at random.
    let n = 100_000;
    let noise = LogNormalMixture::single(0.0, 1.0).stratified(n, Level::CLEAN);
    let order = Stream::new(13, "pairs", 0).permutation(n);
    let (mut error, mut correlated, mut square, mut ambient, mut naive) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (y0, i) in mixture.stratified(n, Level::CLEAN).into_iter().zip(order) {
        let y = y0 + level.sd() * noise[i];
        let e = y0 - mixture.posterior_mean(y, level);
        error += e / n as f64;
        correlated += e * y.sin() / n as f64;
        square += e * e / n as f64;
        ambient += (y0.exp() - mixture.ambient_posterior_mean(y, level)).powi(2) / n as f64;
        naive += (y0.exp() - mixture.posterior_mean(y, level).exp()).powi(2) / n as f64;
    }
    assert_close(&[error, correlated], &[0.0, 0.0], 3e-3);
    assert_close(&[square, ambient, naive], &[0.1022330167, 0.204148, 0.209479], 2e-3);

    // The same by quadrature. E[x_0^2] in closed form; E[x_0 g(y)] = E[E[x_0 | y] g(y)].
    let expect = |f: &dyn Fn(f64) -> f64| mixture.expectation(level, f);
    let second: f64 =
        (0..2).map(|j| mixture.weights[j] * (2.0 * (mixture.log_means[j] + mixture.log_sds[j].powi(2))).exp()).sum();
    let exact = |y| mixture.ambient_posterior_mean(y, level);
    let exp_d = |y| mixture.posterior_mean(y, level).exp();
    let found = [
        second - 2.0 * expect(&|y| exact(y).powi(2)) + expect(&|y| exact(y).powi(2)),
        second - 2.0 * expect(&|y| exact(y) * exp_d(y)) + expect(&|y| exp_d(y).powi(2)),
    ];
    assert_close(&found, &[0.204148, 0.209479], 5e-7);
    // With a drift, D of y - B: the drift changes nothing but the place.
    let drifted = Level { drift: 0.3, ..level };
    assert_close(&[mixture.ambient_posterior_mean(0.8, drifted)], &[exact(0.5)], 1e-12);
    assert_close(&[mixture.posterior_mean(0.8, drifted).exp()], &[exp_d(0.5)], 1e-12);
}

#[test]
fn t14_mean_squared_error_from_fisher_information() {
    let mixture = LogNormalMixture::mixture_b();
    assert_close(&[mixture.variance(Level::CLEAN)], &[0.068755], 5e-7);
    let rows = [
        (0.0064, Some(80.8774722575), 0.0030872587),
        (0.064, Some(8.5019754389), 0.0291759086),
        (0.64, Some(1.4112881912), 0.0619363569),
        (100.0, None, 0.0687077520),
    ];
    let second = mixture.variance(Level::CLEAN) + mixture.mean(Level::CLEAN).powi(2);
    for (variance, fisher, mmse) in rows {
        let level = Level { variance, drift: 0.0 };
        let found = mixture.fisher(level);
        if let Some(fisher) = fisher {
            assert!((found / fisher - 1.0).abs() < 1e-9, "V {variance}: F {found}");
        }
        assert_close(&[variance - variance * variance * found], &[mmse], 1e-9);
        // E|y_0 - D|^2 = E y_0^2 - E D^2, without the score.
        let direct = second - mixture.expectation(level, |y| mixture.posterior_mean(y, level).powi(2));
        assert_close(&[direct], &[mmse], 1e-9);
    }
}

// T23, the data's side: data times c are y + log c, and every exact denoiser follows.
on_each_device!(t23_denoisers_commute_with_scaling, |device: Device| {
    let c = 3.7f64.ln();
    let ys: Vec<f64> = (0..24).map(|i| -1.5 + 0.13 * f64::from(i)).collect();
    let at = |shift: f64| matrix(ys.iter().map(|y| y + shift).collect(), 4, &device, DType::F64);
    let mixture = LogNormalMixture::mixture_b();
    let scaled = LogNormalMixture { log_means: mixture.log_means.iter().map(|m| m + c).collect(), ..mixture.clone() };
    let stored = matrix(mixture.sample(&mut Stream::new(23, "stored", 0), 40), 4, &device, DType::F64);
    let memory = PosteriorMean::new(stored.clone()).unwrap();
    let scaled_memory = PosteriorMean::new(stored + c).unwrap();
    for sd in [0.05, 0.8, 10.0] {
        let pairs: [(&dyn Denoiser, &dyn Denoiser); 2] = [(&mixture, &scaled), (&memory, &scaled_memory)];
        for (plain, scaled) in pairs {
            let expected = values(plain.denoise(at(0.0), sd).unwrap() + c);
            assert_close(&values(scaled.denoise(at(c), sd).unwrap()), &expected, 1e-12);
        }
    }
});

/// softmax(-||y - y_i||^2 / (2 sd^2)) and the mean under it, one row at a time, in f64.
fn by_definition(images: &[f64], ys: &[f64], pixels: usize, sd: f64) -> Vec<f64> {
    let row = |y: &[f64]| {
        let logits: Vec<f64> = images
            .chunks(pixels)
            .map(|image| -std::iter::zip(image, y).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / (2.0 * sd * sd))
            .collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|l| (l - max).exp()).collect();
        let norm: f64 = weights.iter().sum();
        let mean = |p: usize| {
            std::iter::zip(&weights, images.chunks(pixels)).map(|(w, image)| w * image[p]).sum::<f64>() / norm
        };
        (0..pixels).map(mean).collect::<Vec<_>>()
    };
    ys.chunks(pixels).flat_map(row).collect()
}

on_each_device!(the_memory_is_the_posterior_mean_over_its_images, |device: Device| {
    let pixels = 9;
    let mut stream = Stream::new(31, "memory", 0);
    let images: Vec<f64> = (0..50 * pixels).map(|_| stream.uniform_in(0.0, 0.7)).collect();
    for sd in [0.02, 0.3, 2.0, 20.0] {
        let ys: Vec<f64> = (0..20 * pixels).map(|i| images[i] + sd * stream.normal()).collect();
        let expected = by_definition(&images, &ys, pixels, sd);
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let memory = PosteriorMean::new(matrix(images.clone(), pixels, &device, dtype)).unwrap();
            assert_eq!((memory.images(), memory.pixels()), (50, pixels));
            let y = matrix(ys.clone(), pixels, &device, dtype);
            assert_close(&values(memory.denoise(y.clone(), sd).unwrap()), &expected, tolerance);
            let weights = memory.weights(y, sd).unwrap();
            assert_close(&values(weights.sum_dim(1)), &[1.0; 20], 1e-5);
        }
    }
});

on_each_device!(the_memory_keeps_the_nearest_image_at_tiny_noise, |device: Device| {
    // f32, bright images far from 0, neighbours 0.06 apart: at sd .005 a posterior of one image.
    let (n, pixels, sd) = (200, 196, 0.005);
    let mut stream = Stream::new(32, "near", 0);
    let first: Vec<f64> = (0..pixels).map(|_| stream.uniform_in(5.0, 5.7)).collect();
    let images: Vec<f64> = (0..n).flat_map(|_| first.clone()).map(|y| y + 0.003 * stream.normal()).collect();
    let ys: Vec<f64> = images.iter().map(|y| y + sd * stream.normal()).collect();
    let memory = PosteriorMean::new(matrix(images.clone(), pixels, &device, DType::F32)).unwrap();
    let found = values(memory.denoise(matrix(ys.clone(), pixels, &device, DType::F32), sd).unwrap());
    assert_close(&found, &by_definition(&images, &ys, pixels, sd), 1e-4);
});

on_each_device!(the_memory_has_gradients, |device: Device| {
    let images: Vec<f64> = (0..12).map(|i| (f64::from(i) * 1.3).sin()).collect();
    let memory = PosteriorMean::new(matrix(images.clone(), 3, &device, DType::F64)).unwrap();
    let ys = [0.3, -0.2, 0.5, 0.9, 0.1, -0.7];
    let y = matrix(ys.to_vec(), 3, &device.clone().autodiff(), DType::F64).require_grad();
    let gradients = memory.denoise(y.clone(), 0.6).unwrap().powi_scalar(2).sum().backward();
    let square = |ys: &[f64]| by_definition(&images, ys, 3, 0.6).iter().map(|d| d * d).sum();
    assert_gradient(square, &ys, &values(y.grad(&gradients).unwrap()), 1e-8);
});

#[test]
fn the_memory_splits_long_batches() {
    let (device, n) = (cpu(), 3000);
    let mut stream = Stream::new(33, "long", 0);
    let images = matrix((0..n * 2).map(|_| stream.normal()).collect(), 2, &device, DType::F32);
    let memory = PosteriorMean::new(images.clone()).unwrap();
    let whole = values(memory.denoise(images.clone(), 0.4).unwrap());
    assert_eq!(whole.len(), 2 * n);
    let end = values(memory.denoise(images.slice(s![n as i64 - 5.., ..]), 0.4).unwrap());
    assert_close(&whole[2 * (n - 5)..], &end, 1e-6);
}

#[test]
fn what_a_denoiser_does_not_know_is_an_error() {
    let device = cpu();
    let none = LogNormalMixture { weights: vec![], log_means: vec![], log_sds: vec![] };
    for device in [device.clone(), device.clone().autodiff()] {
        let error = none.denoise(Tensor::zeros([1, 3], &device), 0.5).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field: "weights", .. }), "{error}");
    }
    let linear = Wiener::fit(&[0.0, 0.5, 1.0, 0.25], 2).unwrap();
    let error = linear.denoise(Tensor::zeros([1, 3], &device), 0.5).unwrap_err();
    assert_eq!(error, DiffusionError::Shape { field: "y", expected: vec![1, 2], found: vec![1, 3] });
    for shape in [[0, 4], [4, 0]] {
        let error = PosteriorMean::new(Tensor::zeros(shape, &device)).unwrap_err();
        assert!(matches!(error, DiffusionError::Shape { field: "images", .. }), "{error}");
    }
    let memory = PosteriorMean::new(Tensor::zeros([3, 4], &device)).unwrap();
    let wrong = Tensor::zeros([2, 5], &device);
    let expected = DiffusionError::Shape { field: "y", expected: vec![2, 4], found: vec![2, 5] };
    assert_eq!(memory.denoise(wrong.clone(), 1.0).unwrap_err(), expected);
    assert_eq!(memory.weights(wrong, 1.0).unwrap_err(), expected);
}
