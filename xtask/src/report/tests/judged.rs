//! How claims and printed values of made-up suites are judged.

use anyhow::Result;
use plasticity_core::run::record::{Profile, Side};
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::*;

fn reasons(report: &Report) -> Vec<String> {
    let reason = |v: &TargetVerdict| match v {
        TargetVerdict::NotComparable(why) => why.clone(),
        other => format!("{other:?}"),
    };
    verdicts(report).into_iter().map(reason).collect()
}

/// Seeds are paired by their number, not by their place.
#[test]
fn pairs_are_made_seed_by_seed() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let mut report = build(&Fake::default().write(runs.path())?)?;
    let before = report.claims.clone();
    report.experiments[0].arms[0].cells.reverse();
    let claims: Vec<_> = before.iter().map(|c| c.claim.clone()).collect();
    assert_eq!(judge::all(&report, &claims, &[]).0, before);
    Ok(())
}

/// A count is compared as a number with another, however many seeds there are.
#[test]
fn exact_metrics_are_compared_as_numbers() -> Result<()> {
    let runs = tempfile::tempdir()?;
    let mut report = build(&Fake::default().write(runs.path())?)?;
    let arm = &mut report.experiments[0].arms[1];
    arm.metrics[0].exact = true;
    let judged = |report: &Report, relation: &str, number: f64| -> Result<(ClaimVerdict, usize)> {
        let mut c = claim("a count", "hlop", "acc", relation, "hlop", 0.0);
        c.right = Side::Number(number);
        let line = judge::all(report, &[c], &[]).0.remove(0);
        Ok((line.verdict, line.agree))
    };
    // Values whose interval reaches far below 2.
    for (cell, value) in report.experiments[0].arms[1].cells.iter_mut().zip([3.0, 3.0, 3.0, 3.0, 90.0]) {
        cell.metrics.insert("acc".into(), value);
    }
    assert_eq!(judged(&report, ">", 2.0)?, (ClaimVerdict::Holds, 5));
    assert_eq!(judged(&report, ">", 3.0)?, (ClaimVerdict::Undecided, 1));
    assert_eq!(judged(&report, "<", 2.0)?, (ClaimVerdict::Fails, 0));
    report.experiments[0].arms[1].metrics[0].exact = false;
    assert_eq!(judged(&report, ">", 2.0)?.0, ClaimVerdict::Undecided);
    report.experiments[0].arms[1].metrics[0].exact = true;
    report.experiments[0].arms[1].cells.truncate(2);
    assert_eq!(judged(&report, ">", 2.0)?, (ClaimVerdict::Holds, 2));
    Ok(())
}

#[test]
fn failed_seed_is_counted_and_leaves_claims_undecided() -> Result<()> {
    let (_runs, report) = written(&Fake { failed: vec![("naive", 2)], ..Fake::default() })?;
    assert_eq!((report.failed(), report.experiments[0].arms[0].done()), (1, 4));
    assert_eq!(report.claims[0].verdict, ClaimVerdict::Undecided);
    assert_eq!(report.claims[1].verdict, ClaimVerdict::Undecided);
    assert_ne!(report.claims[2].verdict, ClaimVerdict::Undecided, "the third claim does not need naive");
    let md = file(&report, "report.md")?;
    assert!(
        md.contains("| naive | 2 | failed (diverged) | diverged: loss is NaN at step 77; see …/stderr.log |"),
        "{md}"
    );
    assert!(file(&report, "cells.csv")?.contains("naive,2,failed(diverged),no,,,,"));
    assert!(file(&report, "summary.csv")?.contains("naive,acc,fraction,4,1,"));
    Ok(())
}

#[test]
fn failed_seed_leaves_a_printed_value_inconclusive() -> Result<()> {
    let (_runs, report) = written(&Fake { failed: vec![("hlop", 0)], ..Fake::default() })?;
    assert_eq!(verdicts(&report), [&TargetVerdict::Inconclusive, &TargetVerdict::Inconclusive]);
    Ok(())
}

