//! What a run with a network reports: denoising against the Wiener filter, and each sampler's images
//! against held-out ones.

use plasticity_core::error::RunError;
use plasticity_core::metric::frechet::{Gaussian, PcaBasis, frechet};
use plasticity_core::run::RunContext;
use plasticity_core::run::picture;
use plasticity_core::run::record::{Chart, Direction, MetricInfo, Outcome, Picture, Series};

use super::config::{Config, Space};
use super::images::{Pictures, log_rows, mean, nearest};
use super::network::{HELD_OUT, TIMES};
use super::state::State;
use crate::noise::Noise;
use crate::prior::Prior;
use crate::score::Level;

/// Principal components in which images are compared.
const COMPONENTS: usize = 64;
/// Images of each sampler that are compared with each other's: all at the same n.
pub(super) const COMPARED: usize = 256;
/// Samples of a picture.
const SHOWN: usize = 16;

/// Names of what real images and simple models score at the same n.
const ANCHORS: [(&str, &str); 4] = [
    ("floor", "held-out images"),
    ("noisy", "held-out images with noise of sd 0.1"),
    ("blurred", "held-out images, 3x3 blur"),
    ("gaussian", "the Gaussian of the training images"),
];

/// The numbers of images at which samplers are compared: [`COMPARED`], and all that one of them drew.
fn counts(config: &Config) -> Vec<usize> {
    let most = config.sampling.iter().map(|s| s.samples).max().unwrap_or(0);
    [COMPARED, most]
        .into_iter()
        .filter(|n| *n > COMPONENTS && *n <= most)
        .take(1 + usize::from(most > COMPARED))
        .collect()
}

fn suffix(n: usize) -> String {
    if n == COMPARED { String::new() } else { format!("_n{n}") }
}

pub(super) fn metrics(config: &Config) -> Vec<MetricInfo> {
    let side = 28 / config.pool;
    let metric = |name: String, title: String, direction, basis: &str| MetricInfo {
        name,
        title,
        unit: String::new(),
        direction,
        exact: false,
        basis: basis.into(),
    };
    let mut metrics = Vec::new();
    if config.space == Space::Log {
        let held_out = HELD_OUT.min(config.test_images);
        let basis = format!(
            "squared error in log space, network / Wiener filter of {} training images, {held_out} held-out images, {side}x{side}",
            config.train_images
        );
        let lower = |name: &str, title: &str| metric(name.into(), title.into(), Direction::Lower, &basis);
        metrics.push(lower("wiener_ratio", "error / Wiener's, mean over levels"));
        metrics.push(lower("wiener_ratio_low", "the worst level of t = 0.05 to 0.75"));
        metrics.push(lower("wiener_ratio_all", "the worst level of all"));
        metrics.extend(TIMES.iter().map(|t| lower(&ratio_name(*t), &format!("at t = {t}"))));
    }
    for n in counts(config) {
        let basis = format!(
            "Frechet distance in {COMPONENTS} principal components of log(1 + u) of {} training images, n = {n} against \
             {} test images, {side}x{side}",
            config.train_images,
            reference(config)
        );
        let lower = |name: String, title: String| metric(name, title, Direction::Lower, &basis);
        for sampler in config.sampling.iter().filter(|s| s.samples >= n) {
            let name = format!("pca_frechet_{}{}", sampler.id, suffix(n));
            metrics.push(lower(name, format!("PCA-64 Frechet, {}, n = {n}", sampler.id)));
        }
        for (name, title) in ANCHORS {
            metrics
                .push(lower(format!("pca_frechet_{name}{}", suffix(n)), format!("PCA-64 Frechet, {title}, n = {n}")));
        }
    }
    let basis = format!("mean over pixels, {side}x{side}");
    for sampler in &config.sampling {
        let name = format!("intensity_{}", sampler.id);
        metrics.push(metric(name, format!("mean intensity, {}", sampler.id), Direction::Neutral, &basis));
        let name = format!("nearer_train_{}", sampler.id);
        let basis = format!("fraction of samples nearer to {} training than to as many test images", reference(config));
        let title = format!("nearer to training than to test images, {}", sampler.id);
        metrics.push(MetricInfo { unit: "fraction".into(), ..metric(name, title, Direction::Neutral, &basis) });
    }
    metrics.push(metric("intensity_real".into(), "mean intensity, test images".into(), Direction::Neutral, &basis));
    metrics
}

fn ratio_name(t: f64) -> String {
    format!("wiener_ratio_{t}")
}

/// Test images that samples are compared with; the others give floor and anchors.
fn reference(config: &Config) -> usize {
    config.test_images / 2
}

pub(super) fn outcome(
    config: &Config,
    train: &Pictures,
    test: &Pictures,
    state: &State,
    ctx: &RunContext,
) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::default();
    if !state.held_out.is_empty() {
        denoising(state, &mut outcome);
    }
    outcome.metrics.insert("intensity_real".into(), test.mean_intensity());
    if !config.sampling.is_empty() {
        samples(config, train, test, state, ctx, &mut outcome)?;
    }
    Ok(outcome)
}

