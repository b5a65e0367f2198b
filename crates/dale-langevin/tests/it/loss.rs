//! Losses, their equivalences, and their minimisers.

use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::kernel::corrupt;
use dale_langevin::loss::{Weighting, denoising, denoising_noise, explicit, hyvarinen};
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::schedule::Schedule;
use dale_langevin::score::{Denoiser, Level, View, convert};
use nalgebra::{DMatrix, DVector};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, assert_gradient, cpu, values};

use crate::kernel::column;

const EDM: Weighting = Weighting::Edm { sd_data: 0.22 };

fn scalar(loss: Tensor<1>) -> f64 {
    loss.into_scalar::<f64>()
}

/// Every pair of `n` quantiles of y_0 and `n` of the noise, the noise of variance 1 exactly:
/// (y_0, eps), each `[n * n, 1]`.
fn pairs(data: &LogNormalMixture, n: usize, device: &Device) -> (Tensor<2>, Tensor<2>) {
    let noise = LogNormalMixture::single(0.0, 1.0).stratified(n, Level::CLEAN);
    let sd = (noise.iter().map(|z| z * z).sum::<f64>() / n as f64).sqrt();
    let y0 = data.stratified(n, Level::CLEAN).into_iter().flat_map(|y| vec![y; n]).collect();
    let eps = (0..n * n).map(|i| noise[i % n] / sd).collect();
    (column(y0, device), column(eps, device))
}

/// The noise of every row, `[batch]`.
fn each(like: &Tensor<2>, level: Level) -> Tensor<1> {
    Tensor::full([like.dims()[0]], level.sd(), (&like.device(), like.dtype()))
}

#[test]
fn weights_are_those_of_section_8_5() {
    for v in [1e-8f64, 0.01, 0.64, 400.0] {
        let q2 = 0.22 * 0.22;
        let expected = [v * v, v, v * v * (v + q2) / (v * q2)];
        for (weighting, expected) in [Weighting::Paper, Weighting::Eps, EDM].into_iter().zip(expected) {
            assert_eq!(weighting.check(), Ok(()));
            assert!((weighting.weight(v) / expected - 1.0).abs() < 1e-12, "{weighting:?} at {v}");
            assert!((weighting.weight_denoised(v) * v * v / expected - 1.0).abs() < 1e-12, "{weighting:?} at {v}");
        }
    }
    for sd_data in [0.0, -1.0, f64::NAN] {
        let error = Weighting::Edm { sd_data }.check().unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field: "sd_data", .. }), "{error}");
    }
}

