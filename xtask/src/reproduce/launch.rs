//! What is said and checked before the first cell starts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use plasticity_core::data::Place;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{ExperimentPlan, Profile};

use super::plan::{Cell, Planned, State};
use crate::cost::Cost;
use crate::text::{bytes, estimate};
use crate::{records, root};

/// The plan in a few lines.
pub fn describe(planned: &Planned, jobs: usize) -> String {
    let plan = &planned.plan;
    let profile = match plan.profile {
        Profile::Full => "full",
        Profile::Reduced => "reduced",
    };
    let mut text = format!("Suite {}: {} ({profile} profile)\n", plan.name, plan.title);
    // Once, however many experiments share it.
    let mut said = BTreeSet::new();
    // What this call does not run keeps the data that it has.
    let runs = |e: &&ExperimentPlan| e.arms.iter().any(|arm| planned.cells.iter().any(|cell| cell.spec.arm == arm.id));
    for experiment in plan.experiments.iter().filter(runs) {
        for (name, why) in &experiment.passed_over {
            if said.insert(name.as_str()) {
                let _ = writeln!(text, "  data    {name} is not used: {why}");
            }
        }
        if let Some(data) = experiment.data.as_ref().filter(|data| said.insert(data.name.as_str())) {
            let place = match &data.place {
                Place::BuiltIn => "built in, generated here: no printed value can be judged on it".to_owned(),
                Place::Dir(dir) => format!("{}, sha256 {}", root::display(dir), &data.sha256[..12]),
            };
            let _ = writeln!(text, "  data    {} ({place})", data.name);
        }
    }
    let todo: Vec<&Cell> = planned.cells.iter().filter(|cell| cell.to_run()).collect();
    let count = |state: fn(&State) -> bool| planned.cells.iter().filter(|cell| state(&cell.state)).count();
    let _ = write!(text, "  cells   {} of {} to run", todo.len(), planned.cells.len());
    for (n, what) in [
        (count(|s| *s == State::Done), "done already"),
        (count(|s| *s == State::Kept), "kept from other sources"),
        (count(|s| *s == State::Resumable), "go on from a checkpoint"),
        (count(|s| matches!(s, State::Damaged(_))), "with a damaged result, run again"),
        (count(|s| matches!(s, State::Failed(_))), "failed before, tried again"),
    ] {
        if n > 0 {
            let _ = write!(text, "; {n} {what}");
        }
    }
    let shown: usize = plan.experiments.iter().flat_map(|e| &e.arms).map(|arm| arm.cells.len()).sum();
    if shown > planned.cells.len() {
        let _ = write!(
            text,
            "\n  beside  {} of earlier calls, which the report shows as well",
            shown - planned.cells.len()
        );
    }
    for cell in &planned.cells {
        if let State::Damaged(why) = &cell.state {
            let aside = root::display(&cell.dir.join(records::ASIDE));
            let _ = write!(text, "\n  damaged {}: {why}: it runs again, the file is kept as {aside}", cell.name());
        }
    }
    let _ = writeln!(
        text,
        "\n  device  {}{}, {} thread{} a cell, {jobs} at a time",
        plan.device,
        if plan.device == "flex" || plan.device == "ndarray" { " (the CPU)" } else { "" },
        plan.threads,
        if plan.threads == 1 { "" } else { "s" }
    );
    let cost = of_call(planned, jobs);
    if !todo.is_empty() {
        let _ = writeln!(
            text,
            "  cost    about {} on CPU cores like those of docs/performance.md, and up to {} on disk",
            cost.time(),
            cost.space()
        );
        let less = if plan.profile == Profile::Reduced { "; reduced: less than the paper did" } else { "" };
        let words = "a cell is one arm (a setting) with one seed (what chance is drawn from)";
        let _ = writeln!(text, "  words   {words}{less}");
    }
    text
}

/// One line a cell: what will happen to it and why.
pub fn describe_cells(planned: &Planned) -> String {
    let width = planned.cells.iter().map(|cell| cell.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for cell in &planned.cells {
        let what = match &cell.state {
            State::Done => "skip: its result stands".to_owned(),
            State::Kept => format!("skip: kept from {}", cell.dir.file_name().unwrap_or_default().to_string_lossy()),
            State::Resumable => "go on from its last checkpoint".to_owned(),
            State::Damaged(_) => "run again: its result is damaged".to_owned(),
            State::Failed(kind) => format!("try again ({kind})"),
            State::Fresh => "run".to_owned(),
        };
        let cost = if cell.to_run() { format!(", about {}", estimate(cell.plan.seconds)) } else { String::new() };
        let _ = writeln!(text, "  {:width$}  {}  {what}{cost}", cell.name(), &cell.spec.key[..8]);
    }
    text
}

/// What the cells that are still to run cost.
fn of_call(planned: &Planned, jobs: usize) -> Cost {
    Cost::of(planned.cells.iter().filter(|cell| cell.to_run()).map(|cell| &cell.plan), jobs)
}

/// A run that cannot fit on the disk is refused before it starts.
pub fn check_disk(planned: &Planned, out: &Path) -> Result<(), RunError> {
    let needed = of_call(planned, 1).disk;
    let existing = out.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    match free_disk(existing) {
        Some(free) if free < needed => Err(ConfigError::new(format!(
            "{} on the disk of {}, the runs need about {}: free some, or name another place with --out",
            bytes(free),
            root::display(existing),
            bytes(needed)
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Bytes that an ordinary user can still write below `path`.
pub fn free_disk(path: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    // The widths of these fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}
