//! Which CPU backend is the default: the same work on each that is compiled in.
//!
//! `cargo bench -p plasticity-core --bench cpu_backends`; threads by `RAYON_NUM_THREADS`.

use std::hint::black_box;
use std::time::Duration;

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use criterion::{BatchSize, Criterion};
use plasticity_core::device::by_name;
use plasticity_core::machine;
use plasticity_core::nn::product;
use plasticity_core::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn tensor<const D: usize>(label: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(0, label, 0).normal_vec(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[derive(Module, Debug)]
struct Mlp {
    up: Param<Tensor<2>>,
    down: Param<Tensor<2>>,
}

fn matmul(c: &mut Criterion) {
    for name in ["flex", "ndarray"] {
        let Ok(device) = by_name(name) else { continue };
        let (a, b) = (tensor("a", [1280, 800], &device), tensor("b", [800, 800], &device));
        c.bench_function(&format!("core/matmul/1280x800x800/{name}"), |bench| {
            bench.iter(|| black_box(a.clone().matmul(b.clone())));
        });
    }
    // Ours against Burn's own, of a layer of a small model too, where what is spent on the result counts most.
    let Ok(device) = by_name("flex") else { return };
    for [rows, inner, columns] in [[1280, 800, 800], [2048, 64, 256]] {
        let (a, b) = (tensor("a", [rows, inner], &device), tensor("b", [inner, columns], &device));
        let sizes = format!("{rows}x{inner}x{columns}");
        c.bench_function(&format!("core/matmul/{sizes}/ours"), |bench| {
            bench.iter(|| black_box(product::matmul(a.clone(), b.clone())));
        });
        if rows != 1280 {
            c.bench_function(&format!("core/matmul/{sizes}/flex"), |bench| {
                bench.iter(|| black_box(a.clone().matmul(b.clone())));
            });
        }
    }
}

fn mlp_step(c: &mut Criterion) {
    for name in ["flex", "ndarray"] {
        let Ok(device) = by_name(name) else { continue };
        let device = device.autodiff();
        let weight = |label, shape| Param::from_tensor(tensor::<2>(label, shape, &device) * 0.05);
        let model = Mlp { up: weight("up", [784, 400]), down: weight("down", [400, 10]) };
        let (x, y) = (tensor("x", [64, 784], &device), tensor("y", [64, 10], &device));
        let mut optimiser = SgdConfig::new().init();
        c.bench_function(&format!("core/mlp_step/b64_784-400-10/{name}"), |bench| {
            bench.iter_batched(
                || model.clone(),
                |model| {
                    let out = relu(x.clone().matmul(model.up.val())).matmul(model.down.val());
                    let loss = (out - y.clone()).powi_scalar(2).mean();
                    let gradients = GradientsParams::from_grads(loss.backward(), &model);
                    black_box(optimiser.step(0.01, model, gradients))
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn convolution(c: &mut Criterion) {
    for name in ["flex", "ndarray"] {
        let Ok(device) = by_name(name) else { continue };
        let (x, w) = (tensor("x", [16, 16, 14, 14], &device), tensor("w", [32, 16, 3, 3], &device));
        let options = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        c.bench_function(&format!("core/conv2d_forward/b16_16x14x14_32_3x3/{name}"), |bench| {
            bench.iter(|| black_box(conv2d(x.clone(), w.clone(), None, options())));
        });
        let tracked = device.clone().autodiff();
        let (x, w) = (tensor("x", [16, 16, 14, 14], &tracked), tensor("w", [32, 16, 3, 3], &tracked));
        let mut group = c.benchmark_group("core");
        group.sample_size(10);
        group.bench_function(format!("conv2d_forward_backward/b16_16x14x14_32_3x3/{name}"), |bench| {
            bench.iter_batched(
                || (x.clone().detach().require_grad(), w.clone().detach().require_grad()),
                |(x, w)| black_box(conv2d(x, w, None, options()).sum().backward()),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

fn main() {
    println!("{}", machine::line("flex and ndarray"));
    let criterion = Criterion::default().configure_from_args();
    let mut criterion = criterion.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    matmul(&mut criterion);
    mlp_step(&mut criterion);
    convolution(&mut criterion);
    criterion.final_summary();
}
