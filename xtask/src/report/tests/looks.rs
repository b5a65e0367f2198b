//! Rules of what a reader looks at: scales, spread, arms, captions.

use std::fs;

use anyhow::Result;

use super::{file, written};
use crate::report::charts;
use crate::report::measured::arms::MOST;
use crate::report::measured::read::build;
use crate::report::testing::Fake;
use crate::report::write;

/// Chance is that of the records; where they do not have it, the scale begins at 0 and says why.
#[test]
fn a_matrix_goes_from_chance_to_one_as_the_records_say() -> Result<()> {
    let (runs, report) = written(&Fake::default())?;
    let svg = file(&report, "accuracy-matrix.svg")?;
    assert!(svg.contains("chance, 10\u{a0}%") && svg.contains("not learned yet"));
    for page in ["index.html", "report.md"] {
        let page = file(&report, page)?;
        assert!(
            page.contains("Hatched: not learned yet") && page.contains("Colours go from chance, 10\u{a0}%, to 100")
        );
    }
    for entry in fs::read_dir(runs.path().join("quick"))? {
        let path = entry?.path().join("result.json");
        let Ok(text) = fs::read(&path) else { continue };
        let mut record: serde_json::Value = serde_json::from_slice(&text)?;
        record["outcome"].as_object_mut().and_then(|outcome| outcome.remove("chance")).expect("chance in the record");
        fs::write(&path, serde_json::to_vec(&record)?)?;
    }
    let old = build(&report.place)?;
    write(&old)?;
    let page = file(&old, "index.html")?;
    assert!(!page.contains("chance, 10") && page.contains("these records do not say what guessing reaches"));
    assert!(!file(&old, "accuracy-matrix.svg")?.contains("chance"));
    Ok(())
}

/// A band is the interval that the tables print, and whoever sees one reads so below it.
#[test]
fn spread_means_one_thing_on_a_page() -> Result<()> {
    for (seeds, words) in [
        (vec![0, 1, 2, 3, 4], "Band: 95% t interval of the mean, as in the tables."),
        (vec![0, 1, 2], "Thin: each seed"),
    ] {
        let (_runs, report) = written(&Fake { seeds: seeds.clone(), pictures: true, ..Fake::default() })?;
        assert!(report.charts.len() > 3);
        for chart in &report.charts {
            assert!(chart.note.contains(words), "{}: {}", chart.title, chart.note);
            let (bands, thin) = (chart.lines().any(|l| !l.band.is_empty()), chart.lines().any(|l| !l.seeds.is_empty()));
            assert_eq!((bands, thin), (seeds.len() == 5, seeds.len() == 3), "{}", chart.title);
        }
        assert!(!file(&report, "index.html")?.contains("least to the greatest"));
    }
    // The last point of a curve is what the table has.
    let (_runs, report) = written(&Fake::default())?;
    let first = &report.experiments[0].arms[0];
    let of_task = |task: usize| first.matrices["accuracy"][4][task];
    let tests = report.charts.iter().find(|c| c.file == "accuracy-test").expect("a chart of the tests");
    for (task, panel) in tests.panels.iter().enumerate() {
        let (mean, band) = (panel.lines[0].mean.last(), panel.lines[0].band.last());
        let (Some((_, mean)), Some((_, low, high))) = (mean, band) else { panic!("no band in {}", panel.title) };
        assert!((mean - of_task(task).unwrap_or(f64::NAN)).abs() < 1e-9 && low < mean && mean < high);
    }
    Ok(())
}

