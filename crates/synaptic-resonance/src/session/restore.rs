//! Reading a saved session. Nothing in the file is believed: sizes are bounded before anything is allocated.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::bytes::to_f32s;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;

use super::store::{Columns, Dims, FORMAT, KEY, MOST_HEADER, Saved, Sealed, checksum};
use super::{Served, Session};
use crate::error::MemoryError;
use crate::model::Model;
use crate::state::{Firsts, MOST_TOKENS, Ring};

/// A file of which the header has been read.
struct Opened<'a> {
    path: &'a Path,
    file: File,
    /// Length of the file.
    length: u64,
    /// The bytes that have been read: the header and its length.
    header: Vec<u8>,
    sealed: Sealed,
}

/// What is wrong with a file.
fn bad<T>(file: &Path, what: impl Into<String>) -> Result<T, MemoryError> {
    Err(MemoryError::Saved { file: file.into(), what: what.into() })
}

const AGAIN: &str = "the file is damaged: take an older copy, or feed the text again";

fn open(path: &Path) -> Result<Opened<'_>, MemoryError> {
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
    let Some(text) = parsed.metadata.get(KEY) else {
        return bad(path, format!("the metadata have no `{KEY}`: this is not a saved session"));
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
        Ok(version) if version.saved.format == FORMAT => {}
        Ok(version) => {
            let found = version.saved.format;
            return bad(path, format!("format {found}, this version reads {FORMAT}: save it again with this version"));
        }
        Err(e) => return bad(path, format!("the metadata cannot be read ({e}); {AGAIN}")),
    }
    match serde_json::from_str(text) {
        Ok(sealed) => Ok(Opened { path, file, length, header, sealed }),
        Err(e) => bad(path, format!("the metadata cannot be read ({e}); {AGAIN}")),
    }
}

/// What a file says of its session, without a model. The tensors are not read, and the checksum is not verified.
///
/// # Errors
/// When the file cannot be read or is not a saved session of this version.
pub fn inspect(file: &Path) -> Result<Saved, MemoryError> {
    Ok(open(file)?.sealed.saved)
}

/// Refuses what another model has left.
fn check(saved: &Saved, path: &Path, served: &Served, tokenizer: Option<&str>, force: bool) -> Result<(), MemoryError> {
    let dims = Dims::of(&served.model.config);
    if saved.dims != dims {
        return bad(
            path,
            format!("saved for {:?}, the model has {dims:?}: restore with the model it was saved of", saved.dims),
        );
    }
    if saved.rings.len() != dims.layers {
        return bad(path, format!("{} windows for {} layers; {AGAIN}", saved.rings.len(), dims.layers));
    }
    if saved.position.max(saved.tokens) > MOST_TOKENS {
        let found = saved.position.max(saved.tokens);
        return bad(path, format!("{found} tokens are more than anybody has read; {AGAIN}"));
    }
    let most = dims.window.map_or(u64::MAX, |w| w as u64 - 1).min(saved.position);
    for (i, ring) in saved.rings.iter().enumerate() {
        let Some(Columns { columns, filled, sinks }) = *ring else { continue };
        if sinks as u64 != (saved.position.saturating_sub(filled as u64)).min(dims.sinks as u64) {
            let found = format!("`layer.{i}.sinks` has {sinks} columns after {} tokens", saved.position);
            return bad(path, format!("{found}; {AGAIN}"));
        }
        if columns == 0 || filled > columns || filled as u64 > most || dims.window.is_some_and(|w| columns >= w) {
            return bad(path, format!("`layer.{i}.ring` has {columns} columns, {filled} of them filled; {AGAIN}"));
        }
    }
    if force {
        return Ok(());
    }
    let (theirs, ours) = (saved.model.as_str(), served.hash());
    if theirs != ours {
        let mend = "restore with the model it was saved of, or force it: its memory is then noise to this model";
        return bad(path, format!("saved of a model with hash {theirs}, this one has {ours}: {mend}"));
    }
    match (&saved.label.tokenizer, tokenizer) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let mend = "restore with that tokeniser, or force it";
            bad(path, format!("saved with a tokeniser with hash {theirs}, this one has {ours}: {mend}"))
        }
        _ => Ok(()),
    }
}

