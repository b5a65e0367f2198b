//! One training step of the permuted-MNIST network, 784-800-800-10, batch 64, 20 steps of DSR:
//! naive, and with HLOP in the states of tasks 0, 1 and 9. `benches/peers/pmnist_step.py` is the
//! same step in PyTorch.
//!
//! With `PEER=1` in the environment no statistics are made: the program prints the losses of the first three steps and
//! the median of each arm as the peer does, for `cargo xtask bench`.

use std::time::{Duration, Instant};

use burn::prelude::*;
use criterion::{BatchSize, Criterion};
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::learner::{Learner, Task};
use hebbian_snn::network::Mlp;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use hebbian_snn::train::{Optimiser, StepReport};
use plasticity_core::data::digits::{DEVIATION, MEAN};
use plasticity_core::machine;
use plasticity_core::testing::peer::{self, Lcg};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const WIDTHS: [usize; 4] = [784, 800, 800, 10];
/// Rows of each layer at the start of a task, and those it adds (section 11).
const ROWS: [(usize, [usize; 3], [usize; 3]); 3] =
    [(0, [0, 0, 0], [80, 200, 100]), (1, [80, 200, 100], [70, 70, 70]), (9, [460, 580, 480], [10, 10, 10])];

fn matrix(lcg: &mut Lcg, rows: usize, n: usize, scale: f64, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(lcg.vector(rows * n, scale), [rows, n]), device)
}

/// Rows of about unit length, nearly orthogonal, as random directions are. The fixed rows of a trained network are more
/// orthogonal; the time does not depend on it.
fn rows(lcg: &mut Lcg, k: usize, n: usize, device: &Device) -> Tensor<2> {
    matrix(lcg, k, n, (3.0 / n as f64).sqrt(), device)
}

/// Ten fixed patterns with noise: a fifth of the pixels is lit, normalised as MNIST.
struct Images {
    patterns: Vec<Vec<bool>>,
    lcg: Lcg,
}

impl Images {
    fn new() -> Self {
        let mut lcg = Lcg(2);
        let mut pattern = || (0..784).map(|_| lcg.uniform() < 0.19).collect();
        let patterns = (0..10).map(|_| pattern()).collect();
        Self { patterns, lcg: Lcg(3) }
    }

    fn batch(&mut self, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let mut pixels = Vec::with_capacity(BATCH * 784);
        let mut labels = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let label = (self.lcg.uniform() * 10.0) as usize;
            labels.push(label as i64);
            for lit in &self.patterns[label] {
                let noise = self.lcg.uniform();
                let value = if *lit == (noise < 0.9) && (*lit || noise > 0.98) { 0.2 + 0.8 * noise } else { 0.0 };
                pixels.push(((value - f64::from(MEAN)) / f64::from(DEVIATION)) as f32);
            }
        }
        let x = Tensor::from_data(TensorData::new(pixels, [BATCH, 784]), device);
        (x, Tensor::from_data(TensorData::new(labels, [BATCH]), device))
    }
}

fn network(device: &Device) -> Mlp {
    let mut lcg = Lcg(1);
    let weights = WIDTHS.windows(2).map(|w| matrix(&mut lcg, w[0], w[1], 1.0 / (w[0] as f64).sqrt(), device)).collect();
    Mlp::from_weights(weights, DsrLif::default()).expect("the widths fit")
}

/// The lateral connections after the tasks before, and the rows of the one that begins.
fn lateral(fixed: [usize; 3], new: [usize; 3], device: &Device) -> (Hlop, Vec<Tensor<2>>) {
    let (mut subspaces, mut new_rows) = (Vec::new(), Vec::new());
    for (layer, lr) in [0.001, 0.01, 0.01].into_iter().enumerate() {
        let n = WIDTHS[layer];
        let rule = LateralRule { lr, ..LateralRule::default() };
        let mut subspace = Subspace::new(n, rule, device).expect("the rule has a meaning");
        let mut lcg = Lcg(10 + layer as u64);
        if fixed[layer] > 0 {
            subspace.append(rows(&mut lcg, fixed[layer], n, device)).expect("fewer rows than inputs");
        }
        new_rows.push(rows(&mut lcg, new[layer], n, device));
        subspaces.push(subspace);
    }
    (Hlop::from_subspaces(subspaces, Projection::Input, Consolidate::None), new_rows)
}

/// A network in training.
struct Arm(Task);

impl Arm {
    fn new(task: Option<(usize, [usize; 3], [usize; 3])>, device: &Device) -> Self {
        let (hlop, rows) = task.map(|(_, fixed, new)| lateral(fixed, new, device)).unzip();
        let learner = Learner::new(network(device), hlop, Optimiser::Sgd, 0.1).expect("all fits");
        Self(learner.begin_task_with(rows.unwrap_or_default()).expect("fewer rows than inputs"))
    }

    fn step(&mut self, (x, y): (Tensor<2>, Tensor<1, Int>)) -> StepReport {
        self.0.step(x, y).expect("all fits")
    }
}

fn arms(device: &Device) -> Vec<(String, Arm)> {
    let mut arms = vec![("naive".to_string(), Arm::new(None, device))];
    for task in ROWS {
        arms.push((format!("hlop_task{}", task.0), Arm::new(Some(task), device)));
    }
    arms
}

/// Prints what the peer prints, and how many neurons fire.
fn as_the_peer(device: &Device) {
    for (name, mut arm) in arms(device) {
        let mut images = Images::new();
        let batches: Vec<_> = (0..peer::repeats(60)).map(|_| images.batch(device)).collect();
        let (mut times, mut losses, mut firing) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches {
            let start = Instant::now();
            let report = arm.step(batch);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            losses.push(report.loss);
            firing = report.firing;
        }
        peer::losses(&name, &losses[..losses.len().min(3)]);
        // The first steps fill caches and are not typical of the firing either.
        let counted = times.split_off(times.len() / 3);
        peer::ms(&name, &[("step", peer::median(counted))]);
        println!("{name} firing {:.3} {:.3}", firing[0], firing[1]);
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    let device = Device::flex();
    if peer::asked() {
        return as_the_peer(&device);
    }
    let criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, mut arm) in arms(&device) {
        let mut images = Images::new();
        for _ in 0..20 {
            arm.step(images.batch(&device));
        }
        let id = format!("hebbian_snn/pmnist_step/b64_t20_784-800-800-10/{name}");
        criterion.bench_function(&id, |b| {
            b.iter_batched(|| images.batch(&device), |batch| arm.step(batch), BatchSize::LargeInput);
        });
    }
    criterion.final_summary();
}
