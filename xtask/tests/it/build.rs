//! The main job, the tests and the benchmarks must compile Burn once; a mechanism alone brings no runner.

use std::collections::BTreeSet;
use std::process::Command;

/// Packages with their features, as Cargo resolves them for these arguments.
fn tree(args: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "-f", "{p} {f}"])
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| line.trim_end_matches(" (*)").trim())
        // Members carry their path, and differ by their own features only.
        .filter(|line| !line.is_empty() && !line.contains(" (/"))
        .map(str::to_owned)
        .collect()
}

/// The papers' crates: all folders but the two that are none.
fn papers() -> Vec<String> {
    let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates")).unwrap().flatten();
    let names = crates.map(|entry| entry.file_name().into_string().unwrap());
    let papers: Vec<String> = names.filter(|name| name != "unify" && name != "core").collect();
    assert!(papers.len() >= 4, "{papers:?}");
    papers
}

#[test]
fn a_mechanism_alone_brings_no_http_client_no_command_line_and_no_other_paper() {
    let papers = papers();
    for package in &papers {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "-p", package, "--no-default-features", "-e", "normal"])
            .args(["--prefix", "depth", "-f", " {p}"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let names = || text.lines().filter_map(|line| line.split_whitespace().nth(1));
        assert!(names().any(|name| name == "burn"), "{text}");
        let unwanted = ["ureq", "reqwest", "hyper", "curl", "rustls", "clap"];
        let others = papers.iter().map(String::as_str).filter(|other| other != package);
        for name in unwanted.into_iter().chain(others).chain(["xtask"]) {
            assert!(!names().any(|found| found == name), "{package} alone depends on {name}");
        }
        // Burn itself reads a TOML file; neither the crate nor core does.
        let ours = text.lines().filter(|line| line.starts_with(['1', '2']) && line.contains(" toml "));
        let of_core: Vec<_> = ours.collect();
        assert!(of_core.is_empty(), "{package}: {of_core:?}");
    }
}

#[test]
fn one_build_of_burn() {
    let all = tree(&["--workspace"]);
    let papers = papers();
    for package in papers.iter().map(String::as_str).chain(["xtask", "plasticity-core"]) {
        let one = tree(&["-p", package, "-e", "no-dev"]);
        assert!(one.iter().any(|line| line.starts_with("burn-flex v0.22.")), "{package}");
        let offenders: Vec<_> = one.difference(&all).collect();
        assert!(
            offenders.is_empty(),
            "`-p {package}` alone has other features than the workspace, so Burn is compiled twice; name the \
             workspace's in crates/unify/Cargo.toml: {offenders:#?}"
        );
    }
}
