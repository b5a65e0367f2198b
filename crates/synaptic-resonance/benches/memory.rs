//! The memory's rule, forward alone and forward with backward, batch 8, 256 tokens, two heads, for chunks and head
//! widths of 16, 32 and 64: fused (which has no chunk), and composed of tensor operations in chunks. With gates of all
//! channels in place of those of heads the same is called `fused_channels` and `chunked32_channels`.
//! `benches/peers/memory.py` is the same in PyTorch, with either inverse of section 5.3.
//!
//! With `PEER=1` in the environment no statistics are made: for chunks of 32 the program prints what must agree
//! and medians as the peer does, for `cargo xtask bench`.

mod common;

use std::hint::black_box;
use std::time::Duration;

use burn::prelude::*;
use criterion::Criterion;
use plasticity_core::machine;
use plasticity_core::rng::fnv1a;
use plasticity_core::testing::peer::{self, Lcg};
use synaptic_resonance::kernel::{self, Channels, Inputs};
use synaptic_resonance::settings::Rule;

use common::tensor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 8;
const TIME: usize = 256;
const HEADS: usize = 2;
const SIZES: [usize; 3] = [16, 32, 64];
/// The chunk that is compared with the peer's.
const CHUNK: usize = 32;
const PASSES: [&str; 2] = ["forward", "both"];
const WAYS: [&str; 2] = ["fused", "chunked"];

struct Operands {
    plain: Inputs,
    tracked: Inputs,
    weight: Tensor<4>,
    s: Tensor<4>,
    /// As `plain` and `tracked`, with gates of channels.
    gated: [Inputs; 2],
}

/// Rows of unit length.
fn rows(label: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut lcg = Lcg(fnv1a(label));
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| lcg.signed()).collect();
    let unit = |row: &[f64]| {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(|x| (x / norm) as f32).collect::<Vec<_>>()
    };
    let values: Vec<f32> = values.chunks(shape[3]).flat_map(unit).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Operands {
    fn new(width: usize) -> Self {
        let device = Device::flex();
        let (wide, narrow) = ([BATCH, TIME, HEADS, width], [BATCH, TIME, HEADS]);
        let inputs = |device: &Device| Inputs {
            q: rows("q", wide, device),
            k: rows("k", wide, device),
            v: tensor("v", wide, |u| u, device),
            beta: tensor("beta", narrow, |u| 0.5 + 0.5 * u, device),
            log_a: Some(tensor("log_a", narrow, |u| -0.1 - 0.1 * u, device)),
            starts: None,
            channels: Channels::default(),
        };
        let gated = |device: &Device| Inputs {
            beta: Tensor::ones(narrow, device),
            log_a: None,
            channels: Channels {
                log_decay: Some(tensor("log_decay", wide, |u| -0.1 - 0.1 * u, device)),
                erase: Some(tensor("erase", wide, |u| 0.5 + 0.5 * u, device)),
                write: Some(tensor("write", wide, |u| 0.5 + 0.5 * u, device)),
            },
            ..inputs(device)
        };
        let tracked_gated = gated(&device.clone().autodiff());
        let grad = |x: Option<Tensor<4>>| x.map(Tensor::require_grad);
        let channels = tracked_gated.channels;
        let tracked_gated = Inputs {
            q: tracked_gated.q.require_grad(),
            k: tracked_gated.k.require_grad(),
            v: tracked_gated.v.require_grad(),
            channels: Channels {
                log_decay: grad(channels.log_decay),
                erase: grad(channels.erase),
                write: grad(channels.write),
            },
            ..tracked_gated
        };
        let tracked = inputs(&device.clone().autodiff());
        Self {
            plain: inputs(&device),
            tracked: Inputs {
                q: tracked.q.require_grad(),
                k: tracked.k.require_grad(),
                v: tracked.v.require_grad(),
                beta: tracked.beta.require_grad(),
                log_a: tracked.log_a.map(Tensor::require_grad),
                starts: None,
                channels: Channels::default(),
            },
            gated: [gated(&device), tracked_gated],
            weight: tensor("weight", wide, |u| u, &device),
            s: Tensor::zeros([BATCH, HEADS, width, width], &device),
        }
    }

    fn output(&self, way: &str, inputs: &Inputs, chunk: usize) -> Tensor<4> {
        let inputs = inputs.clone();
        let run = if way.starts_with("fused") { kernel::forward } else { kernel::chunked };
        run(inputs, self.s.clone(), Rule::Delta, chunk).expect("the shapes fit").0
    }

    fn both(&self, way: &str, chunk: usize) -> (Tensor<1>, burn::tensor::Gradients) {
        let inputs = if way.ends_with("_channels") { &self.gated[1] } else { &self.tracked };
        let o = self.output(way, inputs, chunk);
        let loss = (o * Tensor::from_inner(self.weight.clone())).sum();
        (loss.clone(), loss.backward())
    }

    fn run(&self, pass: &str, way: &str, chunk: usize) {
        match pass {
            "forward" => {
                let inputs = if way.ends_with("_channels") { &self.gated[0] } else { &self.plain };
                drop(black_box(self.output(way, inputs, chunk)));
            }
            _ => drop(black_box(self.both(way, chunk))),
        }
    }

    /// How far the read-outs and each gradient lie from fixed numbers, as root mean squares: the peer's must be equal.
    fn distances(&self, way: &str) -> Vec<f64> {
        fn distance<const D: usize>(x: Tensor<D>) -> f64 {
            peer::distance(&x.try_into_vec_as::<f32>().expect("f32"))
        }
        let grads = self.both(way, CHUNK).1;
        fn grad<const D: usize>(x: &Tensor<D>, grads: &burn::tensor::Gradients) -> f64 {
            distance(x.grad(grads).expect("tracked"))
        }
        let Inputs { q, k, v, beta, log_a, .. } = &self.tracked;
        let mut distances = vec![distance(self.output(way, &self.plain, CHUNK))];
        distances.extend([q, k, v].map(|x| grad(x, &grads)));
        distances.extend([beta, log_a.as_ref().expect("given")].map(|x| grad(x, &grads)));
        distances
    }
}

/// Prints what the peer prints.
fn as_the_peer() {
    for width in SIZES {
        let operands = Operands::new(width);
        for way in WAYS {
            let name = format!("{way}_d{width}");
            peer::losses(&name, &operands.distances(way));
            let times =
                PASSES.map(|pass| (pass, peer::median_ms(peer::repeats(30), |_| operands.run(pass, way, CHUNK))));
            peer::ms(&name, &times);
        }
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    if peer::asked() {
        return as_the_peer();
    }
    let criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for width in SIZES {
        let operands = Operands::new(width);
        for pass in PASSES {
            let stem = format!("synaptic_resonance/memory_{pass}/b{BATCH}_t{TIME}_h{HEADS}_d{width}");
            criterion.bench_function(&format!("{stem}/fused"), |b| b.iter(|| operands.run(pass, "fused", CHUNK)));
            for (way, name) in [("fused_channels", "fused_channels"), ("chunked_channels", "chunked32_channels")] {
                criterion.bench_function(&format!("{stem}/{name}"), |b| b.iter(|| operands.run(pass, way, CHUNK)));
            }
            for chunk in SIZES {
                let id = format!("{stem}/chunked{chunk}");
                criterion.bench_function(&id, |b| b.iter(|| operands.run(pass, "chunked", chunk)));
            }
        }
    }
    criterion.final_summary();
}
