//! A folder of the transformers library: `config.json` and `model.safetensors`, or several files by
//! `model.safetensors.index.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::llama::{Naming, PretrainedConfig};
use super::weights::{Place, Source, Weight, apart};
use super::{Described, LoadError};
use crate::blocks::BlockType;

const CONFIG: &str = "config.json";
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// No text file is longer.
const MOST_TEXT: u64 = 1 << 24;
/// No header of safetensors is longer: the format's own bound.
const MOST_HEADER: u64 = 100_000_000;

/// An open folder: the heads of its files have been read.
#[derive(Debug)]
pub struct Pretrained {
    described: Described,
    shards: Vec<Shard>,
}

/// One file of safetensors.
#[derive(Debug)]
struct Shard {
    source: Source,
    tensors: BTreeMap<String, Place>,
}

impl Pretrained {
    /// Reads `config.json` and the heads of the safetensors beside it.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged, the architecture or a number format is not understood, or the index does
    /// not agree with the files.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(CONFIG);
        let config: PretrainedConfig = json(&path)?;
        let described = config.describe(&path)?;
        let index = folder.join(INDEX);
        let shards = match index.exists() {
            false => vec![Shard::open(&folder.join(WHOLE))?],
            true => sharded(folder, &index)?,
        };
        Ok(Self { described, shards })
    }

    /// What the folder says of its model.
    pub fn describe(&self) -> Described {
        self.described.clone()
    }

    /// All tensors by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.shards.iter().flat_map(|shard| shard.tensors.iter().map(|(name, place)| (name.as_str(), place)))
    }

    /// The files of weights.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.shards.iter().map(|shard| &shard.source.path)
    }

    pub(super) fn weights(&self) -> (Naming, Vec<Weight<'_>>) {
        let all = self.shards.iter().flat_map(|Shard { source, tensors }| {
            tensors.iter().map(move |(name, place)| Weight { name, place, source })
        });
        // Frequencies of the rotary positions, which older versions wrote and which the settings give.
        (Naming::Pretrained, all.filter(|weight| !weight.name.ends_with(".rotary_emb.inv_freq")).collect())
    }
}

/// All bytes of a file that is known to be a short one.
pub(crate) fn small(path: &Path, most: u64) -> Result<Vec<u8>, LoadError> {
    let io = |e| LoadError::io(path, e);
    let mut bytes = Vec::new();
    let read = File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    match read as u64 > most {
        false => Ok(bytes),
        true => Err(LoadError::field(path, "the length", format!("above {most} bytes"), "no such file is as long")),
    }
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, LoadError> {
    let text = String::from_utf8(small(path, MOST_TEXT)?)
        .map_err(|_| LoadError::field(path, "the text", "not UTF-8", "get the file again"))?;
    serde_json::from_str(&text)
        .map_err(|e| LoadError::field(path, "the text", "not what is read here", format!("{e}; get the file again")))
}

/// The files that an index names.
fn sharded(folder: &Path, index: &Path) -> Result<Vec<Shard>, LoadError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = json(index)?;
    let mut files: Vec<&String> = weight_map.values().collect();
    files.sort_unstable();
    files.dedup();
    let mut shards = Vec::new();
    for file in files {
        // A name alone: an index must not lead out of its folder.
        if Path::new(file).file_name().is_none_or(|name| name.to_str() != Some(file)) {
            return Err(LoadError::field(index, "weight_map", file, "must be the name of a file of this folder"));
        }
        let path = folder.join(file);
        let shard = Shard::open(&path)?;
        if let Some(name) = shard.tensors.keys().find(|name| weight_map.get(*name) != Some(file)) {
            let expected = format!("the index does not say that `{name}` lies there: get the files again");
            return Err(LoadError::field(index, "weight_map", file, expected));
        }
        shards.push(shard);
    }
    let found: usize = shards.iter().map(|shard| shard.tensors.len()).sum();
    if found != weight_map.len() {
        let expected = format!("its files hold {found} tensors: get the files again");
        return Err(LoadError::field(index, "weight_map", format!("of {} tensors", weight_map.len()), expected));
    }
    Ok(shards)
}

impl Shard {
    fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |e| LoadError::io(path, e);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let tensors = places(path, &file, length)?;
        apart(path, tensors.iter().map(|(name, place)| (name.as_str(), place)))?;
        Ok(Self { source: Source::new(path, file), tensors })
    }
}

/// The head of a file of safetensors of this length.
fn places(path: &Path, mut from: impl Read, length: u64) -> Result<BTreeMap<String, Place>, LoadError> {
    #[derive(Deserialize)]
    struct Entry {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: [u64; 2],
    }
    let io = |e| LoadError::io(path, e);
    if length < 8 {
        return Err(LoadError::malformed(path, format!("{length} bytes are no safetensors file"), 0));
    }
    let mut prefix = [0; 8];
    from.read_exact(&mut prefix).map_err(io)?;
    let size = u64::from_le_bytes(prefix);
    if size > MOST_HEADER.min(length - 8) {
        return Err(LoadError::malformed(path, format!("a header of {size} bytes in a file of {length}"), 0));
    }
    let mut header = vec![0; size as usize];
    from.read_exact(&mut header).map_err(io)?;
    let wrong = |e: serde_json::Error| LoadError::malformed(path, format!("the header cannot be read ({e})"), 8);
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(wrong)?;
    entries.remove("__metadata__");
    let mut all = BTreeMap::new();
    for (name, entry) in entries {
        let Entry { dtype, shape, data_offsets: [start, end] } = serde_json::from_value(entry).map_err(wrong)?;
        let kind = match dtype.as_str() {
            "F32" => BlockType::F32,
            "F16" => BlockType::F16,
            "BF16" => BlockType::BF16,
            other => {
                let mend = "F32, F16 and BF16 can be read: take a file in one of these";
                return Err(LoadError::unsupported(path, format!("the tensor `{name}` is of type {other}"), mend));
            }
        };
        let bytes = Place::size(kind, &shape)
            .map_err(|what| LoadError::malformed(path, format!("the tensor `{name}`: {what}"), 8))?;
        let data = 8 + size;
        let fits = start.checked_add(bytes as u64) == Some(end) && end <= length - data;
        if !fits {
            let what = format!("the tensor `{name}` of {bytes} bytes at {start} to {end} does not lie in the file");
            return Err(LoadError::malformed(path, what, 8));
        }
        all.insert(name, Place { kind, shape, offset: data + start, bytes });
    }
    Ok(all)
}
