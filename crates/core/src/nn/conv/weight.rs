//! The gradient of the weights: for each output channel, input plane and tap, the sum over images
//! and pixels of gradient times input.
//!
//! Output channels are lanes of vectors, so the gradient is transposed first. The sum over the
//! images is made in chunks whose number depends on the batch alone, and the chunks are added in
//! their order: the bytes do not depend on the number of threads.

use std::mem::MaybeUninit;

use super::plan::Registers;
use super::shape::{LINE, Layout, Line, Lines, room};
use crate::nn::share;
use crate::nn::vector::{Isa, Job, Transpose};

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
pub(super) fn weight_gradient(isa: Isa, w: &WeightGradient<'_>) -> Vec<f32> {
    let len = w.channels * w.layout.depth();
    let mut out = Vec::with_capacity(len);
    isa.run(All { w, out: &mut out.spare_capacity_mut()[..len] });
    // SAFETY: the job has written every one of these numbers.
    unsafe { out.set_len(len) };
    out
}

struct All<'a> {
    w: &'a WeightGradient<'a>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Job for All<'_> {
    type Out = ();
    fn run<S: Transpose>(self, s: S) {
        let Self { w, out } = self;
        let depth = w.layout.depth();
        let images = w.images.len() / w.image_len;
        let each = images.div_ceil(CHUNKS);
        // Lines of one chunk's sums: panels `[depth, lanes]` of all channels.
        let lines = (w.channels.next_multiple_of(S::LANES) * depth).div_ceil(LINE);
        let mut sums = room(images.div_ceil(each) * lines * LINE);
        let few = images * w.out_height * w.out_width * w.channels * depth < super::plan::SMALL;
        share::chunks(&mut sums, if few { usize::MAX } else { lines }, |part, some| {
            for (i, sums) in some.chunks_exact_mut(lines).enumerate() {
                let i = part + i;
                let images = i * each..images.min((i + 1) * each);
                s.run(SomeImages { w, images, sums });
            }
        });
        // A panel's channels are rows of the output: whole panels are apart in both.
        let rows = S::PANEL * S::LANES * depth;
        share::chunks(out, if few { usize::MAX } else { rows }, |panel, out| {
            s.run(AddUp { sums: &sums, lines, first: panel * rows, depth, out });
        });
    }
}

/// Vectors of channels that the panel beginning at `first` spans.
#[inline(always)]
fn panel_width<S: Transpose>(first: usize, channels: usize) -> usize {
    (channels - first).div_ceil(S::LANES).min(S::PANEL)
}

/// The sums over some images, panel after panel `[depth, lanes]`.
struct SomeImages<'a> {
    w: &'a WeightGradient<'a>,
    images: std::ops::Range<usize>,
    sums: &'a mut [MaybeUninit<Line>],
}

impl Job for SomeImages<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Self { w, images, sums } = self;
        let (pixels, depth) = (w.out_height * w.out_width, w.layout.depth());
        let rows = (PIXELS / w.out_width).clamp(1, w.out_height);
        let mut image = Lines::zeros(if w.layout.is_source() { 0 } else { w.layout.len() });
        let mut turned = room(rows * w.out_width * S::PANEL * S::LANES);
        let first_image = images.start;
        for i in images {
            let source = &w.images[i * w.image_len..][..w.image_len];
            let x = if w.layout.is_source() {
                source.as_ptr()
            } else {
                w.layout.fill(s, source, image.as_mut_slice());
                image.as_slice().as_ptr()
            };
            let gradient = &w.gradient[i * w.channels * pixels..][..w.channels * pixels];
            for top in (0..w.out_height).step_by(rows) {
                let height = rows.min(w.out_height - top);
                let count = height * w.out_width;
                let mut first = 0;
                while first < w.channels {
                    let wide = panel_width::<S>(first, w.channels);
                    let lanes = wide * S::LANES;
                    let turned = turned.as_mut_ptr().cast::<f32>();
                    // SAFETY: `turned` has room for `count` pixels of two vectors, the gradient for
                    // `channels` planes, `sums` for all panels.
                    unsafe {
                        for lane in (0..lanes).step_by(S::LANES) {
                            let planes = (w.channels - first - lane).min(S::LANES);
                            let from = gradient.as_ptr().add((first + lane) * pixels + top * w.out_width);
                            for p in (0..count).step_by(S::LANES) {
                                let columns = (count - p).min(S::LANES);
                                let to = turned.add(p * lanes + lane);
                                s.transpose(from.add(p), pixels, planes, columns, to, lanes);
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
                            sums: sums.as_mut_ptr().cast::<f32>().add(first * depth),
                        };
                        match wide {
                            2.. if S::WIDE => panel::<S, 2>(s, w.layout.taps, group),
                            _ => panel::<S, 1>(s, w.layout.taps, group),
                        }
                    }
                    first += lanes;
                }
            }
        }
    }
}

/// Sums over the pixels of some rows, for `W` vectors of channels and the runs of taps that
/// begin at `offsets`. Whoever makes one answers for its pointers.
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

