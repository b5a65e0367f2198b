//! Mistakes of a user: one clear message and the exit code of each.

use std::fs;
use std::process::Command;

use crate::support::{Bench, ONE_ARM, finish};

/// Runs a suite that is wrong and wants its message to hold these parts.
#[track_caller]
fn refused(suite: &str, args: &[&str], code: i32, parts: &[&str]) {
    let bench = Bench::new(suite);
    let (found, out, err) = bench.run(args);
    assert_eq!(found, code, "{out}{err}");
    assert_eq!(err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{err}");
    for part in parts {
        assert!(err.contains(part), "no `{part}` in: {err}");
    }
    assert!(!bench.runs().exists(), "something was written");
}

fn with(from: &str, to: &str) -> String {
    assert!(ONE_ARM.contains(from));
    ONE_ARM.replace(from, to)
}

#[test]
fn wrong_suites_name_file_line_key_and_mend() {
    refused(&with("hidden =", "hiden ="), &[], 2, &["demo.toml:14: ", "unknown key `hiden`", "did you mean `hidden`?"]);
    refused(&with("tasks = 2", "tasks = \"two\""), &[], 2, &["demo.toml:11: `tasks`: is \"two\": give a whole number"]);
    refused(&with("tasks = 2", "tasks = 11"), &[], 2, &["demo.toml:11: `tasks`: must be at most 10"]);
    refused(&with("\"momentum\"", "\"adam\""), &[], 2, &["demo.toml:16: `optimiser`", "known are sgd, momentum"]);
    refused(&with("\"hlop\"\nstrategy = \"hlop\"", "\"hlop\"\nstrategy = \"hlpo\""), &[], 2, &["did you mean `hlop`?"]);
    refused(&with("seeds", "sedes"), &[], 2, &["demo.toml:5: ", "did you mean `seeds`?"]);
    refused(&with("schema = 1", "schema = 7"), &[], 2, &["schema 7", "use schema = 1"]);
    refused(&with("\"hebbian-snn\"", "\"hebian-snn\""), &[], 2, &["did you mean `hebbian-snn`?"]);
    refused(&with("[8, 4, 4]]", "[8, 14, 4]]"), &[], 2, &["demo.toml:17: `rows`: layer 2 has 16 inputs"]);
    refused(&with("title", "title ="), &[], 2, &["demo.toml:3: "]);
}

#[test]
fn data_that_an_arm_does_not_read_is_refused_in_the_suite() {
    refused(
        &with("data = [\"glyphs\"]\n", ""),
        &[],
        2,
        &["arm `hlop` of `hebbian-snn` reads images", "data = [\"mnist\"]"],
    );
    refused(
        &with("[\"glyphs\"]", "[\"glyphs\", \"tinyshakespeare\"]"),
        &[],
        2,
        &["reads images, and `tinyshakespeare` is text"],
    );
    let of = |study: &str, data: &str| {
        let arm = format!("[[experiment.arm]]\nid = \"a\"\nstudy = \"{study}\"\n");
        let head = "schema = 1\ntitle = \"t\"\nprofile = \"reduced\"\nseeds = [0]\nthreads = 1\n";
        format!("{head}[[experiment]]\nname = \"synaptic-resonance\"\n{data}{arm}")
    };
    refused(&of("characters", ""), &[], 2, &["demo.toml:8: ", "reads a text", "data = [\"tinyshakespeare\"]"]);
    refused(&of("characters", "data = [\"mnist\"]\n"), &[], 2, &["reads a text, and `mnist` is images"]);
    refused(&of("recall", "data = [\"glyphs\"]\n"), &[], 2, &["reads no data"]);
}

#[test]
fn claims_and_targets_must_name_what_exists() {
    let claim = |arm: &str, metric: &str| {
        format!(
            "{ONE_ARM}\n[[claim]]\ntext = \"c\"\nleft = {{ arm = \"{arm}\", metric = \"{metric}\" }}\nrelation = \">\"\nright = 0.5\n"
        )
    };
    refused(&claim("hlpo", "acc"), &[], 2, &["demo.toml:24: `left`: ", "no arm `hlpo`", "did you mean `hlop`?"]);
    refused(&claim("hlop", "bwd"), &[], 2, &["does not report `bwd`", "did you mean `bwt`?"]);
    refused(&claim("hlop", "acc").replace("\">\"", "\">=\""), &[], 2, &["demo.toml:25: `relation` is `>=`"]);
    let target =
        "\n[[target]]\ntext = \"t\"\narm = \"hlop\"\nmetric = \"acc\"\nvalue = 0.9\ntolerance = 0.0\nsource = \"s\"\n";
    refused(&format!("{ONE_ARM}{target}"), &[], 2, &["`tolerance` must be above 0"]);
    // Arms whose seeds cannot be paired; against a number each has its own.
    let second = format!(
        "\n[[experiment]]\nname = \"hebbian-snn\"\nseeds = [0, 1, 2]\ndata = [\"glyphs\"]\n{}",
        "[[experiment.arm]]\nid = \"naive\"\nstrategy = \"naive\"\n"
    );
    let suite = claim("hlop", "acc").replacen("\n[[claim]]", &format!("{second}\n[[claim]]"), 1);
    let unequal = suite.replace("right = 0.5", "right = { arm = \"naive\", metric = \"acc\" }");
    refused(&unequal, &[], 2, &["demo.toml:30: ", "`hlop` has seeds [3]", "`naive` has seeds [0, 1, 2]"]);
    refused(&suite.replace("[0, 1, 2]", "[]"), &[], 2, &["demo.toml:22: `seeds` is empty"]);
    refused(&suite.replace("[0, 1, 2]", "[1, 4, 1]"), &[], 2, &["demo.toml:22: `seeds` lists 1 twice"]);
    refused(ONE_ARM, &["--seeds", "7,7"], 2, &["--seeds: `seeds` lists 7 twice"]);
    // Two metrics that measure different things.
    let unlike =
        claim("hlop", "acc").replace("right = 0.5", "right = { arm = \"hlop\", metric = \"least_eigenvalue\" }");
    refused(&unlike, &[], 2, &["the two sides cannot be compared"]);
}

/// Neither JSON nor a key has a form for them; once they passed, and there was no report.
#[test]
fn numbers_that_json_does_not_have_are_refused_before_anything_runs() {
    let claim = "\n[[claim]]\ntext = \"c\"\nleft = { arm = \"hlop\", metric = \"acc\" }\nrelation = \">\"\nright = RIGHT\nmargin = MARGIN\n";
    let target = "\n[[target]]\ntext = \"t\"\narm = \"hlop\"\nmetric = \"acc\"\nvalue = VALUE\ntolerance = TOLERANCE\nsource = \"s\"\n";
    let end = "is not a number that a record can hold: give a finite one";
    for number in ["nan", "inf", "-inf", "1e400"] {
        for (hole, at, key) in
            [("RIGHT", 26, "right"), ("MARGIN", 27, "margin"), ("VALUE", 33, "value"), ("TOLERANCE", 34, "tolerance")]
        {
            let suite = format!("{ONE_ARM}{claim}{target}").replace(hole, number);
            let suite = ["RIGHT", "MARGIN", "VALUE", "TOLERANCE"].iter().fold(suite, |s, hole| s.replace(hole, "0.5"));
            refused(&suite, &[], 2, &[&format!("demo.toml:{at}: `{key}`: {number} {end}")]);
        }
        // A float of a config, from the experiment or from an arm laid over it, in a list as well.
        let base = with("tasks = 2", &format!("tasks = 2\nlearning_rate = {number}"));
        refused(&base, &[], 2, &[&format!("demo.toml:12: `learning_rate`: {number} {end}")]);
        let arm = format!("{ONE_ARM}learning_rate = {number}\n");
        refused(&arm, &[], 2, &[&format!("demo.toml:21: `learning_rate`: {number} {end}")]);
        let list = format!("{ONE_ARM}lateral_rates = [0.1, {number}, 0.1]\n");
        refused(&list, &[], 2, &[&format!("demo.toml:21: `lateral_rates`: {number} {end}")]);
    }
}

/// `hidden = [32]` fits the default of no other key: the answer names the key that was written, and says which to add.
#[test]
fn a_default_that_does_not_fit_is_answered_with_the_key_that_was_written() {
    let suite = with("hidden = [16, 16]", "hidden = [32]").replace("rows = [[12, 8, 8], [8, 4, 4]]\n", "");
    refused(&suite, &[], 2, &["demo.toml:14: `hidden`: has 1 spiking layer", "set `lateral_rates` to"]);
}

#[test]
fn wrong_flags_are_refused() {
    refused(ONE_ARM, &["--device", "gpu"], 2, &["`gpu` is not a device", "flex"]);
    refused(ONE_ARM, &["--device", "flex:4"], 2, &["`flex:4` is not there", "cargo xtask doctor"]);
    #[cfg(not(feature = "cuda"))]
    refused(ONE_ARM, &["--device", "cuda:0"], 2, &["not compiled in", "cargo xtask-cuda reproduce --device cuda:0"]);
    refused(ONE_ARM, &["--only", "hidenseek"], 2, &["--only hidenseek", "hebbian-snn"]);
    refused(ONE_ARM, &["--jobs", "0"], 2, &["--jobs 0"]);
}

#[test]
fn an_unknown_suite_is_named_with_the_nearest() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["reproduce", "quik"]).output().unwrap();
    let (code, _, err) = finish(output);
    assert_eq!(code, 2);
    assert!(err.contains("did you mean `quick`?"), "{err}");
}