/// What a plot has no room for is behind it: folded away on the page, a file of its own, a link in Markdown.
#[test]
fn arms_that_a_plot_leaves_out_are_behind_it() -> Result<()> {
    let (_runs, mut report) = written(&Fake::default())?;
    let at = report.charts.iter().position(|c| c.file == "loss-train").expect("a chart of the loss");
    let mut rest = report.charts[at].clone();
    (rest.file, rest.title) = ("loss-train-other-arms".into(), "Loss: the other arms".into());
    report.charts[at].rest = Some(Box::new(rest));
    // As many matrices as no row of them has.
    for n in 0..MOST {
        let copy = report.experiments[0].arms[0].clone();
        report.experiments[0].arms.push(crate::report::measured::model::Arm { id: format!("more-{n}"), ..copy });
    }
    write(&report)?;
    let lines: Vec<_> = charts::pictures(&report)?.into_iter().map(|p| p.line).collect();
    let behind: Vec<&str> = lines.iter().filter(|l| l.behind).map(|l| l.file.as_str()).collect();
    assert_eq!(behind, ["accuracy-matrix-other-arms.svg", "loss-train-other-arms.svg"]);
    let [first, others] = charts::matrices(&report, 0, "accuracy");
    assert_eq!((first.len(), others.len()), (MOST, 3));
    // Claims name these three first.
    assert_eq!(first.iter().map(|heat| heat.title).collect::<Vec<_>>(), ["naive", "hlop", "hlop-qr", "more-0"]);
    let markdown = file(&report, "report.md")?;
    assert!(markdown.contains("\n[Loss: the other arms](loss-train-other-arms.svg)\n"), "{markdown}");
    assert!(markdown.contains("![Loss on training batches](loss-train.svg)"));
    let html = file(&report, "index.html")?;
    let (chart, rest) =
        (html.find("<h4>Loss on training batches</h4>"), html.rfind("<summary>The other arms</summary>"));
    assert!(chart.is_some_and(|chart| rest.is_some_and(|rest| chart < rest)));
    assert_eq!(html.matches("<summary>The other arms</summary>").count(), 2);
    Ok(())
}

/// Pictures of a fifth arm on, that no claim names, are behind those of the first four.
#[test]
fn pictures_of_many_arms_are_behind_those_of_four() -> Result<()> {
    let (_runs, mut report) = written(&Fake { pictures: true, ..Fake::default() })?;
    for n in 0..MOST {
        let id = format!("more-{n}");
        let copy = report.experiments[0].arms[0].clone();
        report.experiments[0].arms.push(crate::report::measured::model::Arm { id: id.clone(), ..copy });
        let mut shot = report.albums[0].shots.iter().find(|shot| shot.first).expect("a first seed").clone();
        (shot.arms, shot.address) = (vec![id], format!("{}{n}", shot.address));
        report.albums[0].shots.push(shot);
    }
    let owners = |shots: &[&crate::report::measured::album::Shot]| shots.iter().map(|s| s.owner()).collect::<Vec<_>>();
    let [first, others, more] = charts::shots(&report, &report.albums[0]);
    assert_eq!(owners(&first), ["naive", "hlop", "hlop-qr", "more-0"]);
    assert_eq!(owners(&others), ["more-1", "more-2", "more-3"]);
    assert!(more.len() == 12 && more.iter().all(|shot| !shot.first));
    let behind: Vec<bool> = charts::pictures(&report)?
        .iter()
        .filter(|p| matches!(p.content, charts::Content::Copy(_)))
        .map(|p| p.line.behind)
        .collect();
    assert_eq!(behind, [false, false, false, false, true, true, true]);
    Ok(())
}

/// Every picture says what to see, and every table can be scrolled by itself.
#[test]
fn pictures_have_captions_and_tables_scroll() -> Result<()> {
    let (_runs, report) = written(&Fake { pictures: true, ..Fake::default() })?;
    for picture in charts::pictures(&report)?.into_iter().filter(|p| !p.line.forest) {
        assert!(!picture.line.caption.is_empty(), "{} has no caption", picture.line.file);
    }
    let html = file(&report, "index.html")?;
    assert_eq!(html.matches("<table").count(), html.matches("<div class=\"scroll\" tabindex=\"0\"").count());
    assert!(file(&report, "report.md")?.contains("Left: noise. Right: what naive makes of it.\n"));
    Ok(())
}
