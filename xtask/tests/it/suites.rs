//! One suite file, one directory; and what a call that runs less than a suite leaves alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use plasticity_core::run::Lock;

use crate::support::{Bench, ONE_ARM, RECALL, finish};

fn xtask(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    finish(command.args(args).env_remove("CARGO_MANIFEST_DIR").output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// One line, with the code of a mistake in what was asked for.
#[track_caller]
fn refused((code, out, err): (i32, String, String), parts: &[&str]) {
    assert_eq!(code, 2, "{out}{err}");
    assert_eq!(err.trim().lines().count(), 1, "{err}");
    for part in parts {
        assert!(err.contains(part), "no `{part}` in: {err}");
    }
}

#[test]
fn a_suite_file_of_a_built_in_suites_name_takes_nothing_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("smoke.toml"), dir.path().join("out"));
    fs::write(&file, ONE_ARM).unwrap();
    refused(xtask(&["reproduce", text(&file), "--dry-run"]), &["the suite `smoke` below experiments/", "--out DIR"]);
    // A folder of suites is a name as well.
    let folder = dir.path().join("hidenseek.toml");
    fs::write(&folder, ONE_ARM).unwrap();
    refused(xtask(&["reproduce", text(&folder), "--dry-run"]), &["the suite `hidenseek/", "--out DIR"]);

    // In a place of its own it may have the name, and then the other may not.
    assert_eq!(xtask(&["reproduce", text(&file), "--out", text(&out)]).0, 0);
    let plan = || fs::read(out.join("smoke/plan.json")).unwrap();
    let before = plan();
    for command in [&["reproduce", "smoke", "--dry-run"][..], &["reproduce", "smoke", "--only", "hidenseek"]] {
        refused(
            xtask(&[command, &["--out", text(&out)]].concat()),
            &["belongs to the suite file", "smoke.toml", "--out"],
        );
    }
    assert_eq!(plan(), before);
}

#[test]
fn a_directory_belongs_to_one_suite_file() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let records = bench.records();
    let other = bench.path().join("other/demo.toml");
    fs::create_dir(other.parent().unwrap()).unwrap();
    fs::write(&other, RECALL).unwrap();
    let out = bench.path().join("out");
    for command in ["reproduce", "report"] {
        refused(xtask(&[command, text(&other), "--out", text(&out)]), &["belongs to the suite file", "--out DIR"]);
    }
    // Within the runs of another suite, `clean` would not find it.
    let within = bench.runs();
    refused(xtask(&["reproduce", text(&other), "--out", text(&within)]), &["lies within the runs of another suite"]);
    assert!(records == bench.records());
    // The same file by another way is the same suite.
    let again = bench.path().join("other/../demo.toml");
    let (code, said, err) = xtask(&["reproduce", text(&again), "--out", text(&out), "--dry-run"]);
    assert!(code == 0 && said.contains("1 done already"), "{said}{err}");
}

#[test]
fn publishing_is_refused_for_what_does_not_speak_for_the_project() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages =
        || ["README.md", "docs/results.md", "docs/reproducibility.md"].map(|page| fs::read(root.join(page)).unwrap());
    let before = pages();
    let bench = Bench::new(&ONE_ARM.replace("seeds = [3]", "seeds = [0, 1]"));
    assert_eq!(bench.run(&[]).0, 0);
    refused(xtask(&["report", text(&bench.runs()), "--publish"]), &["not the run of a suite below experiments/"]);
    let out = bench.path().join("built-in");
    assert_eq!(xtask(&["reproduce", "smoke", "--out", text(&out)]).0, 0);
    refused(
        xtask(&["report", "smoke", "--out", text(&out), "--publish"]),
        &["`smoke` cannot be published", "generates"],
    );
    assert!(pages() == before && !root.join("experiments/results/smoke").exists());
}

/// Two papers; one seed each.
fn two_papers() -> String {
    let second = RECALL.split_once("[[experiment]]").unwrap().1;
    format!("{ONE_ARM}\n[[experiment]]{second}")
}

/// The report of a suite, with what stands in it.
fn page(bench: &Bench) -> String {
    fs::read_to_string(bench.runs().join("report/report.md")).unwrap()
}

#[track_caller]
fn clean(bench: &Bench) -> String {
    let (code, out, err) = xtask(&["clean", "--out", text(&bench.path().join("out"))]);
    assert_eq!(code, 0, "{out}{err}");
    out
}