#[test]
fn wrong_data_is_refused_before_anything_runs() {
    let suite = with("[\"glyphs\"]", "[\"mnist\", \"glyphs\"]");
    let html = b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec();
    for (content, parts) in [
        (html, ["train-images-idx3-ubyte.gz", "HTML"]),
        (b"\x1f\x8b\x08\x00".to_vec(), ["train-images-idx3-ubyte.gz", "bytes"]),
        (vec![7; 9_912_422], ["train-images-idx3-ubyte.gz", "sha256"]),
    ] {
        let bench = Bench::new(&suite);
        let dir = bench.path().join("data/mnist");
        fs::create_dir_all(&dir).unwrap();
        for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
            fs::write(dir.join(format!("{name}-ubyte.gz")), &content).unwrap();
        }
        let data = bench.path().join("data");
        let (code, out, err) = bench.run(&["--data-dir", data.to_str().unwrap(), "--offline"]);
        assert_eq!(code, 3, "{out}{err}");
        for part in parts {
            assert!(err.contains(part), "no `{part}` in: {err}");
        }
        assert!(!bench.runs().exists());
    }
    // Without a network and without data, the plan says so and takes the next of the list.
    let bench = Bench::new(&suite);
    let (code, out, err) = bench.run(&["--offline", "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("mnist is not used") && out.contains("built in"), "{out}");
    // Nothing else in the list: an error.
    refused(&with("[\"glyphs\"]", "[\"mnist\"]"), &["--offline"], 3, &["mnist", "cargo xtask data fetch mnist"]);
}

/// `--data-dir .../mnist` in place of the folder that holds it.
#[test]
fn the_folder_of_a_set_is_answered_with_the_one_above() {
    let bench = Bench::new(&with("[\"glyphs\"]", "[\"mnist\", \"glyphs\"]"));
    let data = bench.path().join("data");
    fs::create_dir_all(data.join("mnist")).unwrap();
    fs::write(data.join("mnist/train-images-idx3-ubyte.gz"), "x").unwrap();
    for args in
        [["reproduce", "quick", "--offline", "--data-dir"].as_slice(), &["data", "verify", "mnist", "--data-dir"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).arg(data.join("mnist")).output().unwrap();
        let (code, out, err) = finish(output);
        assert_eq!(code, 3, "{out}{err}");
        let said = format!("--data-dir must name the folder above, {}\n", data.display());
        assert_eq!((out + &err).matches(&said).count(), 1, "{err}");
    }
    // A user's own wrong file: nothing is done to it, and nobody says to remove it.
    let (code, _, err) = bench.run(&["--data-dir", data.to_str().unwrap(), "--offline"]);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("1 bytes, the manifest says 9912422: plasticity changes nothing in a folder of yours"),
        "{err}"
    );
    assert_eq!(fs::read(data.join("mnist/train-images-idx3-ubyte.gz")).unwrap(), b"x");
}

