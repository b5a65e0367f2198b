//! What `--keep` has taken from other sources, and what smaller calls make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, ONE_ARM, RECALL, finish};

/// Two papers that have run, the first by other sources: what one call of `--keep` shows.
fn half_kept() -> (Bench, PathBuf) {
    let second = RECALL.split_once("[[experiment]]").unwrap().1;
    let bench = Bench::new(&format!("{ONE_ARM}\n[[experiment]]{second}"));
    assert_eq!(bench.run(&[]).0, 0);
    let cells = fs::read_dir(bench.runs()).unwrap().flatten().map(|entry| entry.path());
    let own = cells.into_iter().find(|path| path.to_string_lossy().contains("hlop-s3-")).unwrap();
    let other = own.with_file_name("hlop-s3-00000000");
    fs::rename(own, &other).unwrap();
    (bench, other)
}

fn page(bench: &Bench) -> String {
    fs::read_to_string(bench.runs().join("report/report.md")).unwrap()
}

fn clean(bench: &Bench) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let out = bench.path().join("out");
    let (code, out, err) = finish(command.arg("clean").arg("--out").arg(out).output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn what_was_kept_stays_through_a_smaller_call() {
    let (bench, other) = half_kept();
    assert_eq!(bench.run(&["--keep"]).0, 0);
    let whole = page(&bench);
    assert!(whole.contains("| hlop\u{a0}\\* |") && whole.contains("| memory |"), "{whole}");
    for _ in 0..2 {
        let (code, out, err) = bench.run(&["--only", "synaptic-resonance"]);
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(page(&bench), whole);
        clean(&bench);
        assert!(other.join("result.json").exists());
    }
    // Who asks for it without the flag gets one of these sources.
    let (code, out, _) = bench.run(&["--dry-run"]);
    assert!(code == 0 && out.contains("1 of 2 to run"), "{out}");
}

/// Whether the result of other sources may be shown is asked of the cell as it stands.
#[test]
fn a_kept_result_of_another_protocol_or_a_torn_one_is_not_shown_again() {
    for (file, from, to) in [("cell.json", "\"protocol\": \"", "\"protocol\": \"0"), ("result.json", "{", "")] {
        let (bench, other) = half_kept();
        assert_eq!(bench.run(&["--keep"]).0, 0);
        let path = other.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert_eq!(bench.run(&["--only", "synaptic-resonance"]).0, 0);
        assert!(!page(&bench).contains("| hlop"), "{file}: {}", page(&bench));
    }
}

fn copy(from: &Path, to: &Path, key: &str) {
    assert!(Command::new("cp").arg("-r").arg("-p").args([from, to]).status().unwrap().success());
    let path = to.join("result.json");
    let time = path.metadata().unwrap().modified().unwrap();
    let result = fs::read_to_string(&path).unwrap();
    let own = result.split("\"key\": \"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(&path, result.replace(own, &key.repeat(8))).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
}

/// Two that ended at the same time stop the call that asks for one of them, and no other.
#[test]
fn a_tie_among_cells_that_nobody_asks_for_stops_nothing() {
    let (bench, other) = half_kept();
    copy(&other, &other.with_file_name("hlop-s3-11111111"), "11111111");
    let (code, _, err) = bench.run(&["--keep", "--dry-run"]);
    assert!(code == 2 && err.contains("ended at the same time"), "{err}");
    let (code, out, err) = bench.run(&["--keep", "--only", "synaptic-resonance"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// A seed that one side of a claim alone has run with takes no verdict from it.
#[test]
fn a_claim_across_experiments_is_judged_over_the_seeds_of_both() {
    let second = ONE_ARM.split_once("[[experiment]]").unwrap().1.replace("\"hlop\"\nstrategy", "\"other\"\nstrategy");
    let claim = "\n[[claim]]\ntext = \"c\"\nleft = { arm = \"hlop\", metric = \"acc\" }\nrelation = \">\"\nright = { arm = \"other\", metric = \"acc\" }\n";
    let suite = format!("{ONE_ARM}\n[[experiment]]{second}{claim}");
    let bench = Bench::new(&suite.replace("seeds = [3]", "seeds = [0, 1, 2]"));
    assert_eq!(bench.run(&[]).0, 0);
    let judged = page(&bench);
    assert!(judged.contains("of 3 |"), "{judged}");
    // What a call with another seed would leave of one experiment alone.
    let plan = bench.runs().join("plan.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    let cells = value["experiments"][0]["arms"][0]["cells"].as_array_mut().unwrap();
    let mut more = cells[0].clone();
    more["seed"] = 9.into();
    cells.push(more);
    fs::write(&plan, value.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let (code, out, err) = finish(command.arg("report").arg(bench.runs()).output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
    let line = |page: &str| page.lines().find(|line| line.contains("| c |")).unwrap().to_owned();
    assert_eq!(line(&page(&bench)), line(&judged));
}

/// A result on other data stands beside the report and is named.
#[test]
fn a_result_on_other_data_is_named() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let plan = bench.runs().join("plan.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    value["experiments"][0]["data"]["name"] = "mnist".into();
    value["experiments"][0]["arms"][0]["cells"] = serde_json::json!([]);
    fs::write(&plan, value.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let (code, out, err) = finish(command.arg("report").arg(bench.runs()).output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("1 result on glyphs (variant ") && out.contains("stands here as well"), "{out}");
}