fn denoising(state: &State, outcome: &mut Outcome) {
    let ratios: Vec<f64> = state.held_out.iter().map(|[network, wiener]| network / wiener).collect();
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    outcome.metrics.insert("wiener_ratio".into(), ratios.iter().sum::<f64>() / ratios.len() as f64);
    outcome.metrics.insert("wiener_ratio_low".into(), worst(&ratios[..ratios.len() - 1]));
    outcome.metrics.insert("wiener_ratio_all".into(), worst(&ratios));
    for (t, ratio) in TIMES.iter().zip(&ratios) {
        outcome.metrics.insert(ratio_name(*t), *ratio);
    }
    let series = |name: &str, of: usize| Series {
        name: name.into(),
        points: TIMES.iter().zip(&state.held_out).map(|(t, errors)| [*t, errors[of]]).collect(),
    };
    outcome.charts.push(Chart {
        title: "Denoising held-out images".into(),
        x_label: "t (noise 0.8 sqrt(t))".into(),
        y_label: "squared error, summed over pixels".into(),
        log_x: true,
        log_y: true,
        series: vec![series("network", 0), series("Wiener filter", 1)],
    });
}

fn samples(
    config: &Config,
    train: &Pictures,
    test: &Pictures,
    state: &State,
    ctx: &RunContext,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    let pixels = train.size();
    let fault = |e: plasticity_core::metric::frechet::FrechetError| RunError::Failed(e.to_string());
    let half = reference(config);
    let basis = PcaBasis::fit(&log_rows(&train.pixels), pixels, COMPONENTS).map_err(fault)?;
    let gaussian = |images: &[f32]| -> Result<Gaussian, RunError> { basis.gaussian(&log_rows(images)).map_err(fault) };
    let real = gaussian(test.rows(0..half))?;
    let distance = |images: &[f32]| -> Result<f64, RunError> { frechet(&real, &gaussian(images)?).map_err(fault) };
    let drawn = |id: &str| state.drawn.get(id).map(Vec::as_slice).unwrap_or_default();

    for n in counts(config) {
        for sampler in config.sampling.iter().filter(|s| s.samples >= n) {
            let value = distance(&drawn(&sampler.id)[..n * pixels])?;
            outcome.metrics.insert(format!("pca_frechet_{}{}", sampler.id, suffix(n)), value);
        }
        for (name, images) in anchors(train, test, half, n, ctx)? {
            outcome.metrics.insert(format!("pca_frechet_{name}{}", suffix(n)), distance(&images)?);
        }
    }
    let m = half.min(train.len());
    for sampler in &config.sampling {
        let images = drawn(&sampler.id);
        outcome.metrics.insert(format!("intensity_{}", sampler.id), mean(images));
        let to_train = nearest(images, train.rows(0..m), pixels, ctx.device());
        let to_test = nearest(images, test.rows(0..m), pixels, ctx.device());
        let nearer = to_train.iter().zip(&to_test).filter(|(a, b)| a.0 < b.0).count();
        let fraction = nearer as f64 / to_train.len() as f64;
        outcome.metrics.insert(format!("nearer_train_{}", sampler.id), fraction);

        // Rows in turn: samples, and the training image nearest to each.
        let columns = SHOWN.min(sampler.samples);
        let rows = (sampler.samples / columns).min(2);
        let near = nearest(&images[..rows * columns * pixels], &train.pixels, pixels, ctx.device());
        let mut shown = Vec::new();
        for (row, near) in images.chunks(columns * pixels).zip(near.chunks(columns)) {
            shown.extend_from_slice(row);
            near.iter().for_each(|(_, i)| shown.extend_from_slice(train.rows(*i..i + 1)));
        }
        shown.extend_from_slice(test.rows(0..columns.min(test.len())));
        let file = format!("samples-{}.png", sampler.id);
        ctx.artifact(&file, &picture::Grid::new(train.side, train.side, columns).png(&shown)?)?;
        let caption = format!(
            "{} calls. Rows: samples; the training image nearest to each; samples; the nearest; real test images",
            sampler.network_calls()
        );
        outcome.pictures.push(Picture { file, title: format!("Samples, {}", sampler.id), caption });
    }
    Ok(())
}

/// What held-out images and simple models look like at `n` images.
fn anchors(
    train: &Pictures,
    test: &Pictures,
    half: usize,
    n: usize,
    ctx: &RunContext,
) -> Result<Vec<(&'static str, Vec<f32>)>, RunError> {
    let pixels = test.size();
    let images = test.rows(half..half + n.min(test.len() - half)).to_vec();
    let mut stream = ctx.stream("dale-langevin/anchors", n as u64);
    let noisy = images.iter().map(|u| (u + 0.1 * stream.normal() as f32).clamp(0.0, 1.0)).collect();
    let blurred = images.chunks(pixels).flat_map(|image| blur(image, test.side)).collect();
    let level = Level { variance: 0.0, drift: 0.0 };
    let law = Prior::gaussian_pca(&log_rows(&train.pixels), pixels, level)?;
    let mut noise = Noise::new(ctx.seed(), "dale-langevin/gaussian", 0, n);
    let y = law.draw(&mut noise, ctx.device(), burn::tensor::DType::F32).y;
    let gaussian = crate::pixels::Mapping::default().from_log(y).into_data().iter::<f32>().collect();
    let [a, b, c, d] = ANCHORS.map(|(name, _)| name);
    Ok(vec![(a, images), (b, noisy), (c, blurred), (d, gaussian)])
}

/// The mean over each pixel's 3x3 neighbourhood inside the image.
fn blur(image: &[f32], side: usize) -> Vec<f32> {
    let near = |i: usize| i.saturating_sub(1)..(i + 2).min(side);
    let pixel = |at: usize| {
        let (row, column) = (at / side, at % side);
        let values: Vec<f32> =
            near(row).flat_map(|r| near(column).map(move |c| (r, c))).map(|(r, c)| image[r * side + c]).collect();
        values.iter().sum::<f32>() / values.len() as f32
    };
    (0..image.len()).map(pixel).collect()
}
