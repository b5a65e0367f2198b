//! What a report says of the whole suite, and what may be published of it.

use anyhow::Result;

use super::*;

/// A change of the made-up suite's plan.
fn planned(fake: &Fake, change: impl Fn(&mut serde_json::Value)) -> Result<(tempfile::TempDir, Report)> {
    let runs = tempfile::tempdir()?;
    let dir = fake.write(runs.path())?;
    let mut plan: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("plan.json"))?)?;
    change(&mut plan);
    fs::write(dir.join("plan.json"), plan.to_string())?;
    let report = build(&dir)?;
    write(&report)?;
    Ok((runs, report))
}

/// Why a report is not published; nothing is written.
fn refusal(report: &Report) -> Result<String> {
    let root = tempfile::tempdir()?;
    let readme = "<!-- results:begin -->\n<!-- results:end -->\n";
    fs::write(root.path().join("README.md"), readme)?;
    let error = published(report, root.path()).unwrap_err();
    assert_eq!(error.downcast_ref::<RunError>().map(RunError::exit_code), Some(exit::USAGE), "{error}");
    assert_eq!(fs::read_to_string(root.path().join("README.md"))?, readme);
    assert!(!root.path().join("experiments/results").exists());
    Ok(error.to_string())
}

#[test]
fn only_the_projects_own_suites_are_published() -> Result<()> {
    let (_runs, other) = written(&Fake { built_in: false, ..Fake::default() })?;
    assert!(refusal(&other)?.contains("`quick` cannot be published: it is not the run of a suite below experiments/"));
    let (_runs, unsigned) = written(&Fake::default())?;
    fs::remove_file(unsigned.place.join("suite.json"))?;
    assert!(refusal(&unsigned)?.contains("below experiments/"));
    // The plan of one suite in the directory of another.
    let (_runs, renamed) = planned(&Fake::default(), |plan| plan["name"] = "smoke".into())?;
    assert!(refusal(&renamed)?.contains("`smoke` cannot be published"));

    let (_runs, one) = written(&Fake { seeds: vec![4], ..Fake::default() })?;
    assert!(refusal(&one)?.contains("hebbian-snn ran with seed 4 alone"));
    let mut made_up = Fake::default();
    made_up.data.place = plasticity_core::data::Place::BuiltIn;
    made_up.data.name = "glyphs".into();
    let (_runs, made_up) = written(&made_up)?;
    assert!(refusal(&made_up)?.contains("ran on `glyphs`, which this program generates"));
    Ok(())
}

#[test]
fn a_suite_is_published_as_it_is_written() -> Result<()> {
    let lacks = |plan: &mut serde_json::Value| plan["experiments"][0]["seeds"] = serde_json::json!([0, 1, 2, 3, 4, 5]);
    let (_runs, less) = planned(&Fake::default(), lacks)?;
    assert!(less.warnings.contains(&"Not run yet: hebbian-snn, seed 5.".to_owned()), "{:?}", less.warnings);
    assert!(
        refusal(&less)?.contains("hebbian-snn, seed 5, has not run: `cargo xtask reproduce quick` goes on with it")
    );
    // Seeds that are not the suite's stay out of it.
    let beside = |plan: &mut serde_json::Value| plan["experiments"][0]["seeds"] = serde_json::json!([0, 1, 2]);
    let (_runs, more) = planned(&Fake::default(), beside)?;
    assert!(more.warnings.contains(&"Beside the suite's own: hebbian-snn, seeds 3, 4.".to_owned()));
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("README.md"), "<!-- results:begin -->\n<!-- results:end -->\n")?;
    let said = fs::read_to_string(published(&more, root.path())?.join("report.md"))?;
    assert!(said.contains("Seeds 0 to 2 (n = 3)") && !said.contains("Beside"), "{said}");

    let (_runs, kept) = written(&Fake { kept: vec![("hlop", 1)], ..Fake::default() })?;
    assert!(refusal(&kept)?.contains("1 result of other sources stand in it"));
    let (_runs, threads) = planned(&Fake::default(), |plan| plan["threads"] = 4.into())?;
    assert!(refusal(&threads)?.contains("the config or the settings of naive-s0-"));
    Ok(())
}

/// What was asked of the runs is what the suite file says when they are published, not what it said once.
#[test]
fn a_suite_file_that_has_changed_since_is_not_published() -> Result<()> {
    let (_runs, report) = written(&Fake::default())?;
    let root = tempfile::tempdir()?;
    let readme = "<!-- results:begin -->\n<!-- results:end -->\n";
    fs::write(root.path().join("README.md"), readme)?;
    let file = sign(&report.place, root.path())?;
    let text = fs::read_to_string(&file)?;
    for (from, to, what) in [
        ("margin = 0.02", "margin = 0.01", "the claims or the printed values"),
        ("tolerance = 0.005", "tolerance = 0.05", "the claims or the printed values"),
        ("threads = 1", "threads = 4", "it ran with 1 thread"),
        ("seeds = [0, 1, 2, 3, 4]\ndata", "seeds = [0, 1, 2, 3]\ndata", "the experiments, their arms, seeds or data"),
        ("id = \"hlop-qr\"\n", "id = \"hlop-qr\"\nlearning_rate = 0.3\n", "the settings of hlop-qr-s0-"),
        ("\"mnist\"", "\"cifar10\"", "the claims or the printed values"),
    ] {
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(&file, text.replace(from, to))?;
        let error = publish::publish(&report.place, root.path()).unwrap_err();
        assert_eq!(error.downcast_ref::<RunError>().map(RunError::exit_code), Some(exit::USAGE), "{error}");
        let said = error.to_string();
        assert!(said.contains(what) && said.contains("says now: `cargo xtask reproduce quick`"), "{said}");
    }
    assert_eq!(fs::read_to_string(root.path().join("README.md"))?, readme);
    // A comment says nothing to the runner.
    fs::write(&file, format!("# Once more.\n{text}"))?;
    publish::publish(&report.place, root.path())?;
    Ok(())
}

