//! Products of weights in blocks with one vector and with eight, of the sizes that SmolLM2-135M has; and all products
//! of one token of it: 30 layers in Q4_1, the head in Q8_0.
//!
//! With `PEER=1` in the environment it prints the milliseconds of a token's products, of reading as many bytes and doing
//! nothing with them, and what of the memory's bandwidth each reaches.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use plasticity_core::machine;
use plasticity_core::nn::share;
use plasticity_core::nn::vector::Isa;
use plasticity_core::testing::peer::{self, Lcg};
use synaptic_resonance::blocks::{BlockType, Matrix};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows and columns.
const LAYER: [(usize, usize); 5] = [(960, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)];
const HEAD: (usize, usize) = (49_152, 576);
const LAYERS: usize = 30;

/// A matrix of any bytes whose scales are small numbers.
fn matrix(kind: BlockType, (rows, columns): (usize, usize), seed: u64) -> Matrix {
    let mut lcg = Lcg(seed);
    let mut bytes: Vec<u8> =
        (0..kind.bytes_of_rows(rows, columns).expect("whole blocks")).map(|_| (lcg.uniform() * 256.0) as u8).collect();
    let scales: &[usize] = if kind == BlockType::Q4_1 { &[1, 3] } else { &[1] };
    for block in bytes.chunks_mut(kind.bytes()).filter(|_| kind.values() > 1) {
        scales.iter().for_each(|at| block[*at] = 0x20 | block[*at] & 0x83);
    }
    Matrix::new(kind, rows, columns, &bytes).expect("finite blocks")
}

/// The products of a token.
struct Token {
    matrices: Vec<Matrix>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Token {
    fn new() -> Self {
        let layer = |i: usize| LAYER.into_iter().enumerate().map(move |(j, shape)| (shape, (i * 8 + j) as u64));
        let layers = (0..LAYERS).flat_map(layer).map(|(shape, seed)| matrix(BlockType::Q4_1, shape, seed));
        let matrices = layers.chain([matrix(BlockType::Q8_0, HEAD, 1000)]).collect();
        Self { matrices, x: Lcg(3).vector(1536, 1.0), y: vec![0.0; HEAD.0] }
    }

    fn bytes(&self) -> usize {
        self.matrices.iter().map(Matrix::bytes).sum()
    }

    fn run(&mut self, isa: Isa) {
        for matrix in &self.matrices {
            let (x, y) = (&self.x[..matrix.columns()], &mut self.y[..matrix.rows()]);
            matrix.product_with(isa, x, y).expect("sizes that fit");
        }
        black_box(&self.y);
    }
}

/// Adds up numbers, in parts on all threads: reading and next to nothing else.
fn read(numbers: &[u64]) -> u64 {
    let mut sums = vec![0u64; numbers.len().div_ceil(1 << 15)];
    share::chunks(&mut sums, 1, |i, sum| {
        let part = &numbers[i << 15..numbers.len().min((i + 1) << 15)];
        sum[0] = part.iter().fold(0, |a, x| a ^ x);
    });
    sums.iter().sum()
}

fn name(isa: Isa) -> &'static str {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => "avx2",
        Isa::Plain(_) => "plain",
    }
}

/// Prints the times of a token's products on one and two threads.
fn as_the_peer() {
    let mut token = Token::new();
    let bytes = token.bytes();
    let numbers: Vec<u64> = (0..bytes as u64 / 8).collect();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let repeats = peer::repeats(30);
            let mut times = vec![(
                "read",
                peer::median_ms(repeats, |_| {
                    black_box(read(&numbers));
                }),
            )];
            for isa in Isa::all() {
                times.push((name(isa), peer::median_ms(repeats, |_| token.run(isa))));
            }
            peer::ms(&format!("products_t{threads}"), &times);
            let speeds: Vec<String> =
                times.iter().map(|(what, ms)| format!("{what} {:.1}", bytes as f64 / ms / 1e6)).collect();
            println!("products_t{threads} GB/s {}", speeds.join(" "));
        });
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    if peer::asked() {
        return as_the_peer();
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("synaptic_resonance/blocks");
    for kind in BlockType::ALL {
        let matrix = matrix(kind, (1536, 576), 1);
        group.throughput(Throughput::Bytes(matrix.bytes() as u64));
        for batch in [1, 8] {
            let (x, mut y) = (Lcg(2).vector(batch * 576, 1.0), vec![0.0; batch * 1536]);
            group.bench_function(format!("product/1536x576/{kind}/x{batch}"), |b| {
                b.iter(|| matrix.product(black_box(&x), &mut y).expect("sizes that fit"));
            });
        }
    }
    let mut token = Token::new();
    group.throughput(Throughput::Bytes(token.bytes() as u64));
    for isa in Isa::all() {
        group.bench_function(format!("token/{}", name(isa)), |b| b.iter(|| token.run(isa)));
    }
    group.finish();
    criterion.final_summary();
}