on_each_device!(every_weighting_is_a_weight_on_the_score, |device: Device| {
    let mut stream = Stream::new(8, "loss", 0);
    let mut draw = |n: usize| column((0..n).map(|_| stream.normal()).collect(), &device);
    let (y0, eps, u) = (draw(6), draw(6), draw(6));
    // Two images of three pixels, at two noise levels.
    let levels = [Level::of_sd(0.3), Level::of_sd(2.0)];
    let rows = |t: &Tensor<2>, i: usize| t.clone().reshape([2, 3]).slice(s![i as i64..i as i64 + 1, ..]);
    let (mut denoised, mut clean, mut noise, mut predicted) = (vec![], vec![], vec![], vec![]);
    let (mut target, mut model) = (vec![], vec![]);
    for (i, level) in levels.into_iter().enumerate() {
        let (y0, eps, u) = (rows(&y0, i), rows(&eps, i), rows(&u, i));
        let y = corrupt(y0.clone(), level, eps.clone());
        let view = |from, value: &Tensor<2>, to| convert(value.clone(), from, to, &y, None, level);
        denoised.push(view(View::LogScore, &u, View::Denoised));
        predicted.push(view(View::LogScore, &u, View::Noise));
        target.push(values(view(View::Noise, &eps, View::Hyvarinen)));
        model.push(values(view(View::LogScore, &u, View::Hyvarinen)));
        clean.push(y0);
        noise.push(eps);
    }
    let all = |parts: Vec<Tensor<2>>| Tensor::cat(parts, 0);
    let (denoised, clean, noise, predicted) = (all(denoised), all(clean), all(noise), all(predicted));
    let sd = Tensor::<1>::from_data(TensorData::new(vec![0.3, 2.0], [2]), (&device, DType::F64));
    for weighting in [Weighting::Paper, Weighting::Eps, EDM] {
        let by_score: f64 = levels
            .iter()
            .zip(std::iter::zip(&model, &target))
            .map(|(level, (a, b))| {
                weighting.weight(level.variance) * std::iter::zip(a, b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
            })
            .sum::<f64>()
            / 6.0;
        let found = scalar(denoising(denoised.clone(), clean.clone(), sd.clone(), weighting));
        let by_noise = scalar(denoising_noise(predicted.clone(), noise.clone(), sd.clone(), weighting));
        assert_close(&[found / by_score, by_noise / by_score], &[1.0, 1.0], 1e-12);
    }
});

on_each_device!(the_loss_of_the_authors_is_the_paper_weighting, |device: Device| {
    // Section 8.4 with the right kappa = t, per image: the sum over pixels, for a drift of either sign.
    let mut stream = Stream::new(84, "loss", 0);
    for mu in [0.32, 0.9, -0.4] {
        let (sigma, t) = (0.8, 0.37);
        let level = Schedule::Constant { sigma, mu, horizon: 1.0 }.level(t);
        let mut draw = || (0..5).map(|_| stream.normal()).collect::<Vec<f64>>();
        let (y0, eps, stein) = (draw(), draw(), draw());
        let (clean, noise) = (column(y0.clone(), &device), column(eps, &device));
        let y = corrupt(clean.clone(), level, noise);
        let by_code: f64 = values(y.clone())
            .iter()
            .zip(std::iter::zip(&y0, &stein))
            .map(|(y, (y0, f))| (t * sigma * sigma * y.exp() * f + y - y0 - mu * t + 1.5 * sigma * sigma * t).powi(2))
            .sum();
        let denoised = convert(column(stein, &device), View::Stein, View::Denoised, &y, None, level);
        let loss = 5.0 * scalar(denoising(denoised, clean, each(&y, level), Weighting::Paper));
        assert!((loss / by_code - 1.0).abs() < 1e-12, "mu {mu}: {loss} and not {by_code}");
    }
});

#[test]
fn reference_values_of_section_8_6() {
    // Noise of +1 and -1, both: its first two moments are exact, so the averages are as well.
    let device = cpu();
    let (clean, eps) = (column(vec![0.1; 2], &device), column(vec![1.0, -1.0], &device));
    let (mut identity, mut zero) = (0.0, 0.0);
    for k in 1..1000 {
        let level = Schedule::PAPER.level(f64::from(k) / 1000.0);
        let y = corrupt(clean.clone(), level, eps.clone());
        let loss = |from| {
            let denoised = convert(y.zeros_like(), from, View::Denoised, &y, None, level);
            784.0 * scalar(denoising(denoised, clean.clone(), each(&y, level), Weighting::Paper)) / 999.0
        };
        identity += loss(View::LogScore);
        zero += loss(View::Stein);
    }
    assert_close(&[identity, zero], &[250.88, 357.87], 5e-3);
}

#[test]
fn gradients_are_those_of_the_formulas() {
    let device = cpu().autodiff();
    let at = |values: &[f64]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 3]), (&device, DType::F64));
    let (clean, other) = (at(&[0.1, -0.2, 0.3, 0.4, 0.5, -0.6]), at(&[0.5, 0.1, -0.3, 0.2, -0.9, 0.7]));
    let sd = Tensor::<1>::from_data(TensorData::new(vec![0.3, 2.0], [2]), (&device, DType::F64));
    let denoise = |w| {
        let (clean, sd) = (clean.clone(), sd.clone());
        move |x: Tensor<2>| denoising(x, clean.clone(), sd.clone(), w)
    };
    let losses: [Box<dyn Fn(Tensor<2>) -> Tensor<1>>; 6] = [
        Box::new(denoise(Weighting::Paper)),
        Box::new(denoise(Weighting::Eps)),
        Box::new(denoise(EDM)),
        Box::new(|x| denoising_noise(x, clean.clone(), sd.clone(), EDM)),
        Box::new(|x| explicit(x, clean.clone())),
        Box::new(|x| hyvarinen(x.clone(), x.sin() * other.clone())),
    ];
    let point = [0.3, 0.8, -0.4, 1.1, 0.05, -0.5];
    for loss in losses {
        let x = at(&point).require_grad();
        let value = loss(x.clone());
        assert_eq!(value.dims(), [1]);
        let gradient = x.grad(&value.backward()).unwrap();
        assert_gradient(|x| scalar(loss(at(x))), &point, &values(gradient), 1e-6);
    }
}

