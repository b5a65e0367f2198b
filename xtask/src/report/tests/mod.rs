//! Tests of the whole report on made-up suites.

mod judged;
mod looks;
mod told;
mod whole;

use std::fs;
use std::path::Path;

use anyhow::Result;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Side, Speaks};
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::measured::model::{ClaimLine, Experiment, PictureLine};
use super::measured::{format, glance, judge, papers};
use super::testing::{Fake, claim, sign, target};
use super::written::table;
use super::*;

/// A made-up suite, its report built and written.
fn written(fake: &Fake) -> Result<(tempfile::TempDir, Report)> {
    let runs = tempfile::tempdir()?;
    let report = build(&fake.write(runs.path())?)?;
    write(&report)?;
    Ok((runs, report))
}

/// Publishes a report of the suite file that it was planned from.
fn published(report: &Report, root: &Path) -> Result<std::path::PathBuf> {
    sign(&report.place, root)?;
    publish::publish(&report.place, root)
}

fn file(report: &Report, name: &str) -> Result<String> {
    Ok(fs::read_to_string(report.place.join("report").join(name))?)
}

fn verdicts(report: &Report) -> Vec<&TargetVerdict> {
    report.targets.iter().map(|t| &t.verdict).collect()
}

#[test]
fn full_suite_is_judged_and_written() -> Result<()> {
    let (_runs, report) = written(&Fake::default())?;
    assert_eq!(report.claims[0].verdict, ClaimVerdict::Holds);
    assert_eq!(report.claims[0].agree, 5);
    assert_eq!(verdicts(&report), [&TargetVerdict::Reproduced, &TargetVerdict::Reproduced]);
    assert!(!outside_tolerance(&report));

    let acc = report.experiments[0].arms[1].summary("acc").unwrap();
    let shown = format::interval(&acc.interval.unwrap(), "fraction");
    for text in [file(&report, "report.md")?, file(&report, "index.html")?, terminal_table(&report)] {
        assert!(text.contains(&shown), "no {shown} in:\n{text}");
        assert!(text.contains("Profile: full. Seeds 0 to 4 (n = 5). 1 thread, device flex."));
        assert!(text.contains("reproduced") && text.contains("holds"));
    }
    assert!(file(&report, "report.md")?.contains("3 of 3 claims judged; not adjusted for multiple comparison."));
    for picture in ["accuracy-matrix.svg", "loss-train.svg", "accuracy-test.svg"] {
        assert!(file(&report, picture)?.starts_with("<svg"));
    }
    Ok(())
}

#[test]
fn html_loads_nothing_and_names_no_place() -> Result<()> {
    let fake = Fake {
        failed: vec![("naive", 2)],
        passed_over: vec![("cifar10".into(), "/some/where/cifar10: no such file".into())],
        pictures: true,
        timed: true,
        ..Fake::default()
    };
    let (runs, report) = written(&fake)?;
    let html = file(&report, "index.html")?;
    // A picture is inside the page; a link loads nothing until somebody follows it.
    let html = html.replace("src=\"data:image/", "");
    let html = html.replace("<a href=\"https://arxiv.org/abs/", "").replace("<a href=\"#hebbian-snn\"", "");
    for load in ["src=", "href=", "url(", "@import", "<link", "<script", "http://", "https://"] {
        assert!(!html.contains(load), "the page holds {load}");
    }
    let here = runs.path().to_string_lossy().into_owned();
    for entry in fs::read_dir(report.place.join("report"))? {
        let path = entry?.path();
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        assert!(!text.contains(&here) && !text.contains("/some/where"), "{} names a path", path.display());
    }
    Ok(())
}

