//! One process per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{ConfigError, RunError};

/// Held until dropped, or until the process dies in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `dir/LOCK`, waiting up to `patience` for an owner that is about to end.
    ///
    /// # Errors
    /// [`RunError::Locked`] when another process still holds it. [`RunError::Config`] on a file
    /// system without locks: there is no other way by which two processes, perhaps of two
    /// machines, could keep off each other's files and the death of one would free them.
    pub fn take(dir: &Path, patience: Duration) -> Result<Self, RunError> {
        let path = dir.join("LOCK");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| RunError::io(&path, e))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => return Err(RunError::Locked(dir.to_path_buf())),
                Err(TryLockError::Error(e)) => return Err(refused(&path, e)),
            }
        }
    }
}

/// Why a file cannot be locked.
fn refused(path: &Path, error: io::Error) -> RunError {
    let without = [Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::ENOLCK];
    let known = error.raw_os_error().is_some_and(|code| without.contains(&Errno::from_raw(code)));
    if !known && error.kind() != ErrorKind::Unsupported {
        return RunError::io(path, error);
    }
    let message = format!(
        "this file system has no file locks ({error}), without which two processes could write the same run: \
         name a folder on another one with --out"
    );
    ConfigError::new(message).in_file(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_named_with_what_to_do() {
        for error in [Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::ENOLCK] {
            let error = refused(Path::new("runs/quick/LOCK"), error.into());
            assert_eq!(error.exit_code(), crate::error::exit::USAGE);
            let text = error.to_string();
            assert!(
                text.starts_with("runs/quick/LOCK: this file system has no file locks (") && text.contains("--out")
            );
            assert_eq!(text.lines().count(), 1);
        }
        assert!(matches!(refused(Path::new("LOCK"), Errno::EIO.into()), RunError::Io { .. }));
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), Duration::ZERO).unwrap();
        assert!(matches!(Lock::take(dir.path(), Duration::ZERO), Err(RunError::Locked(_))));
        drop(first);
        Lock::take(dir.path(), Duration::ZERO).unwrap();
    }
}
