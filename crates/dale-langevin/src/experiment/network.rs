//! The study of a network: a U-Net learns to denoise digits, is held against the Wiener filter, and draws new ones.

use burn::prelude::*;
use plasticity_core::data::digits::SIDE;
use plasticity_core::data::{Batches, Split, order};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{EVENT_EVERY, RunContext};

use super::config::Config;
use super::data::{Coordinates, Pictures, Space};
use super::draw::{Drawing, drawing_steps};
use super::evaluate::{self, CALL_BATCH, held_out_steps, sample_steps};
use super::outcome;
use super::samplers::{Kind, Start, warn_of_constants};
use super::state::State;
use super::steps::{Phases, covariance, scatter_steps};
use crate::net::{Batch, Edm, LearningRate, NetDenoiser, NoiseLevels, StepOptions, Training, UNetConfig};

pub(super) fn describe(config: &Config) -> Plan {
    let (seconds, disk) = cost(config);
    Plan { metrics: outcome::metrics(config), steps: all_steps(config), seconds, disk }
}

/// Steps of training, the judgement on held-out images, the drawing, and the judgement of what was drawn.
fn all_steps(config: &Config) -> u64 {
    let phases = [covariance_steps(config), held_out_steps(config), drawing_steps(config), sample_steps(config)];
    phases.into_iter().fold(config.training.steps as u64, u64::saturating_add)
}

/// Steps of the covariance of the training images, which the Wiener filter and one of the starts need.
fn covariance_steps(config: &Config) -> u64 {
    let needed = config.space == Space::Log || starts_from_covariance(config);
    if needed { scatter_steps(config.train_images) } else { 0 }
}

fn starts_from_covariance(config: &Config) -> bool {
    config.sampling.iter().any(|sampler| sampler.start == Start::Pca)
}

/// Seconds as `Plan::seconds` means them, and bytes on disk.
fn cost(config: &Config) -> (f64, u64) {
    let side = SIDE / config.pool;
    // Work grows as the square of width and side, and each level of the U-Net has half the side of the one above it. A
    // level of 16 channels at 14x14 takes 0.018 s of a step with 64 images, and a third of that without gradients.
    let level = |(depth, multiple): (usize, &usize)| {
        let values = (config.network.base * multiple * side) as f64 / 2f64.powi(depth as i32);
        (values / (16.0 * 14.0)).powi(2)
    };
    let images = 0.018 * config.network.multipliers.iter().enumerate().map(level).sum::<f64>();
    let step = images * config.training.batch as f64 / CALL_BATCH as f64;
    let calls = config.sampling.iter().map(|s| s.network_calls() as f64 * s.samples.div_ceil(CALL_BATCH) as f64);
    let called = images / 3.0 * (held_out_steps(config) as f64 + calls.sum::<f64>());
    let pixels = (side * side) as u64;
    let squared = if covariance_steps(config) > 0 { (pixels * pixels) as f64 } else { 0.0 };
    let scatter = 1e-10 * config.train_images as f64 * squared;
    let drawn =
        config.sampling.iter().fold(0u64, |sum, s| sum.saturating_add((s.samples as u64).saturating_mul(4 * pixels)));
    // Two checkpoints: the network with average and moments, a covariance in f64, the images.
    let network = UNetConfig::new(config.network.base, &config.network.multipliers).parameters().unwrap_or(0) as u64;
    let disk = drawn.saturating_add(16 * network + 8 * pixels * pixels).saturating_mul(2).saturating_add(1_000_000);
    (0.3 + scatter + step * config.training.steps as f64 + called, disk)
}