#[test]
fn pictures_are_shown_per_arm_and_the_first_seed_openly() -> Result<()> {
    let (_runs, report) = written(&Fake { pictures: true, failed: vec![("naive", 0)], ..Fake::default() })?;
    let html = file(&report, "index.html")?;
    let (_, album) = html.split_once("<h4>Samples</h4>").unwrap();
    let (open, folded) = album.split_once("<details class=\"more\">").unwrap();
    let shown = |part: &str, arm: &str, seed: u64| part.contains(&format!("alt=\"Samples: {arm}, seed {seed}\""));
    // Seed 0 of naive failed, so seed 1 is its first.
    for (arm, first) in [("naive", 1), ("hlop", 0), ("hlop-qr", 0)] {
        for seed in 0..5 {
            let there = seed >= first;
            assert_eq!((shown(open, arm, seed), shown(folded, arm, seed)), (seed == first, there && seed != first));
        }
    }
    // The very bytes of the file, and its caption.
    assert!(open.contains("src=\"data:image/png;base64,iVBORw0KGgo") && open.contains("what hlop makes of it"));
    Ok(())
}

#[test]
fn missing_picture_is_a_warning() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let dir = Fake { pictures: true, ..Fake::default() }.write(runs.path())?;
    fs::remove_file(dir.join("hlop-s3-00000043/artifacts/samples.png"))?;
    let report = build(&dir)?;
    assert!(report.warnings.iter().any(|w| w == "hlop, seed 3: the picture `samples.png` is missing"));
    assert_eq!(report.albums[0].shots.len(), 14);
    Ok(())
}

#[test]
fn charts_of_the_runs_are_drawn_over_their_own_x() -> Result<()> {
    let (_runs, report) = written(&Fake { pictures: true, ..Fake::default() })?;
    let svg = file(&report, "denoising-loss-against-noise-level.svg")?;
    for text in ["noise sd", "loss, summed over pixels", "naive, Wiener", "hlop-qr, network", "0.01"] {
        assert!(svg.contains(text), "no {text} in the chart");
    }
    assert_eq!(svg.matches("<polygon").count(), 4, "a band per curve");
    let html = file(&report, "index.html")?;
    assert!(
        html.contains("Band: 95% t interval of the mean, as in the tables.")
            && html.contains("border-top-style:dashed")
    );
    assert!(file(&report, "report.md")?.contains("(denoising-loss-against-noise-level.svg)"));
    Ok(())
}

#[test]
fn time_of_a_run_is_shown_and_not_published() -> Result<()> {
    let (_runs, report) = written(&Fake { timed: true, ..Fake::default() })?;
    assert_eq!(report.experiments[0].arms[1].seconds(), Some(12.0));
    let results = table::results(&report, &report.experiments[0], None);
    assert_eq!(results.head.last().map(String::as_str), Some("time"));
    assert!(results.rows.iter().all(|row| row.last().is_some_and(|time| time.text == "12 s")));
    let html = file(&report, "index.html")?;
    assert!(html.contains("12 s") && terminal_table(&report).contains("12 s"));
    // The call of the runner, and what all its cells took.
    assert!(html.contains("24 November 2025, 15:39 UTC: 15 runs in 1 min 24 s, 2 at a time."));
    assert!(html.contains("All runs one after the other: 3 min 00 s.") && html.contains("15 runs, 3 min 00 s"));
    let published: Report = serde_json::from_slice(&serde_json::to_vec(&report)?)?;
    let place = markdown::Place { level: 3, root: Some("../"), pictures: "" };
    let page = markdown::body(&published, &[], &place);
    assert!(!page.contains("12 s") && !page.contains("UTC") && published.calls.is_empty());
    Ok(())
}

