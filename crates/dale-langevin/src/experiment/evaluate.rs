//! What a run with a network is measured by: denoising beside the Wiener filter, and each sampler's images beside
//! held-out ones.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::Config;
use super::data::{Coordinates, Pictures, Space, mean};
use super::state::State;
use super::steps::{Left, Phases, covariance, scatter_steps};
use crate::frechet::{self, FrechetError, Gaussian, PcaBasis};
use crate::net::NetDenoiser;
use crate::noise::Noise;
use crate::pixels::Mapping;
use crate::prior::Prior;
use crate::score::{Denoiser, Level};
use crate::wiener::Wiener;

/// Times t at which denoising is measured, at noise 0.8 sqrt(t) (oracle T16).
pub(super) const TIMES: [f64; 6] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.999];
/// Test images that are denoised.
pub(super) const HELD_OUT: usize = 1000;
/// Images that a network call sees at once.
pub(super) const CALL_BATCH: usize = 64;
/// Principal components in which images are compared.
pub(super) const COMPONENTS: usize = 64;
/// Images of each sampler that drew as many are compared with each other's: all at the same n.
const COMPARED: usize = 256;

/// What a metric's name ends in where it is of no sampler, beside [`ANCHORS`].
pub(super) const RESERVED: [&str; 1] = [REAL];
/// The test images themselves.
pub(super) const REAL: &str = "real";

/// Names of what real images and simple models score at the same n.
pub(super) const ANCHORS: [(&str, &str); 4] = [
    ("floor", "held-out images"),
    ("noisy", "held-out images with noise of sd 0.1"),
    ("blurred", "held-out images, 3x3 blur"),
    ("gaussian", "the Gaussian of the training images"),
];

/// The numbers of images at which samplers are compared: [`COMPARED`], and all that one of them drew.
pub(super) fn counts(config: &Config) -> Vec<usize> {
    let most = config.sampling.iter().map(|s| s.samples).max().unwrap_or(0);
    [COMPARED, most]
        .into_iter()
        .filter(|n| *n > COMPONENTS && *n <= most)
        .take(1 + usize::from(most > COMPARED))
        .collect()
}

/// The name of a Frechet distance of `n` images.
pub(super) fn frechet_name(of: &str, n: usize) -> String {
    if n == COMPARED { format!("pca_frechet_{of}") } else { format!("pca_frechet_{of}_n{n}") }
}

/// Test images that samples are compared with; the others give floor and anchors.
pub(super) fn reference(config: &Config) -> usize {
    config.test_images / 2
}

/// Training images, and as many test images, that each sample's nearest neighbours are looked for among.
pub(super) fn neighbours(config: &Config) -> usize {
    reference(config).min(config.train_images)
}

/// Test images that are denoised.
pub(super) fn held_out_images(config: &Config) -> usize {
    HELD_OUT.min(config.test_images)
}

/// Steps of [`HeldOut::run`]: a call of the network each.
pub(super) fn held_out_steps(config: &Config) -> u64 {
    match config.space {
        Space::Log => TIMES.len() as u64 * held_out_images(config).div_ceil(CALL_BATCH) as u64,
        Space::Pixel => 0,
    }
}

/// In [`super::state::Work::measured`]: the error of each image at the level that is under way.
const ERRORS: &str = "held-out/errors";
/// The errors of network and Wiener filter at one level after the other.
const LEVELS: &str = "held-out/levels";

/// Denoising held-out images: the network beside the Wiener filter of the training images.
pub(super) struct HeldOut<'a> {
    /// The trained network.
    pub network: &'a NetDenoiser,
    /// The training images in the diffused variable.
    pub rows: &'a [f32],
    pub test: &'a Pictures,
    pub coordinates: &'a Coordinates,
}

