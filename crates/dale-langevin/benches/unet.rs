//! The score network on 14x14 images in batches of 64: a training step (loss, gradients, clipping,
//! Adam, averaged weights), one call without a graph, and 20 calls of a deterministic sampler.
//! `benches/peers/unet.py` is the same in PyTorch.
//!
//! With `PEER` in the environment no statistics are made: the program prints the losses of the
//! first three steps and medians as the peer does, for interleaved runs.

use std::time::Instant;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use criterion::Criterion;
use dale_langevin::loss::Weighting;
use dale_langevin::net::{Batch, Edm, NetDenoiser, StepOptions, Training, UNetConfig};
use dale_langevin::score::Denoiser;
use plasticity_core::rng::{Stream, fnv1a};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const SIDE: usize = 14;
const PIXELS: usize = SIDE * SIDE;
const NETWORKS: [(&str, usize, &[usize]); 2] = [("16x1-2", 16, &[1, 2]), ("8x1-2-4", 8, &[1, 2, 4])];

/// Numbers that the peer can make too: a 64-bit linear congruential generator, of whose state the
/// upper 24 bits are a number in [-1, 1).
struct Lcg(u64);

impl Lcg {
    fn numbers(&mut self, n: usize) -> Vec<f64> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }
}

/// Fills every parameter by its path, as the peer does.
struct Fill(Vec<String>);

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.0.join(".");
        param.map(|value| {
            let shape = value.shape();
            let inputs = if D == 2 { shape[0] } else { shape.num_elements() / shape[0] };
            let (mean, scale) = match () {
                () if path.ends_with("gain") => (1.0, 0.2),
                () if path.ends_with("bias") => (0.0, 0.2),
                () => (0.0, (3.0 / inputs as f64).sqrt()),
            };
            let numbers = Lcg(fnv1a(&path)).numbers(shape.num_elements());
            let values: Vec<f32> = numbers.into_iter().map(|u| (mean + scale * u) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), &value.device()).require_grad()
        })
    }
}

fn batch(index: u64, device: &Device) -> Batch {
    let mut lcg = Lcg(100 + index);
    let sds = lcg.numbers(BATCH).into_iter().map(|u| (-2.0 + 2.0 * u).exp()).collect();
    let mut images = |scale: f64| {
        let values: Vec<f32> = lcg.numbers(BATCH * PIXELS).into_iter().map(|u| (scale * u) as f32).collect();
        Tensor::from_data(TensorData::new(values, [BATCH, PIXELS]), device)
    };
    Batch { y0: images(0.38), sds, eps: images(3f64.sqrt()) }
}

fn training(base: usize, multipliers: &[usize], device: &Device) -> Training {
    let config = UNetConfig::new(base, multipliers);
    let unet = config.init(&mut Stream::new(0, "unet", 0), device).expect("the sizes are above 0");
    let edm = Edm::new(unet, [1, SIDE, SIDE], 0.22).expect("the sizes are above 0");
    Training::new(edm.map(&mut Fill(Vec::new())), 0.999)
}

const OPTIONS: StepOptions = StepOptions { lr: 1e-3, weighting: Weighting::Edm { sd_data: 0.22 }, clip: Some(1.0) };

/// Twenty levels from 10 to 0.02, then 0.
fn sample(denoiser: &NetDenoiser, mut y: Tensor<2>) -> Tensor<2> {
    let mut levels: Vec<f64> = (0..20).map(|i| 10.0 * (0.02f64 / 10.0).powf(f64::from(i) / 19.0)).collect();
    levels.push(0.0);
    for pair in levels.windows(2) {
        let d = denoiser.denoise(y.clone(), pair[0]).expect("fits");
        y = d.clone() + (y - d) * (pair[1] / pair[0]);
    }
    y
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let asked = std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "unset".into());
    let threads = rayon::current_num_threads();
    format!("machine: {model}, {cores} cores, rayon threads {threads} (RAYON_NUM_THREADS {asked}), flex, mimalloc")
}

fn median_ms(repeats: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..repeats)
        .map(|i| {
            let start = Instant::now();
            work(i);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Prints what the peer prints.
fn as_the_peer(device: &Device) {
    let batches: Vec<_> = (0..3).map(|i| batch(i, device)).collect();
    for (name, base, multipliers) in NETWORKS {
        let mut training = training(base, multipliers, device);
        let losses: Vec<_> = batches.iter().map(|b| training.step(b, &OPTIONS).expect("finite")).collect();
        println!("{name} losses {:.5} {:.5} {:.5}", losses[0], losses[1], losses[2]);
        let step = median_ms(30, |i| {
            training.step(&batches[i % 3], &OPTIONS).expect("finite");
        });
        let denoiser = NetDenoiser::new(&training.model, BATCH).expect("above 0");
        let y = &batches[0].eps;
        let call = median_ms(30, |_| drop(denoiser.denoise(y.clone(), 0.5).expect("fits").into_data()));
        let samples = median_ms(5, |_| drop(sample(&denoiser, y.clone() * 10.0).into_data()));
        println!("{name} ms: step {step:.1} call {call:.1} sample20 {samples:.0}");
    }
}

fn main() {
    println!("{}", machine());
    let device = Device::flex();
    if std::env::var_os("PEER").is_some() {
        return as_the_peer(&device);
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let batches: Vec<_> = (0..3).map(|i| batch(i, &device)).collect();
    for (name, base, multipliers) in NETWORKS {
        let mut training = training(base, multipliers, &device);
        let mut step = 0;
        criterion.bench_function(&format!("dale_langevin/unet_step/b64_14x14/{name}"), |b| {
            b.iter(|| {
                step += 1;
                training.step(&batches[step % 3], &OPTIONS).expect("finite")
            });
        });
        let denoiser = NetDenoiser::new(&training.model, BATCH).expect("above 0");
        criterion.bench_function(&format!("dale_langevin/unet_call/b64_14x14/{name}"), |b| {
            b.iter(|| denoiser.denoise(batches[0].eps.clone(), 0.5).expect("fits").into_data());
        });
        criterion.bench_function(&format!("dale_langevin/unet_sample20/n64_14x14/{name}"), |b| {
            b.iter(|| sample(&denoiser, batches[0].eps.clone() * 10.0).into_data());
        });
    }
    criterion.final_summary();
}
