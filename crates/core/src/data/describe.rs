//! The manifest of files that are there: what nobody should have to count or hash by hand.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::idx::{self, Idx, Values};
use super::manifest::{FileEntry, Kind, MOST_BYTES, Manifest, Role, Variant};
use super::resolved::hex;
use crate::error::{ConfigError, DataError};

/// The manifest of the data set whose files lie in a folder: four IDX files of bytes, told apart by `train`, `test` (or
/// `t10k`), `images` and `labels` in their names, or one text (`.txt`), compressed with gzip or not. Its name is that of
/// the folder. Of a text the last tenth is for testing.
///
/// # Errors
/// When the files are not those of one set, or one is damaged; the error names the file.
pub fn describe(dir: &Path) -> Result<Manifest, DataError> {
    let dir = std::path::absolute(dir).map_err(|e| DataError::io(dir, e))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|e| DataError::io(&dir, e))? {
        let entry = entry.map_err(|e| DataError::io(&dir, e))?;
        // A name that is no UTF-8 can stand in no manifest.
        names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    let texts: Vec<&String> = names.iter().filter(|name| role(name) == Some(Role::Text)).collect();
    let kind = if texts.is_empty() { Kind::Images } else { Kind::Text };
    let files =
        kind.roles().iter().map(|wanted| Content::read(&dir, &names, *wanted)).collect::<Result<Vec<_>, _>>()?;
    let (shape, classes, train, test) = match files.as_slice() {
        [text] => {
            let (train, test) = text.characters()?;
            (None, None, train, test)
        }
        [train, train_labels, test, test_labels] => {
            let (of_train, of_test) = (train.images()?, test.images()?);
            if of_train.1 != of_test.1 {
                let ([c, h, w], [a, b, d]) = (of_test.1, of_train.1);
                return Err(test.wrong(format!("the test images are {c}x{h}x{w}, those for training {a}x{b}x{d}"), 4));
            }
            let classes = train_labels.classes(of_train.0)?.max(test_labels.classes(of_test.0)?);
            (Some(of_train.1), Some(classes), of_train.0, of_test.0)
        }
        _ => return Err(ConfigError::new("a set has the files of images or those of a text").in_file(&dir).into()),
    };
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let manifest = Manifest {
        title: name.clone(),
        name,
        licence: "unknown".into(),
        citation: "none".into(),
        shape,
        classes,
        folder: None,
        path: Some(dir.clone()),
        file: None,
        variants: vec![Variant {
            name: "own".into(),
            exact: true,
            train,
            test,
            mirrors: Vec::new(),
            raw_mirrors: Vec::new(),
            package: None,
            generator: None,
            seed: 0,
            files: files.into_iter().map(|file| file.entry).collect(),
        }],
    };
    manifest.check().map_err(|what| ConfigError::new(what).in_file(&dir))?;
    Ok(manifest)
}

/// What the name of a file says that it holds.
fn role(name: &str) -> Option<Role> {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".txt") || name.ends_with(".txt.gz") {
        return Some(Role::Text);
    }
    let says = |word: &str| name.contains(word);
    match (says("train"), says("test") || says("t10k"), says("images"), says("labels")) {
        (true, false, true, false) => Some(Role::TrainImages),
        (true, false, false, true) => Some(Role::TrainLabels),
        (false, true, true, false) => Some(Role::TestImages),
        (false, true, false, true) => Some(Role::TestLabels),
        _ => None,
    }
}

/// A file that has been read.
struct Content {
    path: PathBuf,
    entry: FileEntry,
    /// Decompressed.
    raw: Vec<u8>,
}

impl Content {
    /// The one file of a role.
    fn read(dir: &Path, names: &[String], wanted: Role) -> Result<Self, DataError> {
        let fault = |what: String| DataError::from(ConfigError::new(what).in_file(dir));
        let all: Vec<&String> = names.iter().filter(|name| role(name) == Some(wanted)).collect();
        let name = match all.as_slice() {
            [name] => (*name).clone(),
            [] => {
                let what = "needs one file each with `train-images`, `train-labels`, `test-images` and `test-labels` in \
                            its name, or one that ends in .txt";
                return Err(fault(format!("there is no {}: a set {what}", said(wanted))));
            }
            [first, second, ..] => {
                return Err(fault(format!("{first} and {second} could both be the {}: leave one", said(wanted))));
            }
        };
        let path = dir.join(&name);
        let stored = fs::read(&path).map_err(|e| DataError::io(&path, e))?;
        let gzip = stored.starts_with(&[0x1f, 0x8b]);
        let mut raw = Vec::new();
        if gzip {
            MultiGzDecoder::new(stored.as_slice()).take(MOST_BYTES).read_to_end(&mut raw).map_err(|e| {
                let what = format!("broken gzip stream ({e})");
                DataError::Malformed { file: path.clone(), what, offset: raw.len() as u64 }
            })?;
        }
        let hash = |bytes: &[u8]| hex(&Sha256::digest(bytes));
        let (bytes, sha256) = (stored.len() as u64, hash(&stored));
        let raw = if gzip { raw } else { stored };
        let entry =
            FileEntry { role: wanted, name, bytes, sha256, raw_bytes: raw.len() as u64, raw_sha256: hash(&raw) };
        Ok(Self { path, entry, raw })
    }

    fn wrong(&self, what: String, offset: u64) -> DataError {
        DataError::Malformed { file: self.path.clone(), what, offset }
    }

    fn idx(&self) -> Result<(Vec<usize>, Vec<u8>), DataError> {
        let Idx { dims, values } = idx::read(self.raw.as_slice(), &self.path, self.raw.len() as u64, None)?;
        match values {
            Values::U8(values) => Ok((dims, values)),
            Values::F32(_) => Err(self.wrong("floats where bytes should be".into(), 2)),
        }
    }

    /// How many images, and their channels, height and width.
    fn images(&self) -> Result<(usize, [usize; 3]), DataError> {
        match self.idx()?.0.as_slice() {
            [n, height, width] => Ok((*n, [1, *height, *width])),
            [n, channels, height, width] => Ok((*n, [*channels, *height, *width])),
            dims => {
                let what = format!("{} dimensions: images have 3, or 4 with channels as the second", dims.len());
                Err(self.wrong(what, 3))
            }
        }
    }

    /// The number of classes, for so many images.
    fn classes(&self, images: usize) -> Result<usize, DataError> {
        let (dims, labels) = self.idx()?;
        if dims != [images] {
            return Err(self.wrong(format!("the dimensions are {dims:?}, and there are {images} images"), 4));
        }
        Ok(labels.iter().max().map_or(0, |most| usize::from(*most) + 1))
    }

    /// Characters for training and for testing.
    fn characters(&self) -> Result<(usize, usize), DataError> {
        let text = str::from_utf8(&self.raw).map_err(|e| self.wrong("not UTF-8".into(), e.valid_up_to() as u64))?;
        let all = text.chars().count();
        Ok((all - all / 10, all / 10))
    }
}

fn said(role: Role) -> &'static str {
    match role {
        Role::TrainImages => "file of images for training",
        Role::TrainLabels => "file of labels for training",
        Role::TestImages => "file of images for testing",
        Role::TestLabels => "file of labels for testing",
        Role::Text => "text",
        Role::Model => "model",
    }
}