/// How much of a call is done already.
#[track_caller]
fn done(bench: &Bench, args: &[&str], parts: &str) {
    let (code, out, err) = bench.run(&[args, &["--dry-run"]].concat());
    assert!(code == 0 && out.contains(parts), "{args:?}: {out}{err}");
}

#[test]
fn a_call_that_runs_less_takes_nothing_from_report_and_results() {
    let bench = Bench::new(&two_papers());
    assert_eq!(bench.run(&[]).0, 0);
    let whole = page(&bench);
    for part in ["HLOP-SNN", "Synaptic Resonance", "| hlop |", "| memory |"] {
        assert!(whole.contains(part), "no {part} in {whole}");
    }

    let (code, out, _) = bench.run(&["--only", "synaptic-resonance"]);
    assert!(code == 0 && out.contains("0 of 1 to run; 1 done already") && out.contains("HLOP-SNN"), "{out}");
    assert!(out.contains("beside  1 of earlier calls, which the report shows as well"), "{out}");
    assert_eq!(page(&bench), whole);
    clean(&bench);
    done(&bench, &[], "0 of 2 to run; 2 done already");

    // A seed that is not the suite's is shown beside those that are.
    let (code, out, _) = bench.run(&["--seeds", "5", "--only", "synaptic-resonance"]);
    assert!(code == 0 && out.contains("1 of 1 to run"), "{out}");
    assert!(page(&bench).contains("Seeds 3, 5 (n = 2)") && page(&bench).contains("| hlop |"), "{}", page(&bench));
    assert!(page(&bench).contains("Beside the suite's own: synaptic-resonance, seed 5."));
    clean(&bench);
    done(&bench, &[], "0 of 2 to run; 2 done already");
    done(&bench, &["--seeds", "5"], "1 of 2 to run; 1 done already");
    // Also for a call that does not ask for it.
    assert_eq!(bench.run(&[]).0, 0);
    assert!(page(&bench).contains("Seeds 3, 5 (n = 2)"));

    // Other threads are other cells, and none of either is lost.
    let (code, out, _) = bench.run(&["--threads", "2", "--only", "hebbian-snn"]);
    assert!(code == 0 && out.contains("1 of 1 to run"), "{out}");
    assert!(out.contains("3 results with 1 thread on flex stand here as well"), "{out}");
    clean(&bench);
    done(&bench, &[], "0 of 2 to run; 2 done already");
    done(&bench, &["--threads", "2"], "1 of 2 to run; 1 done already");
    assert_eq!(bench.run(&[]).0, 0);
    clean(&bench);
    done(&bench, &["--threads", "2"], "1 of 2 to run; 1 done already");
}

#[test]
fn what_no_call_has_run_is_said_and_has_no_table() {
    let bench = Bench::new(&two_papers().replace("seeds = [3]", "seeds = [3, 4]"));
    let (code, out, err) = bench.run(&["--only", "synaptic-resonance", "--seeds", "4"]);
    assert!(code == 0 && out.contains("1 of 1 to run"), "{out}{err}");
    for part in ["Not run yet: hebbian-snn, seeds 3, 4.", "Not run yet: synaptic-resonance, seed 3.", "Seed 4 (n = 1)"]
    {
        assert!(out.contains(part), "no {part} in {out}");
    }
    assert!(!page(&bench).contains("| hlop |"), "{}", page(&bench));
}

/// The cell of a seed.
fn cell(bench: &Bench, seed: u64) -> PathBuf {
    let mut below = fs::read_dir(bench.runs()).unwrap().flatten().map(|entry| entry.path());
    let begin = format!("hlop-s{seed}-");
    below.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&begin)).unwrap()
}

/// A failed seed that is not the suite's does not vanish; one that was never run to its end keeps no claim waiting.
#[test]
fn a_seed_beside_the_suites_own_is_shown_when_it_has_ended() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let mut command = bench.command(&["--seeds", "5"]);
    assert_eq!(finish(command.env("PLASTICITY_FAULT", "step:20").output().unwrap()).0, 4);
    for _ in 0..2 {
        assert_eq!(bench.run(&[]).0, 0);
        assert!(page(&bench).contains("1 of 2 runs failed; they count as failed seeds."), "{}", page(&bench));
        clean(&bench);
    }
    // As a stop leaves it.
    fs::remove_file(cell(&bench, 5).join("status.json")).unwrap();
    assert_eq!(bench.run(&[]).0, 0);
    assert!(page(&bench).contains("Seed 3 (n = 1)") && !page(&bench).contains("runs failed"), "{}", page(&bench));
    clean(&bench);
    done(&bench, &["--seeds", "5"], "1 go on from a checkpoint");
}