/// `a/b` and `a-b` would be one directory.
#[test]
fn two_suites_are_not_published_into_one_directory() -> Result<()> {
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("README.md"), "<!-- results:begin -->\n<!-- results:end -->\n")?;
    let named = |name: &str| -> Result<(tempfile::TempDir, Report)> {
        let (runs, report) = planned(&Fake::default(), |plan| plan["name"] = name.into())?;
        let owner = serde_json::json!({"format": 1, "built_in": true, "file": format!("experiments/{name}.toml")});
        fs::write(report.place.join("suite.json"), owner.to_string())?;
        Ok((runs, report))
    };
    let ((_a, slash), (_b, hyphen)) = (named("a/b")?, named("a-b")?);
    published(&slash, root.path())?;
    let before = fs::read(root.path().join("README.md"))?;
    let error = published(&hyphen, root.path()).unwrap_err().to_string();
    assert!(error.contains("experiments/results/a-b is that of `a/b`"), "{error}");
    assert_eq!(fs::read(root.path().join("README.md"))?, before);
    published(&slash, root.path())?;
    Ok(())
}

#[test]
fn an_experiment_that_no_call_has_run_is_named_and_not_drawn() -> Result<()> {
    let mut fake = Fake { second: vec![0, 1, 2], ..Fake::default() };
    fake.claims.push(claim("of both", "other", "acc", ">", "hlop", 0.0));
    let (_runs, report) = planned(&fake, |plan| {
        plan["experiments"][1]["arms"][0]["cells"] = serde_json::json!([]);
        plan["experiments"][1]["title"] = "The other".into();
    })?;
    assert_eq!((report.experiments.len(), report.claims.len(), report.unfinished()), (1, 3, 0));
    let line = "Not run yet: The other, seeds 0, 1, 2.";
    for text in [file(&report, "report.md")?, file(&report, "index.html")?, terminal_table(&report)] {
        assert!(text.contains(line) && !text.contains("of both"), "{text}");
    }
    Ok(())
}

/// n is how many seeds have a result, not how many were asked for.
#[test]
fn n_is_the_number_that_was_used() -> Result<()> {
    let (_runs, report) = written(&Fake { failed: vec![("naive", 2), ("naive", 3)], ..Fake::default() })?;
    for text in [file(&report, "report.md")?, file(&report, "index.html")?, terminal_table(&report)] {
        assert!(text.contains("Seeds 0 to 4 (n = 3 to 5)") && !text.contains("(n = 5)"), "{text}");
    }
    let (_runs, report) = written(&Fake { missing: vec![("hlop", 4)], seeds: vec![4], ..Fake::default() })?;
    assert!(terminal_table(&report).contains("Seed 4 (n = 0 to 1)"), "{}", terminal_table(&report));
    Ok(())
}

/// A result from before a metric was reported lacks it.
#[test]
fn a_value_of_fewer_seeds_than_its_row_says_so() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let dir = Fake::default().write(runs.path())?;
    let path = dir.join("hlop-s3-00000043/result.json");
    let mut result: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    result["outcome"]["metrics"].as_object_mut().unwrap().remove("acc");
    fs::write(&path, result.to_string())?;
    let report = build(&dir)?;
    let row = &table::results(&report, &report.experiments[0], Some(&["acc".to_owned()])).rows[1];
    assert!(row[1].text.ends_with("] (n = 4)") && row[2].text == "5", "{row:?}");
    Ok(())
}

/// The device of the results, which `--device` of a later call does not change.
#[test]
fn the_device_is_that_of_the_results() -> Result<()> {
    let (_runs, report) = planned(&Fake::default(), |plan| plan["device"] = "cuda:7".into())?;
    assert_eq!(report.device, "flex");
    Ok(())
}

#[test]
fn warnings_of_titles_that_begin_alike_stay_with_their_own() -> Result<()> {
    let mut fake = Fake { second: vec![0, 1, 2], ..Fake::default() };
    fake.passed_over = vec![("cifar10".into(), "no such file".into())];
    let (_runs, report) = planned(&fake, |plan| {
        plan["experiments"][0]["title"] = "A".into();
        plan["experiments"][1]["title"] = "A: more".into();
    })?;
    assert_eq!(report.warnings_of(Some(1)), ["A: more: mnist in place of cifar10 (no such file)."]);
    assert!(report.warnings_of(Some(0)).contains(&"A: mnist in place of cifar10 (no such file)."));
    Ok(())
}

/// Publishing holds the config that a run has left against its suite file: every arm's survives its file.
#[test]
fn the_config_of_every_arm_is_read_as_it_was_written() -> Result<()> {
    let root = root::workspace();
    let mut seen = 0;
    for name in suite::all(&root) {
        let suite = suite::read(&root.join(format!("experiments/{name}.toml")), name, &crate::registry::entries())?;
        for experiment in &suite.experiments {
            for arm in &experiment.arms {
                let file = std::path::PathBuf::from("config.toml");
                let source = plasticity_core::config::Source { file, text: arm.prepared.toml.clone() };
                let again = experiment.entry.prepare(&source, source.table()?)?;
                assert_eq!(again.canonical, arm.prepared.canonical, "{}: {}", suite.name, arm.id);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} arms");
    Ok(())
}
