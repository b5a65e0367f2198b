//! What a model carries from token to token: a value that goes in and comes out (section 6).

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::device::takes_kernels;
use plasticity_core::nn;

use crate::error::MemoryError;
use crate::inputs::wide;
use crate::settings::ModelConfig;

/// Far below what the count of tokens overflows at.
pub(crate) const MOST_TOKENS: u64 = 1 << 60;

/// What a [`Memory`](crate::memory::Memory) carries from one segment of a stream to the next. The two belong together:
/// the first key of a segment is blended with the last one of the segment before.
#[derive(Debug, Clone)]
pub struct MemoryState {
    /// S, `[batch, groups, value width, key width]`, f32; f64 in a model of f64.
    pub s: Tensor<4>,
    /// The previous token's key before blending, `[batch, groups, head width]`; where keys are blended.
    pub prev_key: Option<Tensor<3>>,
}

impl MemoryState {
    /// Cuts the state out of the graph that made it: gradients do not pass to earlier segments.
    pub fn detach(self) -> Self {
        Self { s: self.s.detach(), prev_key: self.prev_key.map(Tensor::detach) }
    }
}

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
    /// First tokens of the current document that have left these columns, where some have and the model keeps them.
    pub sinks: Option<Firsts>,
}

/// First tokens of documents, per row right-aligned: column `columns - filled` is the first token. Keys are unrotated.
#[derive(Debug, Clone)]
pub struct Firsts {
    /// `[batch, groups, columns, head width]`.
    pub keys: Tensor<4>,
    /// `[batch, groups, columns, head width]`.
    pub values: Tensor<4>,
    /// How many of the columns hold a token, per row: they are the last ones.
    pub filled: Vec<usize>,
}

impl Ring {
    /// With each of its tensors changed.
    pub(crate) fn map(self, f: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        let Self { keys, values, filled, sinks } = self;
        let sinks = sinks.map(|Firsts { keys, values, filled }| Firsts { keys: f(keys), values: f(values), filled });
        Self { keys: f(keys), values: f(values), filled, sinks }
    }

    /// Its tensors, by the names that they have in files.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor<4>)> {
        let sinks = self.sinks.iter().flat_map(|s| [("sinks.keys", &s.keys), ("sinks.values", &s.values)]);
        [("ring.keys", &self.keys), ("ring.values", &self.values)].into_iter().chain(sinks)
    }
}

