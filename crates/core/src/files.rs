//! What every writer of files needs: flushing them, on file systems that cannot always, and removing what writers that
//! were stopped have left.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// Who writes a temporary file touches it far more often than this.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Removes the temporary files in `dir` that nobody writes any more: a process that was stopped has left them. Which
/// names are temporary, the caller knows.
pub fn forget_temporaries(dir: &Path, temporary: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
        let age = modified.and_then(|at| at.elapsed().ok()).unwrap_or_default();
        if temporary(&entry.file_name().to_string_lossy()) && age > FORGOTTEN {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The result of a flush, which some file systems (FUSE, network shares) do not know for directories or at all: they
/// are trusted to keep the order of what they are told. What is wrong with the disk itself stays an error.
///
/// # Errors
/// As the flush, but for a file system that cannot.
pub fn where_possible(flushed: io::Result<()>) -> io::Result<()> {
    match flushed {
        // EINVAL; ENOSYS and EOPNOTSUPP.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        flushed => flushed,
    }
}

/// Makes a rename in `dir` outlive a power cut. A directory that may be written but not read, and any on a system other
/// than Unix, cannot be opened for it: the rename stands nonetheless.
///
/// # Errors
/// When the disk fails. The rename stands then, too.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match File::open(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::IsADirectory) => Ok(()),
        opened => where_possible(opened?.sync_all()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_cannot_is_no_error_and_what_a_disk_cannot_is() {
        let flushed = |kind: ErrorKind| where_possible(Err(kind.into()));
        assert!(flushed(ErrorKind::InvalidInput).is_ok() && flushed(ErrorKind::Unsupported).is_ok());
        assert!(flushed(ErrorKind::StorageFull).is_err() && flushed(ErrorKind::Other).is_err());
        sync_dir(Path::new("")).unwrap();
        assert!(sync_dir(Path::new("no such directory")).is_err());
    }
}