#[test]
fn experiments_of_one_name_have_their_own_seeds_and_files() -> Result<()> {
    let mut fake = Fake { second: vec![0, 1, 2], pictures: true, ..Fake::default() };
    fake.claims.push(claim("unequal", "other", "acc", ">", "hlop", 0.0));
    let mut number = claim("over three seeds", "other", "acc", ">", "hlop", 0.0);
    number.right = Side::Number(0.5);
    fake.claims.push(number);
    let (_runs, report) = written(&fake)?;
    let labels: Vec<&str> = report.experiments.iter().map(Experiment::label).collect();
    assert_eq!(labels, ["hebbian-snn", "hebbian-snn (2)"]);
    // Over the seeds that both have, as if there were no others.
    assert_eq!(table::agreement(&report, &report.claims[3]), Some("2 of 3".into()));
    let of_three = build(&Fake { seeds: vec![0, 1, 2], ..fake.clone() }.write(tempfile::tempdir()?.path())?)?;
    assert_eq!(report.claims[3], of_three.claims[3]);
    assert_eq!(table::measured(&report, &report.claims[3]), table::measured(&of_three, &of_three.claims[3]));
    let apart = build(&Fake { second: vec![7, 8, 9], ..fake }.write(tempfile::tempdir()?.path())?)?;
    let unequal = ClaimVerdict::NotJudged("`other` and `hlop` have different seeds".into());
    assert_eq!(apart.claims[3].verdict, unequal);
    assert_eq!((&report.claims[4].verdict, report.claims[4].agree), (&ClaimVerdict::Holds, 3));
    let html = file(&report, "index.html")?;
    assert!(html.contains("Seeds 0 to 4 (n = 5), seeds 0 to 2 (n = 3)") && html.contains("<h3>hebbian-snn (2)</h3>"));
    assert!(html.contains("3 of 3") && html.contains("5 of 5"));
    let files: Vec<String> = charts::pictures(&report)?.into_iter().map(|p| p.line.file).collect();
    let distinct: std::collections::BTreeSet<&String> = files.iter().collect();
    assert_eq!(distinct.len(), files.len(), "{files:?}");
    assert!(files.iter().any(|f| f == "hebbian-snn-2-loss-train.svg"), "{files:?}");
    Ok(())
}

#[test]
fn report_of_a_copied_directory_is_the_same() -> Result<()> {
    let (runs, report) = written(&Fake::default())?;
    let copy = runs.path().join("elsewhere/copy");
    copy_dir(&report.place, &copy)?;
    fs::remove_dir_all(copy.join("report"))?;
    let again = build(&copy)?;
    write(&again)?;
    for name in ["index.html", "report.md", "cells.csv", "summary.csv", "loss-train.svg"] {
        assert_eq!(file(&again, name)?, file(&report, name)?, "{name}");
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry?.file_name()));
        if path.is_dir() { copy_dir(&path, &to)? } else { fs::copy(&path, &to).map(drop)? }
    }
    Ok(())
}

#[test]
fn kept_results_are_marked() -> Result<()> {
    let (_runs, report) = written(&Fake { kept: vec![("hlop", 1)], ..Fake::default() })?;
    assert_eq!(report.experiments[0].arms[1].done(), 5);
    let md = file(&report, "report.md")?;
    assert!(md.contains("| hlop\u{a0}\\* | 1 |") && md.contains("1 result of other sources kept with --keep"));
    assert!(file(&report, "cells.csv")?.contains("hlop,1,done,yes,acc"));
    Ok(())
}

#[test]
fn warnings_that_differ_in_numbers_are_one_line() -> Result<()> {
    let (_runs, report) = written(&Fake::default())?;
    let expected = "hlop, seeds 0, 1, 2, 3, 4 (5 that differ in numbers, the last): layer 2: least eigenvalue of the projector is -0.034";
    assert_eq!(report.warnings, [expected]);
    Ok(())
}

#[test]
fn every_process_of_a_cell_is_in_the_provenance() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let dir = Fake::default().write(runs.path())?;
    let of = |cell: &str| dir.join(cell).join("provenance.json");
    // One went on on another machine; the record of another is of the form that knew only the last process.
    let path = of("naive-s0-00000050");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    let mut second = record["processes"][0].clone();
    (second["cpu"], second["first_step"]) = ("Another CPU".into(), 300.into());
    record["processes"].as_array_mut().unwrap().push(second);
    fs::write(&path, serde_json::to_vec(&record)?)?;
    fs::write(of("naive-s1-00000051"), br#"{"cpu": "An old CPU", "rustc": "rustc 1.0.0"}"#)?;
    fs::write(of("naive-s2-00000052"), br#"{"processes": "none"}"#)?;
    let report = build(&dir)?;
    assert_eq!(report.provenance["cpu"], ["A CPU of eight cores", "An old CPU", "Another CPU"]);
    assert_eq!(report.provenance["rustc"], ["rustc 1.0.0", "rustc 1.95.0"]);
    let said = |text: &str| report.warnings.iter().any(|warning| warning.contains(text));
    assert!(said(
        "naive, seed 0: was continued on another CPU, which may round differently (A CPU of eight cores, then"
    ));
    assert!(said("naive, seed 2: provenance.json is missing or malformed"), "{:?}", report.warnings);
    assert!(said("The runs come from different CPU models."));

    // What began again from the first step has nothing of the one before it.
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    record["processes"][1]["first_step"] = 0.into();
    fs::write(&path, serde_json::to_vec(&record)?)?;
    let report = build(&dir)?;
    assert!(!report.warnings.iter().any(|w| w.contains("was continued on another CPU")), "{:?}", report.warnings);
    Ok(())
}

#[test]
fn result_of_another_key_is_not_read() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let dir = Fake { kept: vec![("hlop", 1)], ..Fake::default() }.write(runs.path())?;
    let plan = fs::read_to_string(dir.join("plan.json"))?.replace("\"kept\": true", "\"kept\": false");
    fs::write(dir.join("plan.json"), plan)?;
    assert_eq!(build(&dir)?.unfinished(), 1);
    Ok(())
}

