//! From the records below a suite's directory to a [`Report`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use plasticity_core::data::{Place, Resolved};
use plasticity_core::device;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{
    ArmPlan, CellPlan, Claim, ExperimentPlan, FORMAT, Picture, Side, Status, SuitePlan,
};
use serde_json::Value;

use super::album::{self, Album, Shot};
use super::format::{count, list, scrub};
use super::model::{Arm, Cell, DataSet, Days, Experiment, Report, State, arms_of};
use super::{arms, curves, judge, timing, xy};
use crate::records::{self, Standing};
use crate::reproduce::provenance::processes;
use crate::reproduce::{Written, on_disk};
use crate::text::day;

/// What of provenance.json is shown; a value below another key stays where it is.
const SHOWN: [&str; 11] = [
    "git_revision",
    "git_dirty",
    "lockfile_sha256",
    "rustc",
    "burn",
    "features",
    "os",
    "cpu",
    "cores",
    "device",
    "threads",
];

/// Reads `plan.json` and the cells that it names, and judges them.
///
/// # Errors
/// No plan, a record of another format version, or one that cannot be read.
pub fn build(suite_dir: &Path) -> Result<Report> {
    read_planned(suite_dir, plan(suite_dir)?)
}

/// As [`build`], with the suite's own seeds alone: whatever else has run takes no part in what is published.
///
/// # Errors
/// As [`build`].
pub fn build_own(suite_dir: &Path) -> Result<Report> {
    let mut plan = plan(suite_dir)?;
    for ExperimentPlan { seeds, arms, .. } in &mut plan.experiments {
        // Plans from before there was such a list are those of the suite.
        arms.iter_mut().for_each(|arm| arm.cells.retain(|cell| seeds.is_empty() || seeds.contains(&cell.seed)));
    }
    read_planned(suite_dir, plan)
}

/// As [`build`], with the arms of one claim alone.
///
/// # Errors
/// As [`build`].
pub fn of_claim(suite_dir: &Path, plan: &SuitePlan, claim: &Claim) -> Result<Report> {
    let mut plan = plan.clone();
    let named = |arm: &ArmPlan| arms_of(claim).contains(&Some(arm.id.as_str()));
    plan.experiments.iter_mut().for_each(|experiment| experiment.arms.retain(named));
    plan.experiments.retain(|experiment| !experiment.arms.is_empty());
    (plan.claims, plan.targets) = (vec![claim.clone()], Vec::new());
    read_planned(suite_dir, plan)
}

fn read_planned(suite_dir: &Path, mut plan: SuitePlan) -> Result<Report> {
    let beside = beside(suite_dir, &plan);
    let not_run = not_run(&plan);
    let added = added(&plan);
    // What no call has run has no section of its own, and no verdict; the warnings name it.
    let (run, absent): (Vec<_>, Vec<_>) =
        std::mem::take(&mut plan.experiments).into_iter().partition(|e| e.arms.iter().any(|arm| !arm.cells.is_empty()));
    plan.experiments = run;
    let is_absent = |id: &str| absent.iter().flat_map(|e| &e.arms).any(|arm| arm.id == id);
    let there = |side: &Side| !matches!(side, Side::Measured { arm, .. } if is_absent(arm));
    plan.claims.retain(|claim| there(&claim.left) && there(&claim.right));
    plan.targets.retain(|target| !is_absent(&target.arm));
    let mut report = Report {
        format: FORMAT,
        suite: plan.name.clone(),
        title: plan.title.clone(),
        profile: plan.profile,
        seeds: plan.seeds.clone(),
        threads: plan.threads,
        device: plan.device.clone(),
        experiments: Vec::new(),
        claims: Vec::new(),
        targets: Vec::new(),
        provenance: BTreeMap::new(),
        warnings: Vec::new(),
        pictures: Vec::new(),
        charts: Vec::new(),
        albums: Vec::new(),
        not_run,
        added,
        beside,
        ended: None,
        calls: timing::calls(suite_dir),
        place: suite_dir.to_path_buf(),
    };
    let mut notes = Notes::default();
    let mut shown: Vec<Shown> = Vec::new();
    for experiment in &plan.experiments {
        let mut arms = Vec::new();
        let mut of_experiment = Shown::default();
        for (number, arm) in experiment.arms.iter().enumerate() {
            arms.push(read_arm(suite_dir, arm, number, &mut of_experiment, &mut notes)?);
        }
        shown.push(of_experiment);
        let passed_over = experiment.passed_over.iter();
        report.experiments.push(Experiment {
            name: experiment.name.clone(),
            title: title(experiment, &report.experiments),
            data: experiment.data.as_ref().map(data_set),
            passed_over: passed_over.map(|(name, why)| (name.clone(), scrub(why))).collect(),
            arms,
        });
    }
    (report.claims, report.targets) = judge::all(&report, &plan.claims, &plan.targets);
    report.provenance = notes.provenance();
    report.ended = notes.days();
    if let Some(devices) = report.provenance.get("device") {
        report.device = devices.join(", ");
    }
    for (number, (experiment, shown)) in report.experiments.iter().zip(&shown).enumerate() {
        report.charts.extend(xy::overlay(number, experiment, &arms::ranks(&report, number), &shown.charts));
        report.albums.extend(albums(suite_dir, number, &shown.pictures, &mut notes));
    }
    let (charts, unread) = curves::read(suite_dir, &plan, &report);
    report.charts.extend(charts);
    for (arm, seed, why) in unread {
        notes.warn(&arm, seed, &why);
    }
    report.warnings = warnings(&report, &notes);
    Ok(report)
}