/// Name and shape of every tensor that belongs in the file.
fn expected(saved: &Saved) -> Vec<(String, Vec<usize>)> {
    let Dims { groups, head_width, width, .. } = saved.dims;
    let mut all = Vec::new();
    for (i, ring) in saved.rings.iter().enumerate() {
        if saved.dims.memory {
            all.push((format!("layer.{i}.s"), vec![groups, head_width, head_width]));
        }
        if saved.dims.blend {
            all.push((format!("layer.{i}.prev_key"), vec![groups, head_width]));
        }
        if let Some(ring) = ring {
            all.push((format!("layer.{i}.ring.keys"), vec![groups, ring.columns, head_width]));
            all.push((format!("layer.{i}.ring.values"), vec![groups, ring.columns, head_width]));
            if ring.sinks > 0 {
                all.push((format!("layer.{i}.sinks.keys"), vec![groups, ring.sinks, head_width]));
                all.push((format!("layer.{i}.sinks.values"), vec![groups, ring.sinks, head_width]));
            }
        }
    }
    if saved.hidden {
        all.push(("hidden".into(), vec![width]));
    }
    all
}

/// The rest of the file, no more than `expected` declares and the file holds.
fn read(opened: Opened<'_>, expected: &[(String, Vec<usize>)]) -> Result<Vec<u8>, MemoryError> {
    let Opened { path, file, length, header: mut bytes, .. } = opened;
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
    let read = file.take(rest).read_to_end(&mut bytes).map_err(|e| MemoryError::io(path, e))?;
    match read as u64 == rest {
        true => Ok(bytes),
        false => bad(path, format!("truncated while it was read: {read} bytes of {rest}; read it again")),
    }
}

/// [`Session::restore`].
pub fn restore(path: &Path, model: &Model, tokenizer: Option<&str>, force: bool) -> Result<Session, MemoryError> {
    let mut session = Session::new(model);
    let embedding = session.served.model.embedding.val();
    if embedding.dtype() != DType::F32 {
        return Err(MemoryError::State(format!("the model is {:?}, saved states are f32", embedding.dtype())));
    }
    let opened = open(path)?;
    let sealed = &opened.sealed;
    check(&sealed.saved, path, &session.served, tokenizer, force)?;
    let expected = expected(&sealed.saved);
    let (sum, saved) = (sealed.checksum.clone(), sealed.saved.clone());
    let bytes = read(opened, &expected)?;
    let file = match SafeTensors::deserialize(&bytes) {
        Ok(file) => file,
        Err(e) => return bad(path, format!("{e}; {AGAIN}")),
    };
    if file.len() != expected.len() {
        return bad(path, format!("{} tensors, expected {}; {AGAIN}", file.len(), expected.len()));
    }
    let mut data = HashMap::new();
    let mut parts = Vec::new();
    for (name, shape) in &expected {
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
    if checksum(&saved, parts).ok().as_ref() != Some(&sum) {
        return bad(path, format!("the content does not match its checksum; {AGAIN}"));
    }

    let mut data = Uploads { data, device: embedding.device() };
    for (i, layer) in session.state.layers.iter_mut().enumerate() {
        layer.s = data.take(&format!("layer.{i}.s"));
        layer.prev_key = data.take(&format!("layer.{i}.prev_key"));
        let (keys, values) = (data.take(&format!("layer.{i}.ring.keys")), data.take(&format!("layer.{i}.ring.values")));
        let sinks = (data.take(&format!("layer.{i}.sinks.keys")), data.take(&format!("layer.{i}.sinks.values")));
        let columns = saved.rings.get(i).copied().flatten();
        layer.ring = match (keys, values, columns) {
            (Some(keys), Some(values), Some(Columns { filled, sinks: kept, .. })) => {
                let sinks = match sinks {
                    (Some(keys), Some(values)) => Some(Firsts { keys, values, filled: vec![kept] }),
                    _ => None,
                };
                Some(Ring { keys, values, filled: vec![filled], sinks })
            }
            _ => None,
        };
    }
    session.hidden = data.take("hidden");
    session.state.position = vec![saved.position];
    (session.tokens, session.frozen) = (saved.tokens, saved.frozen);
    session.state.check(&model.config, 1)?;
    Ok(session)
}

/// Tensors on their way to the device.
struct Uploads {
    data: HashMap<String, (Vec<f32>, Vec<usize>)>,
    device: Device,
}

impl Uploads {
    /// With a batch of one in front.
    fn take<const D: usize>(&mut self, name: &str) -> Option<Tensor<D>> {
        let (values, shape) = self.data.remove(name)?;
        let data = TensorData::new(values, [&[1], shape.as_slice()].concat());
        Some(Tensor::from_data(data, (&self.device, DType::F32)))
    }
}
