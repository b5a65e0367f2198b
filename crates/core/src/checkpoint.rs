//! Checkpoints that survive a kill at any moment.
//!
//! A checkpoint is a directory `step-00001200/` of files with a `manifest.json` of
//! their SHA-256. It is written under a temporary name, every file and the directory
//! are flushed to disk, and then it is renamed: a directory with the final name is
//! complete. The last two are kept, and one whose files do not match its manifest is
//! passed over for the one before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::config::sha256_hex;
use crate::error::RunError;
pub use crate::nn::{Files, file};

/// Version of everything written below a suite's directory. A directory of another
/// version is refused, never half-read.
pub const FORMAT: u64 = 1;

/// Anything a checkpoint can hold: a model, an optimiser, a projector, a server.
pub trait Snapshot {
    /// The state as files. The same state gives the same files.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&self) -> Result<Files, RunError>;

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When a file is missing or is not of this kind of state.
    fn load(&mut self, files: &Files) -> Result<(), RunError>;
}

/// Kills the process at a chosen point, for the tests of recovery.
///
/// `PLASTICITY_FAULT=step:N` kills after step N, `io:N` at the N-th point between two
/// operations on files, counted from the start of the process.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    step: Option<u64>,
    io: Option<u64>,
    seen: Arc<AtomicU64>,
}

impl Fault {
    /// Never kills.
    pub fn none() -> Self {
        Self::default()
    }

    /// As the environment says.
    pub fn from_env() -> Self {
        let text = std::env::var("PLASTICITY_FAULT").unwrap_or_default();
        let number = |kind: &str| text.strip_prefix(kind).and_then(|n| n.parse().ok());
        Self { step: number("step:"), io: number("io:"), seen: Arc::default() }
    }

    pub(crate) fn after_step(&self, step: u64) {
        if self.step == Some(step) {
            die();
        }
    }

    fn point(&self) {
        if self.io.is_some() && Some(self.seen.fetch_add(1, Ordering::Relaxed) + 1) == self.io {
            die();
        }
    }
}

/// As `kill -9` would: nothing is flushed, no destructor runs.
fn die() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    std::process::abort();
}

fn write_synced(file: &Path, bytes: &[u8], fault: &Fault) -> Result<(), RunError> {
    let error = |e| RunError::io(file, e);
    let mut handle = File::create(file).map_err(error)?;
    fault.point();
    handle.write_all(bytes).map_err(error)?;
    fault.point();
    handle.sync_all().map_err(error)?;
    fault.point();
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), RunError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| RunError::io(dir, e))
}

/// Writes a file whole or not at all: temporary name, flush, rename.
///
/// # Errors
/// When a file operation fails; the old content then still stands.
pub fn publish(file: &Path, bytes: &[u8], fault: &Fault) -> Result<(), RunError> {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = file.with_file_name(name);
    write_synced(&temporary, bytes, fault)?;
    fs::rename(&temporary, file).map_err(|e| RunError::io(file, e))?;
    fault.point();
    sync_dir(file.parent().unwrap_or(Path::new(".")))
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u64,
    step: u64,
    sha256: BTreeMap<String, String>,
}

/// The checkpoints of one run.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    fault: Fault,
}

/// How many checkpoints are kept.
const KEEP: usize = 2;

impl Store {
    /// The checkpoints in `dir`, which need not exist yet.
    pub fn new(dir: PathBuf, fault: Fault) -> Self {
        Self { dir, fault }
    }

