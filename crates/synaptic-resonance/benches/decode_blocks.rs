//! One-token decoding with weights in blocks: a model of the sizes of SmolLM2-135M (30 layers in Q4_1, embedding in Q8_0),
//! whose weights are any numbers, after 1,000 tokens, with a window of 256, with and without memory.
//! `benches/peers/llama.py` is llama.cpp on the real file.
//!
//! With `PEER=1` in the environment it prints the milliseconds a token on one and two threads.

use std::time::Instant;

use criterion::Criterion;
use plasticity_core::machine;
use plasticity_core::testing::peer::{self, Lcg};
use synaptic_resonance::blocks::{BlockType, Matrix};
use synaptic_resonance::decode::{Decoder, Host, Layer, MemoryWeights, Weights};
use synaptic_resonance::settings::Rule;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 576;
const KEYS: usize = 192;
const MLP: usize = 1536;
const VOCABULARY: usize = 49_152;
const LAYERS: usize = 30;
const CONTEXT: usize = 1000;

fn matrix(kind: BlockType, rows: usize, columns: usize, seed: u64) -> Matrix {
    let values = Lcg(seed).vector(rows * columns, (3.0 / columns as f64).sqrt());
    Matrix::quantised(kind, rows, columns, &values).expect("whole blocks of finite numbers")
}

fn weights(memory: bool) -> Weights {
    let host = Host {
        width: WIDTH,
        heads: 9,
        groups: 3,
        head_width: 64,
        window: Some(256),
        sinks: 0,
        rope_base: 1e5,
        rope_halves: false,
        norm_epsilon: 1e-5,
        length: None,
    };
    let layer = |i: usize| {
        let seed = 10 * i as u64;
        let q4 = |rows, columns, j| matrix(BlockType::Q4_1, rows, columns, seed + j);
        let memory = memory.then(|| MemoryWeights {
            rule: Rule::Delta,
            rates: matrix(BlockType::F32, 15, WIDTH, seed + 8),
            biases: vec![-1.0; 15],
            decay: true,
            lambda_min: 0.0,
            gamma: vec![0.1; 9],
            mu: Some(vec![0.0; KEYS]),
            c: Some(vec![1.0; WIDTH]),
        });
        Layer {
            norm1: vec![1.0; WIDTH],
            qkv: [q4(WIDTH, WIDTH, 1), q4(KEYS, WIDTH, 2), q4(KEYS, WIDTH, 3)],
            biases: Default::default(),
            output: q4(WIDTH, WIDTH, 4),
            norm2: vec![1.0; WIDTH],
            gate: Some(q4(MLP, WIDTH, 5)),
            up: q4(MLP, WIDTH, 6),
            down: q4(WIDTH, MLP, 7),
            memory,
        }
    };
    Weights {
        host,
        embedding: matrix(BlockType::Q8_0, VOCABULARY, WIDTH, 1),
        head: None,
        norm: vec![1.0; WIDTH],
        layers: (0..LAYERS).map(layer).collect(),
    }
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % VOCABULARY) as u32).collect()
}

fn as_the_peer() {
    for (name, memory) in [("window", false), ("sr", true)] {
        let weights = weights(memory);
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let mut decoder = Decoder::new(weights.clone()).expect("parts that fit");
                let start = Instant::now();
                decoder.feed(&tokens(CONTEXT)).expect("tokens of the vocabulary");
                let prefill = start.elapsed().as_secs_f64();
                let ms = peer::median_ms(peer::repeats(64), |i| {
                    decoder.feed(&[i as u32]).expect("a token of the vocabulary");
                });
                let name = format!("{name}_t{threads}");
                peer::ms(&name, &[("token", ms)]);
                println!("{name} tokens/s prefill {:.1} decode {:.1}", CONTEXT as f64 / prefill, 1e3 / ms);
            });
        }
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    if peer::asked() {
        return as_the_peer();
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for (name, memory) in [("window", false), ("sr", true)] {
        let mut decoder = Decoder::new(weights(memory)).expect("parts that fit");
        decoder.feed(&tokens(CONTEXT)).expect("tokens of the vocabulary");
        criterion.bench_function(&format!("synaptic_resonance/decode_blocks/{name}"), |b| {
            b.iter(|| decoder.feed(&[7]).expect("a token of the vocabulary"));
        });
    }
    criterion.final_summary();
}
