//! Normalisation, modulation and SiLU on slices, one image after the other. Sums run in sixteen lanes
//! in a fixed order, so that the bytes depend neither on the number of threads nor on the width of the
//! registers; for the same reason no fused multiply-add is used.

use plasticity_core::nn::share;
use plasticity_core::widest;

use super::super::groups::{EPSILON, GROUP};

const LANES: usize = 16;

/// Sizes of the operation.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    channels: usize,
    /// Pixels of a channel.
    area: usize,
    /// One row of scale and shift for all images.
    shared: bool,
}

impl Sizes {
    /// Of `x` `[batch, channels, h, w]` and `scale` `[batch or 1, channels]`.
    pub(super) fn new(x: &[usize], scale: &[usize]) -> Self {
        assert!(x[1] == scale[1] && (scale[0] == 1 || scale[0] == x[0]), "a row of {scale:?} for each of {x:?}");
        assert!(x[1].is_multiple_of(GROUP), "{} channels in groups of {GROUP}", x[1]);
        Self { channels: x[1], area: x[2] * x[3], shared: scale[0] == 1 }
    }

    /// Values of an image.
    fn image(self) -> usize {
        self.channels * self.area
    }

    /// Channels of image `i` in a table of rows.
    fn row(self, table: &[f32], i: usize) -> &[f32] {
        &table[if self.shared { 0 } else { i * self.channels }..][..self.channels]
    }
}

/// `silu(scale xhat + shift)`.
pub(super) fn forward(sizes: Sizes, x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let size = sizes.image().max(1);
    share::each(out.chunks_mut(size).zip(x.chunks(size)), |i, (out, x)| {
        forward_image(sizes, x, sizes.row(scale, i), sizes.row(shift, i), out);
    });
    out
}

/// Gradients of `x`, `scale` and `shift` from that of the result.
pub(super) fn backward(
    sizes: Sizes,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (size, channels) = (sizes.image().max(1), sizes.channels);
    let images = x.len() / size;
    let (mut dx, mut dscale, mut dshift) =
        (vec![0.0; x.len()], vec![0.0; images * channels], vec![0.0; images * channels]);
    let rows = dx.chunks_mut(size).zip(dscale.chunks_mut(channels)).zip(dshift.chunks_mut(channels));
    share::each(rows, |i, ((dx, dscale), dshift)| {
        let (x, grad) = (&x[i * size..][..size], &grad[i * size..][..size]);
        backward_image(sizes, x, sizes.row(scale, i), sizes.row(shift, i), grad, dx, dscale, dshift);
    });
    if sizes.shared {
        (dscale, dshift) = (sum_rows(&dscale, channels), sum_rows(&dshift, channels));
    }
    (dx, dscale, dshift)
}

fn sum_rows(table: &[f32], channels: usize) -> Vec<f32> {
    let mut sum = vec![0.0; channels];
    for row in table.chunks_exact(channels) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sum
}

widest!(forward_image = forward_plain(sizes: Sizes, x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]));
widest!(backward_image = backward_plain(
    sizes: Sizes, x: &[f32], scale: &[f32], shift: &[f32], grad: &[f32], dx: &mut [f32], dscale: &mut [f32], dshift: &mut [f32]
));

