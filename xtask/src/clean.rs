//! `clean`: removes what the current plans do not need.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use plasticity_core::error::{RunError, exit};
use plasticity_core::run::Lock;
use plasticity_core::run::record::SuitePlan;

use crate::reproduce::{REMOVED, discard};
use crate::text::bytes;
use crate::{records, root};

/// Flags of `cargo xtask clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// Where runs are kept [default: runs/ in the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove every run, not only what the current plans do not need.
    #[arg(long)]
    all: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Removes cells of old keys and the checkpoints of finished cells; the exit code.
pub fn run(args: &CleanArgs) -> anyhow::Result<i32> {
    let out = args.out.clone().unwrap_or_else(|| root::workspace().join("runs"));
    let (mut freed, mut code) = (0, exit::DONE);
    for suite in suites(&out) {
        // One that cannot be cleaned keeps everything, and the others do not wait for it.
        if let Err(error) = clean(&suite, args, &mut freed) {
            complain!("error: {} is left as it is: {}", root::display(&suite), crate::one_line(&error));
            code = crate::exit_code(&error);
        }
    }
    say!("{} {}", bytes(freed), if args.dry_run { "would be freed" } else { "freed" });
    Ok(code)
}

fn clean(suite: &Path, args: &CleanArgs, freed: &mut u64) -> anyhow::Result<()> {
    // A suite that runs keeps everything.
    let _lock = Lock::take(suite, std::time::Duration::ZERO)?;
    for path in superfluous(suite, args.all)? {
        let size = size(&path);
        say!("{} {} ({})", if args.dry_run { "would remove" } else { "removed" }, root::display(&path), bytes(size));
        if !args.dry_run {
            discard(&path)?;
        }
        *freed += size;
    }
    Ok(())
}

/// Directories that hold a plan.
fn suites(dir: &Path) -> Vec<PathBuf> {
    if dir.join("plan.json").exists() {
        return vec![dir.to_path_buf()];
    }
    let mut inside: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    inside.sort();
    inside.iter().flat_map(|path| suites(path)).collect()
}

fn superfluous(suite: &Path, all: bool) -> anyhow::Result<Vec<PathBuf>> {
    // What a damaged plan needs nobody knows; with `--all` nobody asks.
    let plan: Option<SuitePlan> = match records::read(&suite.join("plan.json")) {
        Err(RunError::Config(_)) if all => None,
        plan => plan?,
    };
    let needed: BTreeSet<&Path> = plan
        .iter()
        .flat_map(|plan| &plan.experiments)
        .flat_map(|e| &e.arms)
        .flat_map(|arm| &arm.cells)
        .map(|cell| cell.dir.as_path())
        .collect();
    let mut paths = Vec::new();
    for entry in fs::read_dir(suite)?.flatten() {
        let path = entry.path();
        // What an earlier call was stopped at.
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            paths.push(path);
            continue;
        }
        if !path.join("cell.json").exists() {
            continue;
        }
        let checkpoints = path.join("checkpoints");
        if all || !needed.contains(Path::new(&entry.file_name())) {
            paths.push(path);
        } else if records::is_whole(&path, None) && checkpoints.exists() {
            paths.push(checkpoints);
        }
    }
    paths.sort();
    Ok(paths)
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}
