//! A model with memory and one without learn to say what followed a token the last time. Then both read who is where
//! and a gap of filler that no window reaches across, are saved, restored, and asked.
//!
//! `cargo run --release -p synaptic-resonance --example recall_across_a_gap`

use burn::prelude::*;
use plasticity_core::device::by_name;
use plasticity_core::nn::LearningRate;
use plasticity_core::rng::Stream;
use synaptic_resonance::model::Model;
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::{Label, Session};
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::tasks::{Mqar, recall};
use synaptic_resonance::train::{StepOptions, Training};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// To the task, tokens 1 to 31 are keys and 32 to 63 values; some have a name here. Token 0 is filler.
const PEOPLE: [(u32, &str); 4] = [(1, "Ada"), (9, "Ben"), (17, "Cleo"), (25, "Dan")];
const PLACES: [(u32, &str); 4] = [(60, "Rome"), (34, "Kyiv"), (51, "Lima"), (43, "Oslo")];
const GAP: usize = 200;
const STEPS: u64 = 250;

fn train(name: &str, memory: Option<MemoryConfig>) -> Result<Model, Box<dyn std::error::Error>> {
    let config = ModelConfig { memory, ..ModelConfig::default() };
    let model = Model::new(&config, &mut Stream::new(0, "model", 0), &by_name("auto")?.autodiff())?;
    let task = Mqar { pairs: 4, time: 48, ..Mqar::default() };
    let rate = LearningRate { peak: 3e-3, warm_up: 50, steps: STEPS, floor: 0.05 };
    let mut training = Training::new(model, 0.0);
    for step in 0..STEPS {
        let batch = task.batch(32, &mut Stream::new(0, "train", step))?;
        training.step(&batch.tokens, None, &batch.targets(), &StepOptions { lr: rate.at(step), clip: Some(1.0) })?;
    }
    let model = training.model.valid();
    let right = recall(&model, &task.batch(256, &mut Stream::new(0, "test", 0))?)?.total();
    println!("{name}: {STEPS} steps, {} of {} questions in new sequences answered rightly", right.right, right.asked);
    Ok(model)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let models = [train("memory", Some(MemoryConfig::default()))?, train("window only", None)?];
    let reach = models[0].config.layers * models[0].config.window.unwrap_or(0);
    let pairs: Vec<String> = PEOPLE.iter().zip(PLACES).map(|(who, place)| format!("{} {}", who.1, place.1)).collect();
    println!(
        "\nread:   {}, then {GAP} tokens of filler; layers and windows reach {reach} tokens back",
        pairs.join(", ")
    );

    let dir = tempfile::tempdir()?;
    let mut restored = Vec::new();
    for (i, model) in models.iter().enumerate() {
        let mut session = Session::new(model);
        for (who, place) in PEOPLE.iter().zip(PLACES) {
            session.feed(&[who.0, place.0])?;
        }
        session.feed(&[0; GAP])?;
        let file = dir.path().join(format!("{i}.safetensors"));
        session.save(&file, &Label::default())?;
        let session = Session::restore(&file, model, None, false)?;
        let (bytes, tokens) = (std::fs::metadata(&file)?.len(), session.tokens());
        println!("saved:  {bytes} bytes after {tokens} tokens; restored in a new session");
        restored.push(session);
    }

    println!("\n{:<10} {:<10} {:<24} {:<24}", "where is", "it was", "with memory", "window only");
    for (who, place) in PEOPLE.iter().zip(PLACES) {
        // A fork for each question: the session itself stays as it was read.
        let answer = |session: &Session| -> Result<String, Box<dyn std::error::Error>> {
            let p = Sampler::default().probabilities(&session.fork().feed(&[who.0])?)?;
            let best = (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(0);
            let name = PLACES.iter().find(|place| place.0 as usize == best).map_or("somewhere else", |place| place.1);
            Ok(format!("{name} ({:.1} %)", 100.0 * p[best]))
        };
        let (memory, window) = (answer(&restored[0])?, answer(&restored[1])?);
        println!("{:<10} {:<10} {memory:<24} {window:<24}", format!("{}?", who.1), place.1);
    }
    Ok(())
}