pub(super) fn run(config: &Config, ctx: &mut RunContext) -> Result<Outcome, RunError> {
    let train = Pictures::load(ctx, Split::Train, config.train_images, config.pool)?;
    let test = Pictures::load(ctx, Split::Test, config.test_images, config.pool)?.shuffled();
    let pixels = train.size();
    let coordinates = Coordinates::fit(config.space, &train)?;
    let rows = coordinates.encode(&train.pixels, pixels, ctx.device())?.into_data();
    let rows: Vec<f32> = rows.iter::<f32>().collect();

    let settings = &config.training;
    let network = UNetConfig::new(config.network.base, &config.network.multipliers);
    let unet = network.init(&mut ctx.stream("dale-langevin/weights", 0), &ctx.device().clone().autodiff())?;
    let model = Edm::new(unet, [1, train.side, train.side], coordinates.sd_data)?;
    let model = match coordinates.mapping() {
        Some(mapping) => model.with_mapping(mapping),
        None => model,
    };
    let mut state = State::new(Training::new(model, settings.ema), ctx.device());

    let steps = settings.steps as u64;
    let start = ctx.restore(all_steps(config), &mut state)?;
    let starts = config.sampling.iter().any(|sampler| sampler.start == Start::Paper);
    if start == 0 && (starts || config.sampling.iter().any(|sampler| sampler.kind == Kind::Paper)) {
        warn_of_constants(starts, ctx)?;
    }

    let rate = LearningRate { peak: settings.learning_rate, warm_up: settings.warmup as u64, steps, floor: 0.0 };
    let levels = NoiseLevels {
        mean: settings.level_mean,
        dev: settings.level_sd,
        sd_min: settings.sd_min,
        sd_max: settings.sd_max,
    };
    // Whole batches only: every step sees as many images.
    let per_epoch = (train.len() / settings.batch) as u64;
    let mut batches = Batches::new(Vec::new(), settings.batch);
    ctx.task("training");
    let mut phases = Phases::new(start);
    for (at, done) in phases.phase(steps) {
        let (epoch, index) = (at / per_epoch, (at % per_epoch) as usize);
        if index == 0 || at == start {
            batches = Batches::new(order(ctx.stream("dale-langevin/order", epoch), train.len()), settings.batch);
        }
        let mut stream = ctx.stream("dale-langevin/training", at);
        let batch = Batch {
            y0: gather(&rows, batches.get(index), pixels, ctx.device()),
            sds: levels.draw(settings.batch, &mut stream),
            eps: Tensor::from_data(
                TensorData::new(stream.normal_vec(settings.batch * pixels), [settings.batch, pixels]),
                ctx.device(),
            ),
        };
        let options = StepOptions {
            lr: rate.at(at),
            weighting: settings.weighting.weighting(coordinates.sd_data),
            clip: Some(settings.clip),
        };
        state.curve.add(state.training.step(&batch, &options)?, 1);
        let last = done == steps;
        let due = done.is_multiple_of(EVENT_EVERY) || last;
        if due && let Some((mean, n)) = state.curve.take() {
            ctx.event(done, "train", "loss", mean, n * settings.batch as u64)?;
        }
        ctx.step_done(done, last, &state)?;
    }

    let denoiser = NetDenoiser::new(&state.training.average, CALL_BATCH)?;
    ctx.task("judging the denoiser");
    covariance(phases.phase(covariance_steps(config)), &rows, pixels, &mut state, |s| &mut s.work, ctx)?;
    let held_out = phases.phase(held_out_steps(config));
    let judged = evaluate::HeldOut { network: &denoiser, rows: &rows, test: &test, coordinates: &coordinates };
    judged.run(held_out, starts_from_covariance(config), &mut state, ctx)?;
    let drawing = Drawing { denoiser: &denoiser, rows: &rows, coordinates: &coordinates };
    drawing.run(config, &mut phases, &mut state, ctx)?;
    ctx.task("judging the samples");
    evaluate::samples(config, &mut phases, &train, &test, &mut state, ctx)?;
    outcome::outcome(config, &train, &test, &state, ctx)
}

/// Rows `indices` of `rows`, `[batch, pixels]`.
fn gather(rows: &[f32], indices: &[usize], pixels: usize, device: &Device) -> Tensor<2> {
    let values = indices.iter().flat_map(|i| &rows[i * pixels..(i + 1) * pixels]).copied().collect::<Vec<f32>>();
    Tensor::from_data(TensorData::new(values, [indices.len(), pixels]), device)
}
