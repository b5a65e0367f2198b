//! One-token decoding of a four-layer model (d 256, H 4) after contexts of 256 to 16,384 tokens: window alone (A0, 64
//! tokens), window with memory (SR), full attention with its cache (A9, up to 4,096 tokens).
//! `benches/peers/decode.py` is the same in PyTorch.
//!
//! Windowed states come from a prefill in segments, those of full attention are a cache of fixed numbers.
//!
//! With `PEER=1` in the environment no statistics are made: after contexts of up to 4,096 tokens the program prints the
//! losses of the next three tokens and the median of the milliseconds a token as the peer does, for
//! `cargo xtask bench`.

mod common;

use std::time::Duration;

use burn::module::Module;
use burn::prelude::*;
use criterion::{BatchSize, Criterion};
use plasticity_core::machine;
use plasticity_core::testing::peer;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::state::{Ring, State};
use synaptic_resonance::tokens::Tokens;

use common::{ids, tensor};

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

/// A model that reads on.
struct Arm {
    name: &'static str,
    model: Model,
    state: State,
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
        let state = model.start(1);
        Self { name, model, state }
    }

    /// Whether the bench asks for it: full attention takes a tenth of a second a token after the longest.
    fn reads(&self, context: usize) -> bool {
        self.name != "a9" || context <= 4096
    }

    /// Goes on to the state after `context` tokens, the contexts rising.
    fn read(&mut self, context: usize) {
        if self.name == "a9" {
            self.state = self.cache(context);
        }
        while self.state.position[0] < context as u64 {
            let from = self.state.position[0] as usize;
            let tokens = Tokens::new(tokens(from, SEGMENT), 1, SEGMENT).expect("one row");
            self.state = self.model.hidden(&tokens, self.state.clone(), &Pass::default()).expect("its own state").1;
        }
    }

    /// The state of full attention after `context` tokens.
    fn cache(&self, context: usize) -> State {
        let mut state = self.model.start(1);
        let device = Device::flex();
        for (i, layer) in state.layers.iter_mut().enumerate() {
            let made = |name: &str| tensor(&format!("{name}.{i}"), [1, HEADS, context, WIDTH / HEADS], |u| u, &device);
            layer.ring = Some(Ring { keys: made("keys"), values: made("values"), filled: vec![context], sinks: None });
        }
        state.position = vec![context as u64];
        state
    }

    /// The logits after each of the tokens.
    fn decode(&self, mut state: State, tokens: &[u32], mut each: impl FnMut(Tensor<3>)) {
        for token in tokens {
            let token = Tokens::new(vec![*token], 1, 1).expect("one token");
            let (logits, after) = self.model.forward(&token, state, &Pass::default()).expect("a state of this model");
            state = after;
            each(logits);
        }
    }

    /// The cross-entropy of each of the next three tokens.
    fn losses(&self, context: usize) -> Vec<f64> {
        let (tokens, mut losses) = (tokens(context, 4), Vec::new());
        self.decode(self.state.clone(), &tokens[..3], |logits| {
            let logits: Vec<f32> = logits.try_into_vec_as().expect("f32");
            let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            losses.push(sum.ln() - f64::from(logits[tokens[losses.len() + 1] as usize]));
        });
        losses
    }
}

/// The tokens from `context` on.
fn tokens(context: usize, count: usize) -> Vec<u32> {
    ids(7, context + count, VOCABULARY).split_off(context)
}

/// Prints what the peer prints.
fn as_the_peer() {
    for name in ARMS {
        let mut arm = Arm::new(name);
        for context in CONTEXTS.into_iter().filter(|context| *context <= 4096) {
            arm.read(context);
            let name = format!("{name}_{context}");
            peer::losses(&name, &arm.losses(context));
            let tokens = tokens(context, 16);
            let turn = peer::median_ms(peer::repeats(30), |_| arm.decode(arm.state.clone(), &tokens, drop));
            peer::ms(&name, &[("token", turn / tokens.len() as f64)]);
        }
    }
}

fn main() {
    println!("{}", machine::line("flex"));
    if peer::asked() {
        return as_the_peer();
    }
    let criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for name in ARMS {
        let mut arm = Arm::new(name);
        for context in CONTEXTS.into_iter().filter(|context| arm.reads(*context)).collect::<Vec<_>>() {
            arm.read(context);
            let tokens = tokens(context, 8);
            let id = format!("synaptic_resonance/decode8/c{context}_d{WIDTH}_h{HEADS}_l{LAYERS}_w{WINDOW}/{name}");
            criterion.bench_function(&id, |b| {
                b.iter_batched(|| arm.state.clone(), |state| arm.decode(state, &tokens, drop), BatchSize::LargeInput);
            });
        }
    }
    criterion.final_summary();
}
