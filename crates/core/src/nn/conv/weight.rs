//! The gradient of the weights: for each output channel, input plane and tap, the sum over images
//! and pixels of gradient times input.
//!
//! Output channels are lanes of vectors, so the gradient is transposed first. The sum over the
//! images is made in chunks whose number depends on the batch alone, and the chunks are added in
//! their order: the bytes do not depend on the number of threads.

use rayon::prelude::*;

use super::shape::{Layout, Lines};
use super::simd::{Job, Simd, widest};

/// Chunks of images that are summed apart.
const CHUNKS: usize = 8;
/// Pixels whose gradient is transposed at a time: they stay in the first-level cache.
const PIXELS: usize = 224;

/// What to compute.
pub(super) struct WeightGradient<'a> {
    pub(super) layout: Layout,
    /// `[images, planes * height * width]`
    pub(super) images: &'a [f32],
    pub(super) image_len: usize,
    /// `[images, channels, out_height * out_width]`
    pub(super) gradient: &'a [f32],
    pub(super) channels: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

/// The gradient, `[channels, depth]`.
pub(super) fn weight_gradient(w: &WeightGradient<'_>) -> Vec<f32> {
    let mut out = vec![0.0; w.channels * w.layout.depth()];
    // SAFETY: every slice has the length that its documentation says.
    unsafe { widest(All { w, out: &mut out }) };
    out
}

struct All<'a> {
    w: &'a WeightGradient<'a>,
    out: &'a mut [f32],
}

impl Job for All<'_> {
    unsafe fn run<S: Simd>(self) {
        let Self { w, out } = self;
        let depth = w.layout.depth();
        let images = w.images.len() / w.image_len;
        let each = images.div_ceil(CHUNKS);
        let chunks = images.div_ceil(each);
        let len = w.channels.next_multiple_of(S::LANES) * depth;
        let mut sums = Lines::zeros(chunks * len);
        let some = |(i, sums): (usize, &mut [f32])| {
            let images = i * each..images.min((i + 1) * each);
            // SAFETY: this CPU has the instruction set, as this job runs with it.
            unsafe { S::enter(SomeImages { w, images, sums }) }
        };
        let sums = &mut sums.as_mut_slice()[..chunks * len];
        if rayon::current_num_threads() == 1 || images * w.out_height * w.out_width * len < super::correlate::SMALL {
            sums.chunks_exact_mut(len).enumerate().for_each(some);
        } else {
            sums.par_chunks_exact_mut(len).enumerate().for_each(some);
        }
        // SAFETY: as above; `sums` holds `chunks` sums.
        unsafe { S::enter(AddUp { sums, len, depth, channels: w.channels, out }) };
    }
}

/// Vectors of channels that the panel beginning at `first` spans.
#[inline(always)]
fn panel_width<S: Simd>(first: usize, channels: usize) -> usize {
    (channels - first).div_ceil(S::LANES).min(S::WIDE)
}

/// The sums over some images, panel after panel `[depth, lanes]`.
struct SomeImages<'a> {
    w: &'a WeightGradient<'a>,
    images: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl Job for SomeImages<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { w, images, sums } = self;
        let (pixels, depth) = (w.out_height * w.out_width, w.layout.depth());
        let rows = (PIXELS / w.out_width).clamp(1, w.out_height);
        let mut image = Lines::zeros(w.layout.len());
        let mut turned = Lines::zeros(rows * w.out_width * S::WIDE * S::LANES);
        let first_image = images.start;
        for i in images {
            w.layout.fill(&w.images[i * w.image_len..][..w.image_len], image.as_mut_slice());
            let x = image.as_slice().as_ptr();
            let gradient = &w.gradient[i * w.channels * pixels..][..w.channels * pixels];
            for top in (0..w.out_height).step_by(rows) {
                let height = rows.min(w.out_height - top);
                let count = height * w.out_width;
                let mut first = 0;
                while first < w.channels {
                    let wide = panel_width::<S>(first, w.channels);
                    let lanes = wide * S::LANES;
                    let turned = turned.as_mut_slice().as_mut_ptr();
                    // SAFETY: `turned` has room for `count` pixels of two vectors, the gradient for
                    // `channels` planes, `sums` for all panels.
                    unsafe {
                        for lane in (0..lanes).step_by(S::LANES) {
                            let planes = (w.channels - first - lane).min(S::LANES);
                            let from = gradient.as_ptr().add((first + lane) * pixels + top * w.out_width);
                            for p in (0..count).step_by(S::LANES) {
                                let columns = (count - p).min(S::LANES);
                                let to = turned.add(p * lanes + lane);
                                S::transpose(from.add(p), pixels, planes, columns, to, lanes);
                            }
                        }
                        let group = Group {
                            x: x.add(top * w.layout.down),
                            offsets: &w.layout.rows,
                            gradient: turned,
                            height,
                            width: w.out_width,
                            down: w.layout.down,
                            add: i > first_image || top > 0,
                            sums: sums.as_mut_ptr().add(first * depth),
                        };
                        match wide {
                            1 => panel::<S, 1>(w.layout.taps, group),
                            _ => panel::<S, 2>(w.layout.taps, group),
                        }
                    }
                    first += lanes;
                }
            }
        }
    }
}

