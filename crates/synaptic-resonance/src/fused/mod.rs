//! Hot spots of the memory and of its host as single operations on the CPU, with their derivatives written out. The
//! compositions of [`kernel`](crate::kernel) and [`memory`](crate::memory) are what the tests compare with.

// The ndarray backend is deprecated as a whole.
#![allow(deprecated)]
// Without a CPU backend nothing calls the kernels.
#![cfg_attr(not(any(feature = "flex", feature = "ndarray")), allow(dead_code))]

mod blend;
mod gate;
mod gelu;
mod graph;
mod host;
mod norm;
#[cfg(feature = "flex")]
mod on_flex;
#[cfg(feature = "ndarray")]
mod on_ndarray;
mod rewind;
mod rule;
mod rule_grad;
mod swiglu;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::prelude::*;

use crate::inputs::{Channels, Inputs, Sizes};
use crate::settings::Rule;
pub(crate) use gelu::forward as gelu_of;
pub use host::{HostOps, gelu, rms_norm, swiglu};

use blend::Blend;
use gate::Gate;

/// See [`crate::kernel::recurrent`], whose callers check the inputs. A gradient of the state that is returned costs a
/// second pass backwards, one that is not asked for nothing.
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn rule(inputs: Inputs, s: Tensor<4>, rule: Rule, sizes: Sizes) -> (Tensor<4>, Tensor<4>) {
    let Inputs { q, k, v, beta, log_a, starts, channels } = inputs;
    let Channels { log_decay, erase, write } = channels;
    let gated = Gated { decay: log_decay.is_some(), erase: erase.is_some(), write: write.is_some() };
    let plan = Plan { sizes, rule, decay: log_a.is_some(), starts: starts.is_some(), channels: gated };
    let device = s.device();
    let (log_a, starts) = (or_nothing(log_a, &device), or_nothing(starts, &device));
    let [log_decay, erase, write] = [log_decay, erase, write].map(|x| or_nothing(x, &device));
    let (read, s) = <Dispatch as MemoryOps>::rule(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        beta.into_dispatch(),
        log_a.into_dispatch(),
        starts.into_dispatch(),
        s.into_dispatch(),
        log_decay.into_dispatch(),
        erase.into_dispatch(),
        write.into_dispatch(),
        plan,
    );
    (Tensor::from_dispatch(read), Tensor::from_dispatch(s))
}

/// Blended and normalised keys: `l2((1 - m) k_t + m k_(t-1))` with `m = sigmoid(mu)` `[groups, width]`, l2 alone
/// without `mu` (section 4.3). `k` is `[batch, time, groups, width]`, `prev` `[batch, groups, width]` the key before
/// the first token; at a start (`starts` `[batch, time]`) the previous key is zero. `normalise: false` leaves l2 out.
/// The composition is [`crate::memory::blend_keys_composed`].
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn blend(
    k: Tensor<4>,
    prev: Option<Tensor<3>>,
    mu: Option<Tensor<2>>,
    starts: Option<Tensor<2>>,
    normalise: bool,
) -> Tensor<4> {
    let prev = prev.filter(|_| mu.is_some());
    let (dims, device) = (k.dims(), k.device());
    let sizes = Blend { dims, mu: mu.is_some(), prev: prev.is_some(), starts: starts.is_some(), normalise };
    let (prev, mu, starts) = (or_nothing(prev, &device), or_nothing(mu, &device), or_nothing(starts, &device));
    Tensor::from_dispatch(<Dispatch as MemoryOps>::blend(
        k.into_dispatch(),
        prev.into_dispatch(),
        mu.into_dispatch(),
        starts.into_dispatch(),
        sizes,
    ))
}

/// `tanh(gamma) 2 sigmoid(gate) c r / sqrt(mean(r^2) + 1e-3)` (section 4.3, norm and gate): `r`
/// `[batch, time, heads, width]`, `gate` `[batch, time, heads]`, `gamma` `[heads]`, `c` `[heads, width]`; without `c`
/// no norm. The composition is [`crate::memory::gate_read_composed`].
///
/// # Panics
/// When a shape does not fit, as operations on tensors do.
pub fn gate(r: Tensor<4>, gate: Tensor<3>, gamma: Tensor<1>, c: Option<Tensor<2>>) -> Tensor<4> {
    let sizes = Gate { dims: r.dims(), norm: c.is_some() };
    let c = or_nothing(c, &r.device());
    Tensor::from_dispatch(<Dispatch as MemoryOps>::gate(
        r.into_dispatch(),
        gate.into_dispatch(),
        gamma.into_dispatch(),
        c.into_dispatch(),
        sizes,
    ))
}

