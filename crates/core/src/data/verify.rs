//! Are the files of a set there, and are they the ones that the manifest names?

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::entry::{FileEntry, Form, Role};
use super::manifest::Variant;
use super::resolved::hex;
use crate::error::{ConfigError, DataError, Owner};

/// What a folder holds of a variant.
pub(super) enum Folder {
    /// No file of it.
    Absent,
    /// Some files; these are missing.
    Incomplete(Vec<String>),
    /// All files, each with the right content.
    Complete,
}

/// Looks for the files of a variant in `dir` and verifies those that are there. A wrong
/// file is an error.
pub(super) fn folder(variant: &Variant, dir: &Path, owner: Owner) -> Result<Folder, DataError> {
    let mut missing = Vec::new();
    for entry in &variant.files {
        match stored(entry, dir)? {
            Some(path) => drop(file(entry, &path, owner)?),
            None => missing.push(entry.name.clone()),
        }
    }
    Ok(match missing.len() {
        0 => Folder::Complete,
        n if n == variant.files.len() => Folder::Absent,
        _ => Folder::Incomplete(missing),
    })
}

/// Where a file lies in `dir`: as the mirrors hold it, or decompressed. That it cannot be
/// looked for is an error: it may be there.
pub(super) fn stored(entry: &FileEntry, dir: &Path) -> Result<Option<PathBuf>, DataError> {
    for name in [Some(entry.name.as_str()), entry.raw_name()].into_iter().flatten() {
        let path = dir.join(name);
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => return Ok(Some(path)),
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(DataError::io(&path, e));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The file of a role in `dir`: its entry, its path, and its verified bytes as they are
/// stored. The bytes that are verified are the ones to decode.
pub(super) fn read<'a>(
    variant: &'a Variant,
    role: Role,
    dir: &Path,
) -> Result<(&'a FileEntry, PathBuf, Vec<u8>), DataError> {
    let entry = variant
        .file(role)
        .ok_or_else(|| ConfigError::new(format!("variant `{}` has no file for {role:?}", variant.name)))?;
    let path = stored(entry, dir)?.ok_or_else(|| DataError::io(&dir.join(&entry.name), ErrorKind::NotFound.into()))?;
    let bytes = file(entry, &path, Owner::Resolved)?;
    Ok((entry, path, bytes))
}

/// Reads a file and verifies its length and checksum. Never reads much more than the
/// manifest's length.
pub(super) fn file(entry: &FileEntry, path: &Path, owner: Owner) -> Result<Vec<u8>, DataError> {
    let raw = path.file_name().and_then(|name| name.to_str()) != Some(&entry.name);
    let Form { bytes: len, sha256, .. } = if raw { entry.raw() } else { entry.stored() };
    let io = |e| DataError::io(path, e);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(len + 1).read_to_end(&mut bytes).map_err(io)?;
    if is_html(&bytes) {
        return Err(DataError::Html { file: path.to_path_buf(), owner });
    }
    if bytes.len() as u64 != len {
        let found = fs::metadata(path).map_err(io)?.len();
        return Err(DataError::Size { file: path.to_path_buf(), expected: len, found, owner });
    }
    let found = hex(&Sha256::digest(&bytes));
    if found != sha256 {
        return Err(DataError::Checksum { file: path.to_path_buf(), expected: sha256.into(), found, owner });
    }
    Ok(bytes)
}

/// The content begins as a web page does.
pub(super) fn is_html(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    [b"<!doctype".as_slice(), b"<html", b"<head", b"<?xml"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag)))
}
