//! The report of a suite: reads the records below its directory, judges claims and
//! printed values, and writes one self-contained HTML page, Markdown, CSV and charts.
//!
//! Everything shown is computed from a [`Report`], which is also what
//! `report --publish` commits as `summary.json`: what the README shows, `docs/results.md` and
//! `docs/reproducibility.md` are made of these files, and what a suite says of its claims to a reader.
//!
//! Three rooms, and one direction: what was [`measured`], what is [`drawn`] of it, what is [`written`] of both.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plasticity_core::error::exit;
use plasticity_core::files::forget_temporaries;
use plasticity_core::run::record::{Claim, SuitePlan};
use plasticity_core::stats::ClaimVerdict;

use crate::owner::Owner;
use crate::{root, suite};

mod drawn;
mod measured;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod written;

use drawn::charts;
use written::{export, files, html, markdown, next, pages, publish};

pub use measured::model::{Report, arms_of};
pub use measured::read::build;
pub use measured::timing::{Call, ended, record};
pub use written::files::save;
pub use written::table::terminal_table;

/// `cargo xtask report`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// Suites as `reproduce` takes them, or directories that hold a plan.json
    #[arg(default_value = "quick")]
    pub suite: Vec<String>,
    /// Where the runs are [default: runs/ in the workspace]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write the committed summary and the pages made of all of them: parts of
    /// README.md, docs/results.md, docs/reproducibility.md
    #[arg(long)]
    pub publish: bool,
    /// Only write those pages again, from the committed summaries; needs no runs
    #[arg(long, conflicts_with_all = ["publish", "suite"])]
    pub pages: bool,
}

/// What is found of one claim, as a line of the terminal, while other runs of its suite go on; `None` where it cannot be
/// judged yet. It is what the report of the whole suite will say, since a claim is judged by its own arms alone.
pub fn verdict(suite_dir: &Path, plan: &SuitePlan, claim: &Claim) -> Option<String> {
    let report = measured::read::of_claim(suite_dir, plan, claim).ok()?;
    let line = report.claims.first().filter(|line| !matches!(line.verdict, ClaimVerdict::NotJudged(_)))?;
    Some(written::table::verdict(&report, line))
}

/// Writes the report of every suite asked for and prints its table; returns the exit code.
///
/// # Errors
/// A suite that has not been run, records of another format version, and files that
/// cannot be read or written.
pub fn run(args: &ReportArgs) -> Result<i32> {
    let root = root::workspace();
    if args.pages {
        pages::write(&root)?;
        say!("Written: {}", pages::WRITTEN);
        return Ok(exit::DONE);
    }
    let out = args.out.clone().unwrap_or_else(|| root.join("runs"));
    for suite in &args.suite {
        let report = build(&locate(suite, &root, &out)?)?;
        write(&report)?;
        say!("{}", terminal_table(&report));
        say!("Report: {}", root::display(&report.place.join("report/index.html")));
        if args.publish {
            let written = publish::publish(&report.place, &root)?;
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
    // What a report that was stopped has left.
    forget_temporaries(&out, |name| name.starts_with(".tmp"));
    let pictures = charts::pictures(report)?;
    files::pictures(&out, &pictures)?;
    save(&out.join("report.md"), markdown::page(report, &pictures).as_bytes())?;
    save(&out.join("cells.csv"), &export::cells(report)?)?;
    save(&out.join("summary.csv"), &export::summary(report)?)?;
    save(&out.join("index.html"), html::page(report, &next::suites(report), to_root(&out).as_deref())?.as_bytes())
}

/// The way from a directory to the root of the repository (`../../`), if it lies inside.
fn to_root(dir: &Path) -> Option<String> {
    let (dir, root) = (dir.canonicalize().ok()?, root::workspace().canonicalize().ok()?);
    Some("../".repeat(dir.strip_prefix(root).ok()?.components().count()))
}

/// What `--strict` answers with exit code 5: a claim that fails, or a printed value that
/// a full profile misses.
pub fn outside_tolerance(report: &Report) -> bool {
    report.claims.iter().any(|c| c.verdict == ClaimVerdict::Fails) || report.targets.iter().any(|t| t.verdict.is_miss())
}

/// The directory of a suite given as `reproduce` takes it, as the name of what has run, or as
/// the directory itself.
fn locate(suite: &str, root: &Path, out: &Path) -> Result<PathBuf> {
    let given = Path::new(suite);
    let run = out.join(suite);
    // A name is a suite's before it is that of a directory which happens to be here.
    if let Some(dir) = [&run, given].into_iter().find(|dir| dir.join("plan.json").is_file()) {
        return Ok(dir.to_path_buf());
    }
    let (file, name) = suite::find(root, suite)?;
    let dir = out.join(&name);
    if dir.join("plan.json").is_file() {
        Owner::of(root, &file, &name)?.check(&dir)?;
    }
    Ok(dir)
}
