//! Records that a disk, a copy or an editor has damaged: what depends on one is named and done again, and the rest of
//! the suite is as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, ONE_ARM, finish};

fn xtask(args: &[&str]) -> (i32, String, String) {
    finish(Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap())
}

/// Two finished cells of a suite, by seed.
fn finished() -> (Bench, [PathBuf; 2]) {
    let bench = Bench::new(&ONE_ARM.replace("seeds = [3]", "seeds = [3, 4]"));
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    let cell = |seed: &str| {
        let mut cells = fs::read_dir(bench.runs()).unwrap().flatten().map(|entry| entry.path());
        cells.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("hlop-s{seed}-"))).unwrap()
    };
    let cells = [cell("3"), cell("4")];
    (bench, cells)
}

fn errors(err: &str) -> usize {
    err.lines().filter(|line| line.starts_with("error: ")).count()
}

/// A record cut off, emptied, made of other bytes, of another shape, and with a number that JSON does not have.
fn damages(content: &[u8]) -> [Vec<u8>; 5] {
    let null = String::from_utf8_lossy(content).replacen("\"acc\": 0", "\"acc\": null, \"x\": 0", 1).into_bytes();
    [content[..content.len() / 2].to_vec(), Vec::new(), vec![0xff; 100], b"{\"format\": 1}\n".to_vec(), null]
}

#[test]
fn a_damaged_result_blocks_nothing_and_is_computed_again() {
    let (bench, [first, second]) = finished();
    let file = first.join("result.json");
    let (whole, other) = (fs::read(&file).unwrap(), fs::read(second.join("result.json")).unwrap());
    let runs = bench.runs();
    for (i, damage) in damages(&whole).into_iter().enumerate() {
        assert_ne!(damage, whole);
        fs::write(&file, &damage).unwrap();
        let (code, out, err) = xtask(&["report", runs.to_str().unwrap()]);
        assert_eq!(code, 0, "damage {i}: {out}{err}");
        let page = fs::read_to_string(runs.join("report/report.md")).unwrap();
        for part in ["1 of 2 runs have no result yet", "hlop, seed 3: result.json is damaged"] {
            assert!(page.contains(part), "damage {i}: no `{part}` in {page}");
        }
        // The plan names it; a look changes nothing, nor does `clean`, which keeps what it goes on from.
        let (code, out, err) = bench.run(&["--dry-run"]);
        assert_eq!(code, 0, "damage {i}: {out}{err}");
        for part in
            ["1 of 2 to run; 1 done already; 1 with a damaged result", "damaged hlop-s3: ", "run again: its result"]
        {
            assert!(out.contains(part), "damage {i}: no `{part}` in {out}");
        }
        let (code, out, err) = xtask(&["clean", "--out", bench.path().join("out").to_str().unwrap()]);
        assert_eq!(code, 0, "damage {i}: {out}{err}");
        assert!(first.join("checkpoints").exists() && fs::read(&file).unwrap() == damage, "damage {i}");
        let (code, out, err) = bench.run(&[]);
        assert_eq!(code, 0, "damage {i}: {out}{err}");
        assert!(fs::read(&file).unwrap() == whole, "damage {i}");
        assert!(fs::read(first.join("result.json.damaged")).unwrap() == damage, "damage {i}");
        assert!(fs::read(second.join("result.json")).unwrap() == other);
    }
    let (_, out, _) = bench.run(&["--dry-run"]);
    assert!(out.contains("0 of 2 to run; 2 done already"), "{out}");
    // `--keep` does not take one either.
    fs::write(&file, "{").unwrap();
    let (_, out, _) = bench.run(&["--dry-run", "--keep"]);
    assert!(out.contains("1 with a damaged result"), "{out}");
}

#[test]
fn what_only_tells_of_a_run_may_be_damaged() {
    let (bench, [first, _]) = finished();
    let whole = fs::read(first.join("result.json")).unwrap();
    let runs = bench.runs();
    let report = || {
        let (code, out, err) = xtask(&["report", runs.to_str().unwrap()]);
        assert_eq!(code, 0, "{out}{err}");
        fs::read_to_string(runs.join("report/report.md")).unwrap()
    };
    let events = fs::read_to_string(first.join("events.jsonl")).unwrap();
    fs::write(first.join("events.jsonl"), events.replacen("{", "[", 2)).unwrap();
    assert!(report().contains("hlop, seed 3: no curves: line 1 of events.jsonl is not an event"));
    fs::write(first.join("events.jsonl"), &events).unwrap();
    for name in ["status.json", "provenance.json", "cell.json", "timing.jsonl", "config.toml"] {
        fs::write(first.join(name), "{\"form").unwrap();
        report();
        let (code, out, err) = bench.run(&["--dry-run"]);
        assert!(code == 0 && out.contains("2 done already"), "{name}: {out}{err}");
    }
    // Without its result the cell goes on from its last checkpoint, whatever the others say.
    fs::remove_file(first.join("result.json")).unwrap();
    assert!(report().contains("unknown, status.json is damaged"));
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(fs::read(first.join("result.json")).unwrap() == whole);
}

