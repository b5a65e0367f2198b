//! Synaptic saliency (SynFlow): S = |W| dR/d|W|, R = the sum of the logits of |W| for an input of ones.
//!
//! Written out as two sweeps in double precision, on the host: the result then depends on no device. All signals are
//! non-negative, so a ReLU is the identity. Each layer's signals are scaled by a power of two that brings the largest
//! into [1, 2): exact, so ranks and ties are those of the unscaled sums, and deep networks do not overflow.

use rayon::prelude::*;

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::{Architecture, Layer};
use crate::supermask::same_network;

/// S of each weight, in canonical order, and R.
#[derive(Debug, Clone, PartialEq)]
pub struct Saliency {
    /// S >= 0; 0 for what is pruned.
    pub scores: Vec<f64>,
    /// R, the flow through the network: in each layer, the scores add up to it (O1).
    pub flow: f64,
}

/// The saliency of the weights that a mask keeps (section 3.1).
///
/// # Errors
/// A mask of another network, weights of another length or not finite.
pub fn saliency(architecture: &Architecture, weights: &[f32], mask: &PruneMask) -> Result<Saliency, FederationError> {
    same_network(architecture, mask)?;
    let mut flow = Flow::new(architecture, weights)?;
    let exponent = flow.run(mask.keep());
    // In two halves: either may be all that a double can hold.
    let (half, rest) = (2f64.powi(exponent / 2), 2f64.powi(exponent - exponent / 2));
    // What is 0 stays so, however large the flow: 0 times an infinite power is not a number.
    let unscaled = |s: f64| if s == 0.0 { 0.0 } else { s * half * rest };
    Ok(Saliency { scores: flow.scores.iter().map(|s| unscaled(*s)).collect(), flow: unscaled(flow.flow) })
}

/// The buffers of a saliency that is computed again and again.
pub(super) struct Flow {
    layers: Vec<Layer>,
    /// `[channels, height, width]` before each layer and behind the last.
    shapes: Vec<[usize; 3]>,
    magnitudes: Vec<f64>,
    /// |W| where kept, else 0.
    masked: Vec<f64>,
    /// Scores and R, both divided by 2^exponent.
    pub(super) scores: Vec<f64>,
    pub(super) flow: f64,
    /// Signals before each layer and behind the last.
    signals: Vec<Vec<f64>>,
}

impl Flow {
    pub(super) fn new(architecture: &Architecture, weights: &[f32]) -> Result<Self, FederationError> {
        let (shapes, n) = (architecture.shapes().to_vec(), architecture.weights());
        FederationError::length("weights", n, weights.len())?;
        FederationError::finite("weights", weights)?;
        Ok(Self {
            layers: architecture.layers().to_vec(),
            magnitudes: weights.iter().map(|w| f64::from(w.abs())).collect(),
            masked: vec![0.0; n],
            scores: vec![0.0; n],
            flow: 0.0,
            signals: shapes.iter().map(|[c, h, w]| vec![0.0; c * h * w]).collect(),
            shapes,
        })
    }

    /// Computes scores and R of what is kept; returns their exponent.
    pub(super) fn run(&mut self, keep: &[bool]) -> i32 {
        for ((masked, magnitude), keep) in self.masked.iter_mut().zip(&self.magnitudes).zip(keep) {
            *masked = if *keep { *magnitude } else { 0.0 };
        }
        let mut exponents = Vec::with_capacity(self.layers.len());
        self.signals[0].fill(1.0);
        let mut start = 0;
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, behind) = self.signals.split_at_mut(i + 1);
            let (x, y) = (&before[i], &mut behind[0]);
            let w = &self.masked[start..start + layer.weights()];
            start += layer.weights();
            match *layer {
                Layer::Linear { inputs, .. } => forward_linear(w, x, y, inputs),
                Layer::Conv { kernel, padding, .. } => {
                    Conv { x: self.shapes[i], y: self.shapes[i + 1], kernel, padding }.forward(w, x, y);
                }
                Layer::MaxPool => forward_pool(x, y, self.shapes[i], self.shapes[i + 1]),
                Layer::Relu => y.copy_from_slice(x),
            }
            exponents.push(if layer.weights() > 0 { normalise(y) } else { 0 });
        }
        let logits = &self.signals[self.layers.len()];
        self.flow = logits.iter().sum();
        let mut gradient = vec![1.0; logits.len()];
        let mut end = self.masked.len();
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (x, n) = (&self.signals[i], layer.weights());
            let weights = end - n..end;
            let (w, scores) = (&self.masked[weights.clone()], &mut self.scores[weights]);
            end -= n;
            let scale = 2f64.powi(-exponents[i]);
            if n > 0 {
                gradient.iter_mut().for_each(|g| *g *= scale);
            }
            let mut below = vec![0.0; x.len()];
            match *layer {
                Layer::Linear { inputs, .. } => backward_linear(w, x, &gradient, scores, &mut below, inputs),
                Layer::Conv { kernel, padding, .. } => {
                    let conv = Conv { x: self.shapes[i], y: self.shapes[i + 1], kernel, padding };
                    conv.scores(w, x, &gradient, scores);
                    conv.backward(w, &gradient, &mut below);
                }
                Layer::MaxPool => {
                    backward_pool(x, &gradient, &mut below, self.shapes[i], self.shapes[i + 1]);
                }
                Layer::Relu => below.copy_from_slice(&gradient),
            }
            gradient = below;
        }
        exponents.iter().sum()
    }
}