#[test]
fn missing_plan_names_the_command() {
    let error = build(Path::new("runs/nothing-here")).unwrap_err();
    assert!(error.to_string().contains("`cargo xtask reproduce nothing-here`"), "{error}");
    assert_eq!(error.downcast_ref::<RunError>().map(RunError::exit_code), Some(exit::USAGE));
}

#[test]
fn other_format_versions_are_refused() -> Result<()> {
    for name in ["plan.json", "naive-s0-00000050/result.json"] {
        let runs = tempfile::tempdir()?;
        let dir = Fake::default().write(runs.path())?;
        let path = dir.join(name);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replace("\"format\": 1", "\"format\": 7"))?;
        let error = build(&dir).unwrap_err();
        let format = error.downcast_ref::<RunError>();
        assert!(matches!(format, Some(RunError::Format { found: 7, expected: 1, .. })), "{error}");
    }
    Ok(())
}

#[test]
fn torn_records_of_a_cell_are_named_and_a_torn_plan_is_an_error() -> Result<()> {
    for (name, said) in [
        ("result.json", "naive, seed 0: result.json is damaged: the next `reproduce` runs this cell again"),
        ("events.jsonl", "naive, seed 0: no curves: line "),
    ] {
        let runs = tempfile::tempdir()?;
        let dir = Fake::default().write(runs.path())?;
        let file = dir.join("naive-s0-00000050").join(name);
        let text = fs::read(&file)?;
        fs::write(&file, &text[..text.len() - 9])?;
        let report = build(&dir)?;
        assert!(report.warnings.iter().any(|warning| warning.starts_with(said)), "{name}: {:?}", report.warnings);
        assert_eq!(report.unfinished(), usize::from(name == "result.json"));
    }
    let runs = tempfile::tempdir()?;
    let dir = Fake::default().write(runs.path())?;
    let text = fs::read(dir.join("plan.json"))?;
    fs::write(dir.join("plan.json"), &text[..text.len() - 9])?;
    assert!(build(&dir).unwrap_err().to_string().contains("plan.json: not a record"));
    Ok(())
}

#[test]
fn suites_are_found_by_name_path_and_directory() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let dir = Fake::default().write(runs.path())?;
    let root = crate::root::workspace();
    assert_eq!(locate("quick", &root, runs.path())?, dir);
    assert_eq!(locate(&dir.to_string_lossy(), &root, Path::new("nowhere"))?, dir);
    let pmnist = runs.path().join("hebbian-snn/pmnist");
    let path = root.join("experiments/hebbian-snn/pmnist.toml");
    for suite in ["pmnist", "hebbian-snn/pmnist", &path.to_string_lossy()] {
        assert_eq!(locate(suite, &root, runs.path())?, pmnist);
    }
    let error = locate("pmnits", &root, runs.path()).unwrap_err().to_string();
    assert!(error.ends_with("did you mean `pmnist`?"), "{error}");
    Ok(())
}