#[test]
fn clean_removes_what_no_call_of_the_suite_can_use() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&["--seeds", "3,4"]).0, 0);
    let file = bench.path().join("demo.toml");
    fs::write(&file, ONE_ARM.replace("train_images = 640", "train_images = 320")).unwrap();
    assert_eq!(bench.run(&[]).0, 0);
    // Both cells of the config before, but for what another version wrote, and the checkpoints of the one that stands.
    let other = cell(&bench, 4);
    let record = fs::read_to_string(other.join("cell.json")).unwrap();
    fs::write(other.join("cell.json"), record.replace("\"format\": 1", "\"format\": 99")).unwrap();
    let out = clean(&bench);
    assert_eq!(out.matches("removed").count(), 2, "{out}");
    assert!(other.exists());
    fs::write(other.join("cell.json"), record).unwrap();
    assert_eq!(clean(&bench).matches("removed").count(), 1);
    assert!(!other.exists());
    done(&bench, &[], "0 of 1 to run; 1 done already");

    // Without its file nobody knows what a suite needs. The mend loses the runs of no other suite.
    let records = bench.records();
    let suite = fs::read_to_string(&file).unwrap();
    fs::write(&file, suite.replace("schema = 1", "schema = 1 1")).unwrap();
    let out = clean(&bench);
    assert!(out.contains("is left as it is: ") && out.contains(": mend it") && !out.contains("--all"), "{out}");
    fs::remove_file(&file).unwrap();
    let out = clean(&bench);
    let mend = format!("is gone; `cargo xtask clean --all --out {}` removes its runs", text(&bench.runs()));
    assert!(out.contains("is left as it is: its suite file") && out.contains(&mend), "{out}");
    assert!(records == bench.records());
    assert_eq!(xtask(&["clean", "--all", "--out", text(&bench.runs())]).0, 0);
    assert!(bench.cell().is_none());
}

/// The process of a cell may outlive its runner for some seconds, and would write the directory once more.
#[test]
fn clean_waits_for_whoever_works_on_a_cell() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let cell = bench.cell().unwrap();
    // With `--all` a cell is what has such a record, whatever is in it.
    fs::write(cell.join("cell.json"), "{").unwrap();
    let lock = Lock::take(&cell, Duration::ZERO).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["clean", "--all", "--out", text(&bench.path().join("out"))]).env_remove("CARGO_MANIFEST_DIR");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none() && cell.join("result.json").exists());
    drop(lock);
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    assert!(code == 0 && out.contains("removed") && !cell.exists(), "{out}{err}");
}

#[test]
fn clean_enters_no_folder_that_is_not_a_suites_and_a_look_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("of-another-program");
    fs::create_dir_all(folder.join(".removed-by-it")).unwrap();
    fs::write(folder.join("plan.json"), "{}").unwrap();
    for flags in [&["--dry-run"][..], &[], &["--all"]] {
        let (code, out, err) = xtask(&[&["clean", "--out", text(dir.path())], flags].concat());
        assert!(code == 0 && out.starts_with("0 B"), "{out}{err}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    fs::remove_file(bench.runs().join("LOCK")).unwrap();
    let (code, out, err) = xtask(&["clean", "--dry-run", "--out", text(&bench.path().join("out"))]);
    assert!(code == 0 && out.contains("would remove"), "{out}{err}");
    assert!(!bench.runs().join("LOCK").exists());
}

#[test]
fn clean_goes_on_past_a_suite_that_it_cannot_judge() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let out = bench.path().join("out");
    let bad = out.join("a-bad-one");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("plan.json"), "{").unwrap();
    fs::write(bad.join("LOCK"), "").unwrap();
    let locked = out.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::write(locked.join("plan.json"), "{}").unwrap();
    let lock = Lock::take(&locked, Duration::ZERO).unwrap();
    let (code, said, err) = xtask(&["clean", "--out", text(&out)]);
    assert_eq!(code, 6, "{said}{err}");
    assert!(err.contains("a-bad-one is left as it is") && err.contains("locked by another process"), "{err}");
    assert!(said.contains("checkpoints") && !said.contains("0 B freed"), "{said}");
    drop(lock);
}
