//! Flags and commands beside a plain run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Bench, ONE_ARM, finish};

fn xtask(args: &[&str]) -> (i32, String, String) {
    finish(Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap())
}

fn cell(bench: &Bench) -> PathBuf {
    let cells = fs::read_dir(bench.runs()).unwrap().flatten().map(|entry| entry.path());
    cells.into_iter().find(|path| path.join("cell.json").exists()).unwrap()
}

#[test]
fn a_failed_claim_changes_the_exit_code_under_strict_only() {
    let claim = "[[claim]]\ntext = \"impossible\"\nleft = { arm = \"hlop\", metric = \"acc\" }\nrelation = \">\"\nright = 0.99\n";
    let bench = Bench::new(&format!("{}\n{claim}", ONE_ARM.replace("seeds = [3]", "seeds = [0, 1, 2]")));
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("fails"), "{out}");
    let (code, out, _) = bench.run(&["--strict"]);
    assert_eq!(code, 5, "{out}");
}

#[test]
fn keep_accepts_a_result_of_other_sources_and_marks_it() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    // What the same protocol run by an earlier program would have left.
    let own = cell(&bench);
    let other = own.with_file_name("hlop-s3-00000000");
    fs::rename(&own, &other).unwrap();
    let (_, out, _) = bench.run(&["--dry-run"]);
    assert!(out.contains("1 of 1 to run"), "{out}");
    let (code, out, err) = bench.run(&["--keep"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("0 of 1 to run; 1 kept from other sources"), "{out}");
    let page = fs::read_to_string(bench.runs().join("report/report.md")).unwrap();
    assert!(page.contains("other sources"), "the report does not mark the kept cell");
}

/// By when it ended, not by the name of its directory.
#[test]
fn keep_takes_the_newest_result() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let own = cell(&bench);
    let result = fs::read_to_string(own.join("result.json")).unwrap();
    let key = result.split("\"key\": \"").nth(1).unwrap().split('"').next().unwrap();
    let left_by = |name: &str, ended: f64| {
        let dir = own.with_file_name(name);
        let copied = Command::new("cp").arg("-r").args([&own, &dir]).status().unwrap();
        assert!(copied.success());
        let end = format!("{{\"at\":\"end\",\"step\":20,\"first_step\":0,\"wall_s\":0.1,\"unix_s\":{ended}}}\n");
        fs::write(dir.join("timing.jsonl"), end).unwrap();
        fs::write(dir.join("result.json"), result.replace(key, &name.repeat(4))).unwrap();
    };
    left_by("hlop-s3-ffffffff", 1000.0);
    left_by("hlop-s3-00000000", 3000.0);
    left_by("hlop-s3-88888888", 2000.0);
    fs::remove_dir_all(&own).unwrap();
    let (code, out, err) = bench.run(&["--keep", "--dry-run"]);
    assert!(code == 0 && out.contains("kept from hlop-s3-00000000"), "{out}{err}");
    // A record says more than the file system, which knows when a file was copied.
    fs::remove_file(own.with_file_name("hlop-s3-ffffffff").join("timing.jsonl")).unwrap();
    let (_, out, _) = bench.run(&["--keep", "--dry-run"]);
    assert!(out.contains("kept from hlop-s3-00000000"), "{out}");
    // Nothing is guessed.
    let result = |name: &str| own.with_file_name(name).join("result.json");
    let time = fs::metadata(result("hlop-s3-88888888")).unwrap().modified().unwrap();
    for name in ["hlop-s3-00000000", "hlop-s3-88888888"] {
        let timing = own.with_file_name("hlop-s3-88888888").join("timing.jsonl");
        let to = own.with_file_name(name).join("timing.jsonl");
        if timing != to {
            fs::copy(timing, to).unwrap();
        }
        fs::File::options().write(true).open(result(name)).unwrap().set_modified(time).unwrap();
    }
    let (code, _, err) = bench.run(&["--keep", "--dry-run"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("hlop-s3-00000000 and hlop-s3-88888888 ended at the same time"), "{err}");
}

/// A second experiment of the same paper with seeds of its own.
const SECOND: &str = r#"
[[experiment]]
name = "hebbian-snn"
title = "Without projection"
seeds = [0, 1]
data = ["glyphs"]
[experiment.config]
tasks = 2
train_images = 64
test_images = 50
hidden = [16, 16]
time_steps = 4
rows = [[12, 8, 8], [8, 4, 4]]
[[experiment.arm]]
id = "naive"
strategy = "naive"
"#;

