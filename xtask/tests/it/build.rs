//! The main job, the tests and the benchmarks must compile Burn once.

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

#[test]
fn one_build_of_burn() {
    let all = tree(&["--workspace"]);
    let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates")).unwrap().flatten();
    let names = crates.map(|entry| entry.file_name().into_string().unwrap());
    // Without Burn, or under another name than its folder's.
    let papers: Vec<String> = names.filter(|name| name != "unify" && name != "core").collect();
    assert!(papers.len() >= 4, "{papers:?}");
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
