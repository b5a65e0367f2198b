//! `provenance.json`: what a reader needs to judge or repeat a run.

use std::fs;
use std::path::Path;
use std::process::Command;

use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::config::sha256_hex;
use plasticity_core::error::RunError;
use plasticity_core::run::record::CellSpec;
use serde_json::{Value, json};

use super::key::{BUILD, BURN, LOCK, RUSTC, SOURCES};
use crate::root;

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

/// The record of one process of a cell, without where it started.
pub fn of_cell(machine: &Value, spec: &CellSpec) -> Value {
    let mut record = machine.clone();
    record["device"] = json!(spec.device);
    record["threads"] = json!(spec.threads);
    record["data"] = json!(spec.data.as_ref().map(|data| {
        json!({"name": data.name, "variant": data.variant, "exact": data.exact, "sha256": data.sha256})
    }));
    record
}

/// The variable in which the runner hands that record to the cell's process: the revision is that of the runner's start,
/// whatever is committed while it runs.
pub const FACTS: &str = "PLASTICITY_PROVENANCE";

/// What the runner has handed over; of a cell that was started by hand, what this process knows.
pub fn from_runner(spec: &CellSpec) -> Value {
    let facts = std::env::var(FACTS).ok().and_then(|text| serde_json::from_str(&text).ok());
    facts.unwrap_or_else(|| of_cell(&machine(&root::workspace()), spec))
}

/// Adds a process to the record of a cell, with the step from which it goes on.
///
/// # Errors
/// When the record cannot be written.
pub fn add(dir: &Path, mut facts: Value, first_step: u64) -> Result<(), RunError> {
    facts["first_step"] = json!(first_step);
    let path = dir.join("provenance.json");
    // What cannot be read is no record of anything; a run does not fail for it.
    let text = fs::read(&path).unwrap_or_default();
    let mut all = serde_json::from_slice(&text).ok().and_then(processes).unwrap_or_default();
    // One that was stopped before its first checkpoint has left nothing behind.
    if all.last() != Some(&facts) {
        all.push(facts);
    }
    publish(&path, &to_json(&json!({ "processes": all }))?, &Fault::none())
}

/// Every process that worked on a cell, in order, of what `provenance.json` holds: an earlier form was the record of
/// the last one alone. `None` for anything else.
pub fn processes(record: Value) -> Option<Vec<Value>> {
    match record {
        Value::Object(mut record) => match record.remove("processes") {
            Some(Value::Array(all)) if all.iter().all(Value::is_object) => Some(all),
            Some(_) => None,
            None => Some(vec![Value::Object(record)]),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_that_worked_on_a_cell_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("provenance.json");
        let read = || processes(serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()).unwrap();
        let of = |cpu: &str, first_step: u64| json!({"cpu": cpu, "first_step": first_step});
        // A record of the old form, of which the first step is not known.
        fs::write(&path, r#"{"cpu": "old"}"#).unwrap();
        for (cpu, first_step) in [("a", 10), ("a", 10), ("a", 20), ("b", 20)] {
            add(dir.path(), json!({ "cpu": cpu }), first_step).unwrap();
        }
        assert_eq!(read(), [json!({"cpu": "old"}), of("a", 10), of("a", 20), of("b", 20)]);
        // What is no record does not stop a run.
        fs::write(&path, "{").unwrap();
        add(dir.path(), json!({ "cpu": "a" }), 0).unwrap();
        assert_eq!(read(), [of("a", 0)]);
        assert_eq!(processes(json!({"processes": 1})), None);
        assert_eq!(processes(json!([])), None);
    }
}
