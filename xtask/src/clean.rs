//! `clean`: removes what no plan of these sources can use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use plasticity_core::error::{RunError, exit};
use plasticity_core::run::Lock;
use plasticity_core::run::record::SuitePlan;

use crate::reproduce::{PATIENCE, REMOVED, Written, discard, on_disk, protocol};
use crate::suite::{self, Suite};
use crate::text::bytes;
use crate::{mend, owner, records, registry, root};

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
    // What cannot be cleaned keeps everything, and the others do not wait for it.
    let mut left = |path: &Path, error: anyhow::Error| {
        let (why, mend) = (crate::one_line(&error), mend::of(error.as_ref()));
        complain!("error: {} is left as it is: {why}{mend}", root::display(path));
        code = crate::exit_code(&error);
    };
    for dir in suites(&out) {
        // A suite that runs keeps everything. A look leaves nothing behind, not even a lock's file.
        let looks = args.dry_run && !dir.join("LOCK").exists();
        let lock = if looks { Ok(None) } else { Lock::take(&dir, Duration::ZERO).map(Some) };
        let paths = lock.map_err(Into::into).and_then(|lock| Ok((lock, superfluous(&root, &dir, args)?)));
        let (_lock, paths) = match paths {
            Ok(found) => found,
            Err(error) => {
                left(&dir, error);
                continue;
            }
        };
        for path in paths {
            let size = size(&path);
            if !args.dry_run
                && let Err(error) = remove(&path)
            {
                left(&path, error.into());
                continue;
            }
            say!(
                "{} {} ({})",
                if args.dry_run { "would remove" } else { "removed" },
                root::display(&path),
                bytes(size)
            );
            freed += size;
        }
    }
    say!("{} {}", bytes(freed), if args.dry_run { "would be freed" } else { "freed" });
    Ok(code)
}

/// Removes a cell or a cell's checkpoints. Its process may outlive the runner for some seconds: under the cell's lock,
/// none is pulled from under its feet, to write the directory once more.
fn remove(path: &Path) -> Result<(), RunError> {
    let begun = |dir: &&Path| !name(dir).starts_with(REMOVED) && dir.join("cell.json").exists();
    let cell = [Some(path), path.parent()].into_iter().flatten().find(begun);
    let _lock = cell.map(|cell| Lock::take(cell, PATIENCE)).transpose()?;
    discard(path)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Directories of suites in a directory, which may be one itself.
fn suites(dir: &Path) -> Vec<PathBuf> {
    if owner::holds_runs(dir) {
        return vec![dir.to_path_buf()];
    }
    // Not through links, which may lead anywhere, also back.
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut inside: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().filter(is_dir).map(|entry| entry.path()).collect();
    inside.sort();
    inside.iter().flat_map(|path| suites(path)).collect()
}

/// What goes of a suite's directory: what an earlier call was stopped at; with `--all` every cell, whatever is in it; else
/// the cells that neither its report shows nor any call of its suite file with these sources can use without `--keep`,
/// with whatever seeds, threads, device or data, and the checkpoints of finished ones. None of a suite whose file nobody
/// knows.
fn superfluous(root: &Path, dir: &Path, args: &CleanArgs) -> Result<Vec<PathBuf>> {
    let below = fs::read_dir(dir).map_err(|e| RunError::io(dir, e))?.flatten().map(|entry| entry.path());
    let (begun, others): (Vec<PathBuf>, Vec<PathBuf>) = below.partition(|path| name(path).starts_with(REMOVED));
    let mut paths = if args.all {
        let mut cells: Vec<PathBuf> = others.into_iter().filter(|path| path.join("cell.json").exists()).collect();
        cells.sort();
        cells
    } else {
        unused(root, dir)?
    };
    paths.extend(begun);
    Ok(paths)
}

fn unused(root: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    let plan: Option<SuitePlan> = records::read(&dir.join("plan.json"))?;
    let arms = plan.iter().flat_map(|plan| &plan.experiments).flat_map(|e| &e.arms);
    let shown: BTreeSet<&Path> = arms.flat_map(|arm| &arm.cells).map(|cell| cell.dir.as_path()).collect();
    let suite = match owner::read(dir) {
        Ok(Some(owner)) if owner.file(root).exists() => {
            suite::read(&owner.file(root), owner.name(), &registry::entries()).map_err(|e| format!("{e}: mend it"))
        }
        Err(error) if !matches!(error, RunError::Format { .. } | RunError::Io { .. }) => {
            Err(format!("{error}: `cargo xtask reproduce` of its suite mends it, or says what does"))
        }
        found => {
            let why = match found {
                Ok(Some(owner)) => format!("its suite file {} is gone", root::display(&owner.file(root))),
                Ok(None) => "no suite.json says which suite file it belongs to".into(),
                Err(error) => return Err(error.into()),
            };
            Err(format!("{why}; `cargo xtask clean --all --out {}` removes its runs", root::display(dir)))
        }
    };
    let suite = match suite {
        Ok(suite) => suite,
        Err(why) => {
            say!("{} is left as it is: {why}", root::display(dir));
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