#[inline(always)]
fn forward_plain(sizes: Sizes, x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let area = sizes.area;
    for (group, (x, out)) in x.chunks_exact(GROUP * area).zip(out.chunks_exact_mut(GROUP * area)).enumerate() {
        let (mean, inverse) = moments(x);
        for (c, (x, out)) in x.chunks_exact(area).zip(out.chunks_exact_mut(area)).enumerate() {
            let channel = group * GROUP + c;
            let (gain, shift) = (scale[channel] * inverse, shift[channel]);
            let mut from = x.chunks_exact(LANES);
            let mut to = out.chunks_exact_mut(LANES);
            for (x, out) in from.by_ref().zip(to.by_ref()) {
                store(out, silu(affine(load(x), mean, gain, shift)));
            }
            store(to.into_remainder(), silu(affine(load(from.remainder()), mean, gain, shift)));
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward_plain(
    sizes: Sizes,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    grad: &[f32],
    dx: &mut [f32],
    dscale: &mut [f32],
    dshift: &mut [f32],
) {
    let area = sizes.area;
    let size = GROUP * area;
    for (group, (x, dx)) in x.chunks_exact(size).zip(dx.chunks_exact_mut(size)).enumerate() {
        let (mean, inverse) = moments(x);
        let grad = &grad[group * size..][..size];
        // Sums over the group of d/dxhat, and of d/dxhat times xhat.
        let (mut sum, mut along) = (0.0, 0.0);
        for c in 0..GROUP {
            let channel = group * GROUP + c;
            let (x, grad, dx) = (&x[c * area..][..area], &grad[c * area..][..area], &mut dx[c * area..][..area]);
            let (mut of_shift, mut of_scale) = ([0.0f32; LANES], [0.0f32; LANES]);
            for ((x, grad), dx) in x.chunks(LANES).zip(grad.chunks(LANES)).zip(dx.chunks_mut(LANES)) {
                let normal = affine(load(x), mean, inverse, 0.0);
                // Padding has no gradient, and so no part in the sums.
                let slope = silu_slope(affine(normal, 0.0, scale[channel], shift[channel]));
                let dz = zip(load(grad), slope, |a, b| a * b);
                of_shift = zip(of_shift, dz, |a, b| a + b);
                of_scale = zip(of_scale, zip(dz, normal, |a, b| a * b), |a, b| a + b);
                store(dx, dz);
            }
            (dshift[channel], dscale[channel]) = (total(of_shift), total(of_scale));
            sum += dshift[channel] * scale[channel];
            along += dscale[channel] * scale[channel];
        }
        let (sum, along) = (sum / size as f32, along / size as f32);
        for (c, (x, dx)) in x.chunks_exact(area).zip(dx.chunks_exact_mut(area)).enumerate() {
            let scale = scale[group * GROUP + c];
            for (x, dx) in x.iter().zip(dx) {
                *dx = inverse * (*dx * scale - sum - (x - mean) * inverse * along);
            }
        }
    }
}

/// Mean, and the inverse of the standard deviation.
#[inline(always)]
fn moments(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_of(x, |x| x) / n;
    let variance = sum_of(x, |x| (x - mean) * (x - mean)) / n;
    (mean, (variance + EPSILON as f32).sqrt().recip())
}

#[inline(always)]
fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in chunks.by_ref() {
        lanes = zip(lanes, load(chunk), |sum, x| sum + f(x));
    }
    lanes.iter_mut().zip(chunks.remainder()).for_each(|(sum, x)| *sum += f(*x));
    total(lanes)
}

/// The first values of `x`, padded with zeros.
#[inline(always)]
fn load(x: &[f32]) -> [f32; LANES] {
    match x.first_chunk() {
        Some(x) => *x,
        None => {
            let mut padded = [0.0; LANES];
            padded[..x.len()].copy_from_slice(x);
            padded
        }
    }
}

/// As many values as `out` takes.
#[inline(always)]
fn store(out: &mut [f32], x: [f32; LANES]) {
    match out.first_chunk_mut() {
        Some(out) => *out = x,
        None => out.copy_from_slice(&x[..out.len()]),
    }
}

#[inline(always)]
fn map(mut x: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    for x in &mut x {
        *x = f(*x);
    }
    x
}

#[inline(always)]
fn zip(mut a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

#[inline(always)]
fn total(mut x: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            x[i] += x[i + half];
        }
        half /= 2;
    }
    x[0]
}

#[inline(always)]
fn affine(x: [f32; LANES], mean: f32, gain: f32, shift: f32) -> [f32; LANES] {
    map(x, |x| (x - mean) * gain + shift)
}

#[inline(always)]
fn silu(z: [f32; LANES]) -> [f32; LANES] {
    map(z, |z| z * sigmoid(z))
}

/// The derivative of z sigmoid(z).
#[inline(always)]
fn silu_slope(z: [f32; LANES]) -> [f32; LANES] {
    map(z, |z| {
        let s = sigmoid(z);
        s * (1.0 + z * (1.0 - s))
    })
}

/// 1 / (1 + exp(-z)) within 2e-7, without a call or a branch.
#[inline(always)]
fn sigmoid(z: f32) -> f32 {
    // exp(-z) = 2^n exp(r): adding 1.5 2^23 rounds to a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = (-z).clamp(-80.0, 80.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    1.0 / (1.0 + p * power)
}
