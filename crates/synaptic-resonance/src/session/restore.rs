//! Reading a saved session.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;

use super::store::{Columns, Dims, FORMAT, KEY, Saved};
use super::{Served, Session};
use crate::error::MemoryError;
use crate::model::Model;
use crate::sealed::{AGAIN, Read, bad, open};
use crate::state::{Firsts, MOST_TOKENS, Ring};

/// What a file says of its session, without a model. The tensors are not read, and the checksum is not verified.
///
/// # Errors
/// When the file cannot be read or is not a saved session of this version.
pub fn inspect(file: &Path) -> Result<Saved, MemoryError> {
    Ok(open::<Saved>(file, KEY, FORMAT)?.into_saved())
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

/// [`Session::restore`].
pub fn restore(path: &Path, model: &Model, tokenizer: Option<&str>, force: bool) -> Result<Session, MemoryError> {
    let mut session = Session::new(model);
    let embedding = session.served.model.embedding.val();
    if embedding.dtype() != DType::F32 {
        return Err(MemoryError::State(format!("the model is {:?}, saved states are f32", embedding.dtype())));
    }
    let opened = open::<Saved>(path, KEY, FORMAT)?;
    check(opened.saved(), path, &session.served, tokenizer, force)?;
    let expected = expected(opened.saved());
    let (saved, data) = opened.tensors(&expected)?;

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
    data: Read,
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