#[inline(always)]
fn panel<S: Transpose, const W: usize>(s: S, taps: usize, group: Group<'_>) {
    match taps {
        1 => groups::<S, W, 1>(s, group),
        2 => groups::<S, W, 2>(s, group),
        3 => groups::<S, W, 3>(s, group),
        _ => groups::<S, W, 5>(s, group),
    }
}

#[inline(always)]
fn groups<S: Transpose, const W: usize, const T: usize>(s: S, group: Group<'_>) {
    let mut left = group;
    while !left.offsets.is_empty() {
        let most = (S::SUMS / (W * T)).min(left.offsets.len());
        let n = match most {
            8.. => sized::<S, 8, W, T>(s, left),
            4.. => sized::<S, 4, W, T>(s, left),
            3 => sized::<S, 3, W, T>(s, left),
            2 => sized::<S, 2, W, T>(s, left),
            _ => sized::<S, 1, W, T>(s, left),
        };
        left.offsets = &left.offsets[n..];
        left.sums = left.sums.wrapping_add(n * T * W * S::LANES);
    }
}

#[inline(always)]
fn sized<S: Transpose, const R: usize, const W: usize, const T: usize>(s: S, group: Group<'_>) -> usize {
    if Fits::<S, R, W, T>::YES {
        s.run(SizedGroup::<R, W, T>(group));
    }
    R
}

/// Whether [`groups`] asks for a size: a constant, so that others are not compiled.
struct Fits<S, const R: usize, const W: usize, const T: usize>(std::marker::PhantomData<S>);

impl<S: Transpose, const R: usize, const W: usize, const T: usize> Fits<S, R, W, T> {
    const YES: bool = (R == 1 || R * W * T <= S::SUMS) && (S::WIDE || W == 1);
}

struct SizedGroup<'a, const R: usize, const W: usize, const T: usize>(Group<'a>);

impl<const R: usize, const W: usize, const T: usize> Job for SizedGroup<'_, R, W, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Group { x, offsets, gradient, height, width, down, add, sums } = self.0;
        // SAFETY: the promise of whoever made the group.
        unsafe {
            let mut acc = [[[s.zero(); W]; T]; R];
            let at = |r: usize, t: usize, v: usize| sums.add(((r * T + t) * W + v) * S::LANES);
            if add {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (t, acc) in acc.iter_mut().enumerate() {
                        for (v, acc) in acc.iter_mut().enumerate() {
                            *acc = s.load(at(r, t, v));
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
                    let mut g = [s.zero(); W];
                    for (v, g) in g.iter_mut().enumerate() {
                        *g = s.load(gradient.add(v * S::LANES));
                    }
                    for (acc, from) in acc.iter_mut().zip(from) {
                        for (t, acc) in acc.iter_mut().enumerate() {
                            let factor = s.splat(*from.add(i + t));
                            for (acc, g) in acc.iter_mut().zip(g) {
                                *acc = s.fma(factor, g, *acc);
                            }
                        }
                    }
                    gradient = gradient.add(W * S::LANES);
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (t, acc) in acc.iter().enumerate() {
                    for (v, acc) in acc.iter().enumerate() {
                        s.store(at(r, t, v), *acc);
                    }
                }
            }
        }
    }
}

/// Adds the chunks of some panels, the first of which begins at `first`, and turns them into
/// rows `[channels, depth]`.
struct AddUp<'a> {
    /// `[chunks, lines]`
    sums: &'a [MaybeUninit<Line>],
    lines: usize,
    first: usize,
    depth: usize,
    out: &'a mut [MaybeUninit<f32>],
}

impl Job for AddUp<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Self { sums, lines, first, depth, out } = self;
        let channels = out.len() / depth;
        let to = out.as_mut_ptr().cast::<f32>();
        let mut sum = [MaybeUninit::<[f32; LINE]>::uninit(); LINE];
        let sum = sum.as_mut_ptr().cast::<f32>();
        let mut at = 0;
        while at < channels {
            let lanes = panel_width::<S>(at, channels) * S::LANES;
            for lane in (0..lanes).step_by(S::LANES) {
                let columns = (channels - at - lane).min(S::LANES);
                for k in (0..depth).step_by(S::LANES) {
                    let rows = (depth - k).min(S::LANES);
                    // SAFETY: inside the panel `[depth, lanes]` of each chunk, inside `out`, and
                    // `sum` has room for a square of the widest vectors.
                    unsafe {
                        for r in 0..rows {
                            let from = first + at * depth + (k + r) * lanes + lane;
                            let mut total = s.zero();
                            for chunk in sums.chunks_exact(lines) {
                                total = s.add(total, s.load(chunk.as_ptr().cast::<f32>().add(from)));
                            }
                            s.store(sum.add(r * S::LANES), total);
                        }
                        s.transpose(sum, S::LANES, rows, columns, to.add((at + lane) * depth + k), depth);
                    }
                }
            }
            at += lanes;
        }
    }
}
