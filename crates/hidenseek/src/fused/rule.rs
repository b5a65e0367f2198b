//! Elementwise parts of a step: optimiser, effective weights, softmax.
//!
//! Plain loops that the compiler turns into vectors where they are inlined.

use crate::client::{Optimiser, Trainable};
use crate::supermask::{MaskKind, Surrogate};

use plasticity_core::nn::vector::LANES;

/// e^x for x in [-87, 0] within 2e-7 relative, and 0 below: the same bytes on every machine.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 2^(n + r) with |r| <= 1/2; adding 1.5 * 2^23 rounds to a whole number.
    let t = x * std::f32::consts::LOG2_E;
    let whole = t + 12_582_912.0;
    let n = whole - 12_582_912.0;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    let power = f32::from_bits((whole.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.0 { 0.0 } else { y * power }
}

/// g'(s) of [`Surrogate::Tanh`], `4 e / (1 + e)^2` with `e = exp(-2 |s|)`.
#[inline(always)]
fn tanh_slope(s: f32) -> f32 {
    let e = exp(-2.0 * s.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// The weights that the network computes with (section 2, `P m W0`).
#[inline(always)]
pub(super) fn effective(trainable: Trainable, weights: &[f32], values: &[f32], out: &mut [f32]) {
    let all = out.iter_mut().zip(weights.iter().zip(values));
    match trainable {
        // The values themselves.
        Trainable::Weights => {}
        Trainable::Scores { kind: MaskKind::Sign, .. } => {
            for (out, (w, s)) in all {
                // Adding 0 turns -0 into +0: sgn(-0) is +1. One bit of the weight flips, without a branch.
                *out = f32::from_bits(w.to_bits() ^ ((s + 0.0).to_bits() & 0x8000_0000));
            }
        }
        Trainable::Scores { kind: MaskKind::Binary, .. } => {
            for (out, (w, s)) in all {
                *out = if *s >= 0.0 { *w } else { 0.0 };
            }
        }
        Trainable::Scores { kind: MaskKind::Ternary { tau }, .. } => {
            for (out, (w, s)) in all {
                let entry = if *s > tau { 1.0 } else { 0.0 } - if *s < -tau { 1.0 } else { 0.0 };
                *out = w * entry;
            }
        }
    }
}

/// Turns the gradient of the effective weights into that of the values (O14).
#[inline(always)]
fn through(trainable: Trainable, weights: &[f32], values: &[f32], grad: &mut [f32]) {
    let all = grad.iter_mut().zip(weights.iter().zip(values));
    match trainable {
        Trainable::Weights => {}
        Trainable::Scores { surrogate: Surrogate::Identity, .. } => all.for_each(|(g, (w, _))| *g *= w),
        Trainable::Scores { surrogate: Surrogate::Tanh, .. } => {
            all.for_each(|(g, (w, s))| *g = *g * w * tanh_slope(*s));
        }
    }
}

/// The sum of squares, in vectors.
#[inline(always)]
fn squares(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// What an optimiser remembers within a round.
pub(super) struct Memory {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Memory {
    pub fn new(optimiser: Optimiser, n: usize) -> Self {
        let second = if matches!(optimiser, Optimiser::Adam { .. }) { n } else { 0 };
        Self { first: vec![0.0; n], second: vec![0.0; second], steps: 0 }
    }

    /// One step on the values, from the gradient of the effective weights; false, and nothing is done, where the sum
    /// of the gradient's squares is not a number that f32 holds (Adam's second moment would never come back).
    #[inline(always)]
    pub fn step(
        &mut self,
        (optimiser, trainable): (Optimiser, Trainable),
        weights: &[f32],
        values: &mut [f32],
        grad: &mut [f32],
    ) -> bool {
        through(trainable, weights, values, grad);
        if !squares(grad).is_finite() {
            return false;
        }
        self.steps += 1;
        match optimiser {
            Optimiser::Sgd { lr, momentum } => {
                for ((s, v), g) in values.iter_mut().zip(&mut self.first).zip(&*grad) {
                    *v = momentum * *v + g;
                    *s -= lr * *v;
                }
            }
            Optimiser::Adam { lr } => {
                let bias = |beta: f64| (1.0 - beta.powi(self.steps)) as f32;
                let (first, second) = (bias(0.9), bias(0.999));
                let moments = self.first.iter_mut().zip(&mut self.second);
                for ((s, (m, v)), g) in values.iter_mut().zip(moments).zip(&*grad) {
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * (g * g);
                    *s -= lr * (*m / first) / ((*v / second).sqrt() + 1e-8);
                }
            }
        }
        true
    }
}

/// Turns logits `[class][lane]` into the gradient of the mean cross-entropy of a batch, and gives the sum of the
/// losses of the images of this chunk. Lanes without an image get gradient 0.
#[inline(always)]
pub(super) fn cross_entropy(logits: &mut [f32], wide: usize, labels: &[u8], batch: usize) -> f64 {
    let mut sum = 0.0;
    for half in (0..wide).step_by(LANES) {
        let labels = &labels[half.min(labels.len())..labels.len().min(half + LANES)];
        let mut most = [f32::NEG_INFINITY; LANES];
        for row in logits.chunks_exact(wide) {
            let z = lanes(&row[half..]);
            for l in 0..LANES {
                most[l] = if z[l] > most[l] { z[l] } else { most[l] };
            }
        }
        let mut of_label = [0.0f32; LANES];
        for ((lane, label), of_label) in labels.iter().enumerate().zip(&mut of_label) {
            *of_label = logits[usize::from(*label) * wide + half + lane];
        }
        let mut total = [0.0f32; LANES];
        for row in logits.chunks_exact_mut(wide) {
            let mut z = lanes(&row[half..]);
            for l in 0..LANES {
                z[l] = exp(z[l] - most[l]);
                total[l] += z[l];
            }
            row[half..half + LANES].copy_from_slice(&z);
        }
        let mut scale = [0.0f32; LANES];
        for (scale, total) in scale.iter_mut().zip(total).take(labels.len()) {
            *scale = 1.0 / (total * batch as f32);
        }
        for row in logits.chunks_exact_mut(wide) {
            for (scale, z) in scale.iter().zip(&mut row[half..half + LANES]) {
                *z *= scale;
            }
        }
        for (lane, label) in labels.iter().enumerate() {
            logits[usize::from(*label) * wide + half + lane] -= 1.0 / batch as f32;
            sum += f64::from(total[lane].ln() + most[lane] - of_label[lane]);
        }
    }
    sum
}

/// The first lanes, by value: the compiler turns loops over them into vectors.
#[inline(always)]
fn lanes(row: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&row[..LANES]);
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_and_the_slope_of_tanh() {
        let off = (-8700..=0)
            .map(|i| i as f32 / 100.0)
            .map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(off < 2e-7, "{off}");
        assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
        for s in [-3.0f32, -0.4, 0.0, 1e-3, 0.7, 9.0] {
            let exact = 1.0 - f64::from(s).tanh().powi(2);
            assert!((f64::from(tanh_slope(s)) - exact).abs() < 1e-6 * exact.max(1e-3), "{s}");
        }
    }
}
