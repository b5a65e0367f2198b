//! The host with its memory (sections 3, 4 and 6).

use burn::prelude::*;
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{max_difference, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{ModelConfig};
use synaptic_resonance::tokens::Tokens;

fn device() -> Device {
    by_name("flex").expect("compiled in")
}

#[test]
fn o01_a_closed_gate_is_the_baseline() {
    let config = ModelConfig::default();
    let model = |config: &ModelConfig| Model::new(config, &mut Stream::new(0, "model", 0), &device()).unwrap().valid();
    let with = model(&config);
    let without = model(&ModelConfig { memory: None, ..config });
    let mut stream = Stream::new(1, "tokens", 0);
    let tokens = Tokens::new((0..2 * 40).map(|_| stream.below(64) as u32).collect(), 2, 40).unwrap();
    let logits = |model: &Model| values(model.forward(&tokens, model.start(2), &Pass::default()).unwrap().0);
    assert_eq!(max_difference(&logits(&with), &logits(&without)), 0.0);
}
