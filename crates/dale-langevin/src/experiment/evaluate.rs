//! What a run with a network is measured by: denoising beside the Wiener filter, and each sampler's images beside
//! held-out ones.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::Config;
use super::data::{Coordinates, Pictures, mean};
use crate::frechet::{FrechetError, Gaussian, PcaBasis, frechet};
use crate::noise::Noise;
use crate::pixels::Mapping;
use crate::prior::Prior;
use crate::score::{Denoiser, Level};

/// Times t at which denoising is measured, at noise 0.8 sqrt(t) (oracle T16).
pub(super) const TIMES: [f64; 6] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.999];
/// Test images that are denoised.
pub(super) const HELD_OUT: usize = 1000;
/// Images that a network call sees at once.
pub(super) const CALL_BATCH: usize = 64;
/// Principal components in which images are compared.
pub(super) const COMPONENTS: usize = 64;
/// Images of each sampler that are compared with each other's: all at the same n.
const COMPARED: usize = 256;

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

/// Squared error, summed over pixels, of the network and of the Wiener filter at each of [`TIMES`]:
/// the paper's loss (section 8.4).
pub(super) fn held_out(
    network: &dyn Denoiser,
    wiener: &dyn Denoiser,
    test: &Pictures,
    coordinates: &Coordinates,
    ctx: &RunContext,
) -> Result<Vec<[f64; 2]>, RunError> {
    let (n, pixels) = (HELD_OUT.min(test.len()), test.size());
    let y0 = coordinates.encode(test.rows(0..n), pixels, ctx.device())?;
    let mut errors = Vec::new();
    for (index, t) in TIMES.iter().enumerate() {
        let sd = 0.8 * t.sqrt();
        let eps = ctx.stream("dale-langevin/held-out", index as u64).normal_vec(n * pixels);
        let eps = Tensor::<2>::from_data(TensorData::new(eps, [n, pixels]), ctx.device());
        let y = y0.clone() + eps * sd;
        let error = |denoiser: &dyn Denoiser| -> Result<f64, RunError> {
            let difference = denoiser.denoise(y.clone(), sd)? - y0.clone();
            Ok(difference.powi_scalar(2).sum_dim(1).mean().into_scalar())
        };
        errors.push([error(network)?, error(wiener)?]);
    }
    Ok(errors)
}

/// Each sampler's images against held-out ones, by the name of the metric.
pub(super) fn samples(
    config: &Config,
    train: &Pictures,
    test: &Pictures,
    drawn: &BTreeMap<String, Vec<f32>>,
    ctx: &RunContext,
) -> Result<BTreeMap<String, f64>, RunError> {
    let pixels = train.size();
    let fault = |e: FrechetError| RunError::Failed(e.to_string());
    let half = reference(config);
    let basis = PcaBasis::fit(&log_rows(&train.pixels), pixels, COMPONENTS).map_err(fault)?;
    let gaussian = |images: &[f32]| -> Result<Gaussian, RunError> { basis.gaussian(&log_rows(images)).map_err(fault) };
    let real = gaussian(test.rows(0..half))?;
    let distance = |images: &[f32]| -> Result<f64, RunError> { frechet(&real, &gaussian(images)?).map_err(fault) };
    let of = |id: &str| drawn.get(id).map(Vec::as_slice).unwrap_or_default();

    let mut found = BTreeMap::new();
    for n in counts(config) {
        for sampler in config.sampling.iter().filter(|s| s.samples >= n) {
            found.insert(frechet_name(&sampler.id, n), distance(&of(&sampler.id)[..n * pixels])?);
        }
        for (name, images) in anchors(train, test, half, n, ctx)? {
            found.insert(frechet_name(name, n), distance(&images)?);
        }
    }
    let m = half.min(train.len());
    for sampler in &config.sampling {
        let images = of(&sampler.id);
        found.insert(format!("intensity_{}", sampler.id), mean(images));
        let to_train = nearest(images, train.rows(0..m), pixels, ctx.device());
        let to_test = nearest(images, test.rows(0..m), pixels, ctx.device());
        let nearer = to_train.iter().zip(&to_test).filter(|(a, b)| a.0 < b.0).count();
        found.insert(format!("nearer_train_{}", sampler.id), nearer as f64 / to_train.len() as f64);
    }
    Ok(found)
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
    let law = Prior::gaussian_pca(&log_rows(&train.pixels), pixels, Level::CLEAN)?;
    let mut noise = Noise::new(ctx.seed(), "dale-langevin/gaussian", 0, n);
    let y = law.draw(&mut noise, ctx.device(), DType::F32).y;
    let gaussian = Mapping::default().from_log(y).into_data().iter::<f32>().collect();
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
