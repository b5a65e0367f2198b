//! What a cell's key is made of: its protocol, the sources that it is computed by, and how these were built.

use std::fs;
use std::path::{Path, PathBuf};

use plasticity_core::config::{fingerprint, sha256_hex};
use plasticity_core::data::Resolved;
use plasticity_core::device;
use plasticity_core::error::ConfigError;
use plasticity_core::run::record::{CellSpec, FORMAT};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::schedule::REMOVED;
use crate::records;

// What the build script found: SOURCES, NEEDS, LOCK, WORKSPACE, BUILD, RUSTC, BURN.
include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// `cell.json` as the runner writes it; the cell's process needs the spec alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// What the cell is.
    #[serde(flatten)]
    pub spec: CellSpec,
    /// [`sources`] of the program that wrote it.
    #[serde(default)]
    pub sources: String,
}

impl Written {
    /// Whether these sources made it, in this or in another build, and a plan would look for it in this directory.
    pub fn is_current(&self, dir: &Path) -> bool {
        let name = cell_dir(&self.spec.arm, self.spec.seed, &self.spec.key);
        self.sources == sources(&self.spec.experiment) && dir.file_name() == Some(name.as_os_str())
    }
}

/// Everything that a result depends on, but for the sources and their build.
pub fn protocol(
    experiment: &str,
    canonical: &str,
    seed: u64,
    data: &Option<Resolved>,
    device_name: &str,
    threads: usize,
) -> Result<String, ConfigError> {
    let data = data.as_ref().map(|data| match &data.manifest {
        // What a manifest of this program says is among the sources.
        None => json!([data.name, data.variant, data.sha256]),
        Some(own) => json!([data.name, data.variant, data.sha256, own.shape, own.classes]),
    });
    fingerprint(&json!({
        "format": FORMAT,
        "experiment": experiment,
        "config": canonical,
        "seed": seed,
        "data": data,
        "device": device::kind(device_name),
        "threads": threads,
    }))
}

/// The hash of all that an experiment is compiled from: the files of its crate and of the crates of this workspace that
/// it is built on, the workspace's manifest, and the lock file.
pub fn sources(experiment: &str) -> String {
    let needs = NEEDS.iter().find(|(name, _)| *name == experiment).map_or(&[][..], |(_, needs)| needs);
    let of = |name: &str| SOURCES.iter().find(|(other, _)| *other == name).map_or("", |(_, hash)| *hash);
    let all: Vec<(&str, &str)> = needs.iter().map(|name| (*name, of(name))).collect();
    sha256_hex(format!("{all:?} {WORKSPACE} {LOCK}").as_bytes())
}

/// The key of a cell that this program runs.
pub fn key(protocol: &str, sources: &str) -> String {
    let checks = cfg!(debug_assertions);
    sha256_hex(format!("{protocol} {sources} {BUILD:?} {checks}").as_bytes())
}

/// The name of a cell's directory. The seed has digits only, and what follows it eight: no two cells share one.
pub fn cell_dir(arm: &str, seed: u64, key: &str) -> PathBuf {
    PathBuf::from(format!("{arm}-s{seed}-{}", key.get(..8).unwrap_or(key)))
}

/// The cells below a suite's directory by directory, whatever became of them. What cannot be read is none, and what
/// another version of this program wrote is none of ours.
pub fn on_disk(suite_dir: &Path) -> Vec<(PathBuf, Written)> {
    let entries = fs::read_dir(suite_dir).into_iter().flatten().flatten();
    let mut cells: Vec<(PathBuf, Written)> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with(REMOVED))
        .filter_map(|entry| {
            let written = records::read(&entry.path().join("cell.json")).ok()??;
            Some((entry.path(), written))
        })
        .collect();
    cells.sort_by(|(a, _), (b, _)| a.cmp(b));
    cells
}
