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

/// What somebody who depends on a crate gets is Burn with the features that the crate asks for.
#[test]
fn a_user_of_a_library_gets_nothing_that_serves_this_workspace_alone() {
    for package in papers().iter().map(String::as_str).chain(["plasticity-core"]) {
        for features in ["", "flex", "experiment"] {
            let features =
                if package == "plasticity-core" { features.replace("experiment", "run") } else { features.into() };
            let output = Command::new(env!("CARGO"))
                .args(["tree", "--locked", "--prefix", "none", "-f", "{p}", "-p", package])
                .args(["--no-default-features", "--features", &features, "-e", "normal,build"])
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("burn v0.22."), "{package}: {text}");
            for name in ["plasticity-unify", "criterion", "proptest", "mimalloc"] {
                let found = text.lines().any(|line| line.split(' ').next() == Some(name));
                assert!(!found, "{package} with `{features}` brings {name} into a user's project");
            }
        }
    }
}

/// The `Cargo.toml` of the guide, in a project outside this workspace.
#[test]
fn the_manifest_of_the_guide_gets_one_burn() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let page = std::fs::read_to_string(format!("{root}/docs/guide/use-a-mechanism.md")).unwrap();
    let manifest = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(manifest.starts_with("[package]") && manifest.matches("../plasticity/").count() == 5, "{manifest}");
    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir(project.path().join("src")).unwrap();
    std::fs::write(project.path().join("src/main.rs"), "fn main() {}").unwrap();
    std::fs::write(project.path().join("Cargo.toml"), manifest.replace("../plasticity", root)).unwrap();
    // The versions that this workspace has, so that nothing is asked of a registry.
    std::fs::copy(format!("{root}/Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "-f", "{p} {f}", "-e", "normal", "--manifest-path"])
        .arg(project.path().join("Cargo.toml"))
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let burns: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("burn v")).collect();
    let burns: BTreeSet<&str> = burns.iter().map(|line| line.trim_end_matches(" (*)")).collect();
    let one = burns.first().unwrap();
    assert!(burns.len() == 1 && one.starts_with("burn v0.22.1 "), "{burns:?}");
    for feature in ["autodiff", "flex", "optim", "std"] {
        assert!(one.split([' ', ',']).any(|on| on == feature), "{feature}: {one}");
    }
    assert!(!text.contains("plasticity-unify") && !text.contains("burn-ndarray") && !text.contains("ureq"), "{text}");
}

/// The tests with the second CPU backend are one build as well, and it is in no other.
#[test]
fn the_second_backend_is_in_the_build_that_asks_for_it() {
    let all = tree(&["--workspace", "--features", "ndarray"]);
    let program = tree(&["-p", "xtask", "--features", "ndarray", "-e", "no-dev"]);
    let offenders: Vec<_> = program.difference(&all).collect();
    assert!(offenders.is_empty(), "Burn with ndarray is compiled twice: {offenders:#?}");
    let has = |tree: &BTreeSet<String>| tree.iter().any(|line| line.starts_with("burn-ndarray v"));
    assert!(has(&all) && has(&program) && !has(&tree(&["--workspace"])));
}

#[test]
fn one_build_of_burn() {
    let all = tree(&["--workspace"]);
    let papers = papers();
    // The program; and the tests, examples and benches of each crate alone, with their development dependencies.
    let jobs = papers.iter().map(String::as_str).chain(["plasticity-core"]).map(|package| vec!["-p", package]);
    for job in jobs.chain([vec!["-p", "xtask", "-e", "no-dev"], vec!["-p", "xtask"]]) {
        let (one, package) = (tree(&job), job.join(" "));
        assert!(one.iter().any(|line| line.starts_with("burn-flex v0.22.")), "{package}");
        let offenders: Vec<_> = one.difference(&all).collect();
        assert!(
            offenders.is_empty(),
            "`{package}` alone has other features than the workspace, so Burn is compiled twice; name the \
             workspace's in crates/unify/Cargo.toml: {offenders:#?}"
        );
    }
}
