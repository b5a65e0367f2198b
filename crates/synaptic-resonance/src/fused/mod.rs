//! The memory's hot spots as single operations on the CPU, with their derivatives written out. The compositions of
//! [`kernel`](crate::kernel) and [`memory`](crate::memory) are what the tests compare with.

use burn::prelude::*;

use crate::kernel::{Inputs, Sizes};
use crate::settings::Rule;

/// Whether the kernels take the tensor: f32, on a CPU backend.
pub fn runs_on<const D: usize>(x: &Tensor<D>) -> bool {
    let _ = x;
    false
}

/// See [`crate::kernel::recurrent`]. The inputs have been checked.
pub fn rule(inputs: Inputs, s: Tensor<4>, rule: Rule, sizes: Sizes) -> (Tensor<4>, Tensor<4>) {
    let _ = (&inputs, &s, rule, sizes);
    unreachable!("no kernel takes a tensor yet")
}

/// Blended and normalised keys: `l2((1 - m) k_t + m k_(t-1))` with `m = sigmoid(mu)` `[groups, width]`, l2 alone
/// without `mu` (section 4.3). `k` is `[batch, time, groups, width]`, `prev` `[batch, groups, width]` the key before
/// the first token; at a start (`starts` `[batch, time]`) the previous key is zero. `normalise: false` leaves l2 out.
/// The composition is [`crate::memory::blend_keys`].
pub fn blend(
    k: Tensor<4>,
    prev: Option<Tensor<3>>,
    mu: Option<Tensor<2>>,
    starts: Option<Tensor<2>>,
    normalise: bool,
) -> Tensor<4> {
    let _ = (&k, prev, mu, starts, normalise);
    unreachable!("no kernel takes a tensor yet")
}

/// `tanh(gamma) 2 sigmoid(gate) c r / sqrt(mean(r^2) + 1e-3)` (section 4.3, norm and gate): `r`
/// `[batch, time, heads, width]`, `gate` `[batch, time, heads]`, `gamma` `[heads]`, `c` `[heads, width]`; without `c`
/// no norm. The composition is [`crate::memory::gate_read`].
pub fn gate(r: Tensor<4>, gate: Tensor<3>, gamma: Tensor<1>, c: Option<Tensor<2>>) -> Tensor<4> {
    let _ = (&r, gate, gamma, c);
    unreachable!("no kernel takes a tensor yet")
}
