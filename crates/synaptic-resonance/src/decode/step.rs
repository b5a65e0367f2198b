//! A step of a few tokens in phases: each thread prepares what a phase reads, and takes parts of it.
//!
//! | phase | reads | writes |
//! | --- | --- | --- |
//! | 5 i | the stream, normalised | queries, keys, values, rates of the memory of layer i |
//! | 5 i + 1 | those | heads: attention and memory, a part per group |
//! | 5 i + 2 | heads | the stream |
//! | 5 i + 3 | the stream, normalised | the inner numbers of the MLP |
//! | 5 i + 4 | those | the stream |
//! | last | the stream, normalised, of the tokens that are asked for | logits |

use std::sync::{Mutex, PoisonError};

use plasticity_core::nn::share;
use plasticity_core::nn::vector::{Isa, Job16, Simd16};

use super::group::Group;
use super::remember::{Kept, Token};
use super::small::{Cells, inner, rms_norm};
use super::weights::{Layer, Weights};
use crate::blocks::{Inputs, Matrix, PART_ROWS};

/// The tokens whose logits are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logits {
    None,
    Last,
    All,
}

/// What a step leaves.
#[derive(Debug)]
pub(super) struct Left {
    /// `[tokens that were asked for][vocabulary]`.
    pub(super) logits: Vec<f32>,
    /// The stream after the last layer, of the last token, `[d]`.
    pub(super) last: Vec<f32>,
}

/// Tokens on their way through the model.
pub(super) struct Step<'a> {
    weights: &'a Weights,
    groups: &'a [Mutex<Group>],
    position: u64,
    frozen: bool,
    tokens: usize,
    /// The last ones, whose logits are asked for.
    asked: usize,
    /// `[tokens][d]`.
    stream: Cells,
    /// Queries, keys, values and rates, `[tokens][..]`.
    mixed: Cells,
    /// `[tokens][H D]`.
    heads: Cells,
    /// `[tokens][mlp]`.
    mlp: Cells,
    /// `[asked][vocabulary]`.
    out: Cells,
}

/// What a thread keeps from part to part.
#[derive(Default)]
struct Local {
    phase: Option<usize>,
    inputs: Inputs,
    x: Vec<f32>,
    y: Vec<f32>,
    gate: Vec<f32>,
}

const PHASES: usize = 5;

fn parts(matrix: &Matrix) -> usize {
    matrix.rows().div_ceil(PART_ROWS)
}

impl Layer {
    /// The matrices of the first phase.
    fn mixing(&self) -> impl Iterator<Item = (&Matrix, &[f32])> {
        let rates = self.memory.iter().map(|memory| (&memory.rates, memory.biases.as_slice()));
        self.qkv.iter().zip(self.biases.iter().map(Vec::as_slice)).chain(rates)
    }
}

