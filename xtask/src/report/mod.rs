//! The report of a suite: reads the records below its directory, judges claims and
//! printed values, and writes one self-contained HTML page, Markdown, CSV and charts.
//!
//! Everything shown is computed from a [`Report`], which is also what
//! `report --publish` commits as `summary.json`: the tables in the README and in
//! `docs/reproducibility.md` are regenerated from that file alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plasticity_core::error::{ConfigError, exit};
use plasticity_core::run::record::{Claim, Direction, MetricInfo, Profile, Target};
use plasticity_core::stats::{ClaimVerdict, Estimate, TargetVerdict};
use serde::{Deserialize, Serialize};

use crate::{root, suite};

mod album;
mod axis;
mod charts;
mod curves;
mod export;
mod format;
mod heat;
mod html;
mod judge;
mod markdown;
mod plot;
mod publish;
mod read;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timing;
mod xy;

#[cfg(test)]
use publish::check_published;
pub use read::build;
pub use table::terminal_table;

/// `cargo xtask report`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// Suites as `reproduce` takes them, or directories that hold a plan.json
    #[arg(default_value = "quick")]
    pub suite: Vec<String>,
    /// Where the runs are [default: runs/ in the workspace]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write the committed summary, the table in README.md and
    /// docs/reproducibility.md
    #[arg(long)]
    pub publish: bool,
}

/// Writes the report of every suite asked for and prints its table; returns the exit code.
///
/// # Errors
/// A suite that has not been run, records of another format version, and files that
/// cannot be read or written.
pub fn run(args: &ReportArgs) -> Result<i32> {
    let root = root::workspace();
    let out = args.out.clone().unwrap_or_else(|| root.join("runs"));
    for suite in &args.suite {
        let report = build(&locate(suite, &root, &out)?)?;
        write(&report)?;
        say!("{}", terminal_table(&report));
        say!("Report: {}", root::display(&report.place.join("report/index.html")));
        if args.publish {
            let written = publish::publish(&report, &root)?;
            say!("Published: {}", root::display(&written));
        }
    }
    Ok(exit::DONE)
}

/// Writes `report/` below the directory that the report was built from.
///
/// # Errors
/// A chart that cannot be drawn or a file that cannot be written.
pub fn write(report: &Report) -> Result<()> {
    let out = report.place.join("report");
    for picture in charts::pictures(report)? {
        save(&out.join(&picture.file), picture.svg.as_bytes())?;
    }
    save(&out.join("report.md"), markdown::page(report)?.as_bytes())?;
    save(&out.join("cells.csv"), &export::cells(report)?)?;
    save(&out.join("summary.csv"), &export::summary(report)?)?;
    save(&out.join("index.html"), html::page(report)?.as_bytes())
}

/// What `--strict` answers with exit code 5: a claim that fails, or a printed value that
/// a full profile misses.
pub fn outside_tolerance(report: &Report) -> bool {
    report.claims.iter().any(|c| c.verdict == ClaimVerdict::Fails) || report.targets.iter().any(|t| t.verdict.is_miss())
}

/// The directory of a suite given as `reproduce` takes it, as the name of what has run, or as
/// the directory itself.
fn locate(suite: &str, root: &Path, out: &Path) -> Result<PathBuf, ConfigError> {
    let given = Path::new(suite);
    let run = out.join(suite);
    if let Some(dir) = [given, &run].into_iter().find(|dir| dir.join("plan.json").is_file()) {
        return Ok(dir.to_path_buf());
    }
    Ok(out.join(suite::find(root, suite)?.1))
}

/// Publishes a file by write, fsync and rename.
fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let attempt = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut options = tempfile::Builder::new();
        // A temporary file is private to its owner; a report is an ordinary file, from
        // whose permissions the process's umask takes what it does not want.
        #[cfg(unix)]
        options.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = options.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// What a suite's records say, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the records and of `summary.json`.
    pub format: u64,
    /// The suite's name (`hebbian-snn/pmnist`).
    pub suite: String,
    /// Its title.
    pub title: String,
    /// Full or reduced.
    pub profile: Profile,
    /// Seeds of the experiments that have none of their own, in order.
    pub seeds: Vec<u64>,
    /// Threads per cell.
    pub threads: usize,
    /// Device by name.
    pub device: String,
    /// The experiments, each on one data set.
    pub experiments: Vec<Experiment>,
    /// Claims with their verdicts.
    pub claims: Vec<ClaimLine>,
    /// Printed values with ours and their verdicts.
    pub targets: Vec<TargetLine>,
    /// From provenance.json: every distinct value over the cells, by key.
    pub provenance: BTreeMap<String, Vec<String>>,
    /// What a reader must know.
    pub warnings: Vec<String>,
    /// Curves. Published as pictures, not as numbers.
    #[serde(skip)]
    pub charts: Vec<plot::Chart>,
    /// Pictures that the runs made, for the page alone.
    #[serde(skip)]
    pub albums: Vec<album::Album>,
    /// Where the report lies, for the terminal.
    #[serde(skip)]
    pub place: PathBuf,
}

/// One experiment of a suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// Its name (`hebbian-snn`).
    pub name: String,
    /// What tells it from others of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The data set, without its place.
    pub data: Option<DataSet>,
    /// Data sets that were asked for first and could not be had, with the reason.
    pub passed_over: Vec<(String, String)>,
    /// The arms, in the suite's order.
    pub arms: Vec<Arm>,
}

