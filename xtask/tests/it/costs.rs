//! What the pages say that a suite costs, against what the program says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, finish};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What `cargo xtask` prints, which must end well.
fn said(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap();
    let (code, out, err) = finish(output);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

/// The line of a plan that says what its runs cost.
fn cost(plan: &str) -> &str {
    plan.lines().find(|line| line.starts_with("  cost    about ")).unwrap_or_else(|| panic!("no cost in:\n{plan}"))
}

/// `6 min` and the megabytes of such a line, as the pages say them too: `about 6 min ... up to 310 MB`.
fn parts(line: &str) -> (&str, f64) {
    let time = line.split("about ").nth(1).and_then(|rest| rest.split(" on ").next()).unwrap_or_default();
    let space = line.split("up to ").nth(1).and_then(|rest| rest.split(" MB").next()).unwrap_or_default();
    (time, space.parse().unwrap_or_else(|_| panic!("no megabytes in `{line}`")))
}

/// The size of the program, which is most of what a small suite needs, differs from build to build.
fn near(a: f64, b: f64) -> bool {
    a <= 2.0 * b && b <= 2.0 * a
}

#[test]
fn the_list_of_suites_in_the_guide_is_what_the_program_prints_on_two_cores() {
    let page = page("docs/guide/reproduce.md");
    let list = said(&["list", "--jobs", "2"]);
    let (mut seen, flat) = (0, list.split_whitespace().collect::<Vec<_>>().join(" "));
    let block = page.split("```text\nPapers:").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // A line that is cut is held up to there.
    for line in block.lines().map(|line| line.trim().trim_end_matches("...").trim_end()) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&line), "the guide prints\n  {line}\nand the program\n{list}");
        seen += usize::from(line.contains(" about "));
    }
    assert!(seen >= 4, "only {seen} suites with what they cost");
}

#[test]
fn plans_in_the_guide_cost_what_the_program_says() {
    let demo = page("docs/guide/write-a-suite.md");
    let demo =
        demo.split("```toml\n").find(|text| text.starts_with("schema = 1")).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let plan = |suite: &str| said(&["reproduce", suite, "--dry-run", "--jobs", "2", "--offline", "--out", out]);
    let (code, of_demo, err) = Bench::new(demo).run(&["--dry-run", "--jobs", "2", "--offline"]);
    assert_eq!(code, 0, "{of_demo}{err}");
    for (name, plan) in [
        ("docs/guide/install.md", plan("smoke")),
        ("docs/guide/reproduce.md", plan("rotated")),
        ("docs/guide/write-a-suite.md", of_demo),
    ] {
        let page = page(name);
        let (ours, theirs) = (cost(&plan), cost(&page));
        let ((time, space), (said, room)) = (parts(ours), parts(theirs));
        assert!(time == said && near(space, room), "{name} prints\n{theirs}\nand the program\n{ours}");
        let each: Vec<&str> = page.lines().filter_map(|line| line.split("run, about ").nth(1)).collect();
        for cell in each {
            assert!(plan.contains(&format!("run, about {cell}\n")), "{name}: no run takes about {cell}:\n{plan}");
        }
    }
}

#[test]
fn the_first_page_says_what_the_quick_suite_costs() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["reproduce", "quick", "--dry-run", "--jobs", "2", "--offline", "--out", dir.path().to_str().unwrap()];
    let plan = said(&args);
    let (time, space) = parts(cost(&plan));
    for name in ["README.md", "docs/guide/reproduce.md"] {
        // Newlines stand where a line was full.
        let text = page(name).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("about {time} on two cores")), "{name} must say `about {time} on two cores`");
        let room = text.split("about ").find_map(|rest| rest.strip_prefix(&format!("{time} on two cores and up to ")));
        let room: Option<f64> = room.and_then(|rest| rest.split(" MB").next()).and_then(|n| n.parse().ok());
        let room =
            room.unwrap_or_else(|| panic!("{name} must say `about {time} on two cores and up to {space} MB of disk`"));
        assert!(near(space, room), "{name} says {room} MB, the program {space} MB");
    }
    // One source: the list says the same.
    let list = said(&["list", "--jobs", "2"]);
    let quick = list.lines().find(|line| line.trim_start().starts_with("quick ")).unwrap();
    assert!(quick.contains(&format!(" about {time} ")), "{quick}\n{plan}");
}

/// What is estimated is no part of what a run is known by.
#[test]
fn a_plan_names_its_runs_alike_however_many_go_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let keys = |jobs: &str| {
        let args =
            ["reproduce", "smoke", "--dry-run", "--jobs", jobs, "--offline", "--out", dir.path().to_str().unwrap()];
        let plan = said(&args);
        plan.lines().filter(|line| line.contains("-s0 ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let one = keys("1");
    assert!(one.len() == 5 && one == keys("3"), "{one:?}");
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { size(&path) } else { fs::metadata(&path).unwrap().len() }).sum()
}

/// The runs, the report and the copy of the program, which is there while runs last, are within what the plan says.
#[test]
fn a_suite_leaves_no_more_on_the_disk_than_its_plan_says() {
    let bench = Bench::smoke();
    let (code, plan, err) = bench.run(&["--dry-run", "--offline"]);
    assert_eq!(code, 0, "{plan}{err}");
    let (_, megabytes) = parts(cost(&plan));
    let (code, out, err) = bench.run(&["--offline"]);
    assert_eq!(code, 0, "{out}{err}");
    let program = fs::metadata(env!("CARGO_BIN_EXE_xtask")).unwrap().len();
    let (left, said) = (size(&bench.runs()), megabytes * 1e6);
    assert!((left + program) as f64 <= said, "{left} bytes and a program of {program}, of {said}");
    assert!(
        said <= 1.1 * (program as f64 + 10.0 * left as f64),
        "{said} is said for {left} and a program of {program}"
    );
}