#[test]
fn publishing_and_checking_agree() -> Result<()> {
    let (_runs, report) = written(&Fake::default())?;
    let root = tempfile::tempdir()?;
    let readme = root.path().join("README.md");
    fs::write(&readme, "# Ours\n\n<!-- results:begin -->\n<!-- results:end -->\n\nEnd.\n")?;
    pages::check_published(root.path())?;
    published(&report, root.path())?;
    pages::check_published(root.path())?;
    let first = fs::read_to_string(&readme)?;
    assert!(first.starts_with("# Ours\n") && first.ends_with("<!-- results:end -->\n\nEnd.\n"));
    assert!(first.contains("2 reproduced") && first.contains("experiments/results/quick/accuracy-matrix.svg"));
    // Paper by paper, the verdicts first.
    assert!(first.contains("### [HLOP-SNN: Hebbian-learning-based orthogonal projection](docs/papers/hebbian-snn.md)"));
    let results = fs::read_to_string(root.path().join("docs/results.md"))?;
    assert!(results.contains("| ✓ holds | HLOP forgets less than naive training | BWT: hlop -"));
    let docs = fs::read_to_string(root.path().join("docs/reproducibility.md"))?;
    assert!(docs.contains("](../docs/papers/hebbian-snn.md) ([arXiv 2402.11984](https://arxiv.org/abs/2402.11984))"));
    assert!(docs.contains("](../experiments/results/quick/accuracy-matrix.svg)"));

    published(&report, root.path())?;
    assert_eq!(fs::read_to_string(&readme)?, first, "publishing twice changes nothing");

    let results = root.path().join("experiments/results/quick");
    for name in ["summary.json", "report.md"] {
        assert!(!fs::read_to_string(results.join(name))?.contains("/some/where"), "{name} names a path");
    }
    fs::write(&readme, first.replace("reproduced", "better"))?;
    assert!(pages::check_published(root.path()).is_err(), "an edited README is noticed");
    fs::write(&readme, &first)?;

    let summary = fs::read_to_string(results.join("summary.json"))?;
    fs::write(results.join("summary.json"), summary.replacen("\"reproduced\"", "\"better\"", 1))?;
    let error = pages::check_published(root.path()).unwrap_err();
    assert!(error.to_string().contains("does not follow"), "{error}");
    Ok(())
}

/// What an earlier report left behind under other names does not stay.
#[test]
fn pictures_that_are_not_of_the_report_are_removed() -> Result<()> {
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("README.md"), "<!-- results:begin -->\n<!-- results:end -->\n")?;
    let results = root.path().join("experiments/results/quick");
    let listed = |dir: &Path| -> Result<std::collections::BTreeSet<String>> {
        let names = fs::read_dir(dir)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned()));
        Ok(names
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .filter(|n| n.ends_with("svg") || n.ends_with("png"))
            .collect())
    };
    let files = |pictures: &[PictureLine]| {
        pictures.iter().flat_map(|p| [Some(p.file.clone()), p.narrow.clone()]).flatten().collect()
    };
    let summary = || -> Result<Report> { Ok(serde_json::from_slice(&fs::read(results.join("summary.json"))?)?) };

    let (_runs, one) = written(&Fake { pictures: true, ..Fake::default() })?;
    published(&one, root.path())?;
    let before = listed(&results)?;
    assert!(before.contains("accuracy-matrix.svg") && before.contains("hlop-samples.png"), "{before:?}");
    assert_eq!(before, files(&summary()?.pictures));

    fs::write(results.join("picture-07-hlop-samples.png"), "old")?;
    let (runs, two) = written(&Fake { second: vec![0, 1, 2], ..Fake::default() })?;
    published(&two, root.path())?;
    let after = listed(&results)?;
    assert!(!after.contains("accuracy-matrix.svg") && after.contains("hebbian-snn-accuracy-matrix.svg"), "{after:?}");
    assert_eq!(after, files(&summary()?.pictures));
    assert!(results.join("report.md").exists());

    // The report beside the runs likewise.
    let report = runs.path().join("quick/report");
    fs::write(report.join("old.svg"), "old")?;
    write(&two)?;
    assert_eq!(listed(&report)?, after);

    fs::remove_file(results.join("hebbian-snn-accuracy-matrix.svg"))?;
    assert!(pages::check_published(root.path()).unwrap_err().to_string().contains("is missing"));
    Ok(())
}