/// Sums over the pixels of some rows, for `W` vectors of channels and the runs of taps that
/// begin at `offsets`.
#[derive(Clone, Copy)]
struct Group<'a> {
    x: *const f32,
    offsets: &'a [usize],
    /// `[height, width, lanes]`
    gradient: *const f32,
    height: usize,
    width: usize,
    down: usize,
    /// Whether to add to `sums`, or to begin with zero.
    add: bool,
    /// `[offsets, taps, lanes]`
    sums: *mut f32,
}

/// # Safety
/// The group's pointers are valid for its sizes; the CPU has `S`.
#[inline(always)]
unsafe fn panel<S: Simd, const W: usize>(taps: usize, group: Group<'_>) {
    unsafe {
        match taps {
            1 => groups::<S, W, 1>(group),
            2 => groups::<S, W, 2>(group),
            3 => groups::<S, W, 3>(group),
            4 => groups::<S, W, 4>(group),
            _ => groups::<S, W, 5>(group),
        }
    }
}

#[inline(always)]
unsafe fn groups<S: Simd, const W: usize, const T: usize>(group: Group<'_>) {
    // 32 registers hold 24 sums beside gradient and factor, 16 hold 12.
    let registers = if S::WIDE == 1 { 12 } else { 24 };
    let mut left = group;
    while !left.offsets.is_empty() {
        let most = (registers / (W * T)).min(left.offsets.len());
        unsafe {
            let n = match most {
                8.. => sized::<S, 8, W, T>(left),
                4.. => sized::<S, 4, W, T>(left),
                3 => sized::<S, 3, W, T>(left),
                2 => sized::<S, 2, W, T>(left),
                _ => sized::<S, 1, W, T>(left),
            };
            left.offsets = &left.offsets[n..];
            left.sums = left.sums.add(n * T * W * S::LANES);
        }
    }
}

#[inline(always)]
unsafe fn sized<S: Simd, const R: usize, const W: usize, const T: usize>(group: Group<'_>) -> usize {
    unsafe { S::enter(SizedGroup::<R, W, T>(group)) };
    R
}

struct SizedGroup<'a, const R: usize, const W: usize, const T: usize>(Group<'a>);

impl<const R: usize, const W: usize, const T: usize> Job for SizedGroup<'_, R, W, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Group { x, offsets, gradient, height, width, down, add, sums } = self.0;
        unsafe {
            let mut acc = [[[S::zero(); W]; T]; R];
            let at = |r: usize, t: usize, v: usize| sums.add(((r * T + t) * W + v) * S::LANES);
            if add {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (t, acc) in acc.iter_mut().enumerate() {
                        for (v, acc) in acc.iter_mut().enumerate() {
                            *acc = S::load(at(r, t, v));
                        }
                    }
                }
            }
            let mut gradient = gradient;
            for y in 0..height {
                let mut from = [x; R];
                for (from, offset) in from.iter_mut().zip(&offsets[..R]) {
                    *from = x.add(y * down + offset);
                }
                for i in 0..width {
                    let mut g = [S::zero(); W];
                    for (v, g) in g.iter_mut().enumerate() {
                        *g = S::load(gradient.add(v * S::LANES));
                    }
                    for r in 0..R {
                        for t in 0..T {
                            let factor = S::splat(from[r].add(i + t));
                            for v in 0..W {
                                acc[r][t][v] = S::fma(factor, g[v], acc[r][t][v]);
                            }
                        }
                    }
                    gradient = gradient.add(W * S::LANES);
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (t, acc) in acc.iter().enumerate() {
                    for (v, acc) in acc.iter().enumerate() {
                        S::store(at(r, t, v), *acc);
                    }
                }
            }
        }
    }
}

/// Adds the chunks and turns the panels into `[channels, depth]`.
struct AddUp<'a> {
    sums: &'a mut [f32],
    len: usize,
    depth: usize,
    channels: usize,
    out: &'a mut [f32],
}

impl Job for AddUp<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { sums, len, depth, channels, out } = self;
        let (sum, others) = sums.split_at_mut(len);
        for other in others.chunks_exact(len) {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += other;
            }
        }
        let mut first = 0;
        while first < channels {
            let lanes = panel_width::<S>(first, channels) * S::LANES;
            for lane in (0..lanes).step_by(S::LANES) {
                let columns = (channels - first - lane).min(S::LANES);
                for k in (0..depth).step_by(S::LANES) {
                    let rows = (depth - k).min(S::LANES);
                    // SAFETY: inside the panel `[depth, lanes]` and `out`.
                    unsafe {
                        let from = sum.as_ptr().add(first * depth + k * lanes + lane);
                        let to = out.as_mut_ptr().add((first + lane) * depth + k);
                        S::transpose(from, lanes, rows, columns, to, depth);
                    }
                }
            }
            first += lanes;
        }
    }
}