/// Divides by the power of two that brings the largest value into [1, 2), and returns its exponent.
fn normalise(values: &mut [f64]) -> i32 {
    let largest = values.iter().copied().fold(0.0, f64::max);
    if !largest.is_normal() {
        return 0;
    }
    let exponent = (largest.to_bits() >> 52) as i32 - 1023;
    let scale = 2f64.powi(-exponent);
    values.iter_mut().for_each(|v| *v *= scale);
    exponent
}

/// y = W x.
fn forward_linear(w: &[f64], x: &[f64], y: &mut [f64], inputs: usize) {
    for (y, row) in y.iter_mut().zip(w.chunks_exact(inputs)) {
        *y = dot(row, x);
    }
}

/// Four running sums: the order is fixed, and the adder is not waited for.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// S = W g x, below = W^T g.
fn backward_linear(w: &[f64], x: &[f64], gradient: &[f64], scores: &mut [f64], below: &mut [f64], inputs: usize) {
    for ((row, scores), g) in w.chunks_exact(inputs).zip(scores.chunks_exact_mut(inputs)).zip(gradient) {
        for (((w, s), x), below) in row.iter().zip(scores).zip(x).zip(below.iter_mut()) {
            let flow = w * g;
            *s = flow * x;
            *below += flow;
        }
    }
}

/// The larger of the four corners of an output pixel, and where it is: the first where several are equal.
fn largest(x: &[f64], top: usize, width: usize) -> usize {
    [top + 1, top + width, top + width + 1].into_iter().fold(top, |best, i| if x[i] > x[best] { i } else { best })
}

fn corners([_, height, width]: [usize; 3], [channels, down, across]: [usize; 3]) -> impl Iterator<Item = usize> {
    (0..channels)
        .flat_map(move |c| (0..down).flat_map(move |y| (0..across).map(move |x| (c * height + 2 * y) * width + 2 * x)))
}

fn forward_pool(x: &[f64], y: &mut [f64], from: [usize; 3], to: [usize; 3]) {
    for (y, top) in y.iter_mut().zip(corners(from, to)) {
        *y = x[largest(x, top, from[2])];
    }
}

fn backward_pool(x: &[f64], gradient: &[f64], below: &mut [f64], from: [usize; 3], to: [usize; 3]) {
    for (g, top) in gradient.iter().zip(corners(from, to)) {
        below[largest(x, top, from[2])] += g;
    }
}

/// A convolution of one image. Pruned taps are skipped.
struct Conv {
    x: [usize; 3],
    y: [usize; 3],
    kernel: usize,
    padding: usize,
}

impl Conv {
    /// Calls `row(output, input, length)` with where a tap's rows begin and how long they are, output row by output
    /// row, within one plane of each.
    fn rows(&self, tap: usize, mut row: impl FnMut(usize, usize, usize)) {
        let ([_, height, width], [_, down, across]) = (self.x, self.y);
        let (ty, tx) = (tap / self.kernel, tap % self.kernel);
        // Outputs y whose input row y + ty - padding exists.
        let span = |t: usize, inputs: usize, outputs: usize| {
            let first = self.padding.saturating_sub(t);
            first..(inputs + self.padding).saturating_sub(t).min(outputs).max(first)
        };
        let columns = span(tx, width, across);
        // A kernel wider than the image and one margin has taps that meet zeros alone.
        if columns.is_empty() {
            return;
        }
        for y in span(ty, height, down) {
            let input = (y + ty - self.padding) * width + columns.start + tx - self.padding;
            row(y * across + columns.start, input, columns.len());
        }
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn forward(&self, w: &[f64], x: &[f64], y: &mut [f64]) {
        let (image, taps) = (self.x[1] * self.x[2], self.taps());
        let planes = y.par_chunks_exact_mut(self.y[1] * self.y[2]).zip(w.par_chunks_exact(self.x[0] * taps));
        planes.for_each(|(y, w)| {
            y.fill(0.0);
            for (w, x) in w.chunks_exact(taps).zip(x.chunks_exact(image)) {
                for (tap, w) in w.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                    self.rows(tap, |to, from, n| add(&mut y[to..to + n], &x[from..from + n], *w));
                }
            }
        });
    }

    /// The gradient of the input.
    fn backward(&self, w: &[f64], gradient: &[f64], below: &mut [f64]) {
        let (plane, taps) = (self.y[1] * self.y[2], self.taps());
        below.par_chunks_exact_mut(self.x[1] * self.x[2]).enumerate().for_each(|(input, below)| {
            for (output, g) in gradient.chunks_exact(plane).enumerate() {
                let w = &w[(output * self.x[0] + input) * taps..][..taps];
                for (tap, w) in w.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                    self.rows(tap, |from, to, n| add(&mut below[to..to + n], &g[from..from + n], *w));
                }
            }
        });
    }

    /// S = W dR/dW.
    fn scores(&self, w: &[f64], x: &[f64], gradient: &[f64], scores: &mut [f64]) {
        let (image, plane, taps) = (self.x[1] * self.x[2], self.y[1] * self.y[2], self.taps());
        let each = self.x[0] * taps;
        let planes = scores.par_chunks_exact_mut(each).zip(w.par_chunks_exact(each));
        planes.zip(gradient.par_chunks_exact(plane)).for_each(|((scores, w), g)| {
            for (i, (s, w)) in scores.iter_mut().zip(w).enumerate() {
                *s = 0.0;
                if *w != 0.0 {
                    let x = &x[i / taps * image..][..image];
                    let mut sum = 0.0;
                    self.rows(i % taps, |at, from, n| sum += dot(&g[at..at + n], &x[from..from + n]));
                    *s = sum * w;
                }
            }
        });
    }
}

/// y += a x.
fn add(y: &mut [f64], x: &[f64], a: f64) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}
