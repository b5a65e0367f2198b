//! The score network on 14x14 images in batches of 64: a training step (loss, gradients, clipping,
//! Adam, averaged weights), one call without a graph, and 20 calls of a deterministic sampler.
//! `benches/peers/unet.py` is the same in PyTorch.
//!
//! With `PEER=1` in the environment no statistics are made: the program prints the losses of the first three steps and
//! medians as the peer does, for `cargo xtask bench`.

use std::time::Duration;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use criterion::Criterion;
use dale_langevin::loss::Weighting;
use dale_langevin::net::{Batch, Edm, NetDenoiser, StepOptions, Training, UNetConfig};
use dale_langevin::score::Denoiser;
use plasticity_core::machine;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::peer::{self, Lcg};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const SIDE: usize = 14;
const PIXELS: usize = SIDE * SIDE;
const NETWORKS: [(&str, usize, &[usize]); 2] = [("16x1-2", 16, &[1, 2]), ("8x1-2-4", 8, &[1, 2, 4])];

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
            let mut lcg = Lcg(fnv1a(&path));
            let values: Vec<f32> = (0..shape.num_elements()).map(|_| (mean + scale * lcg.signed()) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), &value.device()).require_grad()
        })
    }
}

fn batch(index: u64, device: &Device) -> Batch {
    let mut lcg = Lcg(100 + index);
    let sds = (0..BATCH).map(|_| (-2.0 + 2.0 * lcg.signed()).exp()).collect();
    let mut images =
        |scale| Tensor::from_data(TensorData::new(lcg.vector(BATCH * PIXELS, scale), [BATCH, PIXELS]), device);
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

/// Prints what the peer prints.
fn as_the_peer(device: &Device) {
    let batches: Vec<_> = (0..3).map(|i| batch(i, device)).collect();
    for (name, base, multipliers) in NETWORKS {
        let mut training = training(base, multipliers, device);
        let losses: Vec<f64> = batches.iter().map(|b| training.step(b, &OPTIONS).expect("finite")).collect();
        peer::losses(name, &losses);
        let repeats = peer::repeats(30);
        let step = peer::median_ms(repeats, |i| {
            training.step(&batches[i % 3], &OPTIONS).expect("finite");
        });
        let denoiser = NetDenoiser::new(&training.model, BATCH).expect("above 0");
        let y = &batches[0].eps;
        let call = peer::median_ms(repeats, |_| drop(denoiser.denoise(y.clone(), 0.5).expect("fits").into_data()));
        let samples = peer::median_ms(repeats.div_ceil(6), |_| drop(sample(&denoiser, y.clone() * 10.0).into_data()));
        peer::ms(name, &[("step", step), ("call", call), ("sample20", samples)]);
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
