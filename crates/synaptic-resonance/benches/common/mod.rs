//! What the benches share: numbers that the peers can make too, parameters made of them, the machine's line, turns.
#![allow(dead_code, reason = "no bench uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use plasticity_core::rng::{Stream, fnv1a};
use synaptic_resonance::model::Model;
use synaptic_resonance::settings::ModelConfig;

/// Numbers in [-1, 1): splitmix64 of seed and index, upper 24 bits.
pub fn numbers(seed: u64, n: usize) -> impl Iterator<Item = f64> {
    (1..=n as u64).map(move |index| {
        let mut z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// `f` of the numbers that belong to `label`.
pub fn tensor<const D: usize>(label: &str, shape: [usize; D], f: impl Fn(f64) -> f64, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = numbers(fnv1a(label), shape.iter().product()).map(|u| f(u) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Token ids below `vocabulary`.
pub fn ids(seed: u64, n: usize, vocabulary: usize) -> Vec<u32> {
    numbers(seed, n).map(|u| ((u * 0.5 + 0.5) * vocabulary as f64) as u32).collect()
}

/// Fills every parameter by its path, as the peers do: away from its initial value, the memory switched on.
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
        let name = path.rsplit('.').next().unwrap_or_default();
        param.map(|value| {
            let (mean, scale) = match name {
                "embedding" => (0.0, 0.09),
                "forget_bias" => (-4.0, 1.0),
                "gamma" => (0.5, 0.2),
                "mu" => (0.0, 0.5),
                "norm" | "norm1" | "norm2" | "c" => (1.0, 0.2),
                "write_bias" | "gate_bias" => (0.0, 0.2),
                _ => (0.0, (3.0 / value.dims()[0] as f64).sqrt()),
            };
            tensor(&path, value.dims(), |u| mean + scale * u, &value.device()).require_grad()
        })
    }
}

/// The model of the peers.
pub fn model(config: &ModelConfig) -> Model {
    let device = Device::flex().autodiff();
    let model = Model::new(config, &mut Stream::new(0, "bench", 0), &device).expect("a config that can be");
    model.map(&mut Fill(Vec::new()))
}

pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let asked = std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "unset".into());
    let threads = rayon::current_num_threads();
    format!("machine: {model}, {cores} cores, rayon threads {threads} (RAYON_NUM_THREADS {asked}), flex, mimalloc")
}

/// Turns that each side takes.
pub fn rounds(default: usize) -> usize {
    std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(default)
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The least and the median milliseconds of repetitions that fill `seconds`, three at least.
pub fn turn(seconds: f64, mut once: impl FnMut()) -> [f64; 2] {
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < 3 || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        once();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let median = median(&mut times);
    [times[0], median]
}

/// Best time and median of the turns' medians, as they come in.
#[derive(Debug, Clone)]
pub struct Times {
    best: f64,
    medians: Vec<f64>,
}

impl Default for Times {
    fn default() -> Self {
        Self { best: f64::INFINITY, medians: Vec::new() }
    }
}

impl Times {
    pub fn add(&mut self, [least, median]: [f64; 2]) {
        self.best = self.best.min(least);
        self.medians.push(median);
        // Threads that wait for work in a loop have gone to sleep by the next turn.
        std::thread::sleep(Duration::from_millis(2));
    }

    pub fn best(&self) -> f64 {
        self.best
    }

    pub fn median(&self) -> f64 {
        median(&mut self.medians.clone())
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.3} ({:8.3})", self.best(), self.median())
    }
}

/// How the two compare: by best times, by medians.
pub fn ratio(a: &Times, b: &Times) -> String {
    format!("{:.2} ({:.2})", a.best() / b.best(), a.median() / b.median())
}

/// The process of a peer, which answers every line by a line.
pub struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a program of `benches/peers` with as many threads as there are here, and prints what it says of itself.
    pub fn start(python: &str, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(python);
        command.args(["-W", "ignore"]).arg(format!("{}/benches/peers/{program}", env!("CARGO_MANIFEST_DIR")));
        command.args(["--threads", &rayon::current_num_threads().to_string()]).args(arguments);
        // glibc keeps freed memory, as our own allocator does.
        command.env("MALLOC_MMAP_THRESHOLD_", "4294967296").env("MALLOC_TRIM_THRESHOLD_", "4294967296");
        command.env("MALLOC_TOP_PAD_", "268435456");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut peer = Self { child, to, from: BufReader::new(from) };
        println!("{}", peer.line());
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).expect("the peer answers");
        assert!(read > 0, "the peer has ended: its error is above");
        line.trim().to_owned()
    }

    pub fn ask(&mut self, question: &str) -> String {
        writeln!(self.to.as_mut().expect("until it is dropped"), "{question}").expect("the peer listens");
        self.line()
    }

    pub fn numbers(&mut self, question: &str) -> Vec<f64> {
        self.ask(question).split(' ').map(|x| x.parse().expect("numbers")).collect()
    }

    pub fn turn(&mut self, question: &str) -> [f64; 2] {
        self.numbers(question).try_into().expect("least and median")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// The largest difference, relative to the values where they are above 1.
pub fn difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}
