//! Checkpoints that survive a kill at any moment.
//!
//! A checkpoint is a directory `step-00001200/` of files with a `manifest.json` of
//! their SHA-256. It is written under a temporary name, every file and the directory
//! are flushed to disk, and then it is renamed: a directory with the final name is
//! complete. The last two are kept, and one whose files do not match its manifest is
//! passed over for the one before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;

use serde::{Deserialize, Serialize};

use crate::config::sha256_hex;
use crate::error::RunError;
use crate::files::{self, where_possible};
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

/// What goes wrong on purpose, for the tests of recovery. Points and files are counted from
/// the start of the process.
///
/// | `PLASTICITY_FAULT` | |
/// | --- | --- |
/// | `step:N` | the process is killed after step N |
/// | `io:N` | it is killed at the N-th point between two operations on files |
/// | `full:N` | the N-th file to be written and every later one find the disk full |
/// | `dirsync:E` | flushing a directory fails with error number E |
/// | `slow:N:S` | step N takes S seconds more |
/// | `slow-end:S` | what comes between the last step and the result takes S seconds more |
#[derive(Debug, Clone, Default)]
pub struct Fault {
    kind: Kind,
    seen: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Step(u64),
    Io(u64),
    Full(u64),
    DirSync(i32),
    Slow(u64, u64),
    SlowEnd(u64),
}

impl Fault {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// As the environment says.
    pub fn from_env() -> Self {
        Self::parse(&std::env::var("PLASTICITY_FAULT").unwrap_or_default())
    }

    /// As `text` says; nothing goes wrong for a text of another form.
    pub fn parse(text: &str) -> Self {
        let (kind, rest) = text.split_once(':').unwrap_or_default();
        let number = rest.parse();
        let kind = match (kind, number, rest.split_once(':')) {
            ("step", Ok(n), _) => Kind::Step(n),
            ("io", Ok(n), _) => Kind::Io(n),
            ("full", Ok(n), _) => Kind::Full(n),
            ("dirsync", Ok(n), _) => i32::try_from(n).map_or(Kind::None, Kind::DirSync),
            ("slow-end", Ok(n), _) => Kind::SlowEnd(n),
            ("slow", _, Some((n, s))) => match (n.parse(), s.parse()) {
                (Ok(n), Ok(s)) => Kind::Slow(n, s),
                _ => Kind::None,
            },
            _ => Kind::None,
        };
        Self { kind, seen: Arc::default() }
    }

