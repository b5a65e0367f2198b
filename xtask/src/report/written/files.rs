//! Files of a report.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use plasticity_core::files::where_possible;

use crate::report::drawn::charts::{Content, Picture};

/// Publishes a file by write, fsync and rename.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let attempt = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut options = tempfile::Builder::new();
        // A temporary file is private to its owner; a report is an ordinary file, from
        // whose permissions the process's umask takes what it does not want.
        #[cfg(unix)]
        options.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = options.tempfile_in(dir)?;
        file.write_all(bytes)?;
        where_possible(file.as_file().sync_all())?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes pictures into a directory and removes what other pictures are there: an earlier
/// report may have had more, or the same under other names.
///
/// # Errors
/// A file that cannot be read, written or removed.
pub fn pictures(dir: &Path, pictures: &[Picture]) -> Result<()> {
    for picture in pictures {
        let path = dir.join(&picture.line.file);
        match &picture.content {
            Content::Svg(svg) => save(&path, svg.as_bytes())?,
            Content::Copy(from) => save(&path, &fs::read(from).with_context(|| format!("{}", from.display()))?)?,
        }
    }
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry.with_context(|| format!("{}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let shows = name.ends_with(".svg") || name.ends_with(".png");
        if shows && !pictures.iter().any(|p| p.line.file == name) {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}
