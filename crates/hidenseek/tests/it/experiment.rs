//! A run as a cell's process sees it: stopped after every step, with more clients than a picture shows, with a config that
//! its data cannot serve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hidenseek::experiment::HideNseek;
use plasticity_core::checkpoint::Fault;
use plasticity_core::config::Source;
use plasticity_core::data::{Facts, Lookup, resolve};
use plasticity_core::device::by_name;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{CellSpec, FORMAT, Outcome};
use plasticity_core::run::{Entry, RunContext, Setup};
use plasticity_core::testing::on_threads;

fn source(text: &str) -> Source {
    Source { file: "arm.toml".into(), text: text.into() }
}

/// Runs a config on the built-in digits until its next stop, on one thread; true when it is done.
fn run(dir: &Path, text: &str, stop: bool) -> Result<bool, RunError> {
    on_threads(1, || run_here(dir, text, stop))
}

fn run_here(dir: &Path, text: &str, stop: bool) -> Result<bool, RunError> {
    let (data, _) = resolve(&["glyphs".into()], &Lookup::from_env(None, true))?;
    let spec = CellSpec {
        format: FORMAT,
        experiment: "hidenseek".into(),
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
        device: by_name("flex").unwrap(),
        stop: Arc::new(AtomicBool::new(stop)),
        progress: Box::new(|_| ()),
        fault: Fault::none(),
    })?;
    match Entry::of::<HideNseek>().run(&source(text), &mut ctx) {
        Ok(outcome) => ctx.finish(outcome).map(|()| true),
        Err(RunError::Interrupted { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Everything that two runs are compared by.
fn records(dir: &Path) -> Vec<Vec<u8>> {
    ["events.jsonl", "result.json", "artifacts/partition.png"]
        .map(|f| std::fs::read(dir.join(f)).unwrap_or_default())
        .into()
}

fn outcome(dir: &Path) -> Outcome {
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("result.json")).unwrap()).unwrap();
    serde_json::from_value(result["outcome"].clone()).unwrap()
}

fn config(rest: &str) -> String {
    let shared = "hidden = [8]\nclients = 20\nper_round = 18\nrounds = 3\ntail = 2\nepochs = 1\n";
    format!("{shared}train_images = 800\ntest_images = 100\n{rest}")
}

/// Cuts, clients of a round, fine-tuning, clients alone: each phase can be stopped within, and goes on to the same bytes.
#[test]
fn a_run_stopped_after_every_step_ends_in_the_same_bytes() {
    for (rest, least) in [
        ("", 7 + 3 * 2 + 2),
        ("rule = \"score-mean\"\npruner = { random-like-syn-flow = { iterations = 20 } }\n", 2 + 3 * 2 + 2),
        ("method = \"standalone\"\n", 7 + 2),
        ("method = \"fedavg\"\ndensity = 1.0\noptimiser = { sgd = { lr = 0.1, momentum = 0.5 } }\n", 3 * 2 + 2),
        ("optimiser = { adam = { lr = 0.001 } }\nrule = \"majority-vote\"\npruner = \"magnitude\"\n", 3 * 2 + 2),
    ] {
        let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = config(rest);
        assert!(run(whole.path(), &text, false).unwrap());
        let mut stops = 0;
        // The last step, too, is one that can be stopped after.
        while !run(pieces.path(), &text, true).unwrap() {
            stops += 1;
            assert!(stops < 100, "{rest}: no end");
        }
        assert_eq!(stops, least, "{rest}");
        assert!(records(whole.path()) == records(pieces.path()), "{rest}");
    }
}

/// A dead zone is said once, by what is true of it, however often the run was stopped.
#[test]
fn warnings_are_said_once() {
    let text = config("optimiser = { adam = { lr = 0.001 } }\nrule = \"majority-vote\"\n");
    let dir = tempfile::tempdir().unwrap();
    while !run(dir.path(), &text, true).unwrap() {}
    let warnings = outcome(dir.path()).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    // Two steps of 40 images, scores +-0.1.
    assert!(warnings[0].contains("at most 0.002") && warnings[0].contains("100.0%"), "{warnings:?}");
    assert!(warnings[0].contains("in any round") && warnings[1].contains("in 3 of 3 rounds"), "{warnings:?}");
    // Uniform scores: some are within reach, and the warning says how many.
    let dir = tempfile::tempdir().unwrap();
    let text = config("optimiser = { adam = { lr = 0.02 } }\nrule = \"score-mean\"\n");
    assert!(run(dir.path(), &text, false).unwrap());
    let warnings = outcome(dir.path()).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("in the first round"), "{warnings:?}");
    let share: f64 = warnings[0].split("round: ").nth(1).unwrap().split('%').next().unwrap().parse().unwrap();
    assert!((50.0..70.0).contains(&share), "{share}% of U(-0.1, 0.1) are further than 0.04 from 0");
}

