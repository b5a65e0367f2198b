//! The self-test of a device: the rule of the memory, training and decoding against the CPU and known values.

use burn::prelude::*;
use plasticity_core::device::DeviceError;
use plasticity_core::rng::Stream;
use plasticity_core::run::selftest::{Check, Failure, Selftest, values};

use crate::MemoryError;
use crate::kernel::{Channels, Inputs, chunked, forward, recurrent};
use crate::model::Model;
use crate::session::Session;
use crate::settings::{ModelConfig, Rule};
use crate::tasks::Mqar;
use crate::train::{StepOptions, Training};

/// Compares `device` with the CPU.
///
/// # Errors
/// When there is no CPU device to compare it with.
pub fn selftest(device: &Device) -> Result<Vec<Check>, DeviceError> {
    let mut test = Selftest::new(device)?;
    let exact = test.tolerance(1e-5, 5e-3);
    let printed: Vec<f64> = READ.as_flattened().iter().chain(STATE.as_flattened()).copied().collect();
    let known = printed.iter().cycle().take(3 * printed.len()).copied().collect();
    test.expect("Rule of the memory in its three forms, against printed values (10.1)", exact, Ok(known), fixed);
    let name = "Rule of the memory over 131 tokens in chunks of 32, against token by token";
    test.against(name, exact, |device| form(device, false, 0.0, false), |device| form(device, true, 0.0, false));
    for (name, log_a) in [
        ("The same with tokens that forget nearly all, log a = -1e7", -1e7),
        ("The same with tokens that forget all, log a = -inf", f64::NEG_INFINITY),
    ] {
        let serial = move |device: &Device| form(device, false, log_a, false);
        test.against(name, exact, serial, move |device| form(device, true, log_a, false));
    }
    let name = "The same with gates of channels";
    test.against(name, exact, |device| form(device, false, 0.0, true), |device| form(device, true, 0.0, true));
    let model = test.tolerance(1e-4, 2e-2);
    test.compare("Losses of three training steps with memory, d 32, 2 layers, 4 x 32 tokens", model, training_steps);
    test.compare("Logits of 32 tokens decoded one at a time with memory, d 32, 2 layers", model, decoding);
    Ok(test.finish())
}

/// o_1 to o_6 of the gated delta rule from an empty state.
const READ: [[f64; 3]; 6] = [
    [0.6742794321, 0.6117010703, -0.1193489662],
    [0.4024198343, 0.3599149549, -0.0698377466],
    [0.2101953926, 0.0798609527, 0.1748852947],
    [-0.1004552996, 0.1473976001, 0.0390820968],
    [-0.4305654732, 0.1894797324, -0.0128099854],
    [-0.2819366409, 0.3434543707, 0.2761684560],
];

