//! The passes of a convolution, batch 64: fused, and Burn's own operation on flex.
//! `benches/peers/conv.py` is the same in PyTorch.
//!
//! `cargo bench -p plasticity-core --bench conv`; threads by `RAYON_NUM_THREADS`. With `PEER=1` in the environment no
//! statistics are made: the medians of a few sizes are printed as the peer does, for `cargo xtask bench`. With
//! `PEER_PYTHON=python` (a Python that has PyTorch) the three take turns within this program, and the best and the
//! median time of each are printed with their ratios (a shared machine disturbs the medians of two threads more than
//! the best). `SIZES=16-32` chooses sizes whose name contains it.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use burn::prelude::*;
use criterion::{BatchSize, Criterion};
use plasticity_core::machine;
use plasticity_core::nn::{conv2d, conv2d_reference};
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::peer::{self, Lcg};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const PASSES: [&str; 4] = ["forward", "input", "weight", "backward"];
const CHANNELS: [(usize, usize); 9] =
    [(1, 16), (16, 1), (8, 8), (8, 16), (16, 16), (16, 32), (32, 16), (32, 32), (64, 64)];
/// What `PEER=1` measures, on both sides.
const COMPARED: [&str; 5] = ["16-16_14x14_k3", "32-32_14x14_k3", "32-32_28x28_k3", "64-64_14x14_k3", "64-64_28x28_k3"];

type Operation = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>;

#[derive(Debug, Clone, Copy)]
struct Sizes {
    inputs: usize,
    outputs: usize,
    side: usize,
    kernel: usize,
}

fn sizes() -> Vec<Sizes> {
    let mut all = Vec::new();
    for side in [14, 28] {
        all.extend(CHANNELS.map(|(inputs, outputs)| Sizes { inputs, outputs, side, kernel: 3 }));
    }
    all.extend([(16, 32), (32, 16), (48, 16)].map(|(inputs, outputs)| Sizes { inputs, outputs, side: 14, kernel: 1 }));
    all.extend([(32, 32), (48, 16)].map(|(inputs, outputs)| Sizes { inputs, outputs, side: 7, kernel: 3 }));
    match std::env::var("SIZES") {
        Ok(chosen) => all.retain(|s| s.name().contains(&chosen)),
        Err(_) if peer::asked() => all.retain(|s| COMPARED.contains(&s.name().as_str())),
        Err(_) => {}
    }
    all
}

impl Sizes {
    fn name(&self) -> String {
        let Self { inputs, outputs, side, kernel } = self;
        format!("{inputs}-{outputs}_{side}x{side}_k{kernel}")
    }
}

/// The operands of one pass; only what it needs the gradient of is tracked.
struct Operands {
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    pass: &'static str,
    padding: usize,
}

fn tensor<const D: usize>(label: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(0, label, 0).normal_vec(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Operands {
    fn new(s: Sizes, pass: &'static str, device: &Device) -> Self {
        let device = if pass == "forward" { device.clone() } else { device.clone().autodiff() };
        let x = tensor("x", [BATCH, s.inputs, s.side, s.side], &device);
        let weight = tensor("weight", [s.outputs, s.inputs, s.kernel, s.kernel], &device);
        let bias = tensor("bias", [s.outputs], &device);
        let is = |passes: &[&str]| passes.contains(&pass);
        Self {
            x: if is(&["input", "backward"]) { x.require_grad() } else { x },
            weight: if is(&["weight", "backward"]) { weight.require_grad() } else { weight },
            bias: if is(&["backward"]) { bias.require_grad() } else { bias },
            pass,
            padding: s.kernel / 2,
        }
    }

    fn output(&self, operation: Operation) -> Tensor<4> {
        operation(self.x.clone(), self.weight.clone(), Some(self.bias.clone()), 1, self.padding)
    }

    /// Seconds of the pass.
    fn once(&self, operation: Operation) -> f64 {
        let start = Instant::now();
        let y = self.output(operation);
        if self.pass == "forward" {
            black_box(y);
            return start.elapsed().as_secs_f64();
        }
        let start = Instant::now();
        black_box(y.backward());
        start.elapsed().as_secs_f64()
    }

    /// The least and the median time of about 20 ms of repetitions, in milliseconds.
    fn turn(&self, operation: Operation) -> [f64; 2] {
        let (mut times, begin) = (Vec::new(), Instant::now());
        while times.len() < 3 || begin.elapsed() < Duration::from_millis(20) {
            times.push(self.once(operation) * 1e3);
        }
        [times.iter().copied().fold(f64::INFINITY, f64::min), peer::median(times)]
    }
}

/// The peer's process.
struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/conv.py"));
        command.args(["--turns", "--threads", &rayon::current_num_threads().to_string()]);
        command.env("MALLOC_MMAP_THRESHOLD_", "4294967296").env("MALLOC_TRIM_THRESHOLD_", "4294967296");
        command.env("MALLOC_TOP_PAD_", "268435456");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut peer = Self { child, to, from: BufReader::new(from) };
        println!("{}", peer.line());
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the peer answers");
        line.trim().to_owned()
    }

    fn turn(&mut self, s: Sizes, pass: &str) -> [f64; 2] {
        writeln!(self.to, "{pass} {} {} {} {}", s.inputs, s.outputs, s.side, s.kernel).expect("the peer listens");
        let line = self.line();
        let (best, median) = line.split_once(' ').expect("two numbers");
        [best, median].map(|x| x.parse().expect("milliseconds"))
    }
}