#[test]
fn more_clients_than_a_picture_shows() {
    let dir = tempfile::tempdir().unwrap();
    let text = "hidden = [2]\npool = 7\nclients = 3000\nper_round = 2\nrounds = 2\ntail = 1\nepochs = 1\ntrain_images = 400\n\
        test_images = 50\npruner = \"magnitude\"\ndensity = 0.5\n\
        partition = { scheme = \"shards\", ways = 2, shots = 1, unbalance = 1.0, draw = \"overlap\" }\n";
    assert!(run(dir.path(), text, false).unwrap());
    let pictures = outcome(dir.path()).pictures;
    assert!(pictures[0].caption.contains("the first 1000 of 3000 clients"), "{pictures:?}");
    let png = std::fs::read(dir.path().join("artifacts/partition.png")).unwrap();
    assert_eq!(u32::from_be_bytes(png[16..20].try_into().unwrap()), 5000);
}

/// What would fail after the last round fails before the first step.
#[test]
fn a_client_without_a_test_image_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let text = config("").replace("test_images = 100", "test_images = 2");
    // Asked to stop after the first step: it does not get as far.
    let error = run(dir.path(), &text, true).unwrap_err().to_string();
    assert!(error.contains("client") && error.contains("take more test images"), "{error}");
    assert!(std::fs::read_dir(dir.path().join("checkpoints")).map_or(true, |mut saved| saved.next().is_none()));
    assert!(std::fs::read(dir.path().join("events.jsonl")).unwrap().is_empty());
}

fn glyphs() -> Facts {
    Facts { name: "digits".into(), shape: Some([1, 28, 28]), classes: Some(10), train: 1000, test: 200 }
}

