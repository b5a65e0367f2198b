//! The memories of a stream at work (section 12.4).

use super::{Decoder, group, remember};
use crate::error::MemoryError;

/// What the memories show while tokens pass, `[tokens][layers][groups]`; the layers are those with a memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Layers with a memory.
    pub layers: usize,
    /// G.
    pub groups: usize,
    /// beta, how much of a token is written.
    pub write_rate: Vec<f32>,
    /// |e|, how far the value is from what the memory has foretold.
    pub surprise: Vec<f32>,
    /// rho, how well the query is covered by keys that were stored while somebody looked; the mean over a group's heads.
    pub familiarity: Vec<f32>,
}

impl Decoder {
    /// Takes tokens in as [`Decoder::losses`] does, and looks at the memories while they pass.
    ///
    /// # Errors
    /// As [`Decoder::losses`], and when no layer has a memory.
    pub fn traced(&mut self, tokens: &[u32]) -> Result<(Vec<f64>, Trace), MemoryError> {
        let (count, width) = (self.weights().host.groups, self.weights().host.head_width);
        let with: Vec<bool> = self.weights().layers.iter().map(|layer| layer.memory.is_some()).collect();
        let layers = with.iter().filter(|with| **with).count();
        if layers == 0 {
            return Err(MemoryError::setting("memory", "none", "the model has none: insert one to look at it"));
        }
        for (i, group) in self.groups.iter_mut().enumerate() {
            group::of(group).trace = with[i / count].then(|| remember::Trace::new(width));
        }
        let losses = self.losses(tokens);
        let seen = self.groups.iter_mut().filter_map(|group| group::of(group).trace.take());
        let seen: Vec<Vec<[f32; 3]>> = seen.map(|trace| trace.seen).collect();
        let losses = losses?;
        let part = |i: usize| (0..tokens.len()).flat_map(|t| seen.iter().map(move |group| group[t][i])).collect();
        let [write_rate, surprise, familiarity] = [part(0), part(1), part(2)];
        Ok((losses, Trace { layers, groups: count, write_rate, surprise, familiarity }))
    }
}
