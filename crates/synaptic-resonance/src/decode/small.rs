//! What is small beside the products: norms, activations, numbers that several threads write.

use std::sync::atomic::{AtomicU32, Ordering};

use plasticity_core::nn::vector::{Isa, Job16, Simd16};

/// Numbers that threads write, each its own, and all read in the next phase.
#[derive(Debug)]
pub(super) struct Cells(Vec<AtomicU32>);

impl Cells {
    pub(super) fn new(n: usize) -> Self {
        Self((0..n).map(|_| AtomicU32::new(0)).collect())
    }

    pub(super) fn set(&self, i: usize, x: f32) {
        self.0[i].store(x.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self, i: usize) -> f32 {
        f32::from_bits(self.0[i].load(Ordering::Relaxed))
    }

    /// Writes numbers from `from` on.
    pub(super) fn put(&self, from: usize, x: &[f32]) {
        self.0[from..from + x.len()].iter().zip(x).for_each(|(to, x)| to.store(x.to_bits(), Ordering::Relaxed));
    }

    /// Reads `to.len()` numbers from `from` on.
    pub(super) fn take(&self, from: usize, to: &mut [f32]) {
        let cells = &self.0[from..from + to.len()];
        to.iter_mut().zip(cells).for_each(|(to, x)| *to = f32::from_bits(x.load(Ordering::Relaxed)));
    }

    pub(super) fn into_vec(self) -> Vec<f32> {
        self.0.into_iter().map(|x| f32::from_bits(x.into_inner())).collect()
    }
}

/// `x / sqrt(mean(x^2) + epsilon) scale` in place.
pub(super) fn rms_norm(x: &mut [f32], scale: &[f32], epsilon: f32) {
    // In eight sums, so that it is vectors, in an order of its own.
    let mut sums = [0.0f32; 8];
    for x in x.chunks(8) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
    }
    let inverse = 1.0 / (sums.iter().sum::<f32>() / x.len() as f32 + epsilon).sqrt();
    x.iter_mut().zip(scale).for_each(|(x, scale)| *x = *x * inverse * scale);
}

/// `1 / (1 + exp(-x))`
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))`
pub(super) fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The inner numbers of the MLP in place: `silu(gate) y`, or `gelu(y)` without a gate.
pub(super) fn inner(isa: Isa, y: &mut [f32], gate: Option<&[f32]>) {
    match gate {
        Some(gate) => isa.run16(SwiGlu { y, gate }),
        None => y.copy_from_slice(&crate::fused::gelu_of(y)),
    }
}

struct SwiGlu<'a> {
    y: &'a mut [f32],
    gate: &'a [f32],
}

impl Job16 for SwiGlu<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        for (y, gate) in self.y.iter_mut().zip(self.gate) {
            // exp of what is not above 0, so that it cannot overflow; below -87 nothing is left of it.
            let off = -gate.abs();
            let power = s.exp(if off < -87.0 { -87.0 } else { off });
            let above = if *gate < 0.0 { power } else { 1.0 };
            *y *= gate * above / (1.0 + power);
        }
    }
}
