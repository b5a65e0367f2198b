//! `provenance.json`: what a reader needs to judge or repeat a run.

use std::path::Path;
use std::process::Command;

use plasticity_core::config::sha256_hex;
use serde_json::{Value, json};

use super::key::{BUILD, BURN, LOCK, RUSTC, SOURCES};
use super::plan::Cell;

/// Facts of this machine and this program; the same for every cell of a run.
pub fn machine(root: &Path) -> Value {
    let git = |args: &[&str]| -> Option<Vec<u8>> {
        let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let revision = git(&["rev-parse", "HEAD"]).map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let dirty = git(&["diff", "HEAD"]).filter(|diff| !diff.is_empty()).map(|diff| sha256_hex(&diff));
    let features: Vec<&str> = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda", cfg!(feature = "cuda")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    json!({
        "git_revision": revision,
        "git_dirty": dirty,
        "lockfile_sha256": LOCK,
        "sources": SOURCES.iter().map(|(name, hash)| ((*name).to_owned(), json!(hash))).collect::<serde_json::Map<_, _>>(),
        "rustc": RUSTC,
        "burn": BURN,
        "build": BUILD.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "features": features,
        "os": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "cpu": plasticity_core::machine::cpu_model(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// The record of one cell.
pub fn of_cell(machine: &Value, cell: &Cell) -> Value {
    let mut record = machine.clone();
    record["device"] = json!(cell.spec.device);
    record["threads"] = json!(cell.spec.threads);
    record["data"] = json!(cell.spec.data.as_ref().map(|data| {
        json!({"name": data.name, "variant": data.variant, "exact": data.exact, "sha256": data.sha256})
    }));
    record
}