#[test]
fn tiny_noise_keeps_its_digits_in_f32() {
    let device = cpu();
    let f32s = |values: [f32; 4]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 2]), &device);
    for sd in [1e-2, 1e-5, 1e-20f32] {
        let sds = Tensor::<1>::from_floats([sd, sd], &device);
        // (eps_theta - eps)^2 = 0.01 of unit weight.
        let (eps, predicted) = (f32s([1.0, -0.5, 2.0, 0.25]), f32s([1.1, -0.6, 1.9, 0.35]));
        // D - y_0 = sd / 10 about a y_0 of 0, where D is exact.
        let (clean, denoised) = (f32s([0.0; 4]), f32s([0.1 * sd; 4]));
        for weighting in [Weighting::Eps, EDM] {
            let losses = [
                denoising_noise(predicted.clone(), eps.clone(), sds.clone(), weighting),
                denoising(denoised.clone(), clean.clone(), sds.clone(), weighting),
            ];
            let expected = 0.01 * weighting.weight_denoised(f64::from(sd).powi(2)) * f64::from(sd).powi(2);
            for loss in losses {
                let found = loss.into_scalar::<f64>();
                assert!((found / expected - 1.0).abs() < 1e-4, "sd {sd}, {weighting:?}: {found} and not {expected}");
            }
        }
    }
}

on_each_device!(t05_loss_values, |device: Device| {
    let (data, level) = (LogNormalMixture::single(0.2, 0.5), Schedule::PAPER.level(0.5));
    let (y0, eps) = pairs(&data, 700, &device);
    let y = corrupt(y0.clone(), level, eps);
    let loss = |denoised| scalar(denoising(denoised, y0.clone(), each(&y, level), Weighting::Paper));
    let view = |from| convert(y.zeros_like(), from, View::Denoised, &y, None, level);
    let exact = loss(data.denoise(y.clone(), level.sd()).unwrap());
    assert!((exact / 0.1403508772 - 1.0).abs() < 5e-3, "{exact}");
    assert!((loss(view(View::LogScore)) / 0.32 - 1.0).abs() < 5e-3);
    assert!((loss(view(View::Stein)) / 0.4224 - 1.0).abs() < 5e-3);
});

on_each_device!(t06_explicit_denoising_and_hyvarinens_score_matching_agree, |device: Device| {
    let (data, level) = (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3));
    let (y0, eps) = pairs(&data, 1000, &device);
    let y = corrupt(y0, level, eps.clone());
    let h = convert(data.denoise(y.clone(), level.sd()).unwrap(), View::Denoised, View::Hyvarinen, &y, None, level);
    let second = scalar(h.clone().powi_scalar(2).mean());
    let predicted = |h: &Tensor<2>| convert(h.clone(), View::Hyvarinen, View::Noise, &y, None, level);
    let fisher = 2.4350852686;
    assert!((data.fisher(level) / fisher - 1.0).abs() < 1e-10);
    for (a, c) in [(-1.0, 0.0), (-0.5, 0.8), (-1.5, -1.2), (0.0, 2.0)] {
        let h_theta = y.clone().sin() * c + a;
        let dh_dy = y.clone().cos() * c;
        // Unit weight on the score is the unit weight on the noise over V.
        let noise = denoising_noise(predicted(&h_theta), eps.clone(), each(&y, level), Weighting::Eps);
        let (j_dsm, j_esm) = (scalar(noise) / level.variance, scalar(explicit(h_theta.clone(), h.clone())));
        let constant = j_dsm - j_esm;
        assert!((constant / (1.0 / level.variance - fisher) - 1.0).abs() < 3e-3, "({a}, {c}): {constant}");
        let j_nn = scalar(hyvarinen(h_theta, dh_dy));
        assert!(((j_esm - 2.0 * j_nn) / (1.0 + fisher) - 1.0).abs() < 3e-3, "({a}, {c}): {}", j_esm - 2.0 * j_nn);
        // J_ESM = 2 J_NN + E h^2 on the same samples.
        assert!((j_esm - 2.0 * j_nn - second).abs() < 3e-3 * second);
    }
    assert_close(&[1.0 / level.variance - fisher, 1.0 + fisher], &[2.7732480647, 3.4350852686], 1e-9);
});

