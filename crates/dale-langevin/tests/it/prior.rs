//! Priors (sections 4.5 and 15).

use std::f64::consts::SQRT_2;

use burn::tensor::DType;
use dale_langevin::error::DiffusionError;
use dale_langevin::noise::Noise;
use dale_langevin::pixels::Mapping;
use dale_langevin::prior::Prior;
use dale_langevin::sampler::PaperSet;
use dale_langevin::score::Level;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Split, load};
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu};

/// `n` draws, image by image.
fn draws(prior: &Prior, n: usize) -> Vec<f64> {
    let mut noise = Noise::new(1, "prior", 0, n);
    prior.draw(&mut noise, &cpu(), DType::F64).y.into_data().iter::<f64>().collect()
}

/// Mean and sd of each pixel.
fn per_pixel(y: &[f64], pixels: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (y.len() / pixels) as f64;
    let column = |p: usize| y.iter().skip(p).step_by(pixels);
    let mean: Vec<f64> = (0..pixels).map(|p| column(p).sum::<f64>() / n).collect();
    let sd = (0..pixels).map(|p| (column(p).map(|y| (y - mean[p]).powi(2)).sum::<f64>() / n).sqrt()).collect();
    (mean, sd)
}

#[test]
fn each_law_has_its_moments() {
    // Four images of two pixels: means 1 and 0.5; variances 0.5 and 1.25; covariance -0.5.
    let images = [0.0, 1.0, 1.0, 2.0, 1.0, 0.0, 2.0, -1.0];
    let level = Level { variance: 0.36, drift: 0.25 };
    let n = 40_000;
    let check = |prior: Prior, mean: [f64; 2], sd: [f64; 2], correlation: f64| {
        let y = draws(&prior, n);
        let (found, spread) = per_pixel(&y, 2);
        let error = 4.0 * 1.4 / (n as f64).sqrt();
        assert_close(&found, &mean, error);
        assert_close(&spread, &sd, error / SQRT_2);
        let product: f64 = y.chunks_exact(2).map(|y| (y[0] - mean[0]) * (y[1] - mean[1])).sum();
        let found = product / n as f64 / (sd[0] * sd[1]);
        assert!((found - correlation).abs() < 4.0 / (n as f64).sqrt(), "{found}");
    };
    let total: f64 = 0.875 + 0.0625;
    let sd = (total + 0.36).sqrt();
    check(Prior::estimated(&images, 2, level).unwrap(), [1.0, 1.0], [sd, sd], 0.0);
    check(Prior::terminal_noise(&images, 2, level).unwrap(), [1.0, 1.0], [0.6, 0.6], 0.0);
    let sds = [(0.5f64 + 0.36).sqrt(), (1.25f64 + 0.36).sqrt()];
    check(Prior::per_pixel(&images, 2, level).unwrap(), [1.25, 0.75], sds, 0.0);
    check(Prior::gaussian_pca(&images, 2, level).unwrap(), [1.25, 0.75], sds, -0.5 / (sds[0] * sds[1]));
    check(Prior::independent(2, -3.0, 0.2).unwrap(), [-3.0, -3.0], [0.2, 0.2], 0.0);
}

#[test]
fn constants_of_the_paper_less_the_shift() {
    let shift = 0.1;
    for (set, channels) in [
        (PaperSet::Mnist, vec![(0.15651744604110718, 0.8352777361869812)]),
        (PaperSet::FashionMnist, vec![(0.27712640166282654, 0.8428290486335754)]),
        (PaperSet::Kmnist, vec![(0.2140171080827713, 0.8290426135063171)]),
        (PaperSet::Cifar10, vec![(0.4075, 0.8016), (0.3785, 0.8004), (0.3693, 0.8005)]),
    ] {
        let pixels = 6;
        let found = draws(&Prior::paper(set, pixels, shift).unwrap(), 2);
        let z = Noise::new(1, "prior", 0, 2).normal_values(pixels);
        let expected: Vec<f64> = (z.iter().enumerate())
            .map(|(i, z)| {
                let (m, s) = channels[(i % pixels) / (pixels / channels.len())];
                m - shift + s * z
            })
            .collect();
        assert_close(&found, &expected, 1e-15);
    }
}