/// An operation takes a fixed number of tensors: one that is not there is a single number that nobody reads.
fn or_nothing<const D: usize>(x: Option<Tensor<D>>, device: &Device) -> Tensor<D> {
    x.unwrap_or_else(|| Tensor::zeros([1; D], &device.clone().without_autodiff()))
}

/// The other way round: a result that is not there becomes such a number.
fn or_one(values: Vec<f32>, shape: impl Into<Shape>) -> (Vec<f32>, Shape) {
    let shape = shape.into();
    if values.is_empty() { (vec![0.0], vec![1; shape.num_dims()].into()) } else { (values, shape) }
}

/// What the rule's kernels need to know beside the tensors.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    sizes: Sizes,
    rule: Rule,
    decay: bool,
    starts: bool,
    channels: Gated,
}

impl Plan {
    /// The derivatives need errors that are not the values themselves.
    fn keeps(&self) -> bool {
        self.rule == Rule::Delta || self.channels.write
    }
}

/// Which gates of single channels there are.
#[derive(Debug, Clone, Copy)]
struct Gated {
    decay: bool,
    erase: bool,
    write: bool,
}

impl Gated {
    fn any(self) -> bool {
        self.decay || self.erase || self.write
    }
}

/// Shapes of the rule's tensors.
struct Shapes {
    q: [usize; 4],
    k: [usize; 4],
    v: [usize; 4],
    beta: [usize; 3],
    s: [usize; 4],
    read: [usize; 4],
}

impl Shapes {
    fn new(plan: &Plan) -> Self {
        let Sizes { batch, time, heads, groups, key, value } = plan.sizes;
        Self {
            q: [batch, time, heads, key],
            k: [batch, time, groups, key],
            v: [batch, time, groups, value],
            beta: [batch, time, groups],
            s: [batch, groups, value, key],
            read: [batch, time, heads, value],
        }
    }
}

/// The operations on a backend; layouts are those of [`rule()`], [`blend()`] and [`gate()`]. Methods named after
/// derivatives and `rule_parts` are for inner backends only.
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait MemoryOps: Backend {
    /// Read-outs and the state after the last token.
    fn rule(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        log_a: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        s: FloatTensor<Self>,
        log_decay: FloatTensor<Self>,
        erase: FloatTensor<Self>,
        write: FloatTensor<Self>,
        plan: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Read-outs, the state after the last token, and the errors that the derivatives need (of the delta rule, and where values have
    /// gates).
    fn rule_parts(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        log_a: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        s: FloatTensor<Self>,
        log_decay: FloatTensor<Self>,
        erase: FloatTensor<Self>,
        write: FloatTensor<Self>,
        plan: Plan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of q, k, v, beta, log_a, s, and the gates of channels, from that of the read-outs.
    fn rule_grad(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        log_a: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        s: FloatTensor<Self>,
        log_decay: FloatTensor<Self>,
        erase: FloatTensor<Self>,
        write: FloatTensor<Self>,
        errors: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        plan: Plan,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    /// Gradients of k, v, beta, log_a, s, and the gates of channels, from that of the state after the last token.
    fn state_grad(
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        log_a: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        s: FloatTensor<Self>,
        log_decay: FloatTensor<Self>,
        erase: FloatTensor<Self>,
        write: FloatTensor<Self>,
        errors: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        plan: Plan,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    /// Blended, normalised keys.
    fn blend(
        k: FloatTensor<Self>,
        prev: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        sizes: Blend,
    ) -> FloatTensor<Self>;

    /// Gradients of k, prev and mu.
    fn blend_grad(
        k: FloatTensor<Self>,
        prev: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        starts: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        sizes: Blend,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The gated read-out.
    fn gate(
        r: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        c: FloatTensor<Self>,
        sizes: Gate,
    ) -> FloatTensor<Self>;

    /// Gradients of r, gate, gamma and c.
    fn gate_grad(
        r: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        c: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        sizes: Gate,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}
