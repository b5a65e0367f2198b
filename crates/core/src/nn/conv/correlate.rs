//! Sums of products over a window, for each output pixel and channel: the forward pass, and with
//! turned weights the input gradient.
//!
//! Sixteen channels or more are lanes of vectors: a tile of pixels times channels stays in
//! registers while it runs over input planes and taps, and is transposed when it is done. Few
//! channels, or few products per output, take pixels as lanes.

use std::mem::MaybeUninit;

use super::pixels::{Lanes, pixel_lanes};
use super::plan::{Correlation, Panel, Plan, SMALL};
use super::shape::{Lines, room};
use super::simd::{Isa, Job, Simd};
use crate::nn::share;

/// Pixels that are computed before they are transposed: they stay in the first-level cache.
const PIXELS: usize = 112;
/// Products per output that are computed in one go: their weights stay in the first-level cache.
const DEPTH: usize = 160;

/// The output, `[images, channels, out_height, out_width]`.
pub(super) fn correlate(isa: Isa, c: &Correlation<'_>) -> Vec<f32> {
    let images = c.images.len() / c.image_len;
    let len = images * c.channels * c.out_height * c.out_width;
    let mut out = Vec::with_capacity(len);
    // SAFETY: the job writes every number of the spare capacity that `set_len` makes visible.
    unsafe {
        isa.run(All { c, out: &mut out.spare_capacity_mut()[..len] });
        out.set_len(len);
    }
    out
}

struct All<'a> {
    c: &'a Correlation<'a>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Job for All<'_> {
    unsafe fn run<S: Simd>(self) {
        let c = self.c;
        let plan = Plan::new::<S>(c);
        let image_out = c.channels * c.out_height * c.out_width;
        let images = self.out.len() / image_out;
        let some = |first: usize, out: &mut [MaybeUninit<f32>]| {
            // SAFETY: this CPU has the instruction set, as this job runs with it.
            unsafe { S::enter(SomeImages { c, plan: &plan, first, out }) }
        };
        let each = if self.out.len() * c.layout.depth() < SMALL {
            images
        } else {
            images.div_ceil(4 * rayon::current_num_threads())
        };
        share::chunks(self.out, each * image_out, |i, out| some(i * each, out));
    }
}

/// Whole images on one thread.
struct SomeImages<'a> {
    c: &'a Correlation<'a>,
    plan: &'a Plan,
    first: usize,
    out: &'a mut [MaybeUninit<f32>],
}

impl Job for SomeImages<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { c, plan, first, out } = self;
        let image_out = c.channels * c.out_height * c.out_width;
        let lanes = Lanes::new(c, S::LANES);
        let rows = PIXELS.div_ceil(c.out_width).min(c.out_height);
        let scratch = (rows * c.out_width * S::WIDE * S::LANES).max(8 * lanes.positions.len() * S::LANES + S::LANES);
        let mut image = Lines::zeros(if plan.in_place { 0 } else { c.layout.len() });
        let mut scratch = room(scratch);
        for (i, out) in out.chunks_exact_mut(image_out).enumerate() {
            let at = (first + i) * c.image_len;
            let source = &c.images[at..][..c.image_len];
            let x = if plan.in_place {
                source.as_ptr()
            } else {
                // SAFETY: the CPU has `S`, as everywhere here.
                unsafe { c.layout.fill::<S>(source, image.as_mut_slice()) };
                image.as_slice().as_ptr()
            };
            let scratch = scratch.as_mut_ptr().cast::<f32>();
            let to = out.as_mut_ptr().cast::<f32>();
            for panel in &plan.panels {
                // SAFETY: `x` and `scratch` have the sizes that layout and plan ask for, `to` is one image's output.
                unsafe {
                    match panel.wide {
                        0 => pixel_lanes::<S>(c, plan, panel, &lanes, x, scratch, to),
                        2.. if S::IS_WIDE => channel_lanes::<S, 2>(c, plan, panel, rows, x, scratch, to),
                        _ => channel_lanes::<S, 1>(c, plan, panel, rows, x, scratch, to),
                    }
                }
            }
        }
    }
}

/// Computes a panel of one image with channels as lanes.
///
/// # Safety
/// `x` is an image of the layout, `scratch` holds `rows` output rows of the panel, `to` the
/// image's output; the CPU has `S`.
#[inline(always)]
unsafe fn channel_lanes<S: Simd, const W: usize>(
    c: &Correlation<'_>,
    plan: &Plan,
    panel: &Panel,
    rows: usize,
    x: *const f32,
    scratch: *mut f32,
    to: *mut f32,
) {
    let lanes = W * S::LANES;
    let (taps, down, pixels) = (c.layout.taps, c.layout.down, c.out_height * c.out_width);
    let packed = plan.packed.as_slice().as_ptr();
    let offsets = &c.layout.rows;
    let pieces = (offsets.len() * taps).div_ceil(DEPTH);
    let piece = offsets.len().div_ceil(pieces);
    unsafe {
        for top in (0..c.out_height).step_by(rows) {
            let bottom = (top + rows).min(c.out_height);
            for (p, offsets) in offsets.chunks(piece).enumerate() {
                let mut tile = Tile {
                    x,
                    offsets,
                    weights: packed.add(panel.weights + p * piece * taps * lanes),
                    start: packed.add(panel.start),
                    add: p > 0,
                    sums: scratch,
                };
                for y in top..bottom {
                    let mut left = c.out_width;
                    tile.x = x.add(y * down);
                    while left > 0 {
                        let m = tile_width::<S, W>(left);
                        tile_of::<S, W>(m, taps, tile);
                        tile.x = tile.x.add(m);
                        tile.sums = tile.sums.add(m * lanes);
                        left -= m;
                    }
                }
            }
            let (count, done) = ((bottom - top) * c.out_width, top * c.out_width);
            for lane in (0..panel.count).step_by(S::LANES) {
                let columns = (panel.count - lane).min(S::LANES);
                let to = to.add((panel.first + lane) * pixels + done);
                for p in (0..count).step_by(S::LANES) {
                    let from = scratch.add(p * lanes + lane);
                    S::transpose(from, lanes, (count - p).min(S::LANES), columns, to.add(p), pixels);
                }
            }
        }
    }
}