impl<'a> Step<'a> {
    /// A step of tokens of the vocabulary, of which the first stands at `position`.
    pub(super) fn new(
        weights: &'a Weights,
        groups: &'a [Mutex<Group>],
        position: u64,
        frozen: bool,
        tokens: &[u32],
        logits: Logits,
    ) -> Self {
        let (d, n) = (weights.host.width, tokens.len());
        let asked = match logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => n,
        };
        let rows = |f: &dyn Fn(&Layer) -> usize| weights.layers.iter().map(f).max().unwrap_or(0);
        let mixed = rows(&|layer| layer.mixing().map(|(matrix, _)| matrix.rows()).sum());
        let step = Self {
            weights,
            groups,
            position,
            frozen,
            tokens: n,
            asked,
            stream: Cells::new(n * d),
            mixed: Cells::new(n * mixed),
            heads: Cells::new(n * weights.host.heads * weights.host.head_width),
            mlp: Cells::new(n * rows(&|layer| layer.up.rows())),
            out: Cells::new(asked * weights.output().rows()),
        };
        let mut row = vec![0.0; d];
        for (i, token) in tokens.iter().enumerate() {
            match weights.embedding.row(*token as usize, &mut row) {
                Ok(()) => step.stream.put(i * d, &row),
                Err(error) => unreachable!("tokens of the vocabulary: {error}"),
            }
        }
        step
    }

    /// All phases.
    pub(super) fn run(self, isa: Isa) -> Left {
        let layer = |layer: &Layer| {
            let mixing: usize = layer.mixing().map(|(matrix, _)| parts(matrix)).sum();
            [mixing, self.weights.host.groups, parts(&layer.output), parts(&layer.up), parts(&layer.down)]
        };
        let layers = self.weights.layers.iter().flat_map(layer);
        let phases: Vec<usize> = layers.chain((self.asked > 0).then(|| parts(self.weights.output()))).collect();
        share::phases(&phases, Local::default, |local, phase, part| {
            if local.phase != Some(phase) {
                local.phase = Some(phase);
                self.prepare(local, phase);
            }
            self.part(isa, local, phase, part);
        });
        let mut last = vec![0.0; self.weights.host.width];
        self.stream.take((self.tokens - 1) * last.len(), &mut last);
        Left { logits: self.out.into_vec(), last }
    }

    /// What the products of a phase multiply.
    fn prepare(&self, local: &mut Local, phase: usize) {
        let Weights { host, layers, norm, .. } = self.weights;
        let d = host.width;
        let normalised = |local: &mut Local, first: usize, scale: &[f32]| {
            let tokens = self.tokens - first;
            local.x.resize(tokens * d, 0.0);
            self.stream.take(first * d, &mut local.x);
            local.x.chunks_exact_mut(d).for_each(|x| rms_norm(x, scale, host.norm_epsilon));
            local.inputs.set(&local.x, tokens, d);
        };
        let as_they_are = |local: &mut Local, cells: &Cells, width: usize| {
            local.x.resize(self.tokens * width, 0.0);
            cells.take(0, &mut local.x);
            local.inputs.set(&local.x, self.tokens, width);
        };
        match (layers.get(phase / PHASES), phase % PHASES) {
            (Some(layer), 0) => normalised(local, 0, &layer.norm1),
            (Some(_), 1) => {}
            (Some(layer), 2) => as_they_are(local, &self.heads, layer.output.columns()),
            (Some(layer), 3) => normalised(local, 0, &layer.norm2),
            (Some(layer), _) => as_they_are(local, &self.mlp, layer.down.columns()),
            (None, _) => normalised(local, self.tokens - self.asked, norm),
        }
    }

    fn part(&self, isa: Isa, local: &mut Local, phase: usize, part: usize) {
        match (self.weights.layers.get(phase / PHASES), phase % PHASES) {
            (Some(layer), 0) => self.mix(isa, local, layer, part),
            (Some(layer), 1) => isa.run16(Look { step: self, layer, index: phase / PHASES, group: part, local }),
            (Some(layer), 2) => self.added(isa, local, &layer.output, part),
            (Some(layer), 3) => {
                let (batch, rows) = (self.tokens, layer.up.rows());
                let first = product(isa, &layer.up, part, batch, &local.inputs, &mut local.y);
                if let Some(gate) = &layer.gate {
                    product(isa, gate, part, batch, &local.inputs, &mut local.gate);
                }
                inner(isa, &mut local.y, layer.gate.as_ref().map(|_| local.gate.as_slice()));
                each(&local.y, batch, |r, token, y| self.mlp.set(token * rows + first + r, y));
            }
            (Some(layer), _) => self.added(isa, local, &layer.down, part),
            (None, _) => {
                let (batch, rows) = (self.asked, self.weights.output().rows());
                let first = product(isa, self.weights.output(), part, batch, &local.inputs, &mut local.y);
                each(&local.y, batch, |r, token, y| self.out.set(token * rows + first + r, y));
            }
        }
    }

    /// A part of the matrices of the first phase, which lie one behind the other.
    fn mix(&self, isa: Isa, local: &mut Local, layer: &Layer, mut part: usize) {
        let (mut before, all) = (0, layer.mixing().map(|(matrix, _)| matrix.rows()).sum::<usize>());
        for (matrix, bias) in layer.mixing() {
            if part < parts(matrix) {
                let first = product(isa, matrix, part, self.tokens, &local.inputs, &mut local.y);
                return each(&local.y, self.tokens, |r, token, y| {
                    let bias = bias.get(first + r).copied().unwrap_or(0.0);
                    self.mixed.set(token * all + before + first + r, y + bias);
                });
            }
            part -= parts(matrix);
            before += matrix.rows();
        }
    }

    /// A part of a product that is added to the stream.
    fn added(&self, isa: Isa, local: &mut Local, matrix: &Matrix, part: usize) {
        let first = product(isa, matrix, part, self.tokens, &local.inputs, &mut local.y);
        each(&local.y, self.tokens, |r, token, y| {
            let at = token * matrix.rows() + first + r;
            self.stream.set(at, self.stream.get(at) + y);
        });
    }
}

/// A part of a product to `y` `[rows][batch]`, and its first row.
fn product(isa: Isa, matrix: &Matrix, part: usize, batch: usize, x: &Inputs, y: &mut Vec<f32>) -> usize {
    let first = part * PART_ROWS;
    y.resize(PART_ROWS.min(matrix.rows() - first) * batch, 0.0);
    matrix.part(isa, part, x, y);
    first
}

/// `f` of the row, the token and the number of each of `y` `[rows][batch]`.
fn each(y: &[f32], batch: usize, mut f: impl FnMut(usize, usize, f32)) {
    for (r, y) in y.chunks_exact(batch).enumerate() {
        y.iter().enumerate().for_each(|(token, y)| f(r, token, *y));
    }
}

/// Attention and memory of a group, token after token.
struct Look<'a> {
    step: &'a Step<'a>,
    layer: &'a Layer,
    /// Of the layer.
    index: usize,
    group: usize,
    local: &'a mut Local,
}

impl Job16 for Look<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        let Self { step, layer, index, group, local } = self;
        let host = &step.weights.host;
        let (width, groups, share) = (host.head_width, host.groups, host.heads / host.groups);
        let all = layer.mixing().map(|(matrix, _)| matrix.rows()).sum::<usize>();
        let (queries, keys) = (host.heads * width, groups * width);
        // Nobody else takes this part.
        let mut kept = step.groups[index * groups + group].lock().unwrap_or_else(PoisonError::into_inner);
        local.x.resize(all, 0.0);
        local.y.resize(share * width, 0.0);
        for token in 0..step.tokens {
            step.mixed.take(token * all, &mut local.x);
            let (q, rest) = local.x.split_at(queries);
            let q = &q[group * share * width..][..share * width];
            let (k, v) = (&rest[group * width..][..width], &rest[keys + group * width..][..width]);
            let position = step.position + token as u64;
            kept.put(position, k, v);
            kept.attend(s, position, q, &mut local.y);
            if let Some(memory) = &layer.memory {
                let rates = &rest[2 * keys..];
                let token = Token { group, groups, width, q, k, v, rates, frozen: step.frozen };
                let Group { s: state, before, trace, .. } = &mut *kept;
                let kept = Kept { s: state, before, trace: trace.as_mut() };
                token.pass(s, memory, kept, &mut local.y);
            }
            step.heads.put(token * queries + group * share * width, &local.y);
        }
    }
}
