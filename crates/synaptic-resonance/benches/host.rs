//! One training step (forward, backward, clipping, AdamW) of a two-layer model with a window of 64 tokens on sequences
//! of 256: window alone (A0), with blended keys (A11), with the memory (SR). `benches/peers/host.py` is the same in
//! PyTorch.
//!
//! `cargo bench -p synaptic-resonance --bench host`; threads by `RAYON_NUM_THREADS`. With `PEER=python` (a Python that
//! has PyTorch) in the environment no statistics are made: the losses of the first three steps are compared, then all
//! arms of both sides take turns, and the best time of each is printed, in brackets the median of the turns' medians.
//! `COMPILE=1` also measures the peer under `torch.compile`.

mod common;

use criterion::Criterion;
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::tokens::Tokens;
use synaptic_resonance::train::{StepOptions, Targets, Training};

use common::{Peer, Times, difference, ids, ratio, turn};

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

struct Arm {
    training: Training,
    rows: usize,
}

impl Arm {
    fn new(name: &str, [width, heads, rows]: [usize; 3]) -> Self {
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
        Self { training: Training::new(common::model(&config), 0.0), rows }
    }

    fn step(&mut self, (tokens, targets): &(Tokens, Targets)) -> f64 {
        self.training.step(tokens, None, targets, &OPTIONS).expect("finite").loss
    }

    fn first_losses(&mut self) -> Vec<f64> {
        (0..3).map(|i| self.step(&batch(i, self.rows))).collect()
    }
}

fn against_the_peer(python: &str) {
    let compiled = std::env::var_os("COMPILE").is_some();
    let mut peers = vec![("torch", Peer::start(python, "host.py", &[]))];
    if compiled {
        peers.push(("compiled", Peer::start(python, "host.py", &["--compile"])));
    }
    let rounds = common::rounds(15);
    for size in SIZES {
        let [d, heads, rows] = size;
        println!("d {d}, H {heads}, B {rows}, T {TIME}, window 64, two layers");
        let mut arms = ARMS.map(|name| Arm::new(name, size));
        for (name, arm) in ARMS.into_iter().zip(&mut arms) {
            let ours = arm.first_losses();
            println!("{name:4} losses {:.6} {:.6} {:.6}, ours", ours[0], ours[1], ours[2]);
            for (side, peer) in &mut peers {
                let theirs = peer.numbers(&format!("check {name} {d} {heads} {rows}"));
                let off = difference(&ours, &theirs);
                println!(
                    "{name:4} losses {:.6} {:.6} {:.6}, {side}: difference {off:.1e}",
                    theirs[0], theirs[1], theirs[2]
                );
                assert!(off < 1e-5, "the two train different models");
            }
        }
        let data = batch(0, rows);
        let mut times = vec![[const { None::<Times> }; 3].map(Option::unwrap_or_default); 1 + peers.len()];
        for _ in 0..rounds {
            for (i, name) in ARMS.into_iter().enumerate() {
                times[0][i].add(turn(0.2, || {
                    arms[i].step(&data);
                }));
                for (side, (_, peer)) in peers.iter_mut().enumerate() {
                    times[1 + side][i].add(peer.turn(&format!("turn {name} {d} {heads} {rows}")));
                }
            }
        }
        println!("{rounds} turns each: best time (median of the turns' medians), ms a step");
        let sides = std::iter::once("ours").chain(peers.iter().map(|(side, _)| *side));
        for (side, times) in sides.zip(&times) {
            let [a0, a11, sr] = times;
            println!("{side:9} a0 {a0}  a11 {a11}  sr {sr}  sr/a0 {}  sr/a11 {}", ratio(sr, a0), ratio(sr, a11));
        }
        for (side, (name, _)) in peers.iter().enumerate() {
            let [a0, a11, sr] = [0, 1, 2].map(|i| ratio(&times[0][i], &times[1 + side][i]));
            println!("ours/{name}: a0 {a0}  a11 {a11}  sr {sr}");
        }
    }
}

fn main() {
    println!("{}", common::machine());
    if let Ok(python) = std::env::var("PEER") {
        return against_the_peer(&python);
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
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
