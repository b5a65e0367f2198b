//! One process per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::RunError;

/// Held until dropped, or until the process dies in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `dir/LOCK`, waiting up to `patience` for an owner that is about to end.
    ///
    /// # Errors
    /// [`RunError::Locked`] when another process still holds it.
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
                Err(TryLockError::Error(e)) => return Err(RunError::io(&path, e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), Duration::ZERO).unwrap();
        assert!(matches!(Lock::take(dir.path(), Duration::ZERO), Err(RunError::Locked(_))));
        drop(first);
        Lock::take(dir.path(), Duration::ZERO).unwrap();
    }
}
