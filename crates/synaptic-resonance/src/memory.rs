//! The memory with its parameters (section 4).

mod channels;
mod checks;
mod store;

pub use store::Memories;

pub use channels::{ChannelGates, Gate};

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{sigmoid, softplus};
use plasticity_core::device::takes_kernels;
use plasticity_core::nn::product::matmul;

use crate::error::MemoryError;
use crate::fused;
use crate::inputs::wide;
use crate::kernel::{self, Channels, Inputs};
use crate::settings::{HalfLives, MemoryConfig, ModelConfig};
use crate::state::{Finite, MemoryState};

/// Added to the sum of squares before a key is normalised (section 2).
const KEY_EPSILON: f64 = 1e-6;
/// Added to the mean square of a read-out: large, so that a weak read-out stays weak (section 4.4).
const READ_EPSILON: f64 = 1e-3;

/// Projections of a memory that has its own (A5): `[width, heads or groups x head width]`.
#[derive(Module, Debug)]
pub struct Projections {
    /// `[d, heads D]`.
    pub q: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub k: Param<Tensor<2>>,
    /// `[d, groups D]`.
    pub v: Param<Tensor<2>>,
}

/// The parameters of one layer's memory (section 4.2). A variant has only those that it uses.
#[derive(Module, Debug)]
pub struct Memory {
    /// w_b, `[d, groups]`.
    pub write: Param<Tensor<2>>,
    /// b_b, `[groups]`.
    pub write_bias: Param<Tensor<1>>,
    /// w_l, `[d, groups]`; with decay.
    pub forget: Option<Param<Tensor<2>>>,
    /// b_l, `[groups]`; with decay.
    pub forget_bias: Option<Param<Tensor<1>>>,
    /// w_g, `[d, heads]`.
    pub gate: Param<Tensor<2>>,
    /// b_g, `[heads]`.
    pub gate_bias: Param<Tensor<1>>,
    /// `[heads]`: 0 is the model without memory.
    pub gamma: Param<Tensor<1>>,
    /// `[groups, D]`; with blended keys.
    pub mu: Option<Param<Tensor<2>>>,
    /// `[heads, D]`; with a normalised read-out.
    pub c: Option<Param<Tensor<2>>>,
    /// With projections of its own.
    pub projections: Option<Projections>,
    /// With gates of single channels.
    pub channels: Option<ChannelGates>,
    /// What the memory does.
    #[module(skip)]
    pub config: MemoryConfig,
}

/// What a memory reads of its layer.
#[derive(Debug, Clone)]
pub struct Read {
    /// The attention's normalised input, `[batch, time, d]`.
    pub n: Tensor<3>,
    /// Unrotated queries, `[batch, time, heads, D]`: the layer's, or those of [`Memory::project`].
    pub q: Tensor<4>,
    /// Unrotated, unblended keys, `[batch, time, groups, D]`.
    pub k: Tensor<4>,
    /// `[batch, time, groups, D]`.
    pub v: Tensor<4>,
    /// 1 at the first token of a document, else 0, `[batch, time]`.
    pub starts: Option<Tensor<2>>,
    /// 1 where a token may change the memory, 0 where not: everywhere in a frozen one, `[batch, time]`; none: all may.
    pub writes: Option<Tensor<2>>,
    /// Valid tokens of each row; the rest is padding, which changes neither the memory nor its last key; none: all.
    pub lengths: Option<Vec<usize>>,
}

