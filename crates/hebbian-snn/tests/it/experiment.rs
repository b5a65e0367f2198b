//! What a plan refuses: by the key that was written, with what there is and what would do.

use std::path::PathBuf;

use hebbian_snn::experiment::{Config, HebbianSnn};
use plasticity_core::config::{Checked, Source};
use plasticity_core::data::Facts;
use plasticity_core::run::{Entry, Experiment};

fn prepare(text: &str) -> Result<plasticity_core::run::Prepared, String> {
    let source = Source { file: PathBuf::from("demo.toml"), text: text.into() };
    source.table().and_then(|table| Entry::of::<HebbianSnn>().prepare(&source, table)).map_err(|e| e.to_string())
}

fn refused(text: &str, parts: &[&str]) {
    let message = prepare(text).unwrap_err();
    for part in parts {
        assert!(message.contains(part), "{message}: not `{part}`");
    }
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_fault_is_that_of_a_key_that_was_written() {
    refused("\nhidden = [32]\n", &["demo.toml:2: `hidden`: has 1 spiking layer,", "`lateral_rates` to 2", "`rows`"]);
    refused("hidden = [9, 9, 9]", &["demo.toml:1: `hidden`: has 3 spiking layers", "`lateral_rates` to 4"]);
    refused("hidden = [100, 800]", &["`hidden`: gives layer 2 100 inputs, and the default of `rows` puts 590"]);
    refused("tasks = 5", &["demo.toml:1: `tasks`: is 5, and the default of `rows` is for 10: set `rows` to 5 lists"]);
    refused("hidden = [32]\nlateral_rates = [0.1, 0.1]", &["demo.toml:1: `hidden`: needs `rows` with 2 numbers"]);
    // Lists that were written are at fault themselves.
    let two = "tasks = 2\nhidden = [32]\n";
    let rates = |rates: &str| format!("{two}lateral_rates = {rates}\nrows = [[1, 1], [1, 1]]");
    refused(&rates("[0.1]"), &["demo.toml:3: `lateral_rates`: must have 2 values", "it has 1"]);
    refused(&rates("[0.1, -0.1]"), &["demo.toml:3: `lateral_rates.1`: "]);
    refused(&rates("[0.1, nan]"), &["demo.toml:3: `lateral_rates`: nan is not a number that a record can hold"]);
    let rows = |rows: &str| format!("{two}lateral_rates = [0.1, 0.1]\nrows = {rows}");
    refused(&rows("[[1, 1]]"), &["demo.toml:4: `rows`: must have 2 lists, one per task; it has 1"]);
    refused(&rows("[[1, 1],\n[1]]"), &["demo.toml:5: `rows.1`: must have 2 numbers", "it has 1"]);
    refused(&rows("[[1, 20], [1, 20]]"), &["`rows`: layer 2 has 32 inputs and cannot have 40 rows"]);
    let huge = i64::MAX;
    refused(&rows(&format!("[[1, {huge}], [1, {huge}]]")), &["`rows`: layer 2 has 32 inputs"]);
    prepare(&rows("[[1, 16], [1, 16]]")).unwrap();
}

#[test]
fn values_outside_their_domain_are_refused() {
    refused("optimiser = \"adam\"", &["`optimiser`: unknown value `adam`; known are sgd, momentum"]);
    refused("strategy = \"naive\"\nlearning_rate = 1e-60", &["`learning_rate`: "]);
    refused("strategy = \"naive\"\nlearning_rate = 1e60", &["`learning_rate`: "]);
    let infinite = "demo.toml:2: `learning_rate`: inf is not a number that a record can hold: give a finite one";
    refused("strategy = \"naive\"\nlearning_rate = inf", &[infinite]);
    refused("strategy = \"naive\"\ntasks = 11", &["`tasks`: must be at most 10, the permutations"]);
    refused("strategy = \"naive\"\nstream = \"rotated\"\ntasks = 13", &["`tasks`: must be at most 12, the turns"]);
    refused(&format!("strategy = \"naive\"\nepochs = {}", i64::MAX), &["`epochs`: "]);
    refused("strategy = \"naive\"\ntime_steps = 1048577", &["`time_steps`: ", "1 to 1048576"]);
    let huge = i64::MAX;
    prepare(&format!("strategy = \"naive\"\ntest_images = {huge}\nhidden = [{huge}]")).unwrap();
    refused("strategy = \"naive\"\nbatch = 0", &["`batch`: must be at least 1"]);
}

fn facts(shape: Option<[usize; 3]>, classes: Option<usize>) -> Facts {
    Facts { name: "dots".into(), shape, classes, train: 640, test: 100 }
}

#[test]
fn what_the_data_cannot_give_is_refused_when_the_plan_is_made() {
    let entry = Entry::of::<HebbianSnn>();
    let digits = facts(Some([1, 28, 28]), Some(10));
    let message = |text: &str, data: &Facts| entry.fits(&prepare(text).unwrap(), data).unwrap_err().to_string();
    let naive = "strategy = \"naive\"\n";
    let asks = |train: usize, test: usize| format!("{naive}train_images = {train}\ntest_images = {test}\n");
    entry.fits(&prepare(&asks(640, 100)).unwrap(), &digits).unwrap();
    let more = "is 641, and `dots` has 640 training images: ask for at most 640";
    assert_eq!(message(&asks(641, 100), &digits), format!("demo.toml:2: `train_images`: {more}"));
    let more = "is 101, and `dots` has 100 test images: ask for at most 100";
    assert_eq!(message(&asks(640, 101), &digits), format!("demo.toml:3: `test_images`: {more}"));
    for (data, is) in [
        (facts(Some([3, 32, 32]), Some(10)), "`data`: `dots` has images of 3x32x32"),
        (facts(Some([1, 14, 14]), Some(10)), "`data`: `dots` has images of 1x14x14"),
        (facts(None, None), "`data`: `dots` has a text"),
        (facts(Some([1, 28, 28]), Some(1)), "`data`: `dots` has less than two classes"),
    ] {
        let message = message(&asks(640, 100), &data);
        assert!(message.contains(is), "{message}");
    }
}

/// Every part that takes time is a step: batches, evaluations of a task, ends of a task.
#[test]
fn a_plan_counts_evaluations_as_steps() {
    let config = Config { tasks: 3, rows: vec![vec![1; 3]; 3], train_images: 128, ..Config::default() };
    let plan = HebbianSnn::describe(&Checked::new(config).unwrap());
    // Before training three, before the second and third task one each, after them 1 + 2 + 3; three ends.
    assert_eq!(plan.steps, 3 * 2 + (3 + 2 + 6) + 3);
}