#[test]
fn unfinished_cells_are_not_judged() -> Result<()> {
    let (_runs, report) = written(&Fake { missing: vec![("hlop", 4)], ..Fake::default() })?;
    assert_eq!((report.failed(), report.unfinished()), (0, 1));
    assert!(matches!(report.claims[0].verdict, ClaimVerdict::NotJudged(_)));
    assert_eq!(reasons(&report)[0], "1 cell of `hlop` without a result yet");
    assert!(report.warnings[0].starts_with("1 of 15 runs have no result yet"));
    Ok(())
}

#[test]
fn reduced_profile_never_prints_reproduced() -> Result<()> {
    let (_runs, report) = written(&Fake { profile: Profile::Reduced, ..Fake::default() })?;
    assert_eq!(reasons(&report), ["reduced profile", "reduced profile"]);
    let judgement = "not comparable: reduced profile";
    let md = markdown::table(&table::targets(&report, &report.targets_of(Some(0))).unwrap());
    let rows = md.lines().filter(|l| l.contains("| Table 2"));
    assert!(rows.clone().count() == 2 && rows.clone().all(|l| l.contains(judgement) && !l.contains("reproduced")));
    let terminal = terminal_table(&report);
    assert!(!terminal.contains("reproduced") && terminal.contains("– not comparable  Table 2"));
    Ok(())
}

#[test]
fn other_data_and_recalled_values_are_not_comparable() -> Result<()> {
    let mut inexact = Fake::default();
    inexact.data.exact = false;
    assert_eq!(reasons(&written(&inexact)?.1)[0], "variant idx is not the published data");

    let mut glyphs = Fake { passed_over: vec![("mnist".into(), "offline".into())], ..Fake::default() };
    glyphs.data.name = "glyphs".into();
    let (_runs, report) = written(&glyphs)?;
    assert_eq!(reasons(&report)[0], "glyphs in place of mnist");
    let expected = ClaimVerdict::NotJudged("judged on mnist only, this is glyphs".into());
    assert_eq!(report.claims[0].verdict, expected);
    assert!(file(&report, "report.md")?.contains("0 of 3 claims judged"));

    let mut recalled = Fake::default();
    recalled.targets[1].recalled = true;
    let (_runs, report) = written(&recalled)?;
    assert_eq!(reasons(&report), ["Reproduced", "the printed value is only recalled"]);
    Ok(())
}

#[test]
fn claims_against_numbers_and_wrong_names() -> Result<()> {
    let mut fake = Fake::default();
    let number = |left: bool, relation: &str, n: f64| {
        let mut c = claim("HLOP and a number", "hlop", "acc", relation, "naive", 0.0);
        if left {
            c.left = Side::Number(n)
        } else {
            c.right = Side::Number(n)
        }
        if left {
            c.right = Side::Measured { arm: "hlop".into(), metric: "acc".into() }
        }
        c
    };
    fake.claims = vec![
        number(false, ">", 0.8),
        number(true, "<", 0.8),
        number(true, ">", 0.8),
        claim("no such arm", "hlop", "acc", ">", "hlpo", 0.0),
    ];
    let (_runs, report) = written(&fake)?;
    let found: Vec<&ClaimVerdict> = report.claims.iter().map(|c| &c.verdict).collect();
    assert_eq!(found[..3], [&ClaimVerdict::Holds, &ClaimVerdict::Holds, &ClaimVerdict::Fails]);
    assert!(matches!(found[3], ClaimVerdict::NotJudged(_)));
    // Left minus right keeps its sign whichever side the number stands on.
    assert!(report.claims[0].difference.unwrap().low > 0.0 && report.claims[1].difference.unwrap().high < 0.0);
    assert!(outside_tolerance(&report));
    Ok(())
}

#[test]
fn unlike_metrics_are_not_compared() -> Result<()> {
    let mut report = build(&Fake::default().write(tempfile::tempdir()?.path())?)?;
    for info in &mut report.experiments[0].arms[0].metrics {
        info.basis = "100 test images a task".into();
    }
    let claims: Vec<_> = report.claims.iter().map(|c| c.claim.clone()).collect();
    let (judged, _) = judge::all(&report, &claims, &[]);
    assert!(matches!(&judged[0].verdict, ClaimVerdict::NotJudged(why) if why.starts_with("unlike metrics")));
    Ok(())
}