/// S_6.
const STATE: [[f64; 3]; 3] = [
    [0.3284275109, 0.1811762331, -0.2314986506],
    [-0.1750871899, 0.1554326604, 0.2582432991],
    [-0.1106562616, 0.1753504386, 0.2044683355],
];

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Rows of length 1.
fn unit(mut values: Vec<f64>, width: usize) -> Vec<f64> {
    for row in values.chunks_mut(width) {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    values
}

/// The vector of section 10.1, which holds no random number.
fn fixed(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let tokens = || (1..=6).map(f64::from);
    let rows = |f: fn(f64, f64) -> f64| tokens().flat_map(|t| (1..=3).map(move |j| f(t, f64::from(j)))).collect();
    let inputs = Inputs {
        q: tensor(unit(rows(|t, j| (0.5 * t - 0.9 * j).cos()), 3), [1, 6, 1, 3], device),
        k: tensor(unit(rows(|t, j| (0.7 * t + 1.3 * j).sin()), 3), [1, 6, 1, 3], device),
        v: tensor(rows(|t, j| (1.1 * t * j).sin()), [1, 6, 1, 3], device),
        beta: tensor(tokens().map(|t| 0.5 + 0.4 * t.sin()).collect(), [1, 6, 1], device),
        log_a: Some(tensor(tokens().map(|t| -(0.05 + 0.04 * t.cos())).collect(), [1, 6, 1], device)),
        starts: None,
        channels: Channels::default(),
    };
    let empty = Tensor::zeros([1, 1, 3, 3], device);
    Ok(move || {
        let mut all = Vec::new();
        for (read, state) in [
            recurrent(inputs.clone(), empty.clone(), Rule::Delta)?,
            chunked(inputs.clone(), empty.clone(), Rule::Delta, 4)?,
            forward(inputs.clone(), empty.clone(), Rule::Delta, 4)?,
        ] {
            all.extend(values(read));
            all.extend(values(state));
        }
        Ok(all)
    })
}

/// Read-outs and last state of O3, from a state that is not empty; `forgetting` is added to the logarithm of a few decays,
/// `gated` has gates of all channels too.
fn form(
    device: &Device,
    in_chunks: bool,
    forgetting: f64,
    gated: bool,
) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    const SHAPE: [usize; 4] = [2, 131, 2, 16];
    const TOKENS: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];
    let mut stream = Stream::new(0, "synaptic-resonance/selftest/rule", 0);
    let mut normal = |n: usize| (0..n).map(|_| stream.normal()).collect::<Vec<f64>>();
    let (q, k, v) = (normal(16 * TOKENS), normal(16 * TOKENS), normal(16 * TOKENS));
    let s = normal(SHAPE[0] * SHAPE[2] * 256);
    let mut uniform = |scale: f64| (0..TOKENS).map(|_| scale * stream.uniform()).collect::<Vec<f64>>();
    let narrow = [SHAPE[0], SHAPE[1], SHAPE[2]];
    let (beta, mut log_a) = (uniform(1.0), uniform(-0.2));
    [7, 8, 100, 401].iter().for_each(|i| log_a[*i] += forgetting);
    let mut wide = |scale: f64| {
        let drawn: Vec<f64> = (0..16 * TOKENS).map(|_| scale * stream.uniform()).collect();
        gated.then(|| tensor(drawn, SHAPE, device))
    };
    let channels = Channels { log_decay: wide(-0.2), erase: wide(1.0), write: wide(1.0) };
    let inputs = Inputs {
        q: tensor(unit(q, 16), SHAPE, device),
        k: tensor(unit(k, 16), SHAPE, device),
        v: tensor(v, SHAPE, device),
        beta: tensor(beta, narrow, device),
        log_a: Some(tensor(log_a, narrow, device)),
        starts: None,
        channels,
    };
    let s = tensor(s, [SHAPE[0], SHAPE[2], 16, 16], device);
    Ok(move || {
        let (inputs, s) = (inputs.clone(), s.clone());
        let (read, state) = match in_chunks {
            true => chunked(inputs, s, Rule::Delta, 32)?,
            false => recurrent(inputs, s, Rule::Delta)?,
        };
        Ok(values(read).into_iter().chain(values(state)).collect())
    })
}

fn model(device: &Device) -> Result<Model, MemoryError> {
    let config = ModelConfig { vocabulary: 32, width: 32, layers: 2, heads: 2, ..ModelConfig::default() };
    let mut model = Model::new(&config, &mut Stream::new(0, "synaptic-resonance/selftest/weights", 0), device)?;
    // The gate of the memory starts shut.
    for memory in model.blocks.iter_mut().filter_map(|block| block.memory.as_mut()) {
        memory.gamma = memory.gamma.clone().map(|gamma| {
            let tracked = gamma.is_require_grad();
            (gamma + 0.5).detach().set_require_grad(tracked)
        });
    }
    Ok(model)
}

fn training_steps(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let start = Training::new(model(&device.clone().autodiff())?, 0.1);
    let task = Mqar { vocabulary: 32, pairs: 4, time: 32, ..Mqar::default() };
    let batches = (0..3).map(|i| task.batch(4, &mut Stream::new(0, "synaptic-resonance/selftest/batch", i)));
    let batches: Vec<_> = batches.collect::<Result<_, _>>()?;
    let options = StepOptions { lr: 1e-3, clip: Some(1.0) };
    Ok(move || {
        let mut training = start.clone();
        let mut losses = Vec::new();
        for batch in &batches {
            losses.push(training.step(&batch.tokens, None, &batch.targets(), &options)?.loss);
        }
        Ok(losses)
    })
}

fn decoding(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let model = model(device)?;
    let mut stream = Stream::new(0, "synaptic-resonance/selftest/text", 0);
    let tokens: Vec<u32> = (0..32).map(|_| stream.below(32) as u32).collect();
    Ok(move || {
        let mut session = Session::new(&model);
        let mut logits = Vec::new();
        for token in &tokens {
            logits.extend(session.feed(&[*token])?.into_iter().map(f64::from));
        }
        Ok(logits)
    })
}
