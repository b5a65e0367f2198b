//! Reading the records below a suite's directory. They are published whole, but a disk, a copy
//! or an editor may have damaged one: what depends on it then does without it and names it, and
//! the rest of the suite is as it was.

use std::io::ErrorKind;
use std::path::Path;

use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{CellResult, FORMAT};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a record after a look at its format version; `None` if the file is not there.
///
/// # Errors
/// [`RunError::Format`] for another version; else the file and why it cannot be used.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(RunError::io(path, e)),
    };
    let malformed = |e: serde_json::Error| RunError::from(ConfigError::new(format!("not a record: {e}")).in_file(path));
    let value: Value = serde_json::from_slice(&text).map_err(malformed)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => serde_json::from_value(value).map(Some).map_err(malformed),
        Some(found) => Err(RunError::Format { file: path.to_path_buf(), found, expected: FORMAT }),
        None => Err(ConfigError::new("not a record: it does not say its format version").in_file(path).into()),
    }
}

/// What stands in a cell's directory as its result.
#[derive(Debug)]
pub enum Standing {
    /// Nothing: the cell is not done.
    Nothing,
    /// The result of this key.
    Whole(Box<CellResult>),
    /// The result of another key.
    Another,
    /// A file that cannot be read, and why: the cell is not done either.
    Damaged(String),
}

/// What stands in a cell's directory as the result of `key`; of any key for `None`.
///
/// # Errors
/// [`RunError::Format`]: what another version of this program wrote is left alone.
pub fn result(cell: &Path, key: Option<&str>) -> Result<Standing, RunError> {
    match read::<CellResult>(&cell.join(RESULT)) {
        Ok(None) => Ok(Standing::Nothing),
        Ok(Some(found)) if key.is_none_or(|key| key == found.key) => Ok(Standing::Whole(Box::new(found))),
        Ok(Some(_)) => Ok(Standing::Another),
        Err(error @ RunError::Format { .. }) => Err(error),
        Err(error) => Ok(Standing::Damaged(error.to_string())),
    }
}

/// Whether the result of this key, or of any, stands whole.
pub fn is_whole(cell: &Path, key: Option<&str>) -> bool {
    matches!(result(cell, key), Ok(Standing::Whole(_)))
}

/// Moves a result that does not stand out of the way of the one that a cell will publish.
///
/// # Errors
/// When it cannot be moved, and as [`result`].
pub fn set_aside(cell: &Path, key: &str) -> Result<(), RunError> {
    match result(cell, Some(key))? {
        Standing::Nothing | Standing::Whole(_) => Ok(()),
        Standing::Another | Standing::Damaged(_) => {
            let file = cell.join(RESULT);
            std::fs::rename(&file, cell.join(ASIDE)).map_err(|e| RunError::io(&file, e))
        }
    }
}

const RESULT: &str = "result.json";
/// Where a result goes that does not stand.
pub const ASIDE: &str = "result.json.damaged";