impl Read {
    /// Tokens that all count, all may write, and of which none begins a document.
    pub fn new(n: Tensor<3>, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Self {
        Self { n, q, k, v, starts: None, writes: None, lengths: None }
    }
}

impl Memory {
    /// The parameters of section 4.2 at their initial values; own projections are drawn from `normal`, which gives
    /// `n` standard normal numbers, in the order q, k, v, and after them what a rank of the gates of channels needs. The
    /// parameters' ids are hashes of their paths below `path`: give every memory of a model one of its own, or an
    /// optimiser takes them for the same.
    ///
    /// # Errors
    /// When a setting is outside its domain, or `normal` gives another number of numbers.
    pub fn new(
        config: &MemoryConfig,
        model: &ModelConfig,
        path: &str,
        normal: &mut dyn FnMut(usize) -> Vec<f32>,
        device: &Device,
    ) -> Result<Self, MemoryError> {
        ModelConfig { memory: Some(config.clone()), ..model.clone() }.check()?;
        let (d, heads, groups, width) = (model.width, model.heads, model.groups(), model.head_width());
        let zeros = |name: &str, shape: [usize; 2]| parameter(path, name, Tensor::zeros(shape, device));
        let constant = |name: &str, n: usize| parameter(path, name, Tensor::zeros([n], device));
        let mut draw = |name: &str, columns: usize| {
            let scale = 0.5 / (d as f64).sqrt();
            let values: Vec<f32> = normal(d * columns).into_iter().map(|z| (f64::from(z) * scale) as f32).collect();
            MemoryError::shape("normal", &[values.len()], &[d * columns])?;
            Ok::<_, MemoryError>(parameter(
                path,
                name,
                Tensor::from_data(TensorData::new(values, [d, columns]), device),
            ))
        };
        let projections = match config.own_projections {
            true => Some(Projections {
                q: draw("projections.q", heads * width)?,
                k: draw("projections.k", groups * width)?,
                v: draw("projections.v", groups * width)?,
            }),
            false => None,
        };
        let channels = ChannelGates::new(config, path, [d, groups, width], &mut draw, device)?;
        Ok(Self {
            write: zeros("write", [d, groups]),
            write_bias: constant("write_bias", groups),
            forget: config.decay.then(|| zeros("forget", [d, groups])),
            forget_bias: config.decay.then(|| {
                let biases = TensorData::new(forget_biases(config.half_lives, groups), [groups]);
                parameter(path, "forget_bias", Tensor::<1>::from_data(biases, device))
            }),
            gate: zeros("gate", [d, heads]),
            gate_bias: constant("gate_bias", heads),
            gamma: constant("gamma", heads),
            mu: config.blend.then(|| zeros("mu", [groups, width])),
            c: config.read_norm.then(|| parameter(path, "c", Tensor::ones([heads, width], device))),
            projections,
            channels,
            config: config.clone(),
        })
    }

    /// Queries, keys and values of a memory with projections of its own for the attention's normalised input `n`
    /// `[batch, time, d]`, shaped as in [`Read`]; none of one that shares the layer's.
    ///
    /// # Errors
    /// When `n` does not fit the parameters.
    pub fn project(&self, n: &Tensor<3>) -> Result<Option<[Tensor<4>; 3]>, MemoryError> {
        self.check_input(n)?;
        Ok(self.projected(n))
    }

    /// [`Memory::project`] of an input that has been checked.
    pub(crate) fn projected(&self, n: &Tensor<3>) -> Option<[Tensor<4>; 3]> {
        let (own, heads, groups) = (self.projections.as_ref()?, self.heads(), self.groups());
        Some([split(n, own.q.val(), heads), split(n, own.k.val(), groups), split(n, own.v.val(), groups)])
    }

    /// H, query heads.
    fn heads(&self) -> usize {
        self.gate.dims()[1]
    }

    /// G, key and value heads.
    fn groups(&self) -> usize {
        self.write.dims()[1]
    }

    /// The empty state of `batch` streams, for heads of `width`.
    pub fn start(&self, batch: usize, width: usize) -> MemoryState {
        let (groups, of) = (self.groups(), self.write.val());
        let (device, dtype) = (of.device(), of.dtype());
        MemoryState {
            s: Tensor::zeros([batch, groups, width, width], (&device, wide(dtype))),
            prev_key: self.mu.is_some().then(|| Tensor::zeros([batch, groups, width], (&device, dtype))),
        }
    }