impl HeldOut<'_> {
    /// Squared error, summed over pixels, of the network and of the Wiener filter at each of [`TIMES`]: the paper's
    /// loss (section 8.4). The covariance of the training images is done, and kept afterwards if `keep`.
    pub(super) fn run(&self, left: Left, keep: bool, state: &mut State, ctx: &mut RunContext) -> Result<(), RunError> {
        if left.is_done() {
            return Ok(());
        }
        let pixels = self.test.size();
        let scatter = state.work.scatter.as_ref().ok_or_else(|| RunError::Failed("no covariance is there".into()))?;
        let Gaussian { mean, covariance } = scatter.gaussian(frechet::mean(self.rows, pixels));
        let wiener = Wiener::of_moments(&mean, covariance);
        let n = HELD_OUT.min(self.test.len());
        let chunks = n.div_ceil(CALL_BATCH) as u64;
        let y0 = self.coordinates.encode(self.test.rows(0..n), pixels, ctx.device())?;
        let mut noisy = None;
        for (at, done) in left {
            let (level, chunk) = ((at / chunks) as usize, (at % chunks) as usize);
            let sd = 0.8 * TIMES[level].sqrt();
            if noisy.is_none() || chunk == 0 {
                let eps = ctx.stream("dale-langevin/held-out", level as u64).normal_vec(n * pixels);
                let eps = Tensor::<2>::from_data(TensorData::new(eps, [n, pixels]), ctx.device());
                noisy = Some(y0.clone() + eps * sd);
            }
            let Some(y) = noisy.clone() else { unreachable!("just made") };
            let first = chunk * CALL_BATCH;
            let images = CALL_BATCH.min(n - first);
            let denoised = self.network.denoise(y.clone().narrow(0, first, images), sd)?;
            let errors = squares(denoised - y0.clone().narrow(0, first, images)).into_data();
            let errors: Vec<f64> = errors.iter().collect();
            state.work.extend(ERRORS, "held-out error", &errors, done)?;

            let last = chunk as u64 + 1 == chunks;
            if last {
                let errors = state.work.measured.remove(ERRORS).unwrap_or_default();
                let errors = Tensor::<2>::from_data(TensorData::new(errors, [n, 1]), (ctx.device(), DType::F32));
                let network: f64 = errors.mean().into_scalar();
                let wiener: f64 = squares(wiener.denoise(y, sd)? - y0.clone()).mean().into_scalar();
                for (metric, value) in [("held-out error", network), ("held-out error of the Wiener filter", wiener)] {
                    state.work.extend(LEVELS, metric, &[value], done)?;
                }
                if level + 1 == TIMES.len() && !keep {
                    state.work.scatter = None;
                }
            }
            ctx.step_done(done, last, state)?;
        }
        Ok(())
    }
}

/// Squares summed over pixels, `[images, 1]`.
fn squares(difference: Tensor<2>) -> Tensor<2> {
    difference.powi_scalar(2).sum_dim(1)
}

/// Held-out error of the network and of the Wiener filter at each of [`TIMES`]; empty where it was not measured.
pub(super) fn held_out(state: &State) -> Vec<[f64; 2]> {
    let levels = state.work.measured.get(LEVELS).map(Vec::as_slice).unwrap_or_default();
    levels.as_chunks::<2>().0.to_vec()
}

/// Steps of [`samples`]: the covariance of the training images, the neighbours of each sampler's images, and for
/// each number of images the samplers' distances and the anchors'.
pub(super) fn sample_steps(config: &Config) -> u64 {
    if config.sampling.is_empty() {
        return 0;
    }
    scatter_steps(config.train_images) + config.sampling.len() as u64 + 2 * counts(config).len() as u64
}