/// Pixels that a tile of `W` vectors of channels may span: beside the sums there have to be
/// registers for weights and a factor.
const fn most_pixels<S: Simd, const W: usize>() -> usize {
    match (S::IS_WIDE, W) {
        (false, _) => 8,
        (true, 1) => 14,
        (true, _) => 10,
    }
}

/// Pixels of the next tile of a row with `left` pixels left.
#[inline(always)]
fn tile_width<S: Simd, const W: usize>(left: usize) -> usize {
    let most = most_pixels::<S, W>();
    let tiles = left.div_ceil(most);
    let width = left.div_ceil(tiles);
    match width {
        // There is no tile of these widths.
        9 | 11 | 13 if tiles == 1 => left.div_ceil(2),
        9 | 11 | 13 => width + 1,
        _ => width,
    }
}

/// Pixels of one output row times `W` vectors of channels.
#[derive(Clone, Copy)]
struct Tile<'a> {
    x: *const f32,
    offsets: &'a [usize],
    weights: *const f32,
    start: *const f32,
    /// Whether to add to `sums`, or to begin with `start`.
    add: bool,
    sums: *mut f32,
}

struct SizedTile<'a, const M: usize, const W: usize, const T: usize>(Tile<'a>);

impl<const M: usize, const W: usize, const T: usize> Job for SizedTile<'_, M, W, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Tile { x, offsets, mut weights, start, add, sums } = self.0;
        unsafe {
            let mut acc = [[S::zero(); W]; M];
            for (m, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = S::load(if add { sums.add((m * W + v) * S::LANES) } else { start.add(v * S::LANES) });
                }
            }
            for &offset in offsets {
                let x = x.add(offset);
                let mut w = [[S::zero(); W]; T];
                for (t, w) in w.iter_mut().enumerate() {
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = S::load(weights.add((t * W + v) * S::LANES));
                    }
                }
                // Every number of the row is loaded once and serves up to T pixels. Unrolled by
                // hand: where the compiler does not, the sums leave their registers.
                macro_rules! column {
                    ($($j:literal)*) => {$(
                        if $j < M + T - 1 {
                            let factor = S::splat(x.add($j));
                            for t in 0..T {
                                if $j >= t && $j - t < M {
                                    for v in 0..W {
                                        acc[$j - t][v] = S::fma(factor, w[t][v], acc[$j - t][v]);
                                    }
                                }
                            }
                        }
                    )*};
                }
                column!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17);
                weights = weights.add(T * W * S::LANES);
            }
            for (m, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    S::store(sums.add((m * W + v) * S::LANES), *acc);
                }
            }
        }
    }
}

/// # Safety
/// The tile's pointers are valid for `m` pixels; the CPU has `S`.
#[inline(always)]
unsafe fn tile_of<S: Simd, const W: usize>(m: usize, taps: usize, tile: Tile<'_>) {
    unsafe {
        match taps {
            1 => tile_with_taps::<S, W, 1>(m, tile),
            2 => tile_with_taps::<S, W, 2>(m, tile),
            3 => tile_with_taps::<S, W, 3>(m, tile),
            4 => tile_with_taps::<S, W, 4>(m, tile),
            _ => tile_with_taps::<S, W, 5>(m, tile),
        }
    }
}

#[inline(always)]
unsafe fn tile_with_taps<S: Simd, const W: usize, const T: usize>(m: usize, tile: Tile<'_>) {
    unsafe {
        match m {
            1 => sized_tile::<S, 1, W, T>(tile),
            2 => sized_tile::<S, 2, W, T>(tile),
            3 => sized_tile::<S, 3, W, T>(tile),
            4 => sized_tile::<S, 4, W, T>(tile),
            5 => sized_tile::<S, 5, W, T>(tile),
            6 => sized_tile::<S, 6, W, T>(tile),
            7 => sized_tile::<S, 7, W, T>(tile),
            8 => sized_tile::<S, 8, W, T>(tile),
            10 => sized_tile::<S, 10, W, T>(tile),
            12 => sized_tile::<S, 12, W, T>(tile),
            14 => sized_tile::<S, 14, W, T>(tile),
            _ => unreachable!("a tile of {m} pixels"),
        }
    }
}

/// Whether [`tile_width`] can give a tile: a constant, so that others are not compiled.
struct Fits<S, const M: usize, const W: usize>(std::marker::PhantomData<S>);

impl<S: Simd, const M: usize, const W: usize> Fits<S, M, W> {
    const YES: bool = M <= most_pixels::<S, W>();
}

#[inline(always)]
unsafe fn sized_tile<S: Simd, const M: usize, const W: usize, const T: usize>(tile: Tile<'_>) {
    if Fits::<S, M, W>::YES {
        unsafe { S::enter(SizedTile::<M, W, T>(tile)) }
    }
}
