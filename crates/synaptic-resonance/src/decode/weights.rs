//! The weights of a model to be decoded.

use crate::blocks::Matrix;
use crate::error::MemoryError;
use crate::settings::Rule;

/// Sizes and constants of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// d.
    pub width: usize,
    /// H, query heads.
    pub heads: usize,
    /// G, key and value heads.
    pub groups: usize,
    /// D, an even number.
    pub head_width: usize,
    /// w, the tokens that attention sees; none: all.
    pub window: Option<usize>,
    /// First tokens that stay visible beside the window.
    pub sinks: usize,
    /// Base of the rotary positions.
    pub rope_base: f64,
    /// Rotary pairs are `(i, i + D / 2)`; else `(2 i, 2 i + 1)`.
    pub rope_halves: bool,
    /// Added to the mean square in the norms.
    pub norm_epsilon: f32,
    /// Tokens that the model was made for: with full attention no stream is longer. None where nobody knows.
    pub length: Option<usize>,
}

/// A layer. Matrices are `[out][in]`.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Scale of the norm before attention, `[d]`.
    pub norm1: Vec<f32>,
    /// `[H D][d]`, `[G D][d]`, `[G D][d]`.
    pub qkv: [Matrix; 3],
    /// Added to these; empty for none.
    pub biases: [Vec<f32>; 3],
    /// `[d][H D]`.
    pub output: Matrix,
    /// Scale of the norm before the MLP, `[d]`.
    pub norm2: Vec<f32>,
    /// `[mlp][d]`: with it the MLP is `silu(gate n) (up n)`, without `gelu(up n)`.
    pub gate: Option<Matrix>,
    /// `[mlp][d]`.
    pub up: Matrix,
    /// `[d][mlp]`.
    pub down: Matrix,
    /// The memory.
    pub memory: Option<MemoryWeights>,
}

/// A layer's memory, which shares the layer's projections.
#[derive(Debug, Clone)]
pub struct MemoryWeights {
    /// What a write adds.
    pub rule: Rule,
    /// w_b, w_l (with decay) and w_g below each other, `[G + G + H][d]`.
    pub rates: Matrix,
    /// Added to these, in the same order.
    pub biases: Vec<f32>,
    /// Whether there is decay.
    pub decay: bool,
    /// Added to the softplus of the decay.
    pub lambda_min: f32,
    /// `[H]`.
    pub gamma: Vec<f32>,
    /// `[G D]`; with blended keys.
    pub mu: Option<Vec<f32>>,
    /// `[H D]`; with a normalised read-out.
    pub c: Option<Vec<f32>>,
}

/// The weights of a model.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Sizes.
    pub host: Host,
    /// `[vocabulary][d]`.
    pub embedding: Matrix,
    /// `[vocabulary][d]`; none: the embedding.
    pub head: Option<Matrix>,
    /// Scale of the last norm, `[d]`.
    pub norm: Vec<f32>,
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Layer {
    /// The matrices with their names.
    pub(super) fn matrices(&self) -> impl Iterator<Item = (&'static str, &Matrix)> {
        let [q, k, v] = &self.qkv;
        let always = [("q", q), ("k", k), ("v", v), ("output", &self.output), ("up", &self.up), ("down", &self.down)];
        let gate = self.gate.iter().map(|gate| ("gate", gate));
        always.into_iter().chain(gate).chain(self.memory.iter().map(|memory| ("memory.rates", &memory.rates)))
    }
}

impl Weights {
    /// The output layer.
    pub fn output(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes that the matrices take.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(Layer::matrices).map(|(_, matrix)| matrix.bytes());
        layers.sum::<usize>() + self.embedding.bytes() + self.head.as_ref().map_or(0, Matrix::bytes)
    }

    /// # Errors
    /// When a size is outside its domain, or a part is of another shape.
    pub(super) fn check(&self) -> Result<(), MemoryError> {
        let host = &self.host;
        let Host { width: d, heads, groups, head_width, .. } = *host;
        let (mlp, vocabulary) = (self.layers.first().map_or(1, |layer| layer.up.rows()), self.embedding.rows());
        let sizes = [
            ("width", d),
            ("heads", heads),
            ("groups", groups),
            ("head_width", head_width),
            ("mlp", mlp),
            ("vocabulary", vocabulary),
            ("layers", self.layers.len()),
            ("window", host.window.unwrap_or(1)),
        ];
        const MOST: usize = 1 << 24;
        if let Some((field, size)) = sizes.into_iter().find(|(_, size)| !(1..=MOST).contains(size)) {
            return Err(MemoryError::setting(field, size, format!("must be from 1 to {MOST}")));
        }
        if !heads.is_multiple_of(groups) {
            return Err(MemoryError::setting("heads", heads, format!("must be a multiple of `groups` {groups}")));
        }
        if !head_width.is_multiple_of(2) {
            return Err(MemoryError::setting("head_width", head_width, "must be even: rotation takes pairs"));
        }
        if host.sinks > MOST || host.sinks > 0 && host.window.is_none() {
            return Err(MemoryError::setting("sinks", host.sinks, "first tokens are kept beside a `window`"));
        }
        let (queries, keys) = (heads * head_width, groups * head_width);
        let matrix = |field, matrix: &Matrix, rows, columns| {
            MemoryError::shape(field, &[matrix.rows(), matrix.columns()], &[rows, columns])
        };
        let vector = |field, vector: &[f32], n: usize| MemoryError::shape(field, &[vector.len()], &[n]);
        matrix("embedding", &self.embedding, vocabulary, d)?;
        matrix("head", self.output(), vocabulary, d)?;
        vector("norm", &self.norm, d)?;
        for layer in &self.layers {
            for (field, found) in layer.matrices() {
                let (rows, columns) = match field {
                    "q" => (queries, d),
                    "k" | "v" => (keys, d),
                    "output" => (d, queries),
                    "down" => (d, mlp),
                    "up" | "gate" => (mlp, d),
                    _ => (groups * (1 + usize::from(layer.memory.as_ref().is_some_and(|m| m.decay))) + heads, d),
                };
                matrix(field, found, rows, columns)?;
            }
            for (bias, n) in layer.biases.iter().zip([queries, keys, keys]).filter(|(bias, _)| !bias.is_empty()) {
                vector("biases", bias, n)?;
            }
            vector("norm1", &layer.norm1, d)?;
            vector("norm2", &layer.norm2, d)?;
            if let Some(memory) = &layer.memory {
                vector("memory.biases", &memory.biases, memory.rates.rows())?;
                vector("memory.gamma", &memory.gamma, heads)?;
                memory.mu.iter().try_for_each(|mu| vector("memory.mu", mu, keys))?;
                memory.c.iter().try_for_each(|c| vector("memory.c", c, queries))?;
            }
        }
        Ok(())
    }
}
