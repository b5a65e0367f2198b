//! `report --publish`: the committed summary of a suite, and the pages made from all of
//! them: the table in the README and `docs/reproducibility.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use plasticity_core::config::Source;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{CellSpec, ExperimentPlan, FORMAT, Profile, SuitePlan};

use super::files;
use super::markdown::{self, Place};
use super::table::{self, Table, Text, Tone};
use crate::report::drawn::charts;
use crate::report::measured::format::slug;
use crate::report::measured::model::{ClaimLine, PictureLine, Report, TargetLine};
use crate::report::measured::read::identity;
use crate::report::measured::{format, judge, papers, read};
use crate::suite::{self, Suite, SuiteExperiment};
use crate::{owner, records, registry};

const BEGIN: &str = "<!-- results:begin -->";
const END: &str = "<!-- results:end -->";
const RESULTS: &str = "experiments/results";
const DOCS: &str = "docs/reproducibility.md";

/// Writes `experiments/results/<suite>/` from the runs in a suite's directory, those with the suite's own seeds, and
/// regenerates the pages; returns the directory written.
///
/// # Errors
/// A suite that is not the project's or has not run as it is written, data that this program made up, a README without
/// the two markers, and files that cannot be read or written.
pub fn publish(suite_dir: &Path, root: &Path) -> Result<PathBuf> {
    let report = read::build_own(suite_dir)?;
    check(&report, root)?;
    let dir = root.join(RESULTS).join(slug(&report.suite));
    let pictures = charts::pictures(&report)?;
    files::pictures(&dir, &pictures)?;
    let report = Report { pictures: pictures.iter().map(|p| p.line.clone()).collect(), ..report };
    let mut json = serde_json::to_vec_pretty(&report)?;
    json.push(b'\n');
    files::save(&dir.join("summary.json"), &json)?;
    files::save(&dir.join("report.md"), markdown::page(&report, &pictures).as_bytes())?;
    pages(root)?;
    Ok(dir)
}

/// What is published speaks for the project: a suite of its own, run as it is written, on data that others have too.
fn check(report: &Report, root: &Path) -> Result<()> {
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
        let found = read_summary(&other).map_or(String::new(), |published| published.suite);
        if !found.is_empty() && found != *suite {
            return refuse(format!("{RESULTS}/{} is that of `{found}`: rename one of the two suites", slug(suite)));
        }
    }
    Ok(())
}