    /// What is added to the attention's output, `[batch, time, heads, D]`, and the state after the last valid token of
    /// each row (section 4.3). Give [`Memory::start`] before the first segment of a stream, and to each further one what
    /// the one before returned.
    ///
    /// # Errors
    /// When a shape, a type of numbers or a device does not fit, a row is longer than the tokens, starts or writes are
    /// other numbers than 0 and 1, or the state, the one after it or what is added is not finite. The state given is
    /// gone then: keep a clone where that can happen.
    pub fn forward(&self, read: Read, state: MemoryState) -> Result<(Tensor<4>, MemoryState), MemoryError> {
        self.check(&read, &state)?;
        let prev_key = state.prev_key.clone().map(|before| last_key(&read.k, before, read.last().as_ref()));
        let read = Read { writes: read.valid_writes(), ..read };
        let (added, s) = self.pass(read, state.s, state.prev_key)?;
        let state = MemoryState { s, prev_key };
        let mut look = Finite::default();
        look.at(|| "what the memory adds".into(), &added);
        look.memory("the state after the tokens: its", &state);
        look.end("give tokens and a memory whose values are finite")?;
        Ok((added, state))
    }

    /// [`Memory::forward`] for parts that are known to fit, and a key before the first token that somebody else follows.
    pub(crate) fn pass(
        &self,
        read: Read,
        s: Tensor<4>,
        prev_key: Option<Tensor<3>>,
    ) -> Result<(Tensor<4>, Tensor<4>), MemoryError> {
        let inputs = self.rule_inputs(&read, prev_key);
        let gate = affine(read.n, &self.gate, &self.gate_bias);
        let (r, s) = kernel::forward(inputs, s, self.config.rule, self.config.chunk)?;
        let c = self.c.as_ref().map(|c| c.val());
        Ok((gate_read(r, gate, self.gamma.val(), c), s))
    }

    /// The rule's inputs after `state`: blended keys, rates, decay.
    ///
    /// # Errors
    /// As [`Memory::forward`].
    pub fn inputs(&self, read: &Read, state: &MemoryState) -> Result<Inputs, MemoryError> {
        self.check(read, state)?;
        let read = Read { writes: read.valid_writes(), ..read.clone() };
        Ok(self.rule_inputs(&read, state.prev_key.clone()))
    }

    /// [`Memory::inputs`] for parts that are known to fit.
    pub(crate) fn rule_inputs(&self, read: &Read, prev_key: Option<Tensor<3>>) -> Inputs {
        let Read { n, q, k, v, starts, writes, .. } = read.clone();
        let mu = self.mu.as_ref().map(|mu| mu.val());
        let prev_key = prev_key.filter(|_| mu.is_some());
        let writes = writes.as_ref();
        let least = self.config.lambda_min;
        let forget = self.forget.as_ref().zip(self.forget_bias.as_ref()).map(|(w, b)| affine(n.clone(), w, b));
        // Where channels have gates, those of their head are part of them.
        let gates = self.channels.as_ref().map(|gates| {
            let head = affine(n.clone(), &self.write, &self.write_bias);
            let channels = gates.of(&n, &head, forget.as_ref(), least);
            let beta = if channels.write.is_some() { head.ones_like() } else { sigmoid(head) };
            (beta, Channels { log_decay: channels.log_decay.map(|x| only(x, writes)), ..channels })
        });
        let log_a = match &gates {
            Some((_, Channels { log_decay: Some(_), .. })) => None,
            _ => forget.map(|forget| only((softplus(forget, 1.0) + least).neg(), writes)),
        };
        let (beta, channels) = gates.map_or((None, Channels::default()), |(beta, channels)| (Some(beta), channels));
        Inputs {
            q: blend_keys(q, None, None, None, true),
            k: blend_keys(k, prev_key, mu, starts.clone(), true),
            v,
            beta: only(beta.unwrap_or_else(|| sigmoid(affine(n, &self.write, &self.write_bias))), writes),
            log_a,
            starts: match (starts, writes) {
                (Some(starts), Some(writes)) => Some(starts * writes.clone()),
                (starts, _) => starts,
            },
            channels,
        }
    }

