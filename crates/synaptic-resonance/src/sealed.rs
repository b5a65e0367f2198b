//! A file of state: tensors of f32 in safetensors, everything else as JSON under one key of the metadata, since more keys
//! would come in random order, and a checksum over both. Nothing in a file is believed: sizes are bounded before anything
//! is allocated.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use plasticity_core::bytes::{from_f32s, to_f32s};
use plasticity_core::files::{sync_dir, where_possible};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::MemoryError;

/// No header is longer: it would be of a model of some ten thousand layers.
const MOST_HEADER: u64 = 1 << 24;
/// What is to be done about damage.
pub(crate) const AGAIN: &str = "the file is damaged: take an older copy, or feed the text again";

/// The content of the metadata.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    checksum: String,
    saved: T,
}

/// One tensor on the host.
pub(crate) struct Plain {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Values and shapes by name.
pub(crate) type Read = HashMap<String, (Vec<f32>, Vec<usize>)>;

/// A file of which the header has been read.
pub(crate) struct Opened<'a, T> {
    path: &'a Path,
    file: File,
    /// Length of the file.
    length: u64,
    /// The bytes that have been read: the header and its length.
    header: Vec<u8>,
    sealed: Sealed<T>,
}

/// What is wrong with a file.
pub(crate) fn bad<T>(file: &Path, what: impl Into<String>) -> Result<T, MemoryError> {
    Err(MemoryError::Saved { file: file.into(), what: what.into() })
}

/// Hashes a part with its length, so that parts cannot run into each other.
pub(crate) fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Over the metadata, and the tensors in the order of their names.
struct Checksum(blake3::Hasher);

impl Checksum {
    fn new(saved: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut hasher = blake3::Hasher::new();
        part(&mut hasher, &serde_json::to_vec(saved)?);
        Ok(Self(hasher))
    }

    fn tensor(&mut self, name: &str, shape: &[usize], bytes: &[u8]) {
        part(&mut self.0, name.as_bytes());
        part(&mut self.0, format!("{shape:?}").as_bytes());
        part(&mut self.0, bytes);
    }

    fn end(self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// Bytes are made when they are asked for: only one tensor has them beside its values.
impl View for &Plain {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        from_f32s(&self.values).into()
    }
    fn data_len(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// Writes a file, whole or not at all; `saved` has a field `format`, and tensors have as many values as their shapes say.
///
/// # Errors
/// When a number is not finite, or the file cannot be written: an older one then still stands.
pub(crate) fn write(file: &Path, key: &str, saved: impl Serialize, mut tensors: Vec<Plain>) -> Result<(), MemoryError> {
    let failed = |e: &dyn std::fmt::Display| MemoryError::Saved { file: file.into(), what: e.to_string() };
    if let Some(Plain { name, .. }) = tensors.iter().find(|plain| plain.values.iter().any(|v| !v.is_finite())) {
        let what = format!("`{name}` holds a value that is not finite: wipe the session and feed it again");
        return Err(MemoryError::State(what));
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut checksum = Checksum::new(&saved).map_err(|e| failed(&e))?;
    tensors.iter().for_each(|plain| checksum.tensor(&plain.name, &plain.shape, &plain.data()));
    let text = serde_json::to_string(&Sealed { checksum: checksum.end(), saved }).map_err(|e| failed(&e))?;
    let metadata = Some(HashMap::from([(key.to_string(), text)]));
    let views = tensors.iter().map(|plain| (plain.name.as_str(), plain));
    let bytes = safetensors::serialize(views, metadata).map_err(|e| failed(&e))?;
    drop(tensors);
    publish(file, &bytes).map_err(|e| MemoryError::io(file, e))
}

/// Temporary file beside the target, flush, rename: whole or not at all.
fn publish(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".session-").suffix(".tmp").tempfile_in(dir)?;
    temporary.write_all(bytes)?;
    where_possible(temporary.as_file().sync_all())?;
    temporary.persist(file).map_err(|e| e.error)?;
    sync_dir(dir)
}

/// Reads the header of a file that [`write`] has written under `key`, of this version of the format.
///
/// # Errors
/// When the file cannot be read or is none of these.
pub(crate) fn open<'a, T: DeserializeOwned>(
    path: &'a Path,
    key: &str,
    format: u64,
) -> Result<Opened<'a, T>, MemoryError> {
    let io = |e| MemoryError::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length < 8 {
        return bad(path, format!("{length} bytes are no safetensors file; {AGAIN}"));
    }
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix).map_err(io)?;
    let size = u64::from_le_bytes(prefix);
    if size > MOST_HEADER.min(length - 8) {
        return bad(path, format!("a header of {size} bytes does not fit a file of {length}; {AGAIN}"));
    }
    let mut header = prefix.to_vec();
    header.resize(8 + size as usize, 0);
    file.read_exact(&mut header[8..]).map_err(io)?;
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    let parsed: Header = match serde_json::from_slice(&header[8..]) {
        Ok(parsed) => parsed,
        Err(e) => return bad(path, format!("the header cannot be read ({e}); {AGAIN}")),
    };
    let Some(text) = parsed.metadata.get(key) else {
        return bad(path, format!("the metadata have no `{key}`: this is not a saved session"));
    };
    // The version first: another one may have other fields.
    #[derive(Deserialize)]
    struct Version {
        saved: VersionOf,
    }
    #[derive(Deserialize)]
    struct VersionOf {
        format: u64,
    }
    match serde_json::from_str::<Version>(text) {
        Ok(version) if version.saved.format == format => {}
        Ok(version) => {
            let found = version.saved.format;
            return bad(path, format!("format {found}, this version reads {format}: save it again with this version"));
        }
        Err(e) => return bad(path, format!("the metadata cannot be read ({e}); {AGAIN}")),
    }
    match serde_json::from_str(text) {
        Ok(sealed) => Ok(Opened { path, file, length, header, sealed }),
        Err(e) => bad(path, format!("the metadata cannot be read ({e}); {AGAIN}")),
    }
}

