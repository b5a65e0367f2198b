//! SmolLM2-135M-Instruct itself, where this machine has it (`cargo xtask data fetch smollm2-135m`). What it must give
//! stands in `tests/fixtures/smollm2.json`, which `smollm2.py` has written there. It is skipped where the model is not, also
//! where other data must be there: it is large, and no result comes from it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use plasticity_core::data::{Lookup, Place, locate};
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, max_difference, values};
use synaptic_resonance::decode::Decoder;
use synaptic_resonance::load::{Loaded, Options, load, load_blocks};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::MemoryConfig;
use synaptic_resonance::tokens::Tokens;

use super::{ids, json};

/// The model's file, verified.
pub fn smollm2() -> Option<PathBuf> {
    match locate("smollm2-135m", &Lookup::from_env(None, true)).unwrap() {
        Some(Place::Dir(dir)) => Some(dir.join("SmolLM2-135M-Instruct.Q4_1.gguf")),
        _ => {
            // The handle itself, not `println!`: the harness would swallow it.
            let _ = writeln!(std::io::stdout(), "SKIPPED: needs smollm2-135m");
            None
        }
    }
}

/// Of every token but the first, after those before it.
fn log_likelihoods(model: &Model, tokens: &[u32]) -> Vec<f64> {
    let time = tokens.len() - 1;
    let input = Tokens::new(tokens[..time].to_vec(), 1, time).unwrap();
    let (hidden, _) = model.hidden(&input, model.start(1), &Pass::default()).unwrap();
    let mut all = Vec::new();
    // In pieces: all of them at once are 100 MB, and several copies of that.
    for from in (0..time).step_by(64) {
        let n = 64.min(time - from);
        let rows = hidden.clone().narrow(1, from, n).reshape([n as i32, -1]);
        let logits = values(log_softmax(model.logits(rows), 1));
        let width = model.config.vocabulary;
        all.extend((0..n).map(|i| logits[i * width + tokens[from + i + 1] as usize]));
    }
    all
}

#[test]
fn smollm2_gives_the_log_likelihoods_of_f64() {
    let Some(path) = smollm2() else { return };
    let golden = json("smollm2.json");
    let (tokens, expected) = (ids(&golden["first"]), golden["log_likelihoods"].clone());
    let expected: Vec<f64> = serde_json::from_value(expected).unwrap();
    let start = Instant::now();
    let Loaded { model, length, .. } = load(&path, &Options::default(), &cpu()).unwrap();
    println!("loaded in {:.2} s: {:?}", start.elapsed().as_secs_f64(), model.config);
    assert_eq!(length, Some(8192));
    let found = log_likelihoods(&model, &tokens);
    let worst = max_difference(&found, &expected);
    let mean = -found.iter().sum::<f64>() / found.len() as f64;
    println!("{} tokens: {mean:.6} nats, off by {worst:.2e} at most", found.len());
    assert!(worst < 1e-4, "{worst}");
    assert!((mean - 2.7939).abs() < 1e-4, "{mean}");
    // A memory behind a shut gate changes no bit.
    let few = &tokens[..129];
    let plain = log_likelihoods(&model, few);
    let memory = MemoryConfig::default();
    let with = model.with_memory(&memory, &mut Stream::new(1, "memory", 0)).unwrap().valid();
    assert_eq!(log_likelihoods(&with, few), plain);
}

#[test]
fn smollm2_in_blocks_gives_the_log_likelihoods_of_f64() {
    let Some(path) = smollm2() else { return };
    let golden = json("smollm2.json");
    let expected: Vec<f64> = serde_json::from_value(golden["log_likelihoods"].clone()).unwrap();
    let tokens = ids(&golden["first"]);
    let start = Instant::now();
    let loaded = load_blocks(&path, &Options::default(), &mut |_, _| {}).unwrap();
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let mut decoder = Decoder::new(loaded.weights).unwrap();
    let found: Vec<f64> = decoder.losses(&tokens).unwrap().into_iter().map(|loss| -loss).collect();
    assert_eq!(found.len(), expected.len());
    let worst = max_difference(&found, &expected);
    let mean = -found.iter().sum::<f64>() / found.len() as f64;
    println!("{} tokens: {mean:.6} nats, off by {worst:.2e} at most", found.len());
    assert!(worst < 1e-4, "{worst}");
    assert!((mean - 2.7939).abs() < 1e-4, "{mean}");
}