/// The state of one layer.
#[derive(Debug, Clone)]
pub struct LayerState {
    /// S, `[batch, groups, value width, key width]`, f32, f64 in a model of f64; where the model has a memory.
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
            ring: layer.ring.map(|ring| ring.map(Tensor::detach)),
        };
        Self { layers: self.layers.into_iter().map(layer).collect(), ..self }
    }

    /// The state of a model in numbers of another type; S stays at least as wide as f32 (section 5.5).
    pub(crate) fn of_type(self, dtype: DType) -> Self {
        let layer = |layer: LayerState| LayerState {
            s: layer.s.map(|s| s.cast(wide(dtype))),
            prev_key: layer.prev_key.map(|key| key.cast(dtype)),
            ring: layer.ring.map(|ring| ring.map(|x| x.cast(dtype))),
        };
        Self { layers: self.layers.into_iter().map(layer).collect(), ..self }
    }

    /// # Errors
    /// When the state is not in numbers of a model of this type, not on its device, or holds one that is not finite.
    pub(crate) fn check_values(&self, dtype: DType, device: &Device) -> Result<(), MemoryError> {
        let mut look = Finite::default();
        for (i, layer) in self.layers.iter().enumerate() {
            let ring = layer.ring.as_ref();
            let s = layer.s.as_ref().map(|s| (s.dtype(), wide(dtype), s.device()));
            let key = layer.prev_key.as_ref().map(|key| (key.dtype(), dtype, key.device()));
            let ring_types =
                ring.into_iter().flat_map(|ring| ring.tensors()).map(|(_, x)| (x.dtype(), dtype, x.device()));
            for (found, expected, of) in [s, key].into_iter().flatten().chain(ring_types) {
                if found != expected {
                    let what = format!("layer {i}: it is of {found:?}, a model of {dtype:?} needs {expected:?}");
                    return Err(MemoryError::State(what));
                }
                if of != *device {
                    return Err(MemoryError::State(format!("layer {i}: it is on {of:?}, the model on {device:?}")));
                }
            }
            layer.s.iter().for_each(|s| look.at(|| format!("layer {i}: the state's `s`"), s));
            layer.prev_key.iter().for_each(|key| look.at(|| format!("layer {i}: the state's `prev_key`"), key));
            ring.iter().for_each(|ring| {
                for (name, x) in ring.tensors() {
                    look.at(|| format!("layer {i}: the state's {}", name.replace('.', " of ")), x);
                }
            });
        }
        look.end(FROM_A_STATE)
    }

    /// # Errors
    /// When the state is not one of a model of this config for `batch` streams. Nothing tells the state of another
    /// model of the same sizes.
    pub fn check(&self, config: &ModelConfig, batch: usize) -> Result<(), MemoryError> {
        let (groups, width) = (config.groups(), config.head_width());
        let wrong = |what: String| Err(MemoryError::State(what));
        if self.batch() != batch {
            return wrong(format!("it holds {} streams, the tokens {batch}", self.batch()));
        }
        if self.layers.len() != config.layers {
            return wrong(format!("it has {} layers, the model {}", self.layers.len(), config.layers));
        }
        if let Some(position) = self.position.iter().find(|position| **position > MOST_TOKENS) {
            return wrong(format!("{position} tokens are more than anybody has read"));
        }
        let ring = |layer: &LayerState| {
            layer.ring.as_ref().map(|r| {
                let sinks = r.sinks.as_ref().map(|s| (s.keys.dims()[2], s.filled.clone()));
                (r.keys.dims()[2], r.filled.clone(), sinks)
            })
        };
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
            let Some(ring) = &layer.ring else {
                if config.sinks > 0 && self.position.iter().any(|position| *position > 0) {
                    return wrong(format!(
                        "layer {i}: it has seen tokens, and holds no first ones: the model keeps these"
                    ));
                }
                continue;
            };
            let (keys, values) = (ring.keys.dims(), ring.values.dims());
            let columns = keys[2];
            let fits = keys == [batch, groups, columns, width] && values == keys;
            let most = config.window.map_or(usize::MAX, |w| w - 1);
            let filled = &ring.filled;
            let held = |(n, position): (&usize, &u64)| *n <= columns && *n as u64 <= *position;
            let held = filled.len() == batch && filled.iter().zip(&self.position).all(held);
            if !fits || columns == 0 || columns > most || !held {
                let position = &self.position;
                return wrong(format!(
                    "layer {i}: the ring is {keys:?} and {values:?} with {filled:?} filled after {position:?} tokens"
                ));
            }
            // What the ring does not hold of the first tokens, and a full ring where there is some.
            let left = |(n, position): (&usize, &u64)| (*position - *n as u64).min(config.sinks as u64) as usize;
            let left: Vec<usize> = filled.iter().zip(&self.position).map(left).collect();
            let full = config.sinks == 0 || left.iter().zip(filled).all(|(left, n)| *left == 0 || *n == most);
            let (keys, fits) = match &ring.sinks {
                None => (None, left.iter().all(|n| *n == 0)),
                Some(Firsts { keys, values, filled }) => {
                    let dims = keys.dims();
                    let columns = left.iter().copied().max().unwrap_or(0);
                    let expected = [batch, groups, columns, width];
                    (Some(dims), columns > 0 && dims == expected && values.dims() == expected && *filled == left)
                }
            };
            if !fits || !full {
                let position = &self.position;
                return wrong(format!(
                    "layer {i}: the first tokens are {keys:?}, the model keeps {left:?} beside {filled:?} in the ring after {position:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The mend where a state that comes in is not finite.
pub(crate) const FROM_A_STATE: &str = "start from a state and a model whose values are finite";

/// Looks for values that are not finite: at once where they are at hand, else with one reading for all.
#[derive(Default)]
pub(crate) struct Finite {
    found: Option<String>,
    names: Vec<String>,
    /// Whether all values are finite, for each of `names`.
    flags: Vec<Tensor<1, Bool>>,
}

impl Finite {
    /// Looks at a tensor.
    pub fn at<const D: usize>(&mut self, name: impl FnOnce() -> String, x: &Tensor<D>) {
        let x = x.clone().inner();
        if !takes_kernels(&x) {
            self.names.push(name());
            self.flags.push(x.is_finite().all());
        } else if self.found.is_none() && !nn::is_finite(&x) {
            self.found = Some(name());
        }
    }

    /// Looks at the state of a memory, called `of`.
    pub fn memory(&mut self, of: &str, state: &MemoryState) {
        self.at(|| format!("{of} `s`"), &state.s);
        state.prev_key.iter().for_each(|key| self.at(|| format!("{of} `prev_key`"), key));
    }

    /// # Errors
    /// Names the first tensor with such a value, and the mend.
    pub fn end(self, mend: &'static str) -> Result<(), MemoryError> {
        let found = match self.flags.is_empty() {
            true => None,
            false => Tensor::cat(self.flags, 0).into_data().iter::<bool>().position(|finite| !finite),
        };
        let found = found.and_then(|i| self.names.into_iter().nth(i));
        self.found.or(found).map_or(Ok(()), |what| Err(MemoryError::Poisoned { what, mend }))
    }
}

/// Some key of the model is blended with the one before.
pub fn blends(config: &ModelConfig) -> bool {
    config.attention_blend || config.memory.as_ref().is_some_and(|m| m.blend)
}
