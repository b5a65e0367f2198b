//! The memory of a group, one token after the other (section 4.3).

use plasticity_core::nn::vector::{LANES, Simd16};

use super::small::{sigmoid, softplus};
use super::weights::MemoryWeights;
use crate::settings::Rule;

/// Added to the sum of squares before a key is normalised (section 2).
const KEY_EPSILON: f32 = 1e-6;
/// Added to the mean square of a read-out (section 4.4).
const READ_EPSILON: f32 = 1e-3;

/// One token for a group, of `groups` groups.
pub(super) struct Token<'a> {
    pub(super) group: usize,
    pub(super) groups: usize,
    /// D.
    pub(super) width: usize,
    /// `[share][D]`.
    pub(super) q: &'a [f32],
    /// `[D]`.
    pub(super) k: &'a [f32],
    /// `[D]`.
    pub(super) v: &'a [f32],
    /// What the rates' matrix gives, with its biases.
    pub(super) rates: &'a [f32],
    pub(super) frozen: bool,
}

/// What a memory shows of itself, token by token, while somebody looks (section 12.4).
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// What the constant value 1 writes beside the values, `[D]`.
    row: Vec<f32>,
    /// Write rate, surprise and familiarity of every token.
    pub(super) seen: Vec<[f32; 3]>,
}

impl Trace {
    /// Of a memory whose keys are heads of this width.
    pub(super) fn new(width: usize) -> Self {
        Self { row: vec![0.0; width], seen: Vec::new() }
    }
}

/// What a group keeps of a stream beside its window.
pub(super) struct Kept<'a> {
    /// The memory, `[D][wide]`.
    pub(super) s: &'a mut [f32],
    /// The previous token's key, `[D]`.
    pub(super) before: &'a mut [f32],
    pub(super) trace: Option<&'a mut Trace>,
}

impl Token<'_> {
    /// Changes the memory, and adds to `to` `[share][D]` what it reads.
    #[inline(always)]
    pub(super) fn pass<S: Simd16>(self, simd: S, memory: &MemoryWeights, kept: Kept<'_>, to: &mut [f32]) {
        let Kept { s, before, mut trace } = kept;
        let Self { group, groups, width, .. } = self;
        let wide = width.next_multiple_of(LANES);
        let mut k = self.k.to_vec();
        if let Some(mu) = &memory.mu {
            let mu = &mu[group * width..][..width];
            for ((k, before), mu) in k.iter_mut().zip(before.iter()).zip(mu) {
                let m = sigmoid(*mu);
                *k = *k * (1.0 - m) + before * m;
            }
        }
        before.copy_from_slice(self.k);
        normalise(&mut k);
        if let Some(trace) = &mut trace {
            self.look(simd, memory, s, &k, trace);
        }
        if !self.frozen {
            self.write(simd, memory, s, &k, wide);
        }
        let share = self.q.len() / width;
        let first = group * share;
        for (h, (q, to)) in self.q.chunks_exact(width).zip(to.chunks_exact_mut(width)).enumerate() {
            let head = first + h;
            let mut q = q.to_vec();
            normalise(&mut q);
            if let Some(Trace { row, seen }) = &mut trace
                && let Some([.., familiarity]) = seen.last_mut()
            {
                *familiarity += dot(row, &q) / share as f32;
            }
            let gate = self.rates[groups * (1 + usize::from(memory.decay)) + head];
            let mut strength = memory.gamma[head].tanh() * 2.0 * sigmoid(gate);
            let mut read = vec![0.0; wide];
            for i in (0..wide).step_by(LANES) {
                let sum = along(simd, &q, s, wide, i);
                simd.write(&mut read[i..i + LANES], sum);
            }
            let read = &read[..width];
            if let Some(c) = &memory.c {
                let mut squares = 0.0;
                for x in read {
                    squares += x * x;
                }
                strength /= (squares / width as f32 + READ_EPSILON).sqrt();
                let c = &c[head * width..][..width];
                to.iter_mut().zip(read).zip(c).for_each(|((to, x), c)| *to += x * strength * c);
            } else {
                to.iter_mut().zip(read).for_each(|(to, x)| *to += x * strength);
            }
        }
    }

    /// beta and a.
    fn rates(&self, memory: &MemoryWeights) -> [f32; 2] {
        if self.frozen {
            return [0.0, 1.0];
        }
        let a = match memory.decay {
            true => (-(softplus(self.rates[self.groups + self.group]) + memory.lambda_min)).exp(),
            false => 1.0,
        };
        [sigmoid(self.rates[self.group]), a]
    }

    /// Write rate and surprise before the write; the row of familiarity as it is after it.
    #[inline(always)]
    fn look<S: Simd16>(&self, simd: S, memory: &MemoryWeights, s: &[f32], k: &[f32], trace: &mut Trace) {
        let [beta, a] = self.rates(memory);
        let wide = self.width.next_multiple_of(LANES);
        let mut error = vec![0.0; wide];
        for i in (0..wide).step_by(LANES) {
            let value = simd.read(&self.v[i..self.width.min(i + LANES)]);
            let rest = simd.fma(simd.splat(-a), along(simd, k, s, wide, i), value);
            simd.write(&mut error[i..i + LANES], rest);
        }
        let covered = match memory.rule {
            Rule::Delta => a * dot(&trace.row, k),
            Rule::Hebbian => 0.0,
        };
        let written = beta * (1.0 - covered);
        trace.row.iter_mut().zip(k).for_each(|(row, k)| *row = a * *row + written * k);
        let error = &error[..self.width];
        trace.seen.push([beta, dot(error, error).sqrt(), 0.0]);
    }

    /// `S = a S + beta (v - a S k) k^T`, or with the value itself.
    #[inline(always)]
    fn write<S: Simd16>(&self, simd: S, memory: &MemoryWeights, s: &mut [f32], k: &[f32], wide: usize) {
        let [beta, a] = self.rates(memory);
        let (decay, minus, beta) = (simd.splat(a), simd.splat(-a), simd.splat(beta));
        for i in (0..wide).step_by(LANES) {
            let mut written = simd.read(&self.v[i..self.width.min(i + LANES)]);
            if memory.rule == Rule::Delta {
                written = simd.fma(minus, along(simd, k, s, wide, i), written);
            }
            let written = simd.mul(beta, written);
            for (k, row) in k.iter().zip(s.chunks_exact_mut(wide)) {
                let row = &mut row[i..i + LANES];
                let old = simd.mul(decay, simd.read(row));
                simd.write(row, simd.fma(simd.splat(*k), written, old));
            }
        }
    }
}

/// The vector at `i` of `S k`, of which `s` `[D][wide]` has the columns; D is even.
#[inline(always)]
fn along<S: Simd16>(simd: S, k: &[f32], s: &[f32], wide: usize, i: usize) -> S::V {
    let (mut even, mut odd) = (simd.zero(), simd.zero());
    for (k, rows) in k.as_chunks::<2>().0.iter().zip(s.chunks_exact(2 * wide)) {
        even = simd.fma(simd.splat(k[0]), simd.read(&rows[i..][..LANES]), even);
        odd = simd.fma(simd.splat(k[1]), simd.read(&rows[wide + i..][..LANES]), odd);
    }
    simd.add(even, odd)
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// `x / sqrt(|x|^2 + 1e-6)`
fn normalise(x: &mut [f32]) {
    let mut squares = 0.0;
    for x in x.iter() {
        squares += x * x;
    }
    let inverse = 1.0 / (squares + KEY_EPSILON).sqrt();
    x.iter_mut().for_each(|x| *x *= inverse);
}
