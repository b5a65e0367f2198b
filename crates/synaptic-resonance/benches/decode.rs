//! One-token decoding of a four-layer model (d 256, H 4) after contexts of 256 to 16,384 tokens: window alone (A0, 64
//! tokens), window with memory (SR), full attention with its cache (A9). `benches/peers/decode.py` is the same in
//! PyTorch.
//!
//! Windowed states come from a prefill in segments, those of full attention are a cache of fixed numbers. Contexts take
//! turns, so that a disturbance of the machine meets all of them alike.
//!
//! `cargo bench -p synaptic-resonance --bench decode`; threads by `RAYON_NUM_THREADS`. With `PEER=python` (a Python
//! that has PyTorch) in the environment the logits are compared first, and the two sides take turns.
//! `ARMS=sr` chooses arms.

mod common;

use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::state::{Ring, State};
use synaptic_resonance::tokens::Tokens;

use common::{Peer, Times, difference, ids, ratio, tensor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 256;
const HEADS: usize = 4;
const LAYERS: usize = 4;
const WINDOW: usize = 64;
const VOCABULARY: usize = 256;
/// Tokens of a piece of a prefill.
const SEGMENT: usize = 256;
const CONTEXTS: [usize; 4] = [256, 1024, 4096, 16_384];
const ARMS: [&str; 3] = ["a0", "sr", "a9"];

struct Arm {
    name: &'static str,
    model: Model,
    prepared: Vec<State>,
}

impl Arm {
    fn new(name: &'static str) -> Self {
        let config = ModelConfig {
            vocabulary: VOCABULARY,
            width: WIDTH,
            layers: LAYERS,
            heads: HEADS,
            window: (name != "a9").then_some(WINDOW),
            memory: (name == "sr").then(MemoryConfig::default),
            ..ModelConfig::default()
        };
        let model = common::model(&config).valid();
        let mut arm = Self { name, model, prepared: Vec::new() };
        let mut state = arm.model.start(1);
        for context in CONTEXTS {
            if name == "a9" {
                state = arm.cache(context);
            }
            while state.position[0] < context as u64 {
                let from = state.position[0] as usize;
                let tokens = Tokens::new(tokens(from, SEGMENT), 1, SEGMENT).expect("one row");
                state = arm.model.hidden(&tokens, state, &Pass::default()).expect("a state of this model").1;
            }
            arm.prepared.push(state.clone());
        }
        arm
    }

    /// The state of full attention after `context` tokens.
    fn cache(&self, context: usize) -> State {
        let mut state = self.model.start(1);
        let device = Device::flex();
        for (i, layer) in state.layers.iter_mut().enumerate() {
            let made = |name: &str| tensor(&format!("{name}.{i}"), [1, HEADS, context, WIDTH / HEADS], |u| u, &device);
            layer.ring = Some(Ring { keys: made("keys"), values: made("values"), filled: vec![context] });
        }
        state.position = vec![context as u64];
        state
    }

    /// The last logits, and milliseconds a token.
    fn decode(&self, context: usize, count: usize) -> (Vec<f32>, f64) {
        let mut state = self.prepared[context].clone();
        let ids = tokens(CONTEXTS[context], count);
        let mut logits = None;
        let start = Instant::now();
        for id in ids {
            let token = Tokens::new(vec![id], 1, 1).expect("one token");
            let (next, after) = self.model.forward(&token, state, &Pass::default()).expect("a state of this model");
            state = after;
            logits = Some(next);
        }
        let logits = logits.expect("at least one token").try_into_vec_as().expect("f32");
        (logits, start.elapsed().as_secs_f64() * 1e3 / count as f64)
    }

    /// Tokens of a turn.
    fn count(&self, context: usize) -> usize {
        match (self.name, CONTEXTS[context]) {
            ("a9", 16_384) => 2,
            ("a9", 4096) => 8,
            _ => 64,
        }
    }
}

/// The tokens from `context` on.
fn tokens(context: usize, count: usize) -> Vec<u32> {
    ids(7, context + count, VOCABULARY).split_off(context)
}

fn main() {
    println!("{}", common::machine());
    let mut peer = std::env::var("PEER").ok().map(|python| Peer::start(&python, "decode.py", &[]));
    let rounds = common::rounds(15);
    println!("d {WIDTH}, H {HEADS}, {LAYERS} layers, window {WINDOW}, batch 1; {rounds} turns each");
    let chosen = std::env::var("ARMS").unwrap_or_else(|_| ARMS.join(","));
    let arms: Vec<Arm> = ARMS.into_iter().filter(|name| chosen.contains(name)).map(Arm::new).collect();
    let mut times = vec![[const { None::<[Times; 2]> }; 4].map(Option::unwrap_or_default); arms.len()];
    if let Some(peer) = &mut peer {
        for arm in &arms {
            for (i, context) in CONTEXTS.into_iter().enumerate() {
                assert_eq!(peer.ask(&format!("prepare {} {context}", arm.name)), "ready");
                let ours: Vec<f64> = arm.decode(i, 3).0.into_iter().map(f64::from).collect();
                let off = difference(&ours, &peer.numbers(&format!("check {} {context}", arm.name)));
                println!("{:3} logits after {context} + 3 tokens: difference {off:.1e}", arm.name);
                assert!(off < 1e-4, "the two decode different models");
            }
        }
    }
    for _ in 0..rounds {
        for (arm, times) in arms.iter().zip(&mut times) {
            for (i, [ours, theirs]) in times.iter_mut().enumerate() {
                let (count, context) = (arm.count(i), CONTEXTS[i]);
                let ms = arm.decode(i, count).1;
                ours.add([ms, ms]);
                if let Some(peer) = &mut peer {
                    let ms = peer.numbers(&format!("turn {} {context} {count}", arm.name))[0];
                    theirs.add([ms, ms]);
                }
            }
        }
    }
    println!("best turn (median turn), ms a token; tokens per second by the median");
    for (arm, times) in arms.iter().zip(&times) {
        for (context, [ours, theirs]) in CONTEXTS.into_iter().zip(times) {
            print!("{:3} {context:6} ours {ours} {:6.0}/s", arm.name, 1e3 / ours.median());
            match &peer {
                Some(_) => println!("  torch {theirs} {:6.0}/s  ratio {}", 1e3 / theirs.median(), ratio(ours, theirs)),
                None => println!(),
            }
        }
        let [_, [first, _], _, [last, _]] = times;
        println!("{:3} ours, 16,384 against 1,024: {}", arm.name, ratio(last, first));
    }
}