    /// g, what the read-out is multiplied by, `[batch, time, heads]`, for the attention's normalised input `n`.
    pub(crate) fn read_gate(&self, n: Tensor<3>) -> Tensor<3> {
        let gate = affine(n, &self.gate, &self.gate_bias);
        strength(gate, self.gamma.val())
    }
}

/// `[batch, time, d]` through a matrix `[d, heads D]`: `[batch, time, heads, D]`.
pub(crate) fn split(n: &Tensor<3>, matrix: Tensor<2>, heads: usize) -> Tensor<4> {
    let [batch, time, d] = n.dims();
    let width = matrix.dims()[1] / heads;
    matmul(n.clone().reshape([batch * time, d]), matrix).reshape([batch, time, heads, width])
}

/// Zero at each token that may not write: that changes nothing, neither by its rate, nor by forgetting (nor by a document's
/// start).
fn only<const D: usize>(x: Tensor<D>, writes: Option<&Tensor<2>>) -> Tensor<D> {
    let Some(writes) = writes else { return x };
    let (shape, [batch, time]) = (x.dims(), writes.dims());
    let mut of_tokens = [1; D];
    (of_tokens[0], of_tokens[1]) = (batch, time);
    // Not a product: a decay that forgets everything is -inf in narrow numbers.
    let silent: Tensor<D, Bool> = writes.clone().equal_elem(0.0).reshape(of_tokens);
    x.mask_fill(silent.expand(shape), 0.0)
}

/// `x w + b`.
fn affine(x: Tensor<3>, w: &Param<Tensor<2>>, b: &Param<Tensor<1>>) -> Tensor<3> {
    let [batch, time, d] = x.dims();
    let y = matmul(x.reshape([batch * time, d]), w.val()) + b.val().unsqueeze();
    let columns = y.dims()[1];
    y.reshape([batch, time, columns])
}

/// A leaf whose id is the hash of its path; tracked where the device tracks.
pub(crate) fn parameter<const D: usize>(path: &str, name: &str, value: Tensor<D>) -> Param<Tensor<D>> {
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    plasticity_core::nn::parameter(&path, value)
}

/// The key of each row's last valid token `[batch, groups, D]`, of the keys `k` `[batch, time, groups, D]` and of the one
/// `before` them. `last` is its place for each row of `[batch x (1 + time)]`, where the first one is `before`; none: the
/// last token.
pub(crate) fn last_key(k: &Tensor<4>, before: Tensor<3>, last: Option<&Tensor<1, Int>>) -> Tensor<3> {
    let [batch, time, groups, width] = k.dims();
    match last {
        None => k.clone().narrow(1, time - 1, 1).squeeze_dim(1),
        Some(index) => Tensor::cat(vec![before.unsqueeze_dim(1), k.clone()], 1)
            .reshape([batch * (1 + time), groups * width])
            .select(0, index.clone())
            .reshape([batch, groups, width]),
    }
}

/// The places of [`last_key`] for rows of these lengths among `time` tokens.
pub(crate) fn last_places(lengths: &[usize], time: usize, device: &Device) -> Tensor<1, Int> {
    let index: Vec<i32> = lengths.iter().enumerate().map(|(row, n)| (row * (1 + time) + n) as i32).collect();
    Tensor::from_data(TensorData::new(index, [lengths.len()]), device)
}

/// `b_l` of every group (section 4.5): `log(exp(ln 2 / HL) - 1)` for half-lives HL.
fn forget_biases(half_lives: HalfLives, groups: usize) -> Vec<f32> {
    let bias = |half_life: f64| match std::f64::consts::LN_2 / half_life {
        // The exponential would overflow, long after the rest has rounded away.
        rate if rate > 50.0 => rate,
        rate => rate.exp_m1().ln(),
    };
    match half_lives {
        HalfLives::Bias(b) => vec![b as f32; groups],
        HalfLives::LogSpaced { from, to } => (0..groups)
            .map(|g| {
                let share = if groups == 1 { 0.0 } else { g as f64 / (groups - 1) as f64 };
                bias(from * (to / from).powf(share)) as f32
            })
            .collect(),
    }
}

/// Blended and normalised keys: [`blend_keys_composed`], or [`fused::blend`] where the kernels run.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn blend_keys(
    k: Tensor<4>,
    prev: Option<Tensor<3>>,
    mu: Option<Tensor<2>>,
    starts: Option<Tensor<2>>,
    normalise: bool,
) -> Tensor<4> {
    if takes_kernels(&k) {
        return fused::blend(k, prev, mu, starts, normalise);
    }
    blend_keys_composed(k, prev, mu, starts, normalise)
}

