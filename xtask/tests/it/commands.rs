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
fn clean_removes_what_the_plan_does_not_need() {
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
