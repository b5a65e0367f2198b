//! How a batch is passed through a model, and what its layers share.

use burn::prelude::*;
use burn::tensor::DType;

use crate::attention::{Geometry, Sinks, Span};
use crate::error::MemoryError;
use crate::memory::{last_key, last_places};
use crate::settings::ModelConfig;
use crate::state::State;

/// How a batch is passed through a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pass {
    /// Valid tokens of each row, the rest is padding; none: all. Padding stands at the end and changes nothing; its
    /// tokens must be in the vocabulary, its outputs mean nothing.
    pub lengths: Option<Vec<usize>>,
    /// First tokens of documents, `[batch, time]` row-major; none: no document begins after the state.
    pub starts: Option<Vec<bool>>,
    /// The memory is read and not changed (section 6), not even by a document's start; keys, ring and position still
    /// advance.
    pub frozen: bool,
}

impl Pass {
    /// # Errors
    /// When it is not one for `batch` rows of `time` tokens.
    pub fn check(&self, batch: usize, time: usize) -> Result<(), MemoryError> {
        if let Some(lengths) = &self.lengths {
            MemoryError::shape("lengths", &[lengths.len()], &[batch])?;
            if let Some(length) = lengths.iter().find(|n| **n > time) {
                return Err(MemoryError::setting("lengths", length, format!("a row has {time} tokens")));
            }
        }
        match &self.starts {
            Some(starts) => MemoryError::shape("starts", &[starts.len()], &[batch * time]),
            None => Ok(()),
        }
    }
}

/// What all layers need of a pass, made once.
pub(super) struct Frame {
    pub span: Span,
    /// See [`crate::memory::Read`].
    pub starts: Option<Tensor<2>>,
    /// See [`crate::memory::Read`].
    pub writes: Option<Tensor<2>>,
    /// Where each row's last valid token is, see [`crate::memory::last_key`].
    pub last: Option<Tensor<1, Int>>,
    /// [`State::position`] after the pass.
    pub position: Vec<u64>,
}

impl Frame {
    /// The frame of a pass of `batch` x `time` tokens after `state`, which have been checked.
    pub fn new(config: &ModelConfig, time: usize, state: &State, pass: &Pass, device: &Device, dtype: DType) -> Self {
        let batch = state.batch();
        let lengths = pass.lengths.clone().unwrap_or_else(|| vec![time; batch]);
        let padded = lengths.iter().any(|n| *n < time);
        // Padding has no document.
        let starts: Option<Vec<bool>> = pass
            .starts
            .as_ref()
            .map(|starts| starts.iter().enumerate().map(|(i, start)| *start && i % time < lengths[i / time]).collect());
        let starts = starts.filter(|starts| starts.contains(&true));
        let ring = state.layers.first().and_then(|layer| layer.ring.as_ref());
        let (columns, filled) = match ring {
            Some(ring) => (ring.keys.dims()[2], ring.filled.clone()),
            None => (0, vec![0; batch]),
        };
        let firsts = ring.and_then(|ring| ring.sinks.as_ref());
        let kept = firsts.map_or_else(|| vec![0; batch], |firsts| firsts.filled.clone());
        let sinks = (config.sinks > 0).then(|| Sinks {
            most: config.sinks,
            columns: firsts.map_or(0, |firsts| firsts.keys.dims()[2]),
            filled: &kept,
            position: &state.position,
        });
        let geometry = Geometry {
            window: config.window,
            time,
            ring: columns,
            filled: &filled,
            lengths: &lengths,
            starts: starts.as_deref(),
            sinks,
        };
        let span = Span::new(&geometry, config.head_width(), config.rope(), device, dtype);
        let position = (0..batch).map(|row| {
            let last = starts.as_ref().and_then(|s| s[row * time..][..lengths[row]].iter().rposition(|start| *start));
            match last {
                Some(at) => (lengths[row] - at) as u64,
                None => state.position[row].saturating_add(lengths[row] as u64),
            }
        });
        let position = position.collect();
        let table = |f: &dyn Fn(usize) -> bool| {
            let values: Vec<f64> = (0..batch * time).map(|i| f64::from(u8::from(f(i)))).collect();
            Tensor::from_data(TensorData::new(values, [batch, time]), (device, dtype))
        };
        let writes = (padded || pass.frozen).then(|| table(&|i| !pass.frozen && i % time < lengths[i / time]));
        let last = padded.then(|| last_places(&lengths, time, device));
        Self { span, starts: starts.as_ref().map(|s| table(&|i| s[i])), writes, last, position }
    }

    /// The key of each row's last valid token `[batch, groups, D]`, of the keys `k` `[batch, time, groups, D]` and of
    /// the one before them.
    pub fn last_key(&self, k: &Tensor<4>, before: Tensor<3>) -> Tensor<3> {
        last_key(k, before, self.last.as_ref())
    }
}