/// E (u_theta - u)^2 / E u^2 of mixture A at t = .3, by quadrature over y.
fn relative_error(denoise: impl Fn(f64) -> f64) -> f64 {
    let (data, level) = (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3));
    let error = |y: f64| ((denoise(y) - y) / level.variance - data.log_score(y, level)).powi(2);
    data.expectation(level, error) / data.fisher(level)
}

#[test]
fn t12_least_squares_finds_the_exact_score() {
    let (data, level) = (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3));
    let features = |y: f64| {
        let bump = move |i: usize| (-(y - (-2.2 + 4.6 * i as f64 / 35.0)).powi(2) / (2.0 * 0.22f64.powi(2))).exp();
        (0..36).map(bump).chain([1.0, y]).collect::<Vec<f64>>()
    };
    for (n, bound) in [(20_000, 2.5e-3), (200_000, 4e-4)] {
        let (mut clean, mut noise) = (Stream::new(12, "clean", n), Stream::new(12, "noise", n));
        let (mut gram, mut right) = (DMatrix::<f64>::identity(38, 38) * 1e-3, DVector::<f64>::zeros(38));
        for y0 in data.sample(&mut clean, n as usize) {
            let f = DVector::from_vec(features(y0 + level.sd() * noise.normal()));
            gram.syger(1.0, &f, &f, 1.0);
            right.axpy(y0, &f, 1.0);
        }
        let gram = DMatrix::from_fn(38, 38, |i, j| gram[(i.max(j), i.min(j))]);
        let solution = gram.cholesky().unwrap().solve(&right);
        let error = relative_error(|y| solution.iter().zip(features(y)).map(|(a, b)| a * b).sum());
        println!("t12: relative squared error of {n} samples {error:.2e}");
        assert!(error < bound && error > bound / 20.0, "{n} samples: {error}");
    }
}

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<nn::Linear>,
}

impl Mlp {
    fn new(widths: &[usize], device: &Device) -> Self {
        let layer = |(i, w): (usize, &[usize])| {
            let bound = (3.0 / w[0] as f64).sqrt();
            let mut stream = Stream::new(12, "mlp", i as u64);
            let mut draw = |n: usize| stream.uniform_vec(n, -bound, bound);
            nn::Linear {
                weight: burn::module::Param::from_data(TensorData::new(draw(w[0] * w[1]), [w[0], w[1]]), device),
                bias: Some(burn::module::Param::from_data(TensorData::new(draw(w[1]), [w[1]]), device)),
            }
        };
        Self { layers: widths.windows(2).enumerate().map(layer).collect() }
    }

    fn forward(&self, y: Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().unwrap();
        last.forward(hidden.iter().fold(y, |y, layer| layer.forward(y).tanh()))
    }
}