/// What identifies a data set on any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSet {
    /// Name of the manifest.
    pub name: String,
    /// Name of the variant.
    pub variant: String,
    /// The published data, byte for byte.
    pub exact: bool,
    /// Generated by this program.
    pub built_in: bool,
    /// Digest over its content.
    pub sha256: String,
}

/// One arm with its seeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Its id.
    pub id: String,
    /// The metrics that it promised.
    pub metrics: Vec<MetricInfo>,
    /// One cell per seed.
    pub cells: Vec<Cell>,
    /// Matrices by name, each entry the mean over the finished seeds.
    pub matrices: BTreeMap<String, Vec<Vec<Option<f64>>>>,
}

/// One run of one arm with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The seed.
    pub seed: u64,
    /// Key of config, data, device and sources.
    pub key: String,
    /// From other sources, taken with `--keep`.
    pub kept: bool,
    /// How far it came.
    pub state: State,
    /// What it measured; empty unless it is done.
    pub metrics: BTreeMap<String, f64>,
    /// Wall seconds of its steps. Not published: timings and results share no file.
    #[serde(skip)]
    pub seconds: Option<f64>,
}

/// How far a cell came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It has a result.
    Done,
    /// It failed.
    Failed {
        /// Kind of failure (`diverged`).
        kind: String,
        /// What the user saw.
        message: String,
    },
    /// No result yet.
    Unfinished {
        /// `not started`, `running` or `interrupted`.
        stage: String,
    },
}

/// Mean and interval of one metric of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Seeds that have a value.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// The 95% interval, from two seeds on.
    pub interval: Option<Estimate>,
}

/// A claim with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimLine {
    /// The claim as the suite writes it: what the verdict is recomputed from.
    pub claim: Claim,
    /// The same as a formula with units (`hlop bwt > naive bwt + 2.00 points`).
    pub formula: String,
    /// Unit of the difference.
    pub unit: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: ClaimVerdict,
    /// 95% interval of left minus right.
    pub difference: Option<Estimate>,
    /// How many seeds agree in direction.
    pub agree: usize,
}

/// A printed value beside ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetLine {
    /// The target as the suite writes it.
    pub target: Target,
    /// Unit of the metric.
    pub unit: String,
    /// Our mean with its 95% interval.
    pub ours: Option<Estimate>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: TargetVerdict,
}

impl Report {
    /// Every arm of every experiment.
    pub fn arms(&self) -> impl Iterator<Item = (&Experiment, &Arm)> {
        self.experiments.iter().flat_map(|e| e.arms.iter().map(move |a| (e, a)))
    }

    /// The different lists of seeds of its experiments.
    pub fn seed_lists(&self) -> Vec<Vec<u64>> {
        let mut lists: Vec<Vec<u64>> = Vec::new();
        for seeds in self.experiments.iter().map(Experiment::seeds) {
            if !lists.contains(&seeds) {
                lists.push(seeds);
            }
        }
        lists
    }

    /// Number of cells that failed.
    pub fn failed(&self) -> usize {
        self.arms().map(|(_, arm)| arm.failed()).sum()
    }

    /// Number of cells without a result that did not fail.
    pub fn unfinished(&self) -> usize {
        self.arms().map(|(_, arm)| arm.unfinished()).sum()
    }
}

impl Experiment {
    /// Its title, or its name without one.
    pub fn label(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    /// The seeds of its arms.
    pub fn seeds(&self) -> Vec<u64> {
        self.arms.first().map_or(Vec::new(), |arm| arm.cells.iter().map(|c| c.seed).collect())
    }

    /// The metrics of all arms, each once, in the order of first appearance.
    pub fn metrics(&self) -> Vec<&MetricInfo> {
        let mut all: Vec<&MetricInfo> = Vec::new();
        for info in self.arms.iter().flat_map(|a| &a.metrics) {
            if !all.iter().any(|known| known.name == info.name) {
                all.push(info);
            }
        }
        all
    }
}

impl Arm {
    /// The metric's value for every seed; `None` where the seed has none.
    pub fn values(&self, metric: &str) -> Vec<Option<f64>> {
        self.cells.iter().map(|c| c.metrics.get(metric).copied()).collect()
    }

    /// Mean and interval over the seeds that have a value; `None` without any.
    pub fn summary(&self, metric: &str) -> Option<Summary> {
        let values: Vec<f64> = self.values(metric).into_iter().flatten().collect();
        let mean = plasticity_core::stats::mean(&values).ok()?;
        let interval = plasticity_core::stats::t_interval(&values, 0.95).ok();
        Some(Summary { n: values.len(), mean, interval })
    }

    /// What the arm promised of a metric.
    pub fn info(&self, metric: &str) -> Option<&MetricInfo> {
        self.metrics.iter().find(|m| m.name == metric)
    }

    /// The median of the wall seconds of its finished cells, where they are known.
    pub fn seconds(&self) -> Option<f64> {
        timing::median(self.cells.iter().filter(|c| c.state == State::Done).filter_map(|c| c.seconds).collect())
    }

    /// Number of finished cells.
    pub fn done(&self) -> usize {
        self.cells.iter().filter(|c| c.state == State::Done).count()
    }

    /// Number of failed cells.
    pub fn failed(&self) -> usize {
        self.cells.iter().filter(|c| matches!(c.state, State::Failed { .. })).count()
    }

    /// Number of cells that did not fail and have no result.
    pub fn unfinished(&self) -> usize {
        self.cells.len() - self.done() - self.failed()
    }
}

/// The arrow that says which way a metric is better.
fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Higher => " ↑",
        Direction::Lower => " ↓",
        Direction::Neutral => "",
    }
}