/// What of a suite no call has run: the label of an experiment, and its seeds.
fn not_run(plan: &SuitePlan) -> Vec<String> {
    let lacks = |e: &ExperimentPlan, seed: &u64| !e.arms.iter().all(|arm| arm.cells.iter().any(|c| c.seed == *seed));
    differ(plan, |e| e.seeds.iter().copied().filter(|seed| lacks(e, seed)).collect())
}

/// The seeds with which it has run and that are not the suite's, likewise.
fn added(plan: &SuitePlan) -> Vec<String> {
    differ(plan, |e| {
        let cells = e.arms.first().map_or(&[][..], |arm| &arm.cells);
        // Plans from before there was such a list are those of the suite.
        cells.iter().map(|c| c.seed).filter(|seed| !e.seeds.is_empty() && !e.seeds.contains(seed)).collect()
    })
}

fn differ(plan: &SuitePlan, of: impl Fn(&ExperimentPlan) -> Vec<u64>) -> Vec<String> {
    let all = plan.experiments.iter().map(|e| (e.title.as_deref().unwrap_or(&e.name), of(e)));
    let some = all.filter(|(_, seeds)| !seeds.is_empty());
    let noun = |seeds: &[u64]| if seeds.len() == 1 { "seed" } else { "seeds" };
    some.map(|(label, seeds)| format!("{label}, {} {}", noun(&seeds), list(&seeds))).collect()
}

/// Results of these sources with other settings than the plan's, or on other data, one line for each.
fn beside(suite_dir: &Path, plan: &SuitePlan) -> Vec<String> {
    let mut others: BTreeMap<(String, usize), usize> = BTreeMap::new();
    let mut elsewhere: BTreeMap<String, usize> = BTreeMap::new();
    for (dir, cell) in on_disk(suite_dir) {
        let Written { spec, .. } = &cell;
        let ours = device::kind(&spec.device) == device::kind(&plan.device) && spec.threads == plan.threads;
        let known = |e: &&ExperimentPlan| e.name == spec.experiment && e.arms.iter().any(|arm| arm.id == spec.arm);
        let planned = plan.experiments.iter().find(known).map(|e| identity(e.data.as_ref()));
        let on_other_data = planned.is_some_and(|data| data != identity(spec.data.as_ref()));
        if (ours && !on_other_data) || !cell.is_current(&dir) || !records::is_whole(&dir, Some(&spec.key)) {
            continue;
        }
        if !ours {
            *others.entry((device::kind(&spec.device).to_owned(), spec.threads)).or_default() += 1;
        } else if let Some(data) = &spec.data {
            *elsewhere.entry(format!("{} (variant {})", data.name, data.variant)).or_default() += 1;
        }
    }
    let stand = |n: usize| if n == 1 { "stands" } else { "stand" };
    let on_data = elsewhere.into_iter().map(|(data, n)| {
        format!("{} on {data} {} here as well, which this plan does not take.", count(n, "result"), stand(n))
    });
    let line = |((kind, threads), n): ((String, usize), usize)| {
        format!(
            "{} with {} on {kind} {} here as well: `cargo xtask reproduce {} --device {kind} --threads {threads}` \
             shows them.",
            count(n, "result"),
            count(threads, "thread"),
            stand(n),
            plan.name
        )
    };
    others.into_iter().map(line).chain(on_data).collect()
}

