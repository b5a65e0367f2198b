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
use super::evaluate::{self, CALL_BATCH};
use super::outcome;
use super::state::State;
use crate::net::{Batch, Edm, LearningRate, NetDenoiser, NoiseLevels, StepOptions, Training, UNetConfig};
use crate::wiener::Wiener;

pub(super) fn describe(config: &Config) -> Plan {
    let (seconds, disk) = cost(config);
    Plan { metrics: outcome::metrics(config), steps: all_steps(config), seconds, disk }
}

/// Steps of training, the measurement on held-out images, and the drawing.
fn all_steps(config: &Config) -> u64 {
    config.training.steps as u64 + 1 + drawing_steps(config)
}

/// Seconds, roughly, and bytes on disk.
fn cost(config: &Config) -> (f64, u64) {
    let side = SIDE / config.pool;
    let size = (config.network.base * side).pow(2) as f64;
    // A step of base 16, levels (1, 2), at 14x14 takes 0.06 s; work grows as the square of width and side.
    let step = 0.06 * size / (16.0 * 14.0f64).powi(2) * config.training.batch as f64 / 64.0;
    let calls: usize = config.sampling.iter().map(|s| s.network_calls() * s.samples.div_ceil(CALL_BATCH)).sum();
    (10.0 + step * (config.training.steps as f64 + calls as f64 / 3.0), 20_000_000)
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
    let mut state = State::new(Training::new(model, settings.ema), ctx.device());

    let steps = settings.steps as u64;
    let start = ctx.restore(all_steps(config), &mut state)?;

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
    for at in start..steps {
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
        let (done, last) = (at + 1, at + 1 == steps);
        let due = done.is_multiple_of(EVENT_EVERY) || last;
        if due && let Some((mean, n)) = state.curve.take() {
            ctx.event(done, "train", "loss", mean, n * settings.batch as u64)?;
        }
        ctx.step_done(done, last, &state)?;
    }

    let denoiser = NetDenoiser::new(&state.training.average, CALL_BATCH)?;
    if start <= steps {
        ctx.task("denoising held-out images");
        if config.space == Space::Log {
            let wiener = Wiener::fit(&rows, pixels)?;
            state.held_out = evaluate::held_out(&denoiser, &wiener, &test, &coordinates, ctx)?;
        }
        ctx.step_done(steps + 1, true, &state)?;
    }
    let drawing = Drawing { denoiser: &denoiser, rows: &rows, coordinates: &coordinates, before: steps + 1 };
    drawing.run(config, start, &mut state, ctx)?;
    outcome::outcome(config, &train, &test, &state, ctx)
}

/// Rows `indices` of `rows`, `[batch, pixels]`.
fn gather(rows: &[f32], indices: &[usize], pixels: usize, device: &Device) -> Tensor<2> {
    let values = indices.iter().flat_map(|i| &rows[i * pixels..(i + 1) * pixels]).copied().collect::<Vec<f32>>();
    Tensor::from_data(TensorData::new(values, [indices.len(), pixels]), device)
}