#[test]
fn t12_a_network_trained_with_the_loss_finds_the_exact_score() {
    let device = cpu().autodiff();
    let (data, level) = (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3));
    let (batch, steps) = (1024, 600);
    let mut model = Mlp::new(&[1, 32, 32, 1], &device);
    let mut optimiser = AdamConfig::new().with_beta_2(0.99).with_epsilon(1e-8).init();
    let (mut clean, mut noise) = (Stream::new(12, "clean", 0), Stream::new(12, "noise", 0));
    let tensor = |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, [batch, 1]), &device);
    let sd = Tensor::full([batch], level.sd(), &device);
    for step in 0..steps {
        let y0 = tensor(data.sample(&mut clean, batch).into_iter().map(|y| y as f32).collect());
        let y = corrupt(y0.clone(), level, tensor(noise.normal_vec(batch)));
        let loss = denoising(model.forward(y), y0, sd.clone(), Weighting::Edm { sd_data: 0.5 });
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let rate = 1e-2 * (1.0 - f64::from(step) / f64::from(steps));
        model = optimiser.step(rate, model, gradients);
    }
    let model = model.valid();
    let plain = device.without_autodiff();
    // One call for the whole grid, then linear interpolation between its points.
    let at = |i: usize| -8.0 + i as f64 / 200.0;
    let grid: Vec<f32> = (0..=3200).map(|i| at(i) as f32).collect();
    let found = values(model.forward(Tensor::from_data(TensorData::new(grid, [3201, 1]), &plain)));
    let error = relative_error(|y| {
        let place = ((y + 8.0) * 200.0).clamp(0.0, 3199.0);
        let (i, f) = (place as usize, place.fract());
        found[i] * (1.0 - f) + found[i + 1] * f
    });
    println!("t12: relative squared error of the network {error:.2e}");
    assert!(error < 1e-2, "{error}");
}

/// V_out / lambda of DLS, noise on every step, for data N(0, lambda): `score(k)` is the coefficient of
/// u = score y at level k.
fn output_variance(lambda: f64, score: impl Fn(u32) -> f64) -> f64 {
    let dv = 0.64 / 1000.0;
    let start = lambda + 0.999 * 0.64;
    (1..1000).rev().fold(start, |variance, k| (1.0 + dv * score(k)).powi(2) * variance + dv) / lambda
}

#[test]
fn t19_the_loss_has_no_off_by_one() {
    let time = |k: u32| Schedule::PAPER.level(f64::from(k) / 1000.0);
    // The exact score, and the minimiser of a loss that takes level k + 1 for data of level k.
    let exact = |lambda: f64, k| -1.0 / (lambda + time(k).variance);
    let late = |lambda: f64, k: u32| exact(lambda, k) * f64::from(k) / f64::from(k + 1);
    let rows = [(1.0, 1.000, 1.007), (0.1, 1.003, 1.052), (0.01, 1.033, 1.292), (0.001, 1.3838, 2.5424)];
    for (lambda, right, wrong) in rows {
        let found = [output_variance(lambda, |k| exact(lambda, k)), output_variance(lambda, |k| late(lambda, k))];
        assert_close(&found, &[right, wrong], 6e-4);
    }

    // The minimiser of the crate's own loss on the crate's own noisy data: D = a y, the loss quadratic
    // in a, so that two gradients give its minimum. Four points have the moments of the data exactly.
    let lambda = 0.001f64;
    let device = cpu().autodiff();
    let s = lambda.sqrt();
    let (clean, eps) = (column(vec![s, s, -s, -s], &device), column(vec![1.0, -1.0, 1.0, -1.0], &device));
    let minimiser = |k: u32, loss_level: Level| {
        let y = corrupt(clean.clone(), time(k), eps.clone());
        let slope = |a: f64| {
            let a = Tensor::<2>::from_data(TensorData::new(vec![a], [1, 1]), (&device, DType::F64)).require_grad();
            let loss = denoising(y.clone() * a.clone(), clean.clone(), each(&y, loss_level), Weighting::Paper);
            scalar(a.grad(&loss.backward()).unwrap().reshape([1]))
        };
        let (at_0, at_1) = (slope(0.0), slope(1.0));
        let a = at_0 / (at_0 - at_1);
        let one = Tensor::<2>::ones([1, 1], (&device, DType::F64));
        scalar(convert(one.clone() * a, View::Denoised, View::LogScore, &one, None, loss_level).reshape([1]))
    };
    let through_the_loss = output_variance(lambda, |k| minimiser(k, time(k)));
    assert_close(&[through_the_loss], &[1.3838], 5e-4);
    let off_by_one = output_variance(lambda, |k| minimiser(k, time(k + 1)));
    assert_close(&[off_by_one], &[2.5424], 5e-4);
}
