//! A stream as one safetensors file.
//!
//! Tensors, f32, of layer i: `layer.{i}.keys` and `layer.{i}.values` `[groups, tokens, D]`, keys as they were turned, and
//! with a memory `layer.{i}.s` `[groups, D (keys), D (values)]` and `layer.{i}.prev_key` `[groups, D]`; `last` `[d]`, from which
//! the next token is drawn. Everything else is JSON in the metadata.

use std::path::Path;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::{Decoder, Weights, group};
use crate::error::MemoryError;
use crate::sealed::{self, AGAIN, Plain, bad, part};
use crate::session::{Dims, Label};
use crate::state::MOST_TOKENS;

/// Version of the file.
const FORMAT: u64 = 1;
/// The key of the metadata.
const KEY: &str = "synaptic-resonance-blocks";

/// What a file says of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of the file.
    pub format: u64,
    /// [`Weights::hash`] of the model.
    pub model: String,
    /// What the caller said.
    pub label: Label,
    /// Sizes of the model.
    pub dims: Dims,
    /// Tokens that the stream had seen.
    pub position: u64,
    /// The memory was frozen.
    pub frozen: bool,
}

impl Weights {
    /// Sizes that a stream's state depends on.
    fn dims(&self) -> Dims {
        let host = &self.host;
        let memories = || self.layers.iter().filter_map(|layer| layer.memory.as_ref());
        Dims {
            vocabulary: self.embedding.rows(),
            width: host.width,
            layers: self.layers.len(),
            heads: host.heads,
            groups: host.groups,
            head_width: host.head_width,
            window: host.window,
            sinks: host.sinks,
            memory: memories().next().is_some(),
            blend: memories().any(|memory| memory.mu.is_some()),
        }
    }