#[test]
fn a_damaged_plan_is_named_and_written_anew() {
    let (bench, _) = finished();
    let runs = bench.runs();
    let file = runs.join("plan.json");
    let whole = fs::read(&file).unwrap();
    for damage in [whole[..whole.len() / 2].to_vec(), Vec::new(), b"{\"format\": 1}".to_vec(), b"[]".to_vec()] {
        fs::write(&file, &damage).unwrap();
        let (code, out, err) = xtask(&["report", runs.to_str().unwrap()]);
        assert_eq!((code, errors(&err)), (2, 1), "{out}{err}");
        assert!(err.contains("plan.json: not a record: ") && err.contains("reproduce demo` writes it anew"), "{err}");
        assert!(!err.contains("cargo xtask list"), "{err}");
        let (code, out, err) = bench.run(&[]);
        assert!(code == 0 && out.contains("2 done already"), "{out}{err}");
        assert!(fs::read(&file).unwrap() == whole);
    }
}

#[test]
fn a_damaged_record_of_the_suite_file_is_named_with_a_mend_that_loses_nothing() {
    let (bench, _) = finished();
    let runs = bench.runs();
    let file = runs.join("suite.json");
    let whole = fs::read(&file).unwrap();
    let records = bench.records();
    for damage in [Vec::new(), whole[..whole.len() / 2].to_vec()] {
        fs::write(&file, &damage).unwrap();
        let (code, out, err) = bench.run(&[]);
        assert_eq!((code, errors(&err)), (2, 1), "{out}{err}");
        assert!(err.contains("suite.json: not a record") && err.contains("remove plan.json there"), "{err}");
        let (code, out, err) = xtask(&["clean", "--out", runs.to_str().unwrap()]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("is left as it is: ") && out.contains("suite.json: not a record"), "{out}");
        assert!(records == bench.records());
        fs::remove_file(runs.join("plan.json")).unwrap();
        let (code, out, err) = bench.run(&[]);
        assert!(code == 0 && out.contains("2 done already"), "{out}{err}");
        assert!(fs::read(&file).unwrap() == whole && records == bench.records());
    }
    // Another version's is named as such.
    fs::write(&file, String::from_utf8(whole).unwrap().replace("\"format\": 1", "\"format\": 99")).unwrap();
    let (code, out, err) = bench.run(&[]);
    assert_eq!((code, errors(&err)), (2, 1), "{out}{err}");
    assert!(err.contains("suite.json: format version 99, this program reads 1"), "{err}");
}

/// The times of the calls only tell of a run as well.
#[test]
fn a_log_of_calls_that_cannot_be_written_costs_no_report() {
    let bench = Bench::new(ONE_ARM);
    fs::create_dir_all(bench.runs().join("timing.jsonl")).unwrap();
    let (code, out, err) = bench.run(&[]);
    assert!(code == 0 && out.contains("Report: "), "{out}{err}");
    assert!(err.starts_with("warning: ") && err.contains("timing.jsonl: ") && err.lines().count() == 1, "{err}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn clean_leaves_a_suite_with_a_damaged_plan_alone_and_cleans_the_others() {
    let (bench, [first, _]) = finished();
    let out = bench.path().join("out");
    // Before and behind the whole one in the order of names.
    let damaged = ["aaa", "zzz"].map(|name| out.join(name));
    for dir in &damaged {
        copy(&bench.runs(), dir);
        fs::write(dir.join("plan.json"), "{\"format\": 1, \"na").unwrap();
    }
    let (code, text, err) = xtask(&["clean", "--out", out.to_str().unwrap()]);
    assert_eq!((code, errors(&err)), (2, 2), "{text}{err}");
    for dir in &damaged {
        let named = format!("error: {} is left as it is: ", dir.display());
        assert!(err.contains(&named) && err.contains("plan.json: not a record"), "{err}");
        assert!(dir.join(first.file_name().unwrap()).join("checkpoints").exists());
    }
    assert!(!first.join("checkpoints").exists() && first.join("result.json").exists());
    // Whoever wants all of it gone need not mend it first.
    let (code, text, err) = xtask(&["clean", "--all", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}{err}");
    assert!(!first.exists() && damaged.iter().all(|dir| !dir.join(first.file_name().unwrap()).exists()));
}

/// The code of a run whose cells failed says why, where all of them did for one reason of the table.
#[test]
fn cells_that_all_fail_for_one_reason_give_its_code() {
    let (bench, cells) = finished();
    for cell in &cells {
        fs::remove_file(cell.join("result.json")).unwrap();
        for step in fs::read_dir(cell.join("checkpoints")).unwrap().flatten() {
            let manifest = step.path().join("manifest.json");
            let text = fs::read_to_string(&manifest).unwrap().replacen("\"format\": 1", "\"format\": 99", 1);
            fs::write(&manifest, text).unwrap();
        }
    }
    let (code, out, err) = bench.run(&[]);
    assert!(code == 2 && out.matches("FAILED").count() == 2, "{code}: {out}{err}");
    assert!(out.contains("format version 99, this program reads 1"), "{out}");
    // One of another kind: the state that its log had is gone.
    for step in fs::read_dir(cells[0].join("checkpoints")).unwrap().flatten() {
        let manifest = step.path().join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap().replacen("\"format\": 99", "\"format\": 1", 1);
        fs::write(&manifest, text).unwrap();
    }
    fs::write(cells[0].join("events.jsonl"), "").unwrap();
    let (code, out, err) = bench.run(&[]);
    assert!(code == 4 && out.matches("FAILED").count() == 2, "{code}: {out}{err}");
}