impl<T: Serialize> Opened<'_, T> {
    /// What the file says of itself. The checksum is not verified.
    pub(crate) fn saved(&self) -> &T {
        &self.sealed.saved
    }

    /// [`Opened::saved`], without the rest.
    pub(crate) fn into_saved(self) -> T {
        self.sealed.saved
    }

    /// The rest of the file, no more than `expected` declares and the file holds.
    fn read(&mut self, expected: &[(String, Vec<usize>)]) -> Result<Vec<u8>, MemoryError> {
        let (path, length) = (self.path, self.length);
        let mut bytes = std::mem::take(&mut self.header);
        let size = |shape: &[usize]| shape.iter().fold(4u64, |size, n| size.saturating_mul(*n as u64));
        let needed = expected.iter().fold(bytes.len() as u64, |sum, (_, shape)| sum.saturating_add(size(shape)));
        if length != needed {
            let what = if length < needed { "truncated" } else { "too long" };
            return bad(path, format!("{what}: {length} bytes, its header declares {needed}; {AGAIN}"));
        }
        let rest = length - bytes.len() as u64;
        let room = usize::try_from(rest).ok().filter(|rest| bytes.try_reserve_exact(*rest).is_ok());
        if room.is_none() {
            return bad(path, format!("{length} bytes do not fit into memory; {AGAIN}"));
        }
        let read = (&mut self.file).take(rest).read_to_end(&mut bytes).map_err(|e| MemoryError::io(path, e))?;
        match read as u64 == rest {
            true => Ok(bytes),
            false => bad(path, format!("truncated while it was read: {read} bytes of {rest}; read it again")),
        }
    }

    /// The tensors, by name and shape those that are expected, and what the file says of itself.
    ///
    /// # Errors
    /// When others are there, a number is not finite, or the checksum is another.
    pub(crate) fn tensors(mut self, expected: &[(String, Vec<usize>)]) -> Result<(T, Read), MemoryError> {
        let bytes = self.read(expected)?;
        let Self { path, sealed, .. } = self;
        let file = match SafeTensors::deserialize(&bytes) {
            Ok(file) => file,
            Err(e) => return bad(path, format!("{e}; {AGAIN}")),
        };
        if file.len() != expected.len() {
            return bad(path, format!("{} tensors, expected {}; {AGAIN}", file.len(), expected.len()));
        }
        let mut data = HashMap::new();
        let mut parts = Vec::new();
        for (name, shape) in expected {
            let Ok(view) = file.tensor(name) else { return bad(path, format!("`{name}` is missing; {AGAIN}")) };
            if view.dtype() != Dtype::F32 || view.shape() != shape {
                let found = format!("{:?} {:?}", view.dtype(), view.shape());
                return bad(path, format!("`{name}` is {found}, expected F32 {shape:?}; {AGAIN}"));
            }
            let values = to_f32s(view.data()).unwrap_or_default();
            if values.iter().any(|v| !v.is_finite()) {
                return bad(path, format!("`{name}` holds a value that is not finite; {AGAIN}"));
            }
            parts.push((name.as_str(), shape.as_slice(), view.data()));
            data.insert(name.clone(), (values, shape.clone()));
        }
        parts.sort_by_key(|(name, _, _)| *name);
        let checksum = Checksum::new(&sealed.saved).map(|mut checksum| {
            parts.iter().for_each(|(name, shape, bytes)| checksum.tensor(name, shape, bytes));
            checksum.end()
        });
        if checksum.ok().as_ref() != Some(&sealed.checksum) {
            return bad(path, format!("the content does not match its checksum; {AGAIN}"));
        }
        Ok((sealed.saved, data))
    }
}
