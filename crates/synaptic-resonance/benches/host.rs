//! One training step (forward, backward, clipping, AdamW) of a two-layer model with a window of 64 tokens on sequences
//! of 256: window alone (A0), with blended keys (A11), with the memory (SR). `benches/peers/host.py` is the same in
//! PyTorch.
//!
//! With `PEER=1` in the environment no statistics are made: the program prints the losses of the first three steps and
//! medians as the peer does, for `cargo xtask bench`.

mod common;

use std::time::Duration;

use criterion::Criterion;
use plasticity_core::machine;
use plasticity_core::testing::peer;
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::tokens::Tokens;
use synaptic_resonance::train::{StepOptions, Targets, Training};

use common::ids;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TIME: usize = 256;
const VOCABULARY: usize = 64;
const ARMS: [&str; 3] = ["a0", "a11", "sr"];
/// d, H, B.
const SIZES: [[usize; 3]; 2] = [[64, 2, 8], [256, 4, 2]];
const OPTIONS: StepOptions = StepOptions { lr: 3e-3, clip: Some(1.0) };

fn batch(index: u64, rows: usize) -> (Tokens, Targets) {
    let ids = ids(100 + index, rows * (TIME + 1), VOCABULARY);
    let part = |from: usize| ids.chunks(TIME + 1).flat_map(|row| row[from..from + TIME].to_vec()).collect();
    let tokens = Tokens::new(part(0), rows, TIME).expect("whole rows");
    (tokens, Targets::all(part(1)))
}

struct Arm(Training);

impl Arm {
    fn new(name: &str, [width, heads, _]: [usize; 3]) -> Self {
        let config = ModelConfig {
            vocabulary: VOCABULARY,
            width,
            layers: 2,
            heads,
            window: Some(64),
            attention_blend: name == "a11",
            memory: (name == "sr").then(MemoryConfig::default),
            ..ModelConfig::default()
        };
        Self(Training::new(common::model(&config), 0.0))
    }

    fn step(&mut self, (tokens, targets): &(Tokens, Targets)) -> f64 {
        self.0.step(tokens, None, targets, &OPTIONS).expect("finite").loss
    }
}

/// Prints what the peer prints.
fn as_the_peer() {
    for size in SIZES {
        let [d, heads, rows] = size;
        let batches: Vec<_> = (0..3).map(|i| batch(i, rows)).collect();
        for name in ARMS {
            let (mut arm, name) = (Arm::new(name, size), format!("{name}_d{d}_h{heads}_b{rows}"));
            let losses: Vec<f64> = batches.iter().map(|batch| arm.step(batch)).collect();
            peer::losses(&name, &losses);
            let step = peer::median_ms(peer::repeats(20), |i| {
                arm.step(&batches[i % 3]);
            });
            peer::ms(&name, &[("step", step)]);
        }
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    if peer::asked() {
        return as_the_peer();
    }
    let criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for size in SIZES {
        let [d, heads, rows] = size;
        for name in ARMS {
            let (mut arm, data) = (Arm::new(name, size), batch(0, rows));
            let id = format!("synaptic_resonance/host_step/b{rows}_t{TIME}_d{d}_h{heads}_l2_w64/{name}");
            criterion.bench_function(&id, |b| b.iter(|| arm.step(&data)));
        }
    }
    criterion.final_summary();
}
