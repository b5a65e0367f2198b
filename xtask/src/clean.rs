//! `clean`: removes what no plan of these sources can use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use plasticity_core::error::{RunError, exit};
use plasticity_core::run::Lock;
use plasticity_core::run::record::SuitePlan;

use crate::reproduce::{REMOVED, Written, discard, on_disk, protocol};
use crate::suite::{self, Suite};
use crate::text::bytes;
use crate::{owner, records, registry, root};

/// Flags of `cargo xtask clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// Where runs are kept [default: runs/ in the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove every run, not only what no plan of these sources can use.
    #[arg(long)]
    all: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Removes cells that no plan can use any more and the checkpoints of finished cells; the exit code.
pub fn run(args: &CleanArgs) -> Result<i32> {
    let root = root::workspace();
    let out = args.out.clone().unwrap_or_else(|| root.join("runs"));
    let (mut freed, mut code) = (0, exit::DONE);
    for dir in suites(&out) {
        // One that cannot be cleaned keeps everything, and the others do not wait for it.
        if let Err(error) = clean(&root, &dir, args, &mut freed) {
            complain!("error: {} is left as it is: {}", root::display(&dir), crate::one_line(&error));
            code = crate::exit_code(&error);
        }
    }
    say!("{} {}", bytes(freed), if args.dry_run { "would be freed" } else { "freed" });
    Ok(code)
}

fn clean(root: &Path, dir: &Path, args: &CleanArgs, freed: &mut u64) -> Result<()> {
    // A suite that runs keeps everything.
    let _lock = Lock::take(dir, std::time::Duration::ZERO)?;
    let all = || on_disk(dir).into_iter().map(|(path, _)| path).collect();
    let mut paths: Vec<PathBuf> = if args.all { all() } else { superfluous(root, dir)? };
    // What an earlier call was stopped at.
    let begun = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(REMOVED);
    paths.extend(fs::read_dir(dir).map_err(|e| RunError::io(dir, e))?.flatten().filter(begun).map(|e| e.path()));
    for path in paths {
        let size = size(&path);
        if !args.dry_run {
            discard(&path)?;
        }
        say!("{} {} ({})", if args.dry_run { "would remove" } else { "removed" }, root::display(&path), bytes(size));
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

/// The cells of a suite that neither its report shows nor any call of its suite file with these sources can use, with
/// whatever seeds, threads, device or data; and the checkpoints of finished ones. None of a suite whose file nobody knows.
fn superfluous(root: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    let plan: Option<SuitePlan> = records::read(&dir.join("plan.json"))?;
    let arms = plan.iter().flat_map(|plan| &plan.experiments).flat_map(|e| &e.arms);
    let shown: BTreeSet<&Path> = arms.flat_map(|arm| &arm.cells).map(|cell| cell.dir.as_path()).collect();
    let suite = match owner::read(dir)? {
        Some(owner) => suite::read(&owner.file(root), owner.name(), &registry::entries()).map_err(|e| e.to_string()),
        None => Err("no suite.json says which suite file it belongs to".into()),
    };
    let suite = match suite {
        Ok(suite) => suite,
        Err(why) => {
            say!("{} is left as it is: {why}; --all removes its runs", root::display(dir));
            return Ok(Vec::new());
        }
    };
    let mut paths = Vec::new();
    for (path, cell) in on_disk(dir) {
        let checkpoints = path.join("checkpoints");
        let shown = path.file_name().is_some_and(|name| shown.contains(Path::new(name)));
        let usable = cell.is_current(&path) && is_of(&cell, &suite);
        if !shown && !usable {
            paths.push(path);
        } else if records::is_whole(&path, None) && checkpoints.exists() {
            paths.push(checkpoints);
        }
    }
    Ok(paths)
}

/// Whether a call of the suite could ask for this cell: its arm is there, with this config.
fn is_of(cell: &Written, suite: &Suite) -> bool {
    let spec = &cell.spec;
    let experiments = suite.experiments.iter().filter(|e| e.entry.name == spec.experiment);
    let mut arms = experiments.flat_map(|e| &e.arms).filter(|arm| arm.id == spec.arm);
    arms.any(|arm| {
        let config = &arm.prepared.canonical;
        let again = protocol(&spec.experiment, config, spec.seed, &spec.data, &spec.device, spec.threads);
        again.is_ok_and(|again| again == spec.protocol)
    })
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}