#[test]
fn draws_do_not_depend_on_the_batch() {
    let mut stream = Stream::new(3, "rows", 0);
    let images: Vec<f32> = stream.normal_vec(20 * 7);
    let level = Level::of_sd(0.8);
    for prior in [
        Prior::gaussian_pca(&images, 7, level).unwrap(),
        Prior::per_pixel(&images, 7, level).unwrap(),
        Prior::class_means(&images[..21], 7, level).unwrap(),
    ] {
        let draw = |first, n| -> Vec<f64> {
            let state = prior.draw(&mut Noise::new(1, "prior", first, n), &cpu(), DType::F64);
            state.y.into_data().iter::<f64>().collect()
        };
        let parts: Vec<f64> = [(0, 1), (1, 5), (6, 3)].into_iter().flat_map(|(first, n)| draw(first, n)).collect();
        assert_eq!(draw(0, 9), parts);
        assert_eq!(prior.pixels(), 7);
    }
    // Image i is about class i mod 3.
    let found = draws(&Prior::class_means(&images[..21], 7, Level { variance: 1e-12, drift: 0.5 }).unwrap(), 5);
    let expected: Vec<f64> = (0..5 * 7).map(|i| f64::from(images[i % 21]) + 0.5).collect();
    assert_close(&found, &expected, 1e-5);
}

/// Section 4.5's estimate on MNIST's test split, and the Gaussian of 784 pixels, by E |y - mean|^2 = tr C + P V.
#[test]
fn estimates_on_real_images() {
    let Some(mnist) = data_or_skip("mnist") else { return };
    let images = load(&mnist, Split::Test, None).unwrap();
    let u: Vec<f32> = images.pixels.iter().map(|v| f32::from(*v) / 255.0).collect();
    let rows: Vec<f32> = Mapping::default().to_log(&u, 784, &cpu()).unwrap().into_data().iter::<f32>().collect();
    assert_eq!(rows.len(), 784 * 10_000);
    let level = Level::of_sd(0.8);
    let y = draws(&Prior::estimated(&rows, 784, level).unwrap(), 1);
    let z = draws(&Prior::independent(784, 0.0, 1.0).unwrap(), 1);
    // y = m + s z of known z.
    let s = (y[0] - y[1]) / (z[0] - z[1]);
    assert_close(&[y[0] - s * z[0], s], &[0.0963, 0.8299], 6e-5);

    let few: Vec<f64> = rows[..784 * 1000].iter().map(|y| f64::from(*y)).collect();
    let (centre, sd) = per_pixel(&few, 784);
    let trace: f64 = sd.iter().map(|sd| sd * sd).sum();
    let y = draws(&Prior::gaussian_pca(&rows[..784 * 1000], 784, level).unwrap(), 400);
    let squares = y.iter().enumerate().map(|(i, y)| (y - centre[i % 784]).powi(2));
    let (found, expected) = (squares.sum::<f64>() / 400.0, trace + 784.0 * 0.64);
    assert!((found / expected - 1.0).abs() < 0.01, "{found}, expected {expected}");
}

#[test]
fn wrong_input_is_named() {
    let level = Level::of_sd(0.8);
    type Estimate = fn(&[f32], usize, Level) -> Result<Prior, DiffusionError>;
    let estimates: [Estimate; 5] =
        [Prior::estimated, Prior::terminal_noise, Prior::per_pixel, Prior::gaussian_pca, Prior::class_means];
    for estimate in estimates {
        let shape = |expected: usize, found: usize| {
            Err(DiffusionError::Shape { field: "images", expected: vec![expected], found: vec![found] })
        };
        assert_eq!(estimate(&[], 3, level), shape(3, 0));
        assert_eq!(estimate(&[0.0; 7], 3, level), shape(9, 7));
        assert!(matches!(estimate(&[0.0], 0, level), Err(DiffusionError::Setting { field: "pixels", .. })));
        let found = estimate(&[0.0, 0.1, 0.2, 0.3, f32::NAN, 0.5], 3, level).unwrap_err();
        assert!(matches!(found, DiffusionError::Pixel { image: 1, pixel: 1, .. }), "{found}");
    }
    let named = |error: DiffusionError, name| assert!(error.to_string().contains(name), "{error}");
    named(Prior::independent(0, 0.0, 1.0).unwrap_err(), "pixels");
    named(Prior::independent(2, 0.0, 0.0).unwrap_err(), "sd");
    named(Prior::independent(2, f64::NAN, 1.0).unwrap_err(), "mean");
    named(Prior::paper(PaperSet::Mnist, 0, 0.0).unwrap_err(), "pixels");
    named(Prior::paper(PaperSet::Cifar10, 1024, 0.0).unwrap_err(), "multiple of 3");
}
