//! A run that is cut off after every single step ends in the same bytes as one that is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plasticity_core::checkpoint::Fault;
use plasticity_core::config::Source;
use plasticity_core::data::{Resolved, testing::data_or_skip};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{CellSpec, FORMAT, Outcome};
use plasticity_core::run::{Entry, RunContext, Setup};
use synaptic_resonance::experiment::SynapticResonance;

/// A run whose test sequences would not ask what a metric is about is refused before it has learned anything.
#[test]
fn nothing_is_trained_for_a_metric_that_nothing_is_asked_about() {
    let (mut refused, mut done) = (0, 0);
    for window in 3..18 {
        // One question, which is nearer than half of the tokens or not.
        let time = 2 * (window + 1);
        let config = format!(
            "task = {{ vocabulary = 16, pairs = 1, time = {time} }}\n\
             model = {{ width = 8, layers = 1, heads = 2, window = {window}, chunk = 8 }}\n\
             training = {{ steps = 2, batch = 1, warm_up = 1 }}\nevaluation = {{ sequences = 1, every = 1 }}"
        );
        let dir = tempfile::tempdir().unwrap();
        match process(&config, None, dir.path(), false) {
            Ok(outcome) => {
                assert!(outcome.metrics["accuracy_far"].is_finite());
                done += 1;
            }
            Err(error) => {
                let error = error.to_string();
                let reach = format!("more than {window} tokens back");
                assert!(error.contains(&reach) && error.contains("`evaluation.sequences`"), "{error}");
                assert_eq!(std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap_or_default(), "");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && done > 0, "{refused} {done}");
}

/// One process: runs the cell in `dir` until its end, or until the next step where `stop` is set.
fn process(config: &str, data: Option<&Resolved>, dir: &Path, stop: bool) -> Result<Outcome, RunError> {
    let spec = CellSpec {
        format: FORMAT,
        experiment: "synaptic-resonance".into(),
        arm: "a".into(),
        seed: 3,
        device: "auto".into(),
        threads: 1,
        data: data.cloned(),
        key: String::new(),
        protocol: String::new(),
    };
    let mut ctx = RunContext::new(Setup {
        dir: dir.to_path_buf(),
        spec,
        device: plasticity_core::device::by_name("auto").unwrap(),
        stop: Arc::new(AtomicBool::new(stop)),
        progress: Box::new(|_| ()),
        fault: Fault::none(),
    })?;
    let source = Source { file: "cell.toml".into(), text: config.into() };
    let outcome = Entry::of::<SynapticResonance>().run(&source, &mut ctx)?;
    ctx.finish(outcome.clone())?;
    Ok(outcome)
}

/// Every file whose bytes are promised: events, result, artifacts, and what the last checkpoint holds.
fn records(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).unwrap();
    let files = |dir: &Path| -> Vec<_> {
        let mut files: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.sort();
        files
    };
    let mut records = BTreeMap::new();
    for name in ["events.jsonl", "result.json"] {
        records.insert(name.into(), read(&dir.join(name)));
    }
    let checkpoint = files(&dir.join("checkpoints")).pop().unwrap();
    for name in ["model.safetensors", "state.json", "steps.txt"] {
        records.insert(name.into(), read(&checkpoint.join(name)));
    }
    for path in files(&dir.join("artifacts")) {
        records.insert(path.file_name().unwrap().to_string_lossy().into_owned(), read(&path));
    }
    records
}

/// Returns the outcome and the number of steps after which the run was cut off.
fn cut_off_ends_in_the_same_bytes(config: &str, data: Option<&Resolved>) -> (Outcome, usize) {
    let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outcome = process(config, data, whole.path(), false).unwrap();
    let mut cuts = 0;
    loop {
        match process(config, data, pieces.path(), true) {
            Ok(resumed) => break assert_eq!(resumed, outcome),
            Err(RunError::Interrupted { .. }) => cuts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(records(whole.path()) == records(pieces.path()), "the run in pieces ended in other bytes");
    (outcome, cuts)
}

const SMALL: &str = r#"
task = { vocabulary = 16, pairs = 3, time = 24, updates = 1 }
model = { width = 16, layers = 2, heads = 2, window = 4, chunk = 8 }
training = { steps = 6, batch = 4, warm_up = 2, weight_decay = 0.1 }
"#;

#[test]
fn recall() {
    for variant in ["sr", "window", "full-blend", "hebbian"] {
        let config = format!("variant = \"{variant}\"\n{SMALL}evaluation = {{ sequences = 16, every = 2 }}");
        let (outcome, cuts) = cut_off_ends_in_the_same_bytes(&config, None);
        assert_eq!(cuts, 10, "six steps of training, three looks and the test");
        assert!(outcome.metrics.contains_key("late_change"), "a look after 4 of 6 steps: {:?}", outcome.metrics);
        assert_eq!(outcome.pictures.len(), usize::from(["sr", "hebbian"].contains(&variant)));
    }
}

#[test]
fn retention() {
    // 341 sequences of 24 tokens, 256 of 32 and 128 of 64 pass at once.
    let evaluation = "evaluation = { sequences = 400, every = 4, lengths = [24, 32, 64] }";
    let (outcome, cuts) = cut_off_ends_in_the_same_bytes(&format!("study = \"retention\"\n{SMALL}{evaluation}"), None);
    assert_eq!(cuts, 6 + 2 * 2 + 2 + 2 + 4, "training, two looks in two parts, three lengths in parts");
    assert!(outcome.metrics.contains_key("accuracy_64") && outcome.metrics.contains_key("half_distance"));
}

#[test]
fn characters() {
    let Some(text) = data_or_skip("tinyshakespeare") else { return };
    let config = r#"
study = "characters"
text = { segment = 96, readers = 100, part = 1 }
model = { width = 8, layers = 1, heads = 2, window = 8, chunk = 16 }
training = { steps = 4, batch = 2, warm_up = 2, weight_decay = 0.1, noise = 0.05 }
evaluation = { every = 3 }
"#;
    let (outcome, cuts) = cut_off_ends_in_the_same_bytes(config, Some(&text));
    let segments = (111_540 - 1) / 96 / 100;
    assert_eq!(cuts, 4 + 2 + 2 * segments + 5, "training, looks, the text from the empty and a carried state, noise");
    let metrics = &outcome.metrics;
    assert!((3.0..5.0).contains(&metrics["loss"]), "an untrained model knows little more than ln 65: {metrics:?}");
    let ranges: f64 = [("0_8", 8.0), ("8_64", 56.0), ("64_96", 32.0)]
        .map(|(range, width)| width / 96.0 * metrics[&format!("loss_{range}")])
        .iter()
        .sum();
    assert!((ranges - metrics["loss"]).abs() < 1e-9, "ranges of positions make up the whole: {metrics:?}");
}