/// The composition of [`fused::blend`], of tensor operations: `l2((1 - m) k_t + m k_(t-1))` with `m = sigmoid(mu)`
/// `[groups, width]`, l2 alone without `mu`, no l2 without `normalise` (section 4.3). `k` is
/// `[batch, time, groups, width]`, `prev` `[batch, groups, width]` the key before the first token, zero when none; at
/// a start (1 in `starts` `[batch, time]`) the previous key is zero.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn blend_keys_composed(
    k: Tensor<4>,
    prev: Option<Tensor<3>>,
    mu: Option<Tensor<2>>,
    starts: Option<Tensor<2>>,
    normalise: bool,
) -> Tensor<4> {
    let [batch, time, groups, width] = k.dims();
    let blended = match mu {
        None => k,
        Some(mu) => {
            let first = match prev {
                Some(prev) => prev.unsqueeze_dim(1),
                None => k.clone().narrow(1, 0, 1).zeros_like(),
            };
            let mut before = match time {
                1 => first,
                _ => Tensor::cat(vec![first, k.clone().narrow(1, 0, time - 1)], 1),
            };
            if let Some(starts) = starts {
                before = before * (starts.neg() + 1.0).reshape([batch, time, 1, 1]);
            }
            // k + m (k' - k) would round (1 - m) k away where the two are alike.
            let m: Tensor<4> = sigmoid(mu).reshape([1, 1, groups, width]);
            k * (m.clone().neg() + 1.0) + before * m
        }
    };
    if !normalise {
        return blended;
    }
    let norm = (blended.clone().powi_scalar(2).sum_dim(3) + KEY_EPSILON).sqrt();
    blended * norm.recip()
}

/// The read-out with norm and gate: [`gate_read_composed`], or [`fused::gate`] where the kernels run.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn gate_read(r: Tensor<4>, gate: Tensor<3>, gamma: Tensor<1>, c: Option<Tensor<2>>) -> Tensor<4> {
    if takes_kernels(&r) {
        return fused::gate(r, gate, gamma, c);
    }
    gate_read_composed(r, gate, gamma, c)
}

/// The composition of [`fused::gate`], of tensor operations: `tanh(gamma) 2 sigmoid(gate) c r / sqrt(mean(r^2) + 1e-3)`
/// (section 4.3, norm and gate) for read-outs `r` `[batch, time, heads, width]`, `gate` `[batch, time, heads]`, `gamma`
/// `[heads]`, `c` `[heads, width]`; without `c` no norm.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn gate_read_composed(r: Tensor<4>, gate: Tensor<3>, gamma: Tensor<1>, c: Option<Tensor<2>>) -> Tensor<4> {
    let [batch, time, heads, width] = r.dims();
    let strength = strength(gate, gamma).reshape([batch, time, heads, 1]);
    match c {
        None => r * strength,
        Some(c) => {
            let rms = (r.clone().powi_scalar(2).mean_dim(3) + READ_EPSILON).sqrt();
            r * (strength * rms.recip()) * c.reshape([1, 1, heads, width])
        }
    }
}

/// `tanh(gamma) 2 sigmoid(gate)`, `[batch, time, heads]`.
fn strength(gate: Tensor<3>, gamma: Tensor<1>) -> Tensor<3> {
    sigmoid(gate) * (gamma.tanh() * 2.0).unsqueeze()
}
