//! What a model carries from token to token: a value that goes in and comes out (section 6).

use burn::prelude::*;
use burn::tensor::DType;

use crate::error::MemoryError;
use crate::settings::ModelConfig;

/// The last keys and values of windowed attention, per row right-aligned: column `columns - 1` is the newest token.
/// Keys are unrotated (but blended, where the model blends them).
#[derive(Debug, Clone)]
pub struct Ring {
    /// `[batch, groups, columns, head width]`.
    pub keys: Tensor<4>,
    /// `[batch, groups, columns, head width]`.
    pub values: Tensor<4>,
    /// How many of the columns hold a token of the current document, per row: they are the last ones.
    pub filled: Vec<usize>,
}

/// The state of one layer.
#[derive(Debug, Clone)]
pub struct LayerState {
    /// S, `[batch, groups, value width, key width]`, f32; where the model has a memory.
    pub s: Option<Tensor<4>>,
    /// The previous token's key before blending, `[batch, groups, head width]`; where keys are blended. For a memory
    /// with projections of its own, that memory's key.
    pub prev_key: Option<Tensor<3>>,
    /// The window of attention; none before the first token.
    pub ring: Option<Ring>,
}

/// The state of a model for a batch of streams.
#[derive(Debug, Clone)]
pub struct State {
    /// One per layer.
    pub layers: Vec<LayerState>,
    /// Tokens that each row has seen since its document began.
    pub position: Vec<u64>,
}

impl State {
    /// The empty state of `batch` streams.
    pub fn empty(config: &ModelConfig, batch: usize, device: &Device) -> Self {
        let (groups, width) = (config.groups(), config.head_width());
        let layer = || LayerState {
            s: config.memory.as_ref().map(|_| Tensor::zeros([batch, groups, width, width], device)),
            prev_key: blends(config).then(|| Tensor::zeros([batch, groups, width], device)),
            ring: None,
        };
        Self { layers: (0..config.layers).map(|_| layer()).collect(), position: vec![0; batch] }
    }

    /// B.
    pub fn batch(&self) -> usize {
        self.position.len()
    }

    /// Cuts the state out of the graph that made it: gradients do not pass to earlier segments.
    pub fn detach(self) -> Self {
        let layer = |layer: LayerState| LayerState {
            s: layer.s.map(Tensor::detach),
            prev_key: layer.prev_key.map(Tensor::detach),
            ring: layer.ring.map(|r| Ring { keys: r.keys.detach(), values: r.values.detach(), ..r }),
        };
        Self { layers: self.layers.into_iter().map(layer).collect(), ..self }
    }

    /// The state in numbers of another type.
    pub(crate) fn of_type(self, dtype: DType) -> Self {
        let layer = |layer: LayerState| LayerState {
            s: layer.s.map(|s| s.cast(dtype)),
            prev_key: layer.prev_key.map(|key| key.cast(dtype)),
            ring: layer.ring.map(|r| Ring { keys: r.keys.cast(dtype), values: r.values.cast(dtype), ..r }),
        };
        Self { layers: self.layers.into_iter().map(layer).collect(), ..self }
    }

    /// # Errors
    /// When the numbers of the state are not of this type.
    pub(crate) fn check_type(&self, dtype: DType) -> Result<(), MemoryError> {
        for (i, layer) in self.layers.iter().enumerate() {
            let ring = layer.ring.as_ref();
            let types = [
                layer.s.as_ref().map(|s| s.dtype()),
                layer.prev_key.as_ref().map(|key| key.dtype()),
                ring.map(|ring| ring.keys.dtype()),
                ring.map(|ring| ring.values.dtype()),
            ];
            if let Some(found) = types.into_iter().flatten().find(|found| *found != dtype) {
                return Err(MemoryError::State(format!("layer {i}: it is of {found:?}, the model of {dtype:?}")));
            }
        }
        Ok(())
    }

    /// # Errors
    /// When the state is not one of a model of this config for `batch` streams.
    pub fn check(&self, config: &ModelConfig, batch: usize) -> Result<(), MemoryError> {
        let (groups, width) = (config.groups(), config.head_width());
        let wrong = |what: String| Err(MemoryError::State(what));
        if self.batch() != batch {
            return wrong(format!("it holds {} streams, the tokens {batch}", self.batch()));
        }
        if self.layers.len() != config.layers {
            return wrong(format!("it has {} layers, the model {}", self.layers.len(), config.layers));
        }
        let ring = |layer: &LayerState| layer.ring.as_ref().map(|r| (r.keys.dims()[2], r.filled.clone()));
        if let Some(first) = self.layers.first().map(ring)
            && self.layers.iter().any(|layer| ring(layer) != first)
        {
            return wrong("its layers have seen different tokens: their rings differ".into());
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let s = layer.s.as_ref().map(|s| s.dims());
            let expected = config.memory.as_ref().map(|_| [batch, groups, width, width]);
            if s != expected {
                return wrong(format!("layer {i}: `s` is {s:?}, the model needs {expected:?}"));
            }
            let key = layer.prev_key.as_ref().map(|k| k.dims());
            let expected = blends(config).then_some([batch, groups, width]);
            if key != expected {
                return wrong(format!("layer {i}: `prev_key` is {key:?}, the model needs {expected:?}"));
            }
            let Some(ring) = &layer.ring else { continue };
            let (keys, values) = (ring.keys.dims(), ring.values.dims());
            let columns = keys[2];
            let fits = keys == [batch, groups, columns, width] && values == keys;
            let most = config.window.map_or(usize::MAX, |w| w - 1);
            let filled = &ring.filled;
            if !fits || columns > most || filled.len() != batch || filled.iter().any(|n| *n > columns) {
                return wrong(format!("layer {i}: the ring is {keys:?} and {values:?} with {filled:?} filled"));
            }
        }
        Ok(())
    }
}

/// Some key of the model is blended with the one before.
pub fn blends(config: &ModelConfig) -> bool {
    config.attention_blend || config.memory.as_ref().is_some_and(|m| m.blend)
}