/// Fused, flex and the peer by turns.
fn against_the_peer(python: &str, device: &Device) {
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(15);
    let mut torch = Peer::start(python);
    println!("{rounds} turns each: best time (median of the turns' medians), ms");
    println!("{:24} {:>18} {:>18} {:>18}   fused/torch   fused/flex", "", "fused", "flex", "torch");
    for s in sizes() {
        for pass in PASSES {
            let operands = Operands::new(s, pass, device);
            let (mut best, mut medians) = ([f64::INFINITY; 3], [const { Vec::new() }; 3]);
            for _ in 0..rounds {
                let turns = [operands.turn(conv2d), operands.turn(conv2d_reference), torch.turn(s, pass)];
                for (i, [least, median]) in turns.into_iter().enumerate() {
                    best[i] = least.min(best[i]);
                    medians[i].push(median);
                }
                // Threads that wait for work in a loop have gone to sleep by the next turn.
                std::thread::sleep(Duration::from_millis(5));
            }
            let middle = medians.map(peer::median);
            let columns: Vec<String> = (0..3).map(|i| format!("{:8.3} ({:7.3})", best[i], middle[i])).collect();
            println!(
                "{:14} {pass:9} {} {:6.2} ({:.2}) {:6.2} ({:.2})",
                s.name(),
                columns.join(" "),
                best[0] / best[2],
                middle[0] / middle[2],
                best[0] / best[1],
                middle[0] / middle[1],
            );
        }
    }
    drop(torch.to);
    torch.child.wait().expect("the peer ends");
}

/// How far output and gradients of four images lie from fixed numbers: the peer's must be equal.
fn distances(s: Sizes, device: &Device) -> [f64; 4] {
    fn numbers<const D: usize>(label: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
        let values = Lcg(fnv1a(label)).vector(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), device)
    }
    fn distance<const D: usize>(x: Tensor<D>) -> f64 {
        peer::distance(&x.try_into_vec_as::<f32>().expect("f32"))
    }
    let device = device.clone().autodiff();
    let x = numbers("x", [4, s.inputs, s.side, s.side], &device).require_grad();
    let weight = numbers("weight", [s.outputs, s.inputs, s.kernel, s.kernel], &device).require_grad();
    let bias = numbers("bias", [s.outputs], &device).require_grad();
    let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), 1, s.kernel / 2);
    let grads = (y.clone() * numbers("loss", y.dims(), &device)).sum().backward();
    let of_weight = distance(weight.grad(&grads).expect("tracked"));
    let of_bias = distance(bias.grad(&grads).expect("tracked"));
    [distance(y.inner()), distance(x.grad(&grads).expect("tracked")), of_weight, of_bias]
}

/// Prints what the peer prints.
fn as_the_peer(device: &Device) {
    for s in sizes() {
        peer::losses(&s.name(), &distances(s, device));
        let times = PASSES.map(|pass| {
            let operands = Operands::new(s, pass, device);
            operands.once(conv2d);
            (pass, peer::median((0..peer::repeats(30)).map(|_| operands.once(conv2d) * 1e3).collect()))
        });
        peer::ms(&s.name(), &times);
    }
}

fn main() {
    println!("{}, batch {BATCH}", machine::line("flex"));
    let device = Device::flex();
    if let Ok(python) = std::env::var("PEER_PYTHON") {
        return against_the_peer(&python, &device);
    }
    if peer::asked() {
        return as_the_peer(&device);
    }
    let criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300));
    let operations: [(&str, Operation); 2] = [("fused", conv2d), ("flex", conv2d_reference)];
    for s in sizes() {
        for pass in PASSES {
            for (name, operation) in operations {
                let operands = Operands::new(s, pass, &device);
                let id = format!("core/conv2d_{pass}/b{BATCH}_{}/{name}", s.name());
                criterion.bench_function(&id, |b| match pass {
                    "forward" => b.iter(|| black_box(operands.output(operation))),
                    _ => b.iter_batched(
                        || operands.output(operation),
                        |y| black_box(y.backward()),
                        BatchSize::LargeInput,
                    ),
                });
            }
        }
    }
    criterion.final_summary();
}