#[test]
fn a_place_that_cannot_be_written_is_a_wrong_flag_and_said_once() {
    let bench = Bench::new(ONE_ARM);
    let file = bench.path().join("file");
    fs::write(&file, "x").unwrap();
    let said_once = |(code, out, err): (i32, String, String)| {
        assert_eq!(code, 2, "{out}{err}");
        let line = err.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(line.contains(file.to_str().unwrap()) && line.matches("os error").count() == 1, "{line}");
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    said_once(finish(
        command.arg("reproduce").arg(bench.path().join("demo.toml")).arg("--out").arg(&file).output().unwrap(),
    ));
}

#[test]
fn another_format_version_is_refused_and_left_alone() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let file = bench.runs().join("plan.json");
    let text = fs::read_to_string(&file).unwrap().replacen("\"format\": 1", "\"format\": 99", 1);
    fs::write(&file, &text).unwrap();
    let (code, _, err) = bench.run(&[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("format version 99, this program reads 1"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_dry_run_writes_nothing() {
    let bench = Bench::new(ONE_ARM);
    let (code, out, _) = bench.run(&["--dry-run"]);
    assert_eq!(code, 0);
    assert!(out.contains("hlop-s3") && out.contains("run, about"), "{out}");
    assert!(!bench.path().join("out").exists());
}