/// The message of the plan, or "" where it is taken.
fn planned(rest: &str, data: &Facts) -> String {
    let (entry, text) = (Entry::of::<HideNseek>(), config(rest));
    let source = source(&text);
    let prepared = source.table().and_then(|table| entry.prepare(&source, table));
    match prepared.and_then(|prepared| entry.fits(&prepared, data)) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_the_data_cannot_serve_is_refused_in_the_plan() {
    let data = glyphs();
    assert_eq!(planned("", &data), "");
    // Keys of `config`, by the line that they stand on.
    let with = |data: Facts| planned("", &data);
    assert!(with(Facts { train: 799, ..data.clone() }).starts_with("arm.toml:7: `train_images`: 800 are asked for"));
    assert!(with(Facts { test: 99, ..data.clone() }).starts_with("arm.toml:8: `test_images`: 100 are asked for"));
    let held_out = planned("evaluate_on = \"validation\"\n", &Facts { train: 899, ..data.clone() });
    assert!(held_out.contains("`test_images`") && held_out.contains("99 training images beside"), "{held_out}");
    assert_eq!(planned("evaluate_on = \"validation\"\n", &Facts { train: 900, test: 0, ..data.clone() }), "");
    assert!(with(Facts { shape: Some([1, 28, 21]), ..data.clone() }).contains("`pool`: 2 does not divide"));
    assert!(with(Facts { shape: Some([3, 28, 28]), ..data.clone() }).contains("`pool`: images of 3 colours"));
    assert!(with(Facts { shape: None, classes: None, ..data.clone() }).contains("is a text"));
    assert!(with(Facts { classes: Some(1), ..data.clone() }).contains("`partition`: `ways`"));
    let shards = |shots: usize| {
        format!(
            "partition = {{ scheme = \"shards\", ways = 2, shots = {shots}, unbalance = 1.0, draw = \"distinct\" }}\n"
        )
    };
    assert_eq!(planned(&shards(20), &data), "");
    let many = planned(&shards(21), &data);
    assert!(many.starts_with("arm.toml:9: `partition`: `clients`: 40 are needed, there are 38"), "{many}");
    let huge = planned("", &Facts { shape: Some([1, 1 << 16, 1 << 16]), ..data.clone() });
    assert!(huge.contains("`hidden`"), "{huge}");
}

#[test]
fn settings_outside_their_domain_are_refused_in_the_plan() {
    let data = glyphs();
    for (rest, key) in [
        // What TOML writes and no record can hold is refused by its own key, when the file is read.
        ("optimiser = { sgd = { lr = 1.0, momentum = nan } }\n", "momentum"),
        ("optimiser = { sgd = { lr = 1.0, momentum = -0.5 } }\n", "optimiser"),
        ("optimiser = { adam = { lr = inf } }\n", "lr"),
        ("optimiser = { adam = { lr = 0.0 } }\n", "optimiser"),
        ("scores = { uniform = { a = 0.0 } }\n", "scores"),
        ("scores = { constant = { a = nan } }\n", "a"),
        ("scores = { constant = { a = -0.1 } }\n", "scores"),
        ("pruner = { syn-flow = { iterations = 0 } }\n", "pruner"),
        ("mask = { ternary = { tau = nan } }\n", "tau"),
        ("mask = { ternary = { tau = -0.1 } }\n", "mask"),
        ("mask = { ternary = { tau = 0.1 } }\nrule = \"mask-mean\"\n", "rule"),
        ("rule = { mask-ema = { beta = nan } }\n", "beta"),
        ("rule = { mask-ema = { beta = 1.5 } }\n", "rule"),
        ("density = nan\n", "density"),
        ("density = 1.5\n", "density"),
        ("partition = { scheme = \"iid\", shots = 0 }\n", "partition"),
        ("partition = { scheme = \"dirichlet\", alpha = nan, least = 1 }\n", "alpha"),
        ("partition = { scheme = \"dirichlet\", alpha = 0.0, least = 1 }\n", "partition"),
        (
            "partition = { scheme = \"shards\", ways = 0, shots = 1, unbalance = 1.0, draw = \"literal\" }\n",
            "partition",
        ),
    ] {
        let refused = planned(rest, &data);
        assert!(
            refused.starts_with(&format!("arm.toml:9: `{key}`:")) || refused.contains(&format!("`{key}`:")),
            "{rest}: {refused}"
        );
    }
}

/// Whether a curve was flat at its end: the last eighth of the rounds against the one before the last quarter.
#[test]
fn late_change_is_that_of_the_curve() {
    for (rounds, eighths) in [(7, None), (8, Some([5..6, 7..8])), (17, Some([11..13, 15..17]))] {
        let dir = tempfile::tempdir().unwrap();
        let text = config("").replace("rounds = 3", &format!("rounds = {rounds}"));
        assert!(run(dir.path(), &text, false).unwrap());
        let outcome = outcome(dir.path());
        let curve = &outcome.charts[0].series[0].points;
        assert_eq!(curve.len(), rounds);
        let expected = eighths.map(|some| {
            let [before, last] = some.map(|some: std::ops::Range<usize>| {
                curve[some.clone()].iter().map(|p| p[1]).sum::<f64>() / some.len() as f64
            });
            (last - before).abs()
        });
        assert_eq!(outcome.metrics.get("late_change").copied(), expected, "{rounds} rounds");
        let source = source(&text);
        let plan = Entry::of::<HideNseek>().prepare(&source, source.table().unwrap()).unwrap().plan;
        let planned =
            plan.metrics.iter().find(|metric| metric.name == "late_change").map(|metric| metric.basis.as_str());
        assert_eq!(planned.is_some(), expected.is_some());
        if rounds == 17 {
            assert!(planned.unwrap().ends_with("rounds 16 to 17 against rounds 12 to 13"), "{planned:?}");
        }
    }
}

/// What a label says is what was done: images that clients hold, and how clients alone were trained.
#[test]
fn a_basis_says_what_was_used() {
    let basis = |rest: &str| {
        let (entry, text) = (Entry::of::<HideNseek>(), config(rest));
        let source = source(&text);
        let plan = entry.prepare(&source, source.table().unwrap()).unwrap().plan;
        plan.metrics[0].basis.clone()
    };
    assert_eq!(basis(""), "100 test images, 20 clients of 40 of 800 training images, 2 of 3 rounds");
    let alone = "100 test images, 20 clients of 40 of 800 training images, 2 epochs without communication";
    assert_eq!(basis("method = \"standalone\"\n"), alone);
    let all = basis("partition = { scheme = \"iid\" }\nevaluate_on = \"validation\"\n");
    assert_eq!(all, "100 validation images, 20 clients that share 800 training images, 2 of 3 rounds");
}
