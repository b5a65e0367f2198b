//! `report --publish`: the committed summary of a suite, and what may not become one.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use plasticity_core::config::Source;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{CellSpec, Claim, ExperimentPlan, SuitePlan};

use super::pages::{self, RESULTS};
use super::{files, markdown};
use crate::report::drawn::charts;
use crate::report::measured::format::slug;
use crate::report::measured::model::Report;
use crate::report::measured::read::identity;
use crate::report::measured::{format, read};
use crate::suite::{self, Suite, SuiteExperiment};
use crate::{owner, records, registry};

/// Writes `experiments/results/<suite>/` from the runs in a suite's directory, those with the suite's own seeds, and
/// regenerates the pages; returns the directory written.
///
/// # Errors
/// A suite that is not the project's or has not run as it is written, data that this program made up, a README without
/// the two markers, and files that cannot be read or written.
pub fn publish(suite_dir: &Path, root: &Path) -> Result<PathBuf> {
    let report = read::build_own(suite_dir)?;
    let suite = check(&report, root)?;
    let dir = root.join(RESULTS).join(slug(&report.suite));
    let pictures = charts::pictures(&report)?;
    files::pictures(&dir, &pictures)?;
    let mut report = Report { pictures: pictures.iter().map(|p| p.line.clone()).collect(), ..report };
    pages::tell(&mut report, &suite.claims);
    let mut json = serde_json::to_vec_pretty(&report)?;
    json.push(b'\n');
    files::save(&dir.join("summary.json"), &json)?;
    files::save(&dir.join("report.md"), markdown::page(&report, &pictures).as_bytes())?;
    pages::write(root)?;
    Ok(dir)
}

/// What is published speaks for the project: a suite of its own, run as it is written, on data that others have too.
fn check(report: &Report, root: &Path) -> Result<Suite> {
    let suite = &report.suite;
    let refuse =
        |why: String| Err(RunError::from(ConfigError::new(format!("`{suite}` cannot be published: {why}"))).into());
    let file = match owner::read(&report.place)? {
        Some(owner) if owner.is_built_in() && owner.name() == *suite => owner.file(root),
        _ => return refuse("it is not the run of a suite below experiments/".into()),
    };
    for experiment in &report.experiments {
        if let Some(data) = experiment.data.as_ref().filter(|data| data.built_in) {
            return refuse(format!("{} ran on `{}`, which this program generates", experiment.label(), data.name));
        }
        if let [seed] = experiment.seeds().as_slice() {
            return refuse(format!(
                "{} ran with seed {seed} alone: one seed says nothing of another",
                experiment.label()
            ));
        }
    }
    if let Some(experiment) = report.not_run.first() {
        return refuse(format!("{experiment}, has not run: `cargo xtask reproduce {suite}` goes on with it"));
    }
    let kept = report.arms().flat_map(|(_, arm)| &arm.cells).filter(|cell| cell.kept).count();
    if kept > 0 {
        let of = format::count(kept, "result");
        return refuse(format!("{of} of other sources stand in it: `cargo xtask reproduce {suite}` runs them again"));
    }
    ensure!(
        report.unfinished() == 0,
        "{} of `{}` have no result yet: `cargo xtask reproduce {}` goes on with them",
        format::count(report.unfinished(), "cell"),
        report.suite,
        report.suite,
    );
    let written = suite::read(&file, suite.clone(), &registry::entries())?;
    let plan = read::plan(&report.place)?;
    if let Some(what) = differs(&written, &plan).or_else(|| config_differs(&written, &plan, &report.place)) {
        let file = crate::root::display(&file);
        return refuse(format!("{what} not what {file} says now: `cargo xtask reproduce {suite}` runs it as it is"));
    }
    let other = root.join(RESULTS).join(slug(suite)).join("summary.json");
    if other.is_file() {
        let found = pages::summary(&other).map_or(String::new(), |published| published.suite);
        if !found.is_empty() && found != *suite {
            return refuse(format!("{RESULTS}/{} is that of `{found}`: rename one of the two suites", slug(suite)));
        }
    }
    Ok(written)
}

/// What a plan says otherwise than its suite does. What the sources have made of it since plays no part, nor does what a
/// suite says of a claim to a reader: no run depends on it.
fn differs(suite: &Suite, plan: &SuitePlan) -> Option<String> {
    let head = &suite.head;
    if (&plan.title, plan.profile, &plan.seeds) != (&head.title, head.profile, &head.seeds) {
        return Some("the title, the profile or the seeds of the run are".into());
    }
    if plan.threads != head.threads {
        return Some(format!("it ran with {}, which is", format::count(plan.threads, "thread")));
    }
    let asked = |claims: &[Claim]| claims.iter().map(Claim::asked).collect::<Vec<_>>();
    if asked(&plan.claims) != asked(&suite.claims) || plan.targets != suite.targets {
        return Some("the claims or the printed values of the run are".into());
    }
    let same = |planned: &ExperimentPlan, written: &SuiteExperiment| {
        let arms = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<Vec<_>>();
        planned.name == written.entry.name
            && planned.title == written.title
            // Plans from before there was such a list are those of the suite.
            && (planned.seeds.is_empty() || planned.seeds == written.seeds)
            && planned.data.as_ref().map_or(written.data.is_empty(), |data| written.data.contains(&data.name))
            && arms(&mut planned.arms.iter().map(|a| &a.id)) == arms(&mut written.arms.iter().map(|a| &a.id))
    };
    let pairs = plan.experiments.iter().zip(&suite.experiments);
    if plan.experiments.len() != suite.experiments.len() || !pairs.clone().all(|(a, b)| same(a, b)) {
        return Some("the experiments, their arms, seeds or data are".into());
    }
    None
}

/// An arm whose runs had another config than the suite gives it, or other settings than the plan says. A config is read
/// as these sources read it, so that a key that is new in them counts as its default on both sides.
fn config_differs(suite: &Suite, plan: &SuitePlan, place: &Path) -> Option<String> {
    for (planned, experiment) in plan.experiments.iter().zip(&suite.experiments) {
        let canonical = |dir: &Path| {
            let source = Source::read(&dir.join("config.toml")).ok()?;
            Some(experiment.entry.prepare(&source, source.table().ok()?).ok()?.canonical)
        };
        for (arm, written) in planned.arms.iter().zip(&experiment.arms) {
            let own = arm.cells.iter().filter(|cell| experiment.seeds.contains(&cell.seed));
            for (cell, dir) in own.map(|cell| (cell, place.join(&cell.dir))) {
                let spec: Option<CellSpec> = records::read(&dir.join("cell.json")).ok().flatten();
                let settings = spec.is_some_and(|spec| {
                    (spec.experiment == planned.name && spec.arm == arm.id && spec.seed == cell.seed)
                        && (spec.threads == plan.threads
                            && identity(spec.data.as_ref()) == identity(planned.data.as_ref()))
                });
                if !settings || canonical(&dir).as_ref() != Some(&written.prepared.canonical) {
                    return Some(format!("the config or the settings of {} are", cell.dir.display()));
                }
            }
        }
    }
    None
}