#[test]
fn an_experiment_may_have_its_own_seeds() {
    let bench = Bench::new(&format!("{ONE_ARM}{SECOND}"));
    let (code, out, _) = bench.run(&["--dry-run"]);
    assert_eq!(code, 0);
    for (cell, there) in
        [("hlop-s3", true), ("naive-s0", true), ("naive-s1", true), ("naive-s3", false), ("hlop-s0", false)]
    {
        assert_eq!(out.contains(cell), there, "{cell}: {out}");
    }
    let (code, out, err) = bench.run(&["--jobs", "2"]);
    assert_eq!(code, 0, "{out}{err}");
    let page = fs::read_to_string(bench.runs().join("report/index.html")).unwrap();
    for part in [
        "HLOP-SNN: Hebbian-learning-based orthogonal projection",
        "<h3>hebbian-snn</h3>",
        "<h3>Without projection</h3>",
        "arXiv 2402.11984",
        " at a time. All runs one after the other: ",
        "cargo xtask reproduce hebbian-snn/pmnist",
        "Seed 3 (n = 1), seeds 0 to 1 (n = 2)",
        "Time: wall time of a run",
    ] {
        assert!(page.contains(part), "no {part} in the report");
    }
    // The command line's seeds are those of all experiments.
    let (_, out, _) = bench.run(&["--seeds", "5", "--dry-run"]);
    assert!(out.contains("hlop-s5") && out.contains("naive-s5") && out.contains("2 of 2 to run"), "{out}");
}

/// What a run with pictures would have left, shown by `report` as by `reproduce`.
#[test]
fn pictures_of_a_run_are_in_the_report() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let cell = cell(&bench);
    let grid = plasticity_core::run::picture::Grid::new(2, 2, 1);
    fs::create_dir(cell.join("artifacts")).unwrap();
    fs::write(cell.join("artifacts/samples.png"), grid.png(&[0.0, 0.3, 0.6, 1.0]).unwrap()).unwrap();
    let path = cell.join("result.json");
    let mut result: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(result["outcome"].get("pictures").is_none(), "a run without pictures says nothing of them");
    result["outcome"]["pictures"] =
        serde_json::json!([{ "file": "samples.png", "title": "Samples", "caption": "Four greys" }]);
    result["outcome"]["charts"] = serde_json::json!([{
        "title": "Loss by noise", "x_label": "sd", "y_label": "loss",
        "series": [{ "name": "network", "points": [[0.1, 1.0], [1.0, 3.0]] }]
    }]);
    fs::write(&path, result.to_string()).unwrap();
    let (code, _, err) = xtask(&["report", bench.runs().to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let page = fs::read_to_string(bench.runs().join("report/index.html")).unwrap();
    for part in ["src=\"data:image/png;base64,iVBOR", "Samples: hlop, seed 3", "Four greys", "Loss by noise"] {
        assert!(page.contains(part), "no {part} in the report");
    }
    assert!(bench.runs().join("report/loss-by-noise.svg").exists());
}

#[cfg(feature = "ndarray")]
#[test]
fn seeds_and_device_from_the_command_line_make_other_cells() {
    let bench = Bench::new(ONE_ARM);
    let (code, out, err) = bench.run(&["--seeds", "7,8", "--device", "ndarray"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("ndarray") && out.contains("hlop-s7") && out.contains("hlop-s8"), "{out}");
    let (_, out, _) = bench.run(&["--seeds", "7,8", "--dry-run"]);
    assert!(out.contains("2 of 2 to run"), "another device is another cell: {out}");
}

#[test]
fn clean_removes_what_no_plan_can_find() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let finished = cell(&bench);
    let old = finished.with_file_name("hlop-s3-11111111");
    fs::create_dir(&old).unwrap();
    fs::copy(finished.join("cell.json"), old.join("cell.json")).unwrap();
    let out = bench.path().join("out");
    let out = out.to_str().unwrap();
    let (code, text, _) = xtask(&["clean", "--out", out, "--dry-run"]);
    assert!(code == 0 && text.contains("would remove") && old.exists(), "{text}");
    assert_eq!(xtask(&["clean", "--out", out]).0, 0);
    assert!(!old.exists() && !finished.join("checkpoints").exists());
    assert!(finished.join("result.json").exists());
    let (_, text, _) = bench.run(&["--dry-run"]);
    assert!(text.contains("1 done already"), "{text}");
}

#[test]
fn list_doctor_and_data_tell_what_is_there() {
    let (code, out, _) = xtask(&["list"]);
    assert!(code == 0 && out.contains("hebbian-snn/pmnist") && out.contains("full"), "{out}");
    let (code, out, _) = xtask(&["doctor"]);
    assert!(code == 0 && out.contains("flex") && out.contains("free disk") && out.contains("glyphs"), "{out}");
    let (code, out, _) = xtask(&["data", "list"]);
    assert!(code == 0 && out.contains("fashion-mnist") && out.contains("built in"), "{out}");
}
