//! A text in memory, and how it gets there.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::images::Split;
use super::manifest::{Kind, Manifest, Role};
use super::resolved::{Place, Resolved, hex};
use super::verify;
use crate::error::{DataError, Owner};

/// Reads a split of a resolved text: its first characters for training, its last ones for
/// testing, as many as the manifest says.
///
/// The file's checksum is verified once more, and that of its decompressed content.
///
/// # Errors
/// When the set is not a text, or its file is missing, changed, or not what the manifest says.
pub fn load_text(resolved: &Resolved, split: Split) -> Result<String, DataError> {
    load_text_from(resolved.manifest()?, resolved, split)
}

/// Like [`load_text`], by this manifest.
///
/// # Errors
/// As [`load_text`].
pub fn load_text_from(manifest: &Manifest, resolved: &Resolved, split: Split) -> Result<String, DataError> {
    let variant = manifest.planned(resolved)?;
    let (Kind::Text, Place::Dir(dir)) = (manifest.kind(), &resolved.place) else {
        return Err(manifest.is_not(Kind::Text));
    };
    let (entry, path, stored) = verify::read(variant, Role::Text, dir)?;
    let malformed = |what: String, offset: u64| DataError::Malformed { file: path.clone(), what, offset };
    let mut bytes = Vec::new();
    if stored.starts_with(&[0x1f, 0x8b]) {
        // Never much more than the manifest's length, whatever the file decompresses to.
        let read = MultiGzDecoder::new(stored.as_slice()).take(entry.raw_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|e| malformed(format!("broken gzip stream ({e})"), bytes.len() as u64))?;
    } else {
        bytes = stored;
    }
    if bytes.len() as u64 != entry.raw_bytes {
        let least = if bytes.len() as u64 > entry.raw_bytes { "more than " } else { "" };
        let (found, expected) = (bytes.len() as u64, entry.raw_bytes);
        let what = format!("{least}{} bytes decompressed, the manifest says {expected}", found.min(expected));
        return Err(malformed(what, found.min(expected)));
    }
    let found = hex(&Sha256::digest(&bytes));
    if found != entry.raw_sha256 {
        let (expected, owner) = (entry.raw_sha256.clone(), Owner::User);
        return Err(DataError::Checksum { file: path, expected, found, owner });
    }
    let mut text =
        String::from_utf8(bytes).map_err(|e| malformed("not UTF-8".into(), e.utf8_error().valid_up_to() as u64))?;
    let characters = text.chars().count();
    let needed = variant.train.saturating_add(variant.test);
    if characters < needed {
        let what = format!("{characters} characters, the splits of the manifest need {needed}");
        return Err(malformed(what, text.len() as u64));
    }
    // The byte at which the character of that index begins.
    let begin = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    Ok(match split {
        Split::Train => {
            text.truncate(begin(variant.train));
            text
        }
        Split::Test => text.split_off(begin(characters - variant.test)),
    })
}
