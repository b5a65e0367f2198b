//! A run that is stopped after each of its steps ends in the bytes of one that never was: no phase is without steps,
//! and none forgets what it had.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dale_langevin::experiment::DaleLangevin;
use plasticity_core::checkpoint::Fault;
use plasticity_core::config::Source;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Lookup, Resolved, resolve};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{CellSpec, FORMAT};
use plasticity_core::run::{Entry, RunContext, Setup};

pub fn glyphs() -> Resolved {
    resolve(&["glyphs".into()], &Lookup::from_env(None, true)).unwrap().0
}

/// One process of a run: to its end, or with `stop` for one step.
pub fn process(dir: &Path, text: &str, data: Resolved, stop: bool) -> Result<(), RunError> {
    let spec = CellSpec {
        format: FORMAT,
        experiment: "dale-langevin".into(),
        arm: "a".into(),
        seed: 3,
        device: "flex".into(),
        threads: 1,
        data: Some(data),
        key: String::new(),
        protocol: String::new(),
    };
    let mut ctx = RunContext::new(Setup {
        dir: dir.to_path_buf(),
        spec,
        device: plasticity_core::device::by_name("flex").unwrap(),
        stop: Arc::new(AtomicBool::new(stop)),
        progress: Box::new(|_| ()),
        fault: Fault::none(),
    })?;
    let source = Source { file: "x.toml".into(), text: text.into() };
    let outcome = Entry::of::<DaleLangevin>().run(&source, &mut ctx)?;
    ctx.finish(outcome)
}

fn records(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = ["result.json", "events.jsonl"].map(|name| dir.join(name)).to_vec();
    files.extend(std::fs::read_dir(dir.join("artifacts")).into_iter().flatten().map(|entry| entry.unwrap().path()));
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.into_iter().map(|path| (name(&path), std::fs::read(&path).unwrap_or_default())).collect()
}

/// Runs a config whole, and with a stop at every step; as many processes as the plan says steps. Gives the warnings.
fn stopped_at_every_step(text: &str) -> Vec<String> {
    let whole = tempfile::tempdir().unwrap();
    process(whole.path(), text, glyphs(), false).unwrap();
    let source = Source { file: "x.toml".into(), text: text.into() };
    let steps = Entry::of::<DaleLangevin>().prepare(&source, source.table().unwrap()).unwrap().plan.steps;
    let parts = tempfile::tempdir().unwrap();
    for step in 1..=steps {
        match process(parts.path(), text, glyphs(), true) {
            Err(RunError::Interrupted { step: found }) => assert_eq!(found, step),
            other => panic!("step {step} of {steps}: {other:?}"),
        }
    }
    // After the last step nothing is left that a stop would be asked about.
    process(parts.path(), text, glyphs(), true).unwrap();
    let (whole, parts) = (records(whole.path()), records(parts.path()));
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!(whole == parts, "{}", whole.0);
    }
    assert_eq!(whole.len(), parts.len());
    let result = &whole.iter().find(|(name, _)| name == "result.json").unwrap().1;
    let result: serde_json::Value = serde_json::from_slice(result).unwrap();
    let warnings = result["outcome"]["warnings"].as_array().unwrap();
    warnings.iter().map(|w| w.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_network_goes_on_from_every_step() {
    let warnings = stopped_at_every_step(
        "study = \"network\"\ntrain_images = 320\ntest_images = 200\nnetwork = { base = 4, multipliers = [1] }\n\
         training = { steps = 3, batch = 16, warmup = 1 }\n\
         sampling = [\n\
           { id = \"dpm\", kind = \"dpm-solver2m\", calls = 8, sd_max = 10.0, samples = 70 },\n\
           { id = \"pca\", kind = \"dale-langevin\", start = \"pca\", calls = 6, sd_max = 10.0, samples = 66 },\n\
           { id = \"paper\", kind = \"heun\", start = \"paper\", calls = 6, sd_max = 0.8, samples = 3 },\n\
           { id = \"again\", kind = \"ddim\", start = \"paper\", calls = 2, sd_max = 0.8, samples = 3 },\n\
         ]",
    );
    // Two samplers start there, and the reader is told once.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("the paper's start") && warnings[1].contains("no constants for glyphs"));
}

#[test]
fn additive_noise_goes_on_from_every_step() {
    let warnings = stopped_at_every_step(
        "study = \"network\"\nspace = \"pixel\"\ntrain_images = 100\ntest_images = 20\n\
         network = { base = 4, multipliers = [1] }\ntraining = { steps = 2, batch = 16, warmup = 1 }\n\
         sampling = [{ id = \"pca\", kind = \"ancestral\", start = \"pca\", calls = 6, sd_max = 10.0, samples = 3 }]",
    );
    assert!(warnings.is_empty());
}

#[test]
fn the_prior_goes_on_from_every_step() {
    for start in ["paper", "pca"] {
        let warnings = stopped_at_every_step(&format!(
            "study = \"prior\"\npool = 4\ntrain_images = 50\n\
             prior = {{ start = \"{start}\", sd_max = 0.8, calls = 7, samples = 300 }}"
        ));
        assert_eq!(warnings.len(), if start == "paper" { 2 } else { 0 });
    }
}

#[test]
fn closed_forms_go_on_from_every_step() {
    stopped_at_every_step("study = \"closed-form\"\nclosed_form = { coordinates = 500, chains = 12000 }");
}

/// With MNIST's constants Fashion-MNIST would be off by a quarter.
#[test]
fn the_prior_takes_the_constants_of_its_data_set() {
    let Some(fashion) = data_or_skip("fashion-mnist") else { return };
    let dir = tempfile::tempdir().unwrap();
    let text = "study = \"prior\"\ntrain_images = 2000\nprior = { start = \"paper\", calls = 20, samples = 300 }";
    process(dir.path(), text, fashion, false).unwrap();
    let result: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("result.json")).unwrap()).unwrap();
    let shift = result["outcome"]["metrics"]["intensity_shift"].as_f64().unwrap();
    assert!(shift < 0.12, "{shift}");
    assert_eq!(result["outcome"]["warnings"].as_array().unwrap().len(), 1);
}

/// A phase of the published sizes is cut into steps of few seconds: none is one step for all its work.
#[test]
fn phases_of_the_published_sizes_have_steps() {
    let steps = |text: &str| {
        let source = Source { file: "x.toml".into(), text: text.into() };
        Entry::of::<DaleLangevin>().prepare(&source, source.table().unwrap()).unwrap().plan.steps
    };
    // Four measures of signs; 20 calls in two steps, 100 in ten, and forty for the quantiles of each.
    assert_eq!(steps("study = \"closed-form\""), 4 + 3 * (2 + 40) + 10 + 40);
    // 1,000 images in tens of 100, of 40 calls in fives; their neighbours in 256s.
    assert_eq!(steps("study = \"prior\"\nprior = { calls = 40 }"), 10 * 8 + 4);
    // A covariance of 60,000 images twice, six levels of 1,000 images, the drawing, the neighbours, two numbers of images
    // for samplers and anchors.
    let sampler = "id = \"a\", kind = \"ddim\", calls = 20, sd_max = 10.0, samples = 2000";
    let network = format!("study = \"network\"\ntraining = {{ steps = 9 }}\nsampling = [{{ {sampler} }}]");
    assert_eq!(steps(&network), 9 + 8 + 6 * 16 + 32 * 4 + 8 + 1 + 2 * 2);
}
