//! `--keep`: a result of the same protocol from other sources, or from another build of these.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use plasticity_core::error::ConfigError;

use super::key::Written;
use crate::records::{self, Standing};
use crate::report::ended;

/// A result that may be kept.
struct Candidate<'a> {
    dir: &'a Path,
    key: String,
    /// When its run ended: by its record, else by the file system, which a copy may have touched.
    ended: (Option<f64>, f64),
}

/// The newest finished cell of an arm and a seed with this protocol, by the time at which its run ended; its directory,
/// relative to the suite's.
///
/// # Errors
/// When two of them ended at the same time: neither is the newer.
pub fn newest(
    cells: &[(PathBuf, Written)],
    arm: &str,
    seed: u64,
    protocol: &str,
) -> Result<Option<PathBuf>, ConfigError> {
    let same = |w: &Written| w.spec.arm == arm && w.spec.seed == seed && w.spec.protocol == protocol;
    let mut found: Vec<Candidate> = cells.iter().filter(|(_, w)| same(w)).filter_map(|(dir, _)| read(dir)).collect();
    // A record is newer than none: those without one are from before there were any.
    found.sort_by(|a, b| {
        let recorded = |c: &Candidate| c.ended.0.unwrap_or(f64::NEG_INFINITY);
        recorded(b).total_cmp(&recorded(a)).then(b.ended.1.total_cmp(&a.ended.1)).then(a.dir.cmp(b.dir))
    });
    if let [first, second, ..] = found.as_slice()
        && first.ended == second.ended
        && first.key != second.key
    {
        let name = |c: &Candidate| c.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(ConfigError::new(format!(
            "--keep: {} and {} ended at the same time, so neither is the newer: remove one of them",
            name(first),
            name(second)
        )));
    }
    Ok(found.first().and_then(|c| c.dir.file_name()).map(PathBuf::from))
}

fn read(dir: &Path) -> Option<Candidate<'_>> {
    let Ok(Standing::Whole(result)) = records::result(dir, None) else { return None };
    let touched = dir.join("result.json").metadata().and_then(|meta| meta.modified()).ok();
    let touched = touched.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |since| since.as_secs_f64());
    Some(Candidate { dir, key: result.key, ended: (ended(&dir.join("timing.jsonl")), touched) })
}