#[test]
fn failed_runs_keep_their_curves_and_are_marked() -> Result<()> {
    let (_runs, report) = written(&Fake { failed: vec![("naive", 2), ("naive", 3)], ..Fake::default() })?;
    let loss = report.charts.iter().find(|c| c.file == "loss-train").unwrap();
    assert!(loss.has_failed() && loss.panels[0].lines[0].failed.len() == 2 && loss.panels[0].lines[0].seeds.len() == 3);
    // The torn line at the end is passed over, and no mean holds the others.
    assert_eq!(loss.panels[0].lines[0].failed[0].last(), Some(&(70.0, 1002.0)));
    assert!(loss.panels[0].lines[0].mean.iter().all(|(_, y)| *y < 3.0));
    assert!(loss.note.contains("a run that failed (naive, seed 2; naive, seed 3)"), "{}", loss.note);
    // It is shown openly, since a run failed; without one it is folded away.
    let open = |html: &str| {
        let folded = html.find("Curves of the training").unwrap_or(usize::MAX);
        html.find("<h4>Loss on training batches</h4>").is_some_and(|at| at < folded)
    };
    assert!(open(&file(&report, "index.html")?));
    let (_runs, sound) = written(&Fake::default())?;
    assert!(!open(&file(&sound, "index.html")?));
    Ok(())
}

#[test]
fn page_says_per_paper_what_holds_and_what_to_do_next() -> Result<()> {
    let (_runs, report) = written(&Fake { failed: vec![("naive", 2)], ..Fake::default() })?;
    let html = file(&report, "index.html")?;
    for part in [
        "Of 3 claims 1 holds and 2 are undecided.",
        "1 run failed.",
        "<a href=\"#hebbian-snn\">HLOP-SNN: Hebbian-learning-based orthogonal projection</a>",
        "<section class=\"paper\" id=\"hebbian-snn\">",
        "<a href=\"https://arxiv.org/abs/2402.11984\">arXiv 2402.11984</a>",
        "docs/papers/hebbian-snn.md",
        "<span class=\"mark unsure\">? undecided</span>",
        "A run of `naive` failed.",
        "Go on with the runs that have no result: <code>cargo xtask reproduce quick</code>",
        "<code>cargo xtask reproduce hebbian-snn/pmnist</code>",
    ] {
        assert!(html.contains(part), "no {part} in the page");
    }
    assert!(to_root(&root::workspace().join("docs/papers")).as_deref() == Some("../../"));
    assert!(to_root(report.place.as_path()).is_none(), "outside the repository no page can be linked");
    Ok(())
}

#[test]
fn claims_say_what_was_measured() -> Result<()> {
    let mut fake = Fake::default();
    let mut bound = claim("HLOP reaches 80%", "hlop", "acc", ">", "naive", 0.0);
    bound.right = Side::Number(0.8);
    fake.claims.push(bound);
    let (_runs, report) = written(&fake)?;
    let mean = |arm: usize, metric: &str| {
        format::number(report.experiments[0].arms[arm].summary(metric).unwrap().mean, "fraction")
    };
    let (hlop, naive) = (mean(1, "bwt"), mean(0, "bwt"));
    assert_eq!(table::measured(&report, &report.claims[0]), format!("BWT: hlop {hlop} %, naive {naive} %"));
    let acc = format::interval(&report.experiments[0].arms[1].summary("acc").unwrap().interval.unwrap(), "fraction");
    assert_eq!(table::measured(&report, &report.claims[3]), format!("ACC: {acc} %; bound 80.00 %"));
    Ok(())
}

#[test]
fn publishing_refuses_unfinished_suites_and_a_readme_without_markers() -> Result<()> {
    let root = tempfile::tempdir()?;
    let (_runs, report) = written(&Fake { missing: vec![("hlop", 4)], ..Fake::default() })?;
    assert!(published(&report, root.path()).unwrap_err().to_string().contains("no result yet"));
    let (_runs, report) = written(&Fake::default())?;
    fs::write(root.path().join("README.md"), "# Ours\n")?;
    assert!(published(&report, root.path()).unwrap_err().to_string().contains("results:begin"));
    Ok(())
}