/// What makes a data set the same wherever it lies.
pub fn identity(data: Option<&Resolved>) -> Option<(&str, &str, &str)> {
    data.map(|data| (data.name.as_str(), data.variant.as_str(), data.sha256.as_str()))
}

pub fn plan(suite_dir: &Path) -> Result<SuitePlan> {
    let path = suite_dir.join("plan.json");
    let name = suite_dir.file_name().map_or("SUITE".into(), |n| n.to_string_lossy());
    match records::read(&path) {
        Ok(Some(plan)) => Ok(plan),
        Err(RunError::Config(error)) => {
            let message = format!("{}: `cargo xtask reproduce {name}` writes it anew", error.message);
            Err(RunError::from(ConfigError { message, ..error }).into())
        }
        Err(error) => Err(error.into()),
        Ok(None) => {
            let message = format!(
                "no such file: this suite has not been run here; `cargo xtask reproduce {name}` \
                 runs it, `cargo xtask list` shows all suites"
            );
            let missing = ConfigError::new(message).in_file(&path);
            Err(RunError::from(missing).into())
        }
    }
}

/// A title of an experiment that no other has.
fn title(plan: &ExperimentPlan, before: &[Experiment]) -> Option<String> {
    let label = plan.title.as_ref().unwrap_or(&plan.name);
    let taken = |label: &str| before.iter().any(|e| e.label() == label);
    if !taken(label) {
        return plan.title.clone();
    }
    (2..).map(|n| format!("{label} ({n})")).find(|label| !taken(label))
}

/// What the cells of an experiment show beside numbers.
#[derive(Default)]
struct Shown {
    charts: xy::Recorded,
    pictures: Vec<(String, CellPlan, Vec<Picture>)>,
}

fn albums(
    suite_dir: &Path,
    experiment: usize,
    pictures: &[(String, CellPlan, Vec<Picture>)],
    notes: &mut Notes,
) -> Vec<Album> {
    let mut albums = Vec::new();
    for (arm, cell, pictures_of_cell) in pictures {
        let first = pictures.iter().find(|(other, ..)| other == arm).is_some_and(|(_, c, _)| c.seed == cell.seed);
        for picture in pictures_of_cell {
            match album::read(&suite_dir.join(&cell.dir), picture) {
                Ok(address) => {
                    let caption = scrub(&picture.caption);
                    let path = suite_dir.join(&cell.dir).join("artifacts").join(&picture.file);
                    let shot = Shot { arms: vec![arm.clone()], seed: cell.seed, first, caption, address, path };
                    album::put(&mut albums, experiment, &picture.title, shot);
                }
                Err(why) => notes.warn(arm, cell.seed, &why),
            }
        }
    }
    albums
}

