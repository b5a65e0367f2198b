//! The append-only log of a run's measurements.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::record::Event;
use crate::error::RunError;
use crate::files::where_possible;

/// `events.jsonl`, whose length is recorded in each checkpoint.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

impl EventLog {
    /// Opens the log and cuts it to `length` bytes: what a killed run wrote after its
    /// last checkpoint will be measured again.
    ///
    /// # Errors
    /// When the file cannot be opened or is shorter than `length`.
    pub fn open(path: &Path, length: u64) -> Result<Self, RunError> {
        let error = |e| RunError::io(path, e);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(error)?;
        let found = file.metadata().map_err(error)?.len();
        if found < length {
            let what = format!("{found} bytes long, the checkpoint says {length}: `--force` runs it from nothing");
            return Err(RunError::Checkpoint { file: path.to_path_buf(), what });
        }
        file.set_len(length).map_err(error)?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), length })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, event: &Event) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(event).map_err(|e| RunError::Failed(e.to_string()))?;
        line.push(b'\n');
        self.length += line.len() as u64;
        self.file.write_all(&line).map_err(|e| RunError::io(&self.path, e))
    }

    /// Flushes to disk and tells the length.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<u64, RunError> {
        let result = self.file.flush().and_then(|()| where_possible(self.file.get_ref().sync_data()));
        result.map_err(|e| RunError::io(&self.path, e))?;
        Ok(self.length)
    }
}