#[test]
fn summaries_survive_a_round_trip() -> Result<()> {
    let fake = Fake { failed: vec![("naive", 2)], targets: vec![target("hlop", "acc", 0.5, 0.01)], ..Fake::default() };
    let (_runs, report) = written(&fake)?;
    let again: Report = serde_json::from_slice(&serde_json::to_vec(&report)?)?;
    let place = markdown::Place { level: 2, root: None, pictures: "" };
    assert_eq!(markdown::body(&again, &[], &place), markdown::body(&report, &[], &place));
    assert_eq!((again.claims, again.targets), (report.claims, report.targets));
    Ok(())
}

/// The README's parts and the generated pages are what the committed records give.
#[test]
fn published_pages_are_those_of_the_records() -> Result<()> {
    pages::check_published(&root::workspace())
}

/// The first screen: title, days, and for each paper a sentence and a forest plot.
#[test]
fn the_first_screen_says_when_and_what_came_of_each_paper() -> Result<()> {
    let (_runs, report) = written(&Fake { timed: true, second: vec![0, 1, 2], ..Fake::default() })?;
    assert_eq!(format::ended(&report).as_deref(), Some("2025-11-24 to 2025-11-25"));
    let group = &papers::groups(&report)[0];
    let glance = glance::of(&report, group);
    assert!(
        glance.sentence.contains("3 claims hold") && glance.claims.len() == report.claims.len(),
        "{}",
        glance.sentence
    );
    let html = file(&report, "index.html")?;
    let (before, after) = html.split_once("<h2>What ran</h2>").unwrap();
    for part in ["2025-11-24 to 2025-11-25", &glance.sentence, "<svg", "95% t interval"] {
        assert!(before.contains(part), "the first screen lacks {part}");
    }
    assert!(!after.contains("Runs ended"));
    let md = file(&report, "report.md")?;
    assert!(md.contains("Runs ended 2025-11-24 to 2025-11-25 (UTC).") && md.contains(&glance.sentence));
    assert!(md.contains("srcset=\"claims-narrow.svg\"") && md.contains("src=\"claims.svg\""));
    for name in ["claims.svg", "claims-narrow.svg"] {
        assert!(file(&report, name)?.contains(&glance.claims[0].figures), "{name}");
    }
    let terminal = terminal_table(&report);
    assert!(terminal.contains(&glance.sentence) && terminal.contains("Runs ended"));
    Ok(())
}

/// Seeds that fall in two groups are shown, and judged as before.
#[test]
fn seeds_apart_are_shown_in_tables_and_in_the_forest_plot() -> Result<()> {
    let (_runs, mut report) = written(&Fake::default())?;
    let claims: Vec<_> = report.claims.iter().map(|l| l.claim.clone()).collect();
    let naive = report.experiments[0].arms.iter_mut().find(|a| a.id == "naive").unwrap();
    for (cell, value) in naive.cells.iter_mut().zip([0.11, 0.97, 0.12, 0.98, 0.97]) {
        cell.metrics.insert("acc".into(), value);
    }
    report.claims = judge::all(&report, &claims, &[]).0;
    let shown = "seeds 11.00 / 97.00 / 12.00 / 98.00 / 97.00";
    let results = table::results(&report, &report.experiments[0], Some(&["acc".to_owned()]));
    assert_eq!(results.rows[0][1].text, shown);
    assert!(results.notes[0].contains("two groups"));
    assert!(
        !table::results(&report, &report.experiments[0], Some(&["bwt".to_owned()])).notes[0].contains("two groups")
    );
    let of_naive = |line: &&ClaimLine| line.claim.right == Side::Measured { arm: "naive".into(), metric: "acc".into() };
    let line = report.claims.iter().find(of_naive).unwrap();
    assert!(table::measured(&report, line).contains(shown));
    let difference = table::difference(&report, line).unwrap();
    assert!(difference.starts_with("seeds ") && difference.ends_with(" points"), "{difference}");
    // The verdict rests on the interval.
    assert_eq!(line.verdict, ClaimVerdict::Undecided);
    assert!(line.difference.unwrap().low < -0.2);
    let glance = glance::of(&report, &papers::groups(&report)[0]);
    assert!(glance.claims.iter().any(|row| row.figures == difference));
    Ok(())
}