fn read_arm(suite_dir: &Path, plan: &ArmPlan, number: usize, shown: &mut Shown, notes: &mut Notes) -> Result<Arm> {
    let mut cells = Vec::new();
    let mut matrices: BTreeMap<String, Vec<Matrix>> = BTreeMap::new();
    let mut chance = BTreeMap::new();
    for cell in &plan.cells {
        let dir = suite_dir.join(&cell.dir);
        let result = match records::result(&dir, Some(&cell.key).filter(|_| !cell.kept).map(String::as_str))? {
            Standing::Whole(result) => Some(*result),
            // A result of another key is what an earlier plan left there.
            Standing::Nothing | Standing::Another => None,
            Standing::Damaged(_) => {
                let what = "result.json is damaged: the next `reproduce` runs this cell again";
                notes.warn(&plan.id, cell.seed, what);
                None
            }
        };
        let state = match &result {
            Some(_) => State::Done,
            None => unfinished(&dir)?,
        };
        let outcome = result.map(|r| r.outcome).unwrap_or_default();
        if state == State::Done {
            notes.ended.extend(timing::ended(&dir.join("timing.jsonl")));
            notes.add(&plan.id, cell, &dir, &outcome.warnings);
            let missing = plan.plan.metrics.iter().filter(|m| !outcome.metrics.contains_key(&m.name));
            for info in missing {
                notes.warn(&plan.id, cell.seed, &format!("the result lacks `{}`", info.name));
            }
        }
        for (name, matrix) in outcome.matrices {
            matrices.entry(name).or_default().push(matrix);
        }
        chance.extend(outcome.chance);
        shown.charts.push((number, outcome.charts));
        if !outcome.pictures.is_empty() {
            shown.pictures.push((plan.id.clone(), cell.clone(), outcome.pictures));
        }
        cells.push(Cell {
            seed: cell.seed,
            key: cell.key.clone(),
            kept: cell.kept,
            seconds: timing::seconds(&dir.join("timing.jsonl")),
            state,
            metrics: outcome.metrics,
        });
    }
    let matrices = matrices.into_iter().map(|(name, all)| (name, mean_matrix(&all))).collect();
    Ok(Arm { id: plan.id.clone(), metrics: plan.plan.metrics.clone(), cells, matrices, chance })
}

/// The state of a cell without a result.
fn unfinished(dir: &Path) -> Result<State, RunError> {
    let stage = |stage: &str| State::Unfinished { stage: stage.into() };
    let status = match records::read::<Status>(&dir.join("status.json")) {
        Ok(Some(status)) => status,
        Ok(None) => return Ok(stage("not started")),
        Err(error @ RunError::Format { .. }) => return Err(error),
        // It only says what happened: the next run knows as much without it.
        Err(_) => return Ok(stage("unknown, status.json is damaged")),
    };
    Ok(match status.state.as_str() {
        "failed" => State::Failed {
            kind: status.kind.unwrap_or_else(|| "unknown".into()),
            message: scrub(&status.message.unwrap_or_default()),
        },
        // Its result belongs to another key, or is gone.
        "done" => stage("not started"),
        other => stage(other),
    })
}

type Matrix = Vec<Vec<Option<f64>>>;

/// The mean over seeds of every entry that all of them measured.
fn mean_matrix(all: &[Matrix]) -> Matrix {
    let Some(first) = all.first() else {
        return Vec::new();
    };
    let entry = |i: usize, j: usize| -> Option<f64> {
        let sum: Option<f64> = all.iter().map(|m| *m.get(i)?.get(j)?).sum();
        sum.map(|s| s / all.len() as f64)
    };
    let row = |i: usize, len: usize| (0..len).map(|j| entry(i, j)).collect();
    first.iter().enumerate().map(|(i, r)| row(i, r.len())).collect()
}

fn data_set(data: &Resolved) -> DataSet {
    DataSet {
        name: data.name.clone(),
        variant: data.variant.clone(),
        exact: data.exact,
        built_in: data.place == Place::BuiltIn,
        sha256: data.sha256.clone(),
    }
}

/// What the cells say beside their numbers.
#[derive(Default)]
struct Notes {
    warnings: Vec<Alike>,
    provenance: BTreeMap<String, BTreeSet<String>>,
    /// When runs ended, in seconds since 1970.
    ended: Vec<f64>,
}

/// Warnings of one arm that differ only in their numbers.
struct Alike {
    arm: String,
    last: String,
    count: usize,
    seeds: Vec<u64>,
    /// Whether their numbers differ.
    differ: bool,
}

/// The processes of a cell of which something is left in its result: one that another has begun again from its first step,
/// or from before it, has computed nothing that stands. Of a record that does not say where a process began, it is left.
fn heard(processes: &[Value]) -> Vec<&Value> {
    let mut from = u64::MAX;
    let mut left: Vec<&Value> = Vec::new();
    for process in processes.iter().rev() {
        let first = process.get("first_step").and_then(Value::as_u64);
        if first.is_none_or(|first| first < from) {
            left.push(process);
        }
        from = first.map_or(from, |first| first.min(from));
    }
    left.reverse();
    left
}

