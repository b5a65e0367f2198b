//! `reproduce`: plan, schedule, one process per cell, report.

pub mod cell;
mod early;
mod keep;
mod key;
mod launch;
mod plan;
mod progress;
pub mod provenance;
mod schedule;
mod stop;

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::error::{ConfigError, RunError, exit};
use plasticity_core::run::Lock;

#[cfg(test)]
pub use key::SOURCES;
pub use key::{LOCK, RUSTC, Written, on_disk, protocol};
pub use launch::free_disk;
pub use plan::plan;
pub use schedule::{REMOVED, discard};
pub use stop::PATIENCE;
use stop::{Listener, Phase};

use crate::owner::{self, Owner};
use crate::{cost, registry, report, root, suite};

/// Flags of `cargo xtask reproduce`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Suite: a name below experiments/, its last part, or a path to a TOML file.
    #[arg(default_value = "quick")]
    pub suite: String,
    /// Show the plan and what it would cost, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Cells at a time [default: cores / threads].
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Threads per cell [default: what the suite says].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Device: auto, flex, ndarray, wgpu[:INDEX], cuda[:INDEX].
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Folder that holds data sets, each in a folder of its name.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Never use the network.
    #[arg(long)]
    pub offline: bool,
    /// Run the experiments of one paper alone; the report still shows what else has run.
    #[arg(long, value_name = "PAPER")]
    pub only: Option<String>,
    /// Run these seeds instead of the suite's, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "SEED,...")]
    pub seeds: Option<Vec<u64>>,
    /// Where runs are kept [default: runs/ in the workspace].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run every cell anew, from nothing.
    #[arg(long, conflicts_with = "keep")]
    pub force: bool,
    /// Accept results of the same protocol from other sources or another build, the newest; the
    /// report marks them.
    #[arg(long)]
    pub keep: bool,
    /// Exit with 5 when a claim fails or a printed value of a full profile is missed.
    #[arg(long)]
    pub strict: bool,
}

/// Runs a suite; the exit code.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    for (flag, value) in [("--jobs", options.jobs), ("--threads", options.threads)] {
        if value == Some(0) {
            return Err(ConfigError::new(format!("{flag} 0: give at least 1")).into());
        }
    }
    let stop = Listener::new(options.force)?;
    let root = root::workspace();
    let (file, name) = suite::find(&root, &options.suite)?;
    let owner = Owner::of(&root, &file, &name)?;
    if options.out.is_none() {
        owner::check_name(&root, &owner, &name)?;
    }
    let out = options.out.clone().unwrap_or_else(|| root.join("runs"));
    owner.check(&out.join(&name))?;
    let suite = suite::read(&file, name, &registry::entries())?;
    let planned = plan(&suite, &out, options)?;
    let jobs = options.jobs.unwrap_or_else(|| cost::jobs(planned.plan.threads));
    say!("{}", launch::describe(&planned, jobs).trim_end());
    launch::check_disk(&planned, &out)?;
    if options.dry_run {
        say!("{}", launch::describe_cells(&planned).trim_end());
        return Ok(exit::DONE);
    }

    std::fs::create_dir_all(&planned.dir).with_context(|| format!("cannot make {}", planned.dir.display()))?;
    let lock = Lock::take(&planned.dir, std::time::Duration::from_secs(10))?;
    owner.check(&planned.dir)?;
    owner.record(&planned.dir)?;
    publish(&planned.dir.join("plan.json"), &to_json(&planned.plan)?, &Fault::none())?;
    let (began, clock) = (SystemTime::now(), Instant::now());
    stop.enter(Phase::Running);
    let summary = schedule::run_all(&planned, jobs, options.force, &stop)?;
    let cells = planned.cells.iter().filter(|cell| cell.to_run()).count();
    if cells > 0 {
        let started = began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let call = report::Call { started, wall_s: clock.elapsed().as_secs_f64(), jobs, cells };
        // It only tells of the call: what the cells found does not wait for it.
        if let Err(error) = report::record(&planned.dir, &call) {
            let error = RunError::io(&planned.dir.join("timing.jsonl"), error);
            complain!("warning: {error}; the report lacks the time of this call");
        }
    }

    if summary.interrupted {
        stop.say_interrupted();
        return Ok(exit::INTERRUPTED);
    }
    // A stop in the last cell's last second is no reason to hold back what is finished.
    stop.enter(Phase::Reporting);
    let report = report::build(&planned.dir)?;
    report::write(&report)?;
    drop(lock);
    say!("\n{}", report::terminal_table(&report));
    say!("Report: {}", root::display(&planned.dir.join("report/index.html")));
    Ok(if summary.failed > 0 {
        summary.code
    } else if summary.locked > 0 {
        exit::LOCKED
    } else if options.strict && report::outside_tolerance(&report) {
        exit::OUTSIDE
    } else {
        exit::DONE
    })
}