    /// Saves the files of `step`. A checkpoint of that step is replaced.
    ///
    /// # Errors
    /// When a file operation fails; the checkpoints before it still stand.
    pub fn save(&self, step: u64, files: &Files) -> Result<(), RunError> {
        let target = self.dir.join(format!("step-{step:08}"));
        let temporary = self.dir.join(format!("step-{step:08}.tmp"));
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |e| RunError::io(&path, e)
        };
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(at(&temporary))?;
        }
        fs::create_dir_all(&temporary).map_err(at(&temporary))?;
        for (name, bytes) in files {
            write_synced(&temporary.join(name), bytes, &self.fault)?;
        }
        let sha256 = files.iter().map(|(name, bytes)| (name.clone(), sha256_hex(bytes))).collect();
        let manifest = to_json(&Manifest { format: FORMAT, step, sha256 })?;
        write_synced(&temporary.join("manifest.json"), &manifest, &self.fault)?;
        sync_dir(&temporary)?;
        self.fault.point();
        if target.exists() {
            fs::remove_dir_all(&target).map_err(at(&target))?;
            self.fault.point();
        }
        fs::rename(&temporary, &target).map_err(at(&target))?;
        self.fault.point();
        sync_dir(&self.dir)?;
        self.fault.point();
        self.prune(step)
    }

    /// Removes what is older than the last two, and what a killed save left behind.
    fn prune(&self, newest: u64) -> Result<(), RunError> {
        let steps = self.steps()?;
        for step in steps.iter().filter(|step| **step <= newest).rev().skip(KEEP) {
            let old = self.dir.join(format!("step-{step:08}"));
            fs::remove_dir_all(&old).map_err(|e| RunError::io(&old, e))?;
            self.fault.point();
        }
        for entry in fs::read_dir(&self.dir).map_err(|e| RunError::io(&self.dir, e))?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".tmp") {
                fs::remove_dir_all(entry.path()).map_err(|e| RunError::io(&entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// Steps that have a checkpoint, ascending.
    fn steps(&self) -> Result<Vec<u64>, RunError> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.dir).map_err(|e| RunError::io(&self.dir, e))?;
        let mut steps: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint whose files match its manifest, with its step.
    ///
    /// # Errors
    /// When a checkpoint is of another version of the format. A damaged one is
    /// reported as a warning and passed over.
    pub fn latest(&self) -> Result<Option<(u64, Files)>, RunError> {
        for step in self.steps()?.into_iter().rev() {
            let dir = self.dir.join(format!("step-{step:08}"));
            match read(&dir, step) {
                Ok(files) => return Ok(Some((step, files))),
                Err(error @ RunError::Format { .. }) => return Err(error),
                Err(error) => tracing::warn!("{error}; going back to the checkpoint before it"),
            }
        }
        Ok(None)
    }
}

fn read(dir: &Path, step: u64) -> Result<Files, RunError> {
    let path = dir.join("manifest.json");
    let text = fs::read(&path).map_err(|e| RunError::io(&path, e))?;
    let manifest: Manifest = from_json(&path, &text)?;
    if manifest.format != FORMAT {
        return Err(RunError::Format { file: path, found: manifest.format, expected: FORMAT });
    }
    if manifest.step != step {
        let what = format!("of step {}, in the directory of step {step}", manifest.step);
        return Err(RunError::Checkpoint { file: path, what });
    }
    let mut files = Files::new();
    for (name, expected) in manifest.sha256 {
        // A file of the checkpoint, wherever the manifest may point.
        if Path::new(&name).file_name() != Some(name.as_ref()) {
            return Err(RunError::Checkpoint { file: path, what: format!("`{name}` is not the name of a file") });
        }
        let path = dir.join(&name);
        let bytes = fs::read(&path).map_err(|e| RunError::io(&path, e))?;
        if sha256_hex(&bytes) != expected {
            return Err(RunError::Checkpoint { file: path, what: "the content does not match the manifest".into() });
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

/// A value as indented JSON with a final newline.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, RunError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| RunError::Failed(e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// A value from JSON; the error names the file.
///
/// # Errors
/// When the text is not JSON of this type.
pub fn from_json<T: serde::de::DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, RunError> {
    serde_json::from_slice(text)
        .map_err(|e| RunError::Checkpoint { file: file.to_path_buf(), what: format!("not a readable record: {e}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        Files::from([("a.bin".into(), text.as_bytes().to_vec()), ("b.bin".into(), vec![7; 100])])
    }

    #[test]
    fn the_last_two_are_kept_and_the_newest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("checkpoints"), Fault::none());
        assert_eq!(store.latest().unwrap(), None);
        for step in [10, 20, 30] {
            store.save(step, &files(&step.to_string())).unwrap();
        }
        assert_eq!(store.steps().unwrap(), [20, 30]);
        assert_eq!(store.latest().unwrap(), Some((30, files("30"))));
        store.save(30, &files("again")).unwrap();
        assert_eq!(store.latest().unwrap(), Some((30, files("again"))));
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf(), Fault::none());
        store.save(1, &files("one")).unwrap();
        store.save(2, &files("two")).unwrap();
        fs::write(dir.path().join("step-00000002/a.bin"), "twO").unwrap();
        assert_eq!(store.latest().unwrap(), Some((1, files("one"))));
        fs::remove_file(dir.path().join("step-00000001/manifest.json")).unwrap();
        assert_eq!(store.latest().unwrap(), None);
    }

    /// A directory that was renamed or copied would resume at a step that its state has not seen.
    #[test]
    fn a_checkpoint_of_another_step_or_with_files_from_elsewhere_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf(), Fault::none());
        store.save(1, &files("one")).unwrap();
        store.save(2, &files("two")).unwrap();
        fs::rename(dir.path().join("step-00000002"), dir.path().join("step-00000009")).unwrap();
        assert_eq!(store.latest().unwrap(), Some((1, files("one"))));
        fs::write(dir.path().join("secret"), "two").unwrap();
        for name in ["../secret", "/etc/hostname", "a/../../secret", "..", ""] {
            store.save(3, &files("three")).unwrap();
            let manifest = dir.path().join("step-00000003/manifest.json");
            let text = fs::read_to_string(&manifest).unwrap();
            let text = text.replace("a.bin", name).replace(&sha256_hex(b"three"), &sha256_hex(b"two"));
            fs::write(&manifest, text).unwrap();
            assert_eq!(store.latest().unwrap(), Some((1, files("one"))), "{name}");
        }
    }

    #[test]
    fn leavings_of_a_killed_save_are_ignored_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf(), Fault::none());
        store.save(1, &files("one")).unwrap();
        fs::create_dir(dir.path().join("step-00000002.tmp")).unwrap();
        fs::write(dir.path().join("step-00000002.tmp/a.bin"), "half").unwrap();
        assert_eq!(store.latest().unwrap(), Some((1, files("one"))));
        store.save(3, &files("three")).unwrap();
        assert!(!dir.path().join("step-00000002.tmp").exists());
    }

    #[test]
    fn another_format_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf(), Fault::none());
        store.save(1, &files("one")).unwrap();
        let manifest = dir.path().join("step-00000001/manifest.json");
        let text = fs::read_to_string(&manifest).unwrap().replace("\"format\": 1", "\"format\": 99");
        fs::write(&manifest, text).unwrap();
        let error = store.latest().unwrap_err();
        assert!(matches!(error, RunError::Format { found: 99, .. }), "{error}");
    }
}