/// What a plan says otherwise than its suite does. What the sources have made of it since plays no part.
fn differs(suite: &Suite, plan: &SuitePlan) -> Option<String> {
    let head = &suite.head;
    if (&plan.title, plan.profile, &plan.seeds) != (&head.title, head.profile, &head.seeds) {
        return Some("the title, the profile or the seeds of the run are".into());
    }
    if plan.threads != head.threads {
        return Some(format!("it ran with {}, which is", format::count(plan.threads, "thread")));
    }
    if plan.claims != suite.claims || plan.targets != suite.targets {
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

/// Regenerates `docs/reproducibility.md` and the README's table from the committed summaries.
///
/// # Errors
/// A README without the two markers, and files that cannot be read or written.
pub fn pages(root: &Path) -> Result<()> {
    let published = published(root)?;
    files::save(&root.join(DOCS), docs_page(&published).as_bytes())?;
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).with_context(|| format!("{}", readme.display()))?;
    files::save(&readme, with_block(&text, &readme_block(&published))?.as_bytes())?;
    check_published(root)
}

/// Holds the README's table and `docs/reproducibility.md` equal to what the committed
/// summaries give, and the committed verdicts to what the committed values give.
///
/// # Errors
/// What differs, with the command that mends it.
pub fn check_published(root: &Path) -> Result<()> {
    let published = published(root)?;
    if published.is_empty() && !root.join(DOCS).exists() {
        return Ok(());
    }
    for report in &published {
        let dir = root.join(RESULTS).join(slug(&report.suite));
        for PictureLine { file, .. } in &report.pictures {
            ensure!(dir.join(file).is_file(), "{RESULTS}/{}: {file} is missing", slug(&report.suite));
        }
        let claims: Vec<_> = report.claims.iter().map(|l| l.claim.clone()).collect();
        let targets: Vec<_> = report.targets.iter().map(|l| l.target.clone()).collect();
        let again = judge::all(report, &claims, &targets);
        ensure!(
            again == (report.claims.clone(), report.targets.clone()),
            "{RESULTS}/{}: a verdict does not follow from the values beside it",
            slug(&report.suite)
        );
    }
    let read = |name: &str| {
        let path = root.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let mend = "run `cargo xtask report --pages`";
    ensure!(read(DOCS)? == docs_page(&published), "{DOCS} is not what the summaries give: {mend}");
    let readme = read("README.md")?;
    let expected = with_block(&readme, &readme_block(&published))?;
    ensure!(readme == expected, "the table in README.md is not what the summaries give: {mend}");
    Ok(())
}

/// Every committed summary, by name of its directory.
fn published(root: &Path) -> Result<Vec<Report>> {
    let dir = root.join(RESULTS);
    let mut paths = Vec::new();
    if dir.is_dir() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
            let path = entry?.path().join("summary.json");
            if path.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read_summary(path)).collect()
}

fn read_summary(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let value: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if found != FORMAT {
        bail!(RunError::Format { file: path.to_path_buf(), found, expected: FORMAT });
    }
    serde_json::from_value(value).with_context(|| format!("{}", path.display()))
}

/// The README's block, paper by paper: the verdicts of all suites, and one picture.
fn readme_block(published: &[Report]) -> String {
    let mut out = format!("{BEGIN}\n");
    if !published.is_empty() {
        out += &format!("\n{} {}\n", markdown::inline(table::CLAIM_RULE), markdown::inline(table::TARGET_RULE));
    }
    let mut suites: Vec<&Report> = published.iter().collect();
    suites.sort_by_key(|report| report.profile != Profile::Full);
    let mut names: Vec<&str> = Vec::new();
    for group in published.iter().flat_map(papers::groups).map(|g| g.name) {
        if !names.contains(&group) {
            names.push(group);
        }
    }
    // Papers in the program's order, then what it does not know.
    names.sort_by_key(|name| registry::PAPERS.iter().position(|p| p.name == *name).unwrap_or(usize::MAX));
    for name in names {
        out.push('\n');
        out += &of_paper(name, &suites);
    }
    out + END
}

/// What the suites say of one paper.
fn of_paper(name: &str, suites: &[&Report]) -> String {
    let mut out = String::new();
    let mut claims: Option<Table> = None;
    let mut targets: Option<Table> = None;
    let mut settings: Vec<String> = Vec::new();
    let (mut best, mut other) = (None, None);
    for report in suites {
        let groups = papers::groups(report);
        let Some(group) = groups.iter().find(|g| g.name == name) else { continue };
        if out.is_empty() {
            out = markdown::introduction(group, &Place { level: 3, root: Some(""), pictures: "" });
        }
        let mine = |home: Option<usize>| home.is_some_and(|n| group.experiments.contains(&n));
        let lines: Vec<&ClaimLine> = report.claims.iter().filter(|l| mine(report.home(l.arms()))).collect();
        let printed: Vec<&TargetLine> =
            report.targets.iter().filter(|l| mine(report.home([Some(&l.target.arm), None]))).collect();
        let anything = !lines.is_empty() || !printed.is_empty();
        append(&mut claims, table::claims(report, &lines), &["Formula"], &report.suite);
        append(&mut targets, table::targets(&printed), &["Source"], &report.suite);
        if anything {
            let mine = group.experiments.iter().map(|n| format::setting(report, &report.experiments[*n]));
            let distinct: BTreeSet<String> = mine.collect();
            let all = distinct.into_iter().collect::<Vec<_>>().join(" ");
            settings.push(format!("`{}`: {}", report.suite, markdown::inline(&all)));
        }
        let from = format!("{RESULTS}/{}/", slug(&report.suite));
        let known_by = group.paper.map_or("", |p| p.picture);
        let mut mine = report.pictures.iter().filter(|p| group.experiments.contains(&p.experiment));
        let image = |p: &PictureLine| markdown::image(p, &from);
        other = other.or_else(|| mine.clone().next().map(image));
        best = best.or_else(|| mine.find(|p| p.alt.contains(known_by)).map(image));
    }
    for part in [claims, targets].into_iter().flatten() {
        out += &markdown::table(&part);
    }
    if !settings.is_empty() {
        out += &format!("{}\n\n", settings.join(" "));
    }
    out += &best.or(other).unwrap_or_default();
    out
}

/// Adds the rows of a suite's table, without some columns and with the suite's name.
fn append(to: &mut Option<Table>, table: Option<Table>, without: &[&str], suite: &str) {
    let Some(mut table) = table else { return };
    for column in without {
        if let Some(at) = table.head.iter().position(|head| head == column) {
            table.head.remove(at);
            table.right.remove(at);
            table.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    table.head.push("Suite".into());
    table.right.push(false);
    table.rows.iter_mut().for_each(|row| row.push(Text { text: format!("`{suite}`"), tone: Tone::Plain }));
    table.notes.clear();
    match to {
        Some(all) => all.rows.extend(table.rows),
        None => *to = Some(table),
    }
}

/// All published suites in full.
fn docs_page(published: &[Report]) -> String {
    let mut out = String::from(
        "# Reproducibility\n\n\
         Generated by `cargo xtask report --publish SUITE` from the summaries in \
         `experiments/results/`; a test holds the two equal. \
         `cargo xtask reproduce SUITE` runs a suite again.\n\n",
    );
    for report in published {
        out += &format!("## {}\n\n`cargo xtask reproduce {}`\n\n", report.title, report.suite);
        let from = format!("../{RESULTS}/{}/", slug(&report.suite));
        let pictures: Vec<&PictureLine> = report.pictures.iter().collect();
        out += &markdown::body(report, &pictures, &Place { level: 3, root: Some("../"), pictures: &from });
        out += &markdown::table(&table::provenance(report));
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// A text with the block between the markers replaced.
fn with_block(text: &str, block: &str) -> Result<String> {
    match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => Ok(format!("{}{block}{}", &text[..begin], &text[end + END.len()..])),
        _ => bail!("README.md must hold `{BEGIN}` and, below it, `{END}`"),
    }
}