/// Each sampler's images against held-out ones, noted by the name of the metric.
pub(super) fn samples(
    config: &Config,
    phases: &mut Phases,
    train: &Pictures,
    test: &Pictures,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    if phases.are_done(sample_steps(config)) {
        return Ok(());
    }
    let (pixels, half, m) = (train.size(), reference(config), neighbours(config));
    let rows = log_rows(&train.pixels);
    covariance(phases.phase(scatter_steps(config.train_images)), &rows, pixels, state, |s| &mut s.work, ctx)?;
    for sampler in &config.sampling {
        for (_, done) in phases.phase(1) {
            let images = state.work.images(&sampler.id);
            let intensity = mean(images);
            let to_train = nearest(images, train.rows(0..m), pixels, ctx.device());
            let to_test = nearest(images, test.rows(0..m), pixels, ctx.device());
            let nearer = to_train.iter().zip(&to_test).filter(|(a, b)| a.0 < b.0).count();
            state.work.note(format!("intensity_{}", sampler.id), intensity, done)?;
            let share = nearer as f64 / to_train.len() as f64;
            state.work.note(format!("nearer_train_{}", sampler.id), share, done)?;
            ctx.step_done(done, true, state)?;
        }
    }

    let fault = |e: FrechetError| RunError::Failed(e.to_string());
    let scatter = state.work.scatter.clone().ok_or_else(|| RunError::Failed("no covariance is there".into()))?;
    let centre = frechet::mean(&rows, pixels);
    let basis = PcaBasis::of_gaussian(scatter.gaussian(centre.clone()), COMPONENTS);
    let gaussian = |images: &[f32]| -> Result<Gaussian, RunError> { basis.gaussian(&log_rows(images)).map_err(fault) };
    let real = gaussian(test.rows(0..half))?;
    let distance = |images: &[f32]| frechet::frechet(&real, &gaussian(images)?).map_err(fault);
    for n in counts(config) {
        for (_, done) in phases.phase(1) {
            for sampler in config.sampling.iter().filter(|s| s.samples >= n) {
                let found = distance(&state.work.images(&sampler.id)[..n * pixels])?;
                state.work.note(frechet_name(&sampler.id, n), found, done)?;
            }
            ctx.step_done(done, true, state)?;
        }
        for (_, done) in phases.phase(1) {
            let law = Prior::of_moments(centre.as_slice(), scatter.covariance(), Level::CLEAN)?;
            for (name, images) in anchors(&law, test.rows(half..half + n), test.side, n, ctx) {
                state.work.note(frechet_name(name, n), distance(&images)?, done)?;
            }
            ctx.step_done(done, true, state)?;
        }
    }
    Ok(())
}

/// What `n` held-out images and simple models look like; `law` is the Gaussian of the training images.
fn anchors(law: &Prior, held_out: &[f32], side: usize, n: usize, ctx: &RunContext) -> [(&'static str, Vec<f32>); 4] {
    let images = held_out.to_vec();
    let mut stream = ctx.stream("dale-langevin/anchors", n as u64);
    let noisy = images.iter().map(|u| (u + 0.1 * stream.normal() as f32).clamp(0.0, 1.0)).collect();
    let blurred = images.chunks(side * side).flat_map(|image| blur(image, side)).collect();
    let mut noise = Noise::new(ctx.seed(), "dale-langevin/gaussian", 0, n);
    let y = law.draw(&mut noise, ctx.device(), DType::F32).y;
    let gaussian = Mapping::default().from_log(y).into_data().iter::<f32>().collect();
    let [a, b, c, d] = ANCHORS.map(|(name, _)| name);
    [(a, images), (b, noisy), (c, blurred), (d, gaussian)]
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

/// `log(1 + u)` of images in `[0, 1]`: the coordinates in which images are compared.
fn log_rows(images: &[f32]) -> Vec<f32> {
    images.iter().map(|u| u.ln_1p()).collect()
}

/// Squared distances of some images to the nearest of others, and which it is.
pub(super) fn nearest(images: &[f32], others: &[f32], pixels: usize, device: &Device) -> Vec<(f32, usize)> {
    let tensor =
        |rows: &[f32]| Tensor::<2>::from_data(TensorData::new(rows.to_vec(), [rows.len() / pixels, pixels]), device);
    let others = tensor(others);
    let norms = others.clone().powi_scalar(2).sum_dim(1).transpose();
    let others = others.transpose();
    images
        .chunks(256 * pixels)
        .flat_map(|rows| {
            let rows = tensor(rows);
            let own = rows.clone().powi_scalar(2).sum_dim(1);
            let distances = rows.matmul(others.clone()) * -2.0 + norms.clone() + own;
            let (least, at) = distances.min_dim_with_indices(1);
            let least: Vec<f32> = least.into_data().iter::<f32>().collect();
            let at: Vec<i64> = at.into_data().iter::<i64>().collect();
            least.into_iter().zip(at).map(|(d, i)| (d.max(0.0), i as usize)).collect::<Vec<_>>()
        })
        .collect()
}