/// A text without its numbers.
fn shape(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl Notes {
    fn add(&mut self, arm: &str, cell: &CellPlan, dir: &Path, warnings: &[String]) {
        for warning in warnings {
            self.warn(arm, cell.seed, &scrub(warning));
        }
        let text = std::fs::read(dir.join("provenance.json")).unwrap_or_default();
        let Some(processes) = serde_json::from_slice(&text).ok().and_then(processes) else {
            self.warn(arm, cell.seed, "provenance.json is missing or malformed");
            return;
        };
        let processes = heard(&processes);
        for (key, process) in SHOWN.into_iter().flat_map(|key| processes.iter().map(move |process| (key, *process))) {
            if let Some(value) = process.get(key).filter(|v| !v.is_null()) {
                self.provenance.entry(key.into()).or_default().insert(shown(value));
            }
        }
        let mut cpus: Vec<String> = processes.iter().filter_map(|process| process.get("cpu")).map(shown).collect();
        cpus.dedup();
        if cpus.len() > 1 {
            let cpus = cpus.join(", then ");
            self.warn(arm, cell.seed, &format!("was continued on another CPU, which may round differently ({cpus})."));
        }
    }

    fn warn(&mut self, arm: &str, seed: u64, text: &str) {
        match self.warnings.iter_mut().find(|w| w.arm == arm && shape(&w.last) == shape(text)) {
            Some(alike) => {
                alike.differ |= alike.last != text;
                alike.last = text.into();
                alike.count += 1;
                if !alike.seeds.contains(&seed) {
                    alike.seeds.push(seed);
                }
            }
            None => {
                self.warnings.push(Alike {
                    arm: arm.into(),
                    last: text.into(),
                    count: 1,
                    seeds: vec![seed],
                    differ: false,
                });
            }
        }
    }

    fn days(&self) -> Option<Days> {
        let ends = || self.ended.iter().copied();
        let of = |seconds: f64| day(seconds.max(0.0) as u64);
        let (first, last) = (ends().reduce(f64::min)?, ends().reduce(f64::max)?);
        Some(Days { first: of(first), last: of(last) })
    }

    fn provenance(&self) -> BTreeMap<String, Vec<String>> {
        let all = self.provenance.iter();
        all.map(|(key, values)| (key.clone(), values.iter().cloned().collect())).collect()
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => scrub(text.trim()),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

fn warnings(report: &Report, notes: &Notes) -> Vec<String> {
    let mut out = Vec::new();
    let total: usize = report.arms().map(|(_, arm)| arm.cells.len()).sum();
    for experiment in &report.not_run {
        out.push(format!("Not run yet: {experiment}."));
    }
    for experiment in &report.added {
        out.push(format!("Beside the suite's own: {experiment}."));
    }
    if report.unfinished() > 0 {
        out.push(format!("{} of {total} runs have no result yet.", report.unfinished()));
    }
    if report.failed() > 0 {
        out.push(format!("{} of {total} runs failed; they count as failed seeds.", report.failed()));
    }
    let kept = report.arms().flat_map(|(_, arm)| &arm.cells).filter(|c| c.kept).count();
    if kept > 0 {
        out.push(format!("{} of other sources kept with --keep, marked *.", count(kept, "result")));
    }
    for experiment in &report.experiments {
        for (name, why) in &experiment.passed_over {
            let ours = experiment.data.as_ref().map_or("no data", |d| d.name.as_str());
            out.push(format!("{}: {ours} in place of {name} ({why}).", experiment.label()));
        }
    }
    let values = |key: &str| report.provenance.get(key).map_or(&[][..], Vec::as_slice);
    if values("git_dirty").iter().any(|v| v == "yes" || v.len() > 3) {
        out.push("The sources held changes that are not committed.".into());
    }
    for (key, what) in [("git_revision", "revisions"), ("cpu", "CPU models"), ("burn", "Burn versions")] {
        if values(key).len() > 1 {
            out.push(format!("The runs come from different {what}."));
        }
    }
    for Alike { arm, last, count, seeds, differ } in &notes.warnings {
        let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let noun = if seeds.len() == 1 { "seed" } else { "seeds" };
        let more = if *differ { format!(" ({count} that differ in numbers, the last)") } else { String::new() };
        out.push(format!("{arm}, {noun} {}{more}: {last}", list.join(", ")));
    }
    out
}
