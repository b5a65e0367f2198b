//! Arms, and mistakes in their settings.

use plasticity_core::config::{Checked, Source};
use plasticity_core::run::Entry;

use super::super::SynapticResonance;
use super::*;

fn read(text: &str) -> Result<Checked<Config>, String> {
    let source = Source { file: "suite.toml".into(), text: text.into() };
    let table = source.table().map_err(|e| e.to_string())?;
    source.checked(table).map_err(|e| e.to_string())
}

/// What a cell reads back from its own `config.toml` is what the plan wrote.
#[test]
fn every_variant_survives_its_own_file() {
    for variant in [
        "sr",
        "window",
        "window-blend",
        "full",
        "full-blend",
        "hebbian",
        "hebbian-decay",
        "delta-no-decay",
        "no-blend",
        "own-projections",
        "channel-decay",
        "channel-gates",
    ] {
        let text = format!("variant = \"{variant}\"\nmodel = {{ groups = 1 }}");
        let config = read(&text).unwrap();
        let source = Source { file: "suite.toml".into(), text };
        let prepared = Entry::of::<SynapticResonance>().prepare(&source, source.table().unwrap()).unwrap();
        let again = read(&prepared.toml).unwrap();
        assert_eq!(config.model(64), again.model(64), "{variant}");
        assert_eq!(config, again, "{variant}");
    }
}

#[test]
fn variants_are_those_of_section_7() {
    let model = |variant| Config { variant, ..Config::default() }.model(64);
    let memory = |variant| model(variant).memory.unwrap();
    assert_eq!(model(Variant::Sr), ModelConfig::default());
    assert_eq!(model(Variant::Window), ModelConfig { memory: None, ..ModelConfig::default() });
    let blend = ModelConfig { memory: None, attention_blend: true, ..ModelConfig::default() };
    assert_eq!(model(Variant::WindowBlend), blend);
    assert_eq!(model(Variant::FullBlend), ModelConfig { window: None, ..blend.clone() });
    assert_eq!(model(Variant::Full), ModelConfig { window: None, attention_blend: false, ..blend });
    let (a1, a2, a3) = (memory(Variant::Hebbian), memory(Variant::HebbianDecay), memory(Variant::DeltaNoDecay));
    assert_eq!((a1.rule, a1.decay), (Rule::Hebbian, false));
    assert_eq!((a2.rule, a2.decay), (Rule::Hebbian, true));
    assert_eq!((a3.rule, a3.decay), (Rule::Delta, false));
    assert!(!memory(Variant::NoBlend).blend && memory(Variant::OwnProjections).own_projections);
    let gates = [Variant::Sr, Variant::ChannelDecay, Variant::ChannelGates].map(|variant| memory(variant).gates);
    assert_eq!(gates, [Gates::Heads, Gates::Decay, Gates::Channels]);
}

#[test]
fn mistakes_name_their_table_and_key() {
    let message = |text: &str| read(text).unwrap_err();
    let found = message("variant = \"windw\"");
    assert!(found.contains("did you mean `window`"), "{found}");
    for (text, words) in [
        ("training = { steps = 0 }", ["`training.steps`", "must be at least 1"]),
        ("training = { noise = 0.1 }", ["`training.noise`", "characters"]),
        ("training = { clip = 0.0 }", ["`training.clip`", "must be above 0"]),
        ("task = { pairs = 40 }", ["`task.vocabulary`", "82"]),
        ("task = { pause = 3 }", ["`task.pause`", "must be even"]),
        ("model = { window = 0 }", ["`model.window`", "must be at least 1"]),
        ("model = { heads = 3 }", ["`model.width`", "multiple of `heads` 3"]),
        ("model = { chunk = 24 }", ["`model.chunk`", "a power of two"]),
        ("model = { half_lives = { bias = nan } }", ["`bias`", "nan is not a number that a record can hold"]),
        ("model = { half_lives = { bias = 1e300 } }", ["`model.half_lives`", "finite in f32"]),
        (
            "model = { half_lives = { log-spaced = { from = 1e-300, to = 8.0 } } }",
            ["`model.half_lives`", "1e-30 <= from"],
        ),
        ("model = { width = 4611686018427387904 }", ["`model.width`", "at most"]),
        ("training = { batch = 4611686018427387904 }", ["`training.batch`", "tokens at once"]),
        ("training = { steps = 4611686018427387904 }", ["`training.steps`", "at most"]),
        ("training = { weight_decay = inf }", ["`weight_decay`", "inf is not a number"]),
        ("training = { weight_decay = -0.1 }", ["`training.weight_decay`", "at least 0"]),
        ("training = { clip = -inf }", ["`clip`", "-inf is not a number"]),
        ("training = { learning_rate = -0.1 }", ["`training.learning_rate`", "must be"]),
        ("study = \"characters\"\ntext = { readers = 4611686018427387904 }", ["`text.readers`", "tokens at once"]),
        ("study = \"retention\"\nevaluation = { lengths = [64, 4611686018427387904] }", ["`evaluation.lengths`", "at"]),
        ("study = \"retention\"\nevaluation = { lengths = [] }", ["`evaluation.lengths`", "at least one length"]),
        (
            "study = \"retention\"\nevaluation = { lengths = [128, 64] }",
            ["`evaluation.lengths`", "longer than the last"],
        ),
        (
            "study = \"retention\"\nevaluation = { lengths = [32] }",
            ["`evaluation.lengths`", "the 64 tokens of training"],
        ),
    ] {
        let found = message(text);
        assert!(words.iter().all(|word| found.contains(word)), "{text}: {found}");
    }
}