    /// A blake3 hash of a model: of all its weights, and of what decides what they mean. Its window is not in it.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let host = &self.host;
        let constants = (host.heads, host.groups, host.head_width, host.rope_base, host.rope_halves, host.norm_epsilon);
        part(&mut hasher, format!("{constants:?}").as_bytes());
        let mut rows = Vec::new();
        let mut matrix = |hasher: &mut blake3::Hasher, matrix: &crate::blocks::Matrix| {
            part(hasher, format!("{} {} {}", matrix.kind(), matrix.rows(), matrix.columns()).as_bytes());
            for row in 0..matrix.rows() {
                rows.clear();
                matrix.blocks_of(row, &mut rows);
                hasher.update(&rows);
            }
        };
        let vector = |hasher: &mut blake3::Hasher, x: &[f32]| {
            part(hasher, &plasticity_core::bytes::from_f32s(x));
        };
        matrix(&mut hasher, &self.embedding);
        if let Some(head) = &self.head {
            matrix(&mut hasher, head);
        }
        vector(&mut hasher, &self.norm);
        for layer in &self.layers {
            for (name, of) in layer.matrices() {
                part(&mut hasher, name.as_bytes());
                matrix(&mut hasher, of);
            }
            for x in [&layer.norm1, &layer.norm2].into_iter().chain(&layer.biases) {
                vector(&mut hasher, x);
            }
            if let Some(memory) = &layer.memory {
                part(&mut hasher, format!("{:?} {} {}", memory.rule, memory.decay, memory.lambda_min).as_bytes());
                for x in [&memory.biases, &memory.gamma].into_iter().chain(&memory.mu).chain(&memory.c) {
                    vector(&mut hasher, x);
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// What a file says of its stream, without a model. The tensors are not read, and the checksum is not verified.
///
/// # Errors
/// When the file cannot be read or is not a saved stream of this version.
pub fn inspect(file: &Path) -> Result<Saved, MemoryError> {
    Ok(sealed::open::<Saved>(file, KEY, FORMAT)?.into_saved())
}

/// [`Decoder::save`].
pub(super) fn save(decoder: &Decoder, file: &Path, label: &Label) -> Result<(), MemoryError> {
    let weights = decoder.weights();
    let saved = Saved {
        format: FORMAT,
        model: decoder.hash().into(),
        label: label.clone(),
        dims: weights.dims(),
        position: decoder.position,
        frozen: decoder.frozen,
    };
    let (count, width) = (weights.host.groups, weights.host.head_width);
    let mut tensors = Vec::new();
    for (i, (layer, groups)) in weights.layers.iter().zip(decoder.groups.chunks_exact(count)).enumerate() {
        let [mut keys, mut values, mut s, mut before] = [const { Vec::new() }; 4];
        for group in groups {
            let group = group.lock().unwrap_or_else(PoisonError::into_inner);
            let [k, v] = group.window(decoder.position);
            keys.extend(k);
            values.extend(v);
            s.extend(group.memory());
            before.extend_from_slice(&group.before);
        }
        let mut put = |name: &str, shape: &[usize], values| {
            tensors.push(Plain { name: format!("layer.{i}.{name}"), shape: shape.to_vec(), values });
        };
        let tokens = values.len() / (count * width);
        put("keys", &[count, tokens, width], keys);
        put("values", &[count, tokens, width], values);
        if layer.memory.is_some() {
            put("s", &[count, width, width], s);
            put("prev_key", &[count, width], before);
        }
    }
    if !decoder.last.is_empty() {
        let values = decoder.last.clone();
        tensors.push(Plain { name: "last".into(), shape: vec![values.len()], values });
    }
    sealed::write(file, KEY, saved, tensors)
}

/// Refuses what another model has left.
fn check(saved: &Saved, path: &Path, decoder: &Decoder, tokenizer: Option<&str>) -> Result<(), MemoryError> {
    let dims = decoder.weights().dims();
    if saved.dims != dims {
        let theirs = &saved.dims;
        if (Dims { window: dims.window, sinks: dims.sinks, ..theirs.clone() }) == dims {
            let window = |dims: &Dims| match dims.window {
                Some(window) => format!("a window of {window} and {} first tokens", dims.sinks),
                None => "no window".into(),
            };
            return bad(
                path,
                format!("saved with {}, the model has {}: give it the same", window(theirs), window(&dims)),
            );
        }
        return bad(
            path,
            format!("saved for {theirs:?}, the model has {dims:?}: restore with the model it was saved of"),
        );
    }
    if saved.position > MOST_TOKENS {
        return bad(path, format!("{} tokens are more than anybody has read; {AGAIN}", saved.position));
    }
    let (theirs, ours) = (saved.model.as_str(), decoder.hash());
    if theirs != ours {
        let mend = "restore with the model it was saved of";
        return bad(path, format!("saved of a model with hash {theirs}, this one has {ours}: {mend}"));
    }
    match (&saved.label.tokenizer, tokenizer) {
        (Some(theirs), Some(ours)) if theirs != ours => bad(
            path,
            format!("saved with a tokeniser with hash {theirs}, this one has {ours}: restore with that tokeniser"),
        ),
        _ => Ok(()),
    }
}

/// [`Decoder::restore`], into a stream that has seen nothing.
pub(super) fn restore(path: &Path, mut decoder: Decoder, tokenizer: Option<&str>) -> Result<Decoder, MemoryError> {
    let opened = sealed::open::<Saved>(path, KEY, FORMAT)?;
    check(opened.saved(), path, &decoder, tokenizer)?;
    let position = opened.saved().position;
    if decoder.room().is_some_and(|room| room < position) {
        return bad(path, format!("{position} tokens are more than its model can have read; {AGAIN}"));
    }
    let (count, width, d) = {
        let host = &decoder.weights().host;
        (host.groups, host.head_width, host.width)
    };
    let tokens = group::of(&mut decoder.groups[0]).kept(position);
    let mut expected = Vec::new();
    for (i, layer) in decoder.weights().layers.iter().enumerate() {
        let mut add = |name: &str, shape: &[usize]| expected.push((format!("layer.{i}.{name}"), shape.to_vec()));
        add("keys", &[count, tokens, width]);
        add("values", &[count, tokens, width]);
        if layer.memory.is_some() {
            add("s", &[count, width, width]);
            add("prev_key", &[count, width]);
        }
    }
    if position > 0 {
        expected.push(("last".into(), vec![d]));
    }
    let (saved, mut data) = opened.tensors(&expected)?;
    let mut take = |name: &str| data.remove(name).map(|(values, _)| values).unwrap_or_default();
    for (i, groups) in decoder.groups.chunks_exact_mut(count).enumerate() {
        let [keys, values, s, before] =
            ["keys", "values", "s", "prev_key"].map(|name| take(&format!("layer.{i}.{name}")));
        let window = tokens * width;
        for (g, group) in groups.iter_mut().map(group::of).enumerate() {
            group.set_window(&keys[g * window..][..window], &values[g * window..][..window]);
            if !s.is_empty() {
                group.set_memory(&s[g * width * width..][..width * width]);
                group.before.copy_from_slice(&before[g * width..][..width]);
            }
        }
    }
    decoder.last = take("last");
    (decoder.position, decoder.frozen) = (saved.position, saved.frozen);
    Ok(decoder)
}
