//! The rule of the memory, forward alone and forward with backward, batch 8, 256 tokens, two heads, for chunks and head
//! widths of 16, 32 and 64: fused (which has no chunk), and composed of tensor operations in chunks.
//! `benches/peers/memory.py` is the same in PyTorch, with either inverse of section 5.3.
//!
//! `cargo bench -p synaptic-resonance --bench memory`; threads by `RAYON_NUM_THREADS`. With `PEER=python` (a Python
//! that has PyTorch) in the environment no statistics are made: the four take turns, and the best time of each is
//! printed, in brackets the median of the turns' medians.

mod common;

use std::hint::black_box;

use burn::prelude::*;
use criterion::Criterion;
use synaptic_resonance::kernel::{self, Inputs};
use synaptic_resonance::settings::Rule;

use common::{Peer, Times, difference, numbers, ratio, tensor, turn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 8;
const TIME: usize = 256;
const HEADS: usize = 2;
const SIZES: [usize; 3] = [16, 32, 64];
const PASSES: [&str; 2] = ["forward", "both"];
const WAYS: [&str; 2] = ["fused", "chunked"];

struct Operands {
    plain: Inputs,
    tracked: Inputs,
    weight: Tensor<4>,
    s: Tensor<4>,
}

/// Rows of unit length.
fn rows(label: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values: Vec<f64> = numbers(plasticity_core::rng::fnv1a(label), shape.iter().product()).collect();
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
            },
            weight: tensor("weight", wide, |u| u, &device),
            s: Tensor::zeros([BATCH, HEADS, width, width], &device),
        }
    }

    fn output(&self, way: &str, inputs: &Inputs, chunk: usize) -> Tensor<4> {
        let inputs = inputs.clone();
        let run = if way == "fused" { kernel::forward } else { kernel::chunked };
        run(inputs, self.s.clone(), Rule::Delta, chunk).expect("the shapes fit").0
    }

    fn both(&self, way: &str, chunk: usize) -> (Tensor<1>, burn::tensor::Gradients) {
        let o = self.output(way, &self.tracked, chunk);
        let loss = (o * Tensor::from_inner(self.weight.clone())).sum();
        (loss.clone(), loss.backward())
    }

    fn run(&self, pass: &str, way: &str, chunk: usize) {
        match pass {
            "forward" => drop(black_box(self.output(way, &self.plain, chunk))),
            _ => drop(black_box(self.both(way, chunk))),
        }
    }

    /// The weighted sum of the read-outs and, for every gradient, its product with fixed numbers.
    fn probes(&self, way: &str, chunk: usize) -> Vec<f64> {
        let (loss, grads) = self.both(way, chunk);
        let product = |values: Vec<f32>| -> f64 {
            let probe = numbers(plasticity_core::rng::fnv1a("probe"), values.len());
            values.into_iter().zip(probe).map(|(g, p)| f64::from(g) * p).sum()
        };
        fn values<const D: usize>(x: &Tensor<D>, grads: &burn::tensor::Gradients) -> Vec<f32> {
            x.grad(grads).expect("tracked").try_into_vec_as().expect("f32")
        }
        let Inputs { q, k, v, beta, log_a, .. } = &self.tracked;
        let log_a = log_a.as_ref().expect("given");
        vec![
            loss.into_scalar(),
            product(values(q, &grads)),
            product(values(k, &grads)),
            product(values(v, &grads)),
            product(values(beta, &grads)),
            product(values(log_a, &grads)),
        ]
    }
}

/// Fused, chunked and both ways of the peer by turns.
fn against_the_peer(python: &str) {
    let mut peer = Peer::start(python, "memory.py", &[]);
    let rounds = common::rounds(10);
    println!("{rounds} turns each: best time (median of the turns' medians), ms");
    println!(
        "{:21} {:>19} {:>19} {:>19} {:>19}   fused/torch   fused/chunked  chunked/torch",
        "", "fused", "chunked", "torch, doubling", "torch, solve"
    );
    for width in SIZES {
        let operands = Operands::new(width);
        for chunk in SIZES {
            let theirs = peer.numbers(&format!("check {chunk} {width}"));
            let worst = WAYS.map(|way| difference(&operands.probes(way, chunk), &theirs));
            println!("D {width} C {chunk} difference from torch: {:.1e} fused, {:.1e} chunked", worst[0], worst[1]);
            assert!(worst.iter().all(|d| *d < 1e-4), "read-outs or gradients differ from the peer's: {worst:?}");
            for pass in PASSES {
                let mut times = [const { None }; 4].map(|t: Option<Times>| t.unwrap_or_default());
                for _ in 0..rounds {
                    for (i, way) in WAYS.into_iter().enumerate() {
                        times[i].add(turn(0.02, || operands.run(pass, way, chunk)));
                    }
                    for (i, way) in ["doubling", "solve"].into_iter().enumerate() {
                        times[2 + i].add(peer.turn(&format!("turn {pass} {way} {chunk} {width}")));
                    }
                }
                let [fused, chunked, doubling, solve] = &times;
                let torch = if doubling.best() < solve.best() { doubling } else { solve };
                let columns = times.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                println!(
                    "D {width} C {chunk} {pass:8} {columns}   {}   {}   {}",
                    ratio(fused, torch),
                    ratio(fused, chunked),
                    ratio(chunked, torch)
                );
            }
        }
    }
}

fn main() {
    println!("{}", common::machine());
    if let Ok(python) = std::env::var("PEER") {
        return against_the_peer(&python);
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    for width in SIZES {
        let operands = Operands::new(width);
        for pass in PASSES {
            let stem = format!("synaptic_resonance/memory/{pass}/b{BATCH}_t{TIME}_h{HEADS}_d{width}");
            criterion.bench_function(&format!("{stem}/fused"), |b| b.iter(|| operands.run(pass, "fused", 32)));
            for chunk in SIZES {
                let id = format!("{stem}/chunked{chunk}");
                criterion.bench_function(&id, |b| b.iter(|| operands.run(pass, "chunked", chunk)));
            }
        }
    }
    criterion.final_summary();
}