    /// The time that a step takes.
    pub(crate) fn in_step(&self, step: u64) {
        if let Kind::Slow(at, seconds) = self.kind
            && at == step
        {
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }

    pub(crate) fn after_step(&self, step: u64) {
        if self.kind == Kind::Step(step) {
            die();
        }
    }

    pub(crate) fn before_result(&self) {
        if let Kind::SlowEnd(seconds) = self.kind {
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }

    fn point(&self) {
        if let Kind::Io(at) = self.kind
            && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == at
        {
            die();
        }
    }

    /// Before the content of a file is written.
    fn room(&self) -> io::Result<()> {
        match self.kind {
            Kind::Full(from) if self.seen.fetch_add(1, Ordering::Relaxed) + 1 >= from => Err(Errno::ENOSPC.into()),
            _ => Ok(()),
        }
    }

    fn dir_sync(&self) -> io::Result<()> {
        match self.kind {
            Kind::DirSync(error) => Err(io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        }
    }
}

/// As `kill -9` would: nothing is flushed, no destructor runs.
fn die() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    std::process::abort();
}

fn write_synced(file: &Path, bytes: &[u8], fault: &Fault) -> io::Result<()> {
    let mut handle = File::create(file)?;
    fault.point();
    fault.room()?;
    handle.write_all(bytes)?;
    fault.point();
    where_possible(handle.sync_all())?;
    fault.point();
    Ok(())
}

/// Makes a rename outlive a power cut.
fn sync_dir(dir: &Path, fault: &Fault) -> Result<(), RunError> {
    let flushed = where_possible(fault.dir_sync()).and_then(|()| files::sync_dir(dir));
    flushed.map_err(|e| RunError::io(dir, e))
}

/// Writes a file whole or not at all: temporary name, flush, rename.
///
/// # Errors
/// When the file cannot be written: the old content then still stands, and nothing of the new
/// is left. When the disk fails as the renamed file's directory is flushed: the new content
/// stands, and may not outlive a power cut. A file system that cannot flush a directory is no
/// error.
pub fn publish(file: &Path, bytes: &[u8], fault: &Fault) -> Result<(), RunError> {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = file.with_file_name(name);
    if let Err(error) = write_synced(&temporary, bytes, fault).and_then(|()| fs::rename(&temporary, file)) {
        // On a full disk the next file may need this room.
        let _ = fs::remove_file(&temporary);
        return Err(RunError::io(file, error));
    }
    fault.point();
    sync_dir(file.parent().unwrap_or(Path::new(".")), fault)
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
        if let Err(error) = self.write(step, files, &temporary) {
            // On a full disk the next file may need this room.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        if target.exists() {
            fs::remove_dir_all(&target).map_err(at(&target))?;
            self.fault.point();
        }
        fs::rename(&temporary, &target).map_err(at(&target))?;
        self.fault.point();
        sync_dir(&self.dir, &self.fault)?;
        self.fault.point();
        self.prune(step)
    }

    /// The files of `step` and their manifest, flushed to `dir`.
    fn write(&self, step: u64, files: &Files, dir: &Path) -> Result<(), RunError> {
        fs::create_dir_all(dir).map_err(|e| RunError::io(dir, e))?;
        let write = |name: &str, bytes: &[u8]| {
            let file = dir.join(name);
            write_synced(&file, bytes, &self.fault).map_err(|e| RunError::io(&file, e))
        };
        for (name, bytes) in files {
            write(name, bytes)?;
        }
        let sha256 = files.iter().map(|(name, bytes)| (name.clone(), sha256_hex(bytes))).collect();
        write("manifest.json", &to_json(&Manifest { format: FORMAT, step, sha256 })?)?;
        sync_dir(dir, &self.fault)?;
        self.fault.point();
        Ok(())
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
    use std::io::ErrorKind;

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
    fn a_full_disk_leaves_what_stood_and_nothing_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = |fault: &str| Store::new(dir.path().join("checkpoints"), Fault::parse(fault));
        store("").save(1, &files("one")).unwrap();
        let file = dir.path().join("status.json");
        publish(&file, b"old", &Fault::none()).unwrap();
        let listing = || {
            let names = |dir: &Path| fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
            (names(dir.path()), names(&dir.path().join("checkpoints")))
        };
        let before = listing();
        // Two files and their manifest: whichever is the first without room.
        for at in 1..=3 {
            let error = store(&format!("full:{at}")).save(2, &files("two")).unwrap_err();
            assert!(matches!(&error, RunError::Io { cause, .. } if cause.kind() == ErrorKind::StorageFull), "{error}");
            assert_eq!((listing(), store("").latest().unwrap()), (before.clone(), Some((1, files("one")))));
        }
        let error = publish(&file, b"new", &Fault::parse("full:1")).unwrap_err();
        assert!(matches!(&error, RunError::Io { file: named, .. } if *named == file), "{error}");
        assert_eq!((listing(), fs::read(&file).unwrap()), (before, b"old".to_vec()));
        // Once there is room, the same goes on.
        store("full:4").save(2, &files("two")).unwrap();
        assert_eq!(store("").latest().unwrap(), Some((2, files("two"))));
    }

    #[test]
    fn a_directory_that_cannot_be_flushed_is_no_error_and_a_disk_that_fails_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("status.json");
        for error in [Errno::EINVAL, Errno::ENOSYS, Errno::EOPNOTSUPP] {
            let fault = Fault::parse(&format!("dirsync:{}", error as i32));
            publish(&file, error.desc().as_bytes(), &fault).unwrap();
            assert_eq!(fs::read(&file).unwrap(), error.desc().as_bytes());
            let store = Store::new(dir.path().join("checkpoints"), fault);
            store.save(1, &files(error.desc())).unwrap();
            assert_eq!(store.latest().unwrap(), Some((1, files(error.desc()))));
        }
        for error in [Errno::EIO, Errno::ENOSPC] {
            let fault = Fault::parse(&format!("dirsync:{}", error as i32));
            assert!(matches!(publish(&file, b"x", &fault), Err(RunError::Io { .. })), "{error}");
        }
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
