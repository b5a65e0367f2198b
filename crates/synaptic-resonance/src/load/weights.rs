//! Tensors of a file, by name, before any of them is read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::LoadError;
use crate::blocks::BlockType;

/// Where a tensor lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How its numbers are kept.
    pub kind: BlockType,
    /// Rows first: the last size is that of the numbers that lie beside each other.
    pub shape: Vec<usize>,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: usize,
}

impl Place {
    /// Bytes of a tensor of this kind and shape; none where no file can have them.
    pub(super) fn size(kind: BlockType, shape: &[usize]) -> Result<usize, String> {
        let (columns, rows) = shape.split_last().ok_or("it has no size")?;
        let rows = rows.iter().try_fold(1usize, |rows, n| rows.checked_mul(*n)).ok_or("its rows overflow")?;
        kind.bytes_of_rows(rows, *columns).map_err(|e| e.to_string())
    }

    pub(super) fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An open file of weights.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    file: Mutex<File>,
}

impl Source {
    pub(super) fn new(path: &Path, file: File) -> Self {
        Self { path: path.into(), file: Mutex::new(file) }
    }

    /// The bytes of a tensor, whose place has been held against the length of the file.
    pub(super) fn read(&self, place: &Place) -> std::io::Result<Vec<u8>> {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(place.bytes).map_err(std::io::Error::other)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let read = (&mut *file).take(place.bytes as u64).read_to_end(&mut bytes)?;
        match read == place.bytes {
            true => Ok(bytes),
            false => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file has become shorter")),
        }
    }
}

/// A tensor by name, and the file that it lies in.
#[derive(Debug, Clone)]
pub(super) struct Weight<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Place,
    pub(super) source: &'a Source,
}

/// Holds tensors that share no byte against each other: else a short file could ask for more memory than there is.
///
/// # Errors
/// When two overlap.
pub(super) fn apart<'a>(path: &Path, places: impl Iterator<Item = (&'a str, &'a Place)>) -> Result<(), LoadError> {
    let mut all: Vec<(u64, u64, &str)> =
        places.map(|(name, place)| (place.offset, place.offset + place.bytes as u64, name)).collect();
    all.sort_unstable();
    for pair in all.windows(2) {
        let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
        if start < end {
            return Err(LoadError::malformed(path, format!("the tensors `{first}` and `{second}` overlap"), start));
        }
    }
    Ok(())
}
