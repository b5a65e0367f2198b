//! How labelled images get into memory.

use std::path::{Path, PathBuf};

use super::images::{Images, Split};
use super::manifest::{self, Kind, Manifest, Role, Variant};
use super::resolved::{Place, Resolved};
use super::{glyphs, idx, verify};
use crate::error::{ConfigError, DataError};

/// Reads a split of a resolved data set: all of it, or the first `limit` images.
///
/// The files' checksums are verified once more: a cell runs in a process of its own,
/// and a file that has changed since the plan was made is an error.
///
/// # Errors
/// When the set does not consist of images, or a file is missing, changed, or not what the
/// manifest says.
pub fn load(resolved: &Resolved, split: Split, limit: Option<usize>) -> Result<Images, DataError> {
    load_from(resolved.manifest()?, resolved, split, limit)
}

/// Like [`load`], by this manifest.
///
/// # Errors
/// As [`load`].
pub fn load_from(
    manifest: &Manifest,
    resolved: &Resolved,
    split: Split,
    limit: Option<usize>,
) -> Result<Images, DataError> {
    let variant = manifest.planned(resolved)?;
    let (Some([channels, height, width]), Some(classes)) = (manifest.shape, manifest.classes) else {
        return Err(manifest.is_not(Kind::Images));
    };
    let all = variant.count(split);
    let count = limit.map_or(all, |limit| limit.min(all));
    match &resolved.place {
        Place::BuiltIn => match variant.generator {
            Some(manifest::Generator::Glyphs) => Ok(glyphs::generate(variant.seed, split, count)),
            None => Err(ConfigError::new(format!("data set `{}` is not a generated one", manifest.name)).into()),
        },
        Place::Dir(dir) => {
            let (images, labels) = match split {
                Split::Train => (Role::TrainImages, Role::TrainLabels),
                Split::Test => (Role::TestImages, Role::TestLabels),
            };
            let dims = if channels == 1 { vec![all, height, width] } else { vec![all, channels, height, width] };
            let (pixels, _) = read(variant, images, dir, &dims, count)?;
            let (labels, file) = read(variant, labels, dir, &[all], count)?;
            if let Some(i) = labels.iter().position(|label| usize::from(*label) >= classes) {
                return Err(DataError::Malformed {
                    file,
                    what: format!("label {} of image {i} is not below {classes}", labels[i]),
                    offset: idx::header_bytes(1) + i as u64,
                });
            }
            Ok(Images { height, width, channels, pixels, labels, classes })
        }
    }
}

/// The first `count` items of one file, whose header must say `dims`, and its path.
fn read(
    variant: &Variant,
    role: Role,
    dir: &Path,
    dims: &[usize],
    count: usize,
) -> Result<(Vec<u8>, PathBuf), DataError> {
    let (entry, path, bytes) = verify::read(variant, role, dir)?;
    let idx = idx::read(bytes.as_slice(), &path, entry.raw_bytes, Some(count))?;
    if idx.dims != dims {
        return Err(DataError::Malformed {
            file: path,
            what: format!("the dimensions are {:?} and should be {dims:?}", idx.dims),
            offset: 4,
        });
    }
    match idx.values {
        idx::Values::U8(values) => Ok((values, path)),
        idx::Values::F32(_) => {
            Err(DataError::Malformed { file: path, what: "floats where bytes should be".into(), offset: 2 })
        }
    }
}
