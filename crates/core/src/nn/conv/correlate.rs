//! Sums of products over a window, for each output pixel and channel: the forward pass, and with
//! turned weights the input gradient.
//!
//! Sixteen channels or more are lanes of vectors: a tile of pixels times channels stays in
//! registers while it runs over input planes and taps, and is transposed when it is done. Few
//! channels, or few products per output, take pixels as lanes.

use std::mem::MaybeUninit;

use super::pixels::{Lanes, pixel_lanes};
use super::plan::{Correlation, Panel, Plan, Registers, SMALL};
use super::shape::{Lines, room};
use crate::nn::share;
use crate::nn::vector::{Isa, Job, Transpose};

/// Pixels that are computed before they are transposed: they stay in the first-level cache.
const PIXELS: usize = 112;
/// Products per output that are computed in one go: their weights stay in the first-level cache.
const DEPTH: usize = 160;

/// The output, `[images, channels, out_height, out_width]`.
pub(super) fn correlate(isa: Isa, c: &Correlation<'_>) -> Vec<f32> {
    let images = c.images.len() / c.image_len;
    let len = images * c.channels * c.out_height * c.out_width;
    let mut out = Vec::with_capacity(len);
    isa.run(All { c, out: &mut out.spare_capacity_mut()[..len] });
    // SAFETY: the job has written every one of these numbers.
    unsafe { out.set_len(len) };
    out
}

struct All<'a> {
    c: &'a Correlation<'a>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Job for All<'_> {
    type Out = ();
    fn run<S: Transpose>(self, s: S) {
        let c = self.c;
        let plan = Plan::new::<S>(c);
        let image_out = c.channels * c.out_height * c.out_width;
        let images = self.out.len() / image_out;
        let some = |first: usize, out: &mut [MaybeUninit<f32>]| s.run(SomeImages { c, plan: &plan, first, out });
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
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Self { c, plan, first, out } = self;
        let image_out = c.channels * c.out_height * c.out_width;
        let lanes = Lanes::new(c, S::LANES);
        let rows = PIXELS.div_ceil(c.out_width).min(c.out_height);
        let scratch = (rows * c.out_width * S::PANEL * S::LANES).max(8 * lanes.positions.len() * S::LANES + S::LANES);
        let mut image = Lines::zeros(if plan.in_place { 0 } else { c.layout.len() });
        let mut scratch = room(scratch);
        for (i, out) in out.chunks_exact_mut(image_out).enumerate() {
            let at = (first + i) * c.image_len;
            let source = &c.images[at..][..c.image_len];
            let x = if plan.in_place {
                source.as_ptr()
            } else {
                c.layout.fill(s, source, image.as_mut_slice());
                image.as_slice().as_ptr()
            };
            let scratch = scratch.as_mut_ptr().cast::<f32>();
            let to = out.as_mut_ptr().cast::<f32>();
            for panel in &plan.panels {
                // SAFETY: `x` and `scratch` have the sizes that layout and plan ask for, `to` is one image's output.
                unsafe {
                    match panel.wide {
                        0 => pixel_lanes(s, c, plan, panel, &lanes, x, scratch, to),
                        2.. if S::WIDE => channel_lanes::<S, 2>(s, c, plan, panel, rows, x, scratch, to),
                        _ => channel_lanes::<S, 1>(s, c, plan, panel, rows, x, scratch, to),
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
/// image's output.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn channel_lanes<S: Transpose, const W: usize>(
    s: S,
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
                        tile_of::<S, W>(s, m, taps, tile);
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
                    s.transpose(from, lanes, (count - p).min(S::LANES), columns, to.add(p), pixels);
                }
            }
        }
    }
}

/// Pixels that a tile of `W` vectors of channels may span: beside the sums there have to be
/// registers for weights and a factor.
const fn most_pixels<S: Transpose, const W: usize>() -> usize {
    match (S::WIDE, W) {
        (false, _) => 8,
        (true, 1) => 14,
        (true, _) => 10,
    }
}

/// Pixels of the next tile of a row with `left` pixels left.
#[inline(always)]
fn tile_width<S: Transpose, const W: usize>(left: usize) -> usize {
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

/// Pixels of one output row times `W` vectors of channels. Whoever makes one answers for its pointers: `x` is valid for
/// the pixels at every offset, `weights`, `start` and `sums` for the vectors that they name.
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
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Tile { x, offsets, mut weights, start, add, sums } = self.0;
        // SAFETY: the promise of whoever made the tile.
        unsafe {
            let mut acc = [[s.zero(); W]; M];
            for (m, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = s.load(if add { sums.add((m * W + v) * S::LANES) } else { start.add(v * S::LANES) });
                }
            }
            for &offset in offsets {
                let x = x.add(offset);
                let mut w = [[s.zero(); W]; T];
                for (t, w) in w.iter_mut().enumerate() {
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = s.load(weights.add((t * W + v) * S::LANES));
                    }
                }
                // Every number of the row is loaded once and serves up to T pixels. Unrolled by
                // hand: where the compiler does not, the sums leave their registers. Its loops are counted by
                // hand: as iterators they are half of what this crate takes to compile.
                macro_rules! column {
                    ($($j:literal)*) => {$(
                        if const { $j < M + T - 1 } {
                            let factor = s.splat(*x.add($j));
                            let mut t = 0;
                            while t < T {
                                if $j >= t && $j - t < M {
                                    let mut v = 0;
                                    while v < W {
                                        acc[$j - t][v] = s.fma(factor, w[t][v], acc[$j - t][v]);
                                        v += 1;
                                    }
                                }
                                t += 1;
                            }
                        }
                    )*};
                }
                column!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17);
                weights = weights.add(T * W * S::LANES);
            }
            for (m, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    s.store(sums.add((m * W + v) * S::LANES), *acc);
                }
            }
        }
    }
}

#[inline(always)]
fn tile_of<S: Transpose, const W: usize>(s: S, m: usize, taps: usize, tile: Tile<'_>) {
    match taps {
        1 => tile_with_taps::<S, W, 1>(s, m, tile),
        2 => tile_with_taps::<S, W, 2>(s, m, tile),
        3 => tile_with_taps::<S, W, 3>(s, m, tile),
        _ => tile_with_taps::<S, W, 5>(s, m, tile),
    }
}

#[inline(always)]
fn tile_with_taps<S: Transpose, const W: usize, const T: usize>(s: S, m: usize, tile: Tile<'_>) {
    match m {
        1 => sized_tile::<S, 1, W, T>(s, tile),
        2 => sized_tile::<S, 2, W, T>(s, tile),
        3 => sized_tile::<S, 3, W, T>(s, tile),
        4 => sized_tile::<S, 4, W, T>(s, tile),
        5 => sized_tile::<S, 5, W, T>(s, tile),
        6 => sized_tile::<S, 6, W, T>(s, tile),
        7 => sized_tile::<S, 7, W, T>(s, tile),
        8 => sized_tile::<S, 8, W, T>(s, tile),
        10 => sized_tile::<S, 10, W, T>(s, tile),
        12 => sized_tile::<S, 12, W, T>(s, tile),
        14 => sized_tile::<S, 14, W, T>(s, tile),
        _ => unreachable!("a tile of {m} pixels"),
    }
}

/// Whether [`tile_width`] can give a tile: a constant, so that others are not compiled.
struct Fits<S, const M: usize, const W: usize>(std::marker::PhantomData<S>);

impl<S: Transpose, const M: usize, const W: usize> Fits<S, M, W> {
    const YES: bool = M <= most_pixels::<S, W>() && (S::WIDE || W == 1);
}

#[inline(always)]
fn sized_tile<S: Transpose, const M: usize, const W: usize, const T: usize>(s: S, tile: Tile<'_>) {
    if Fits::<S, M, W>::YES {
        s.run(SizedTile::<M, W, T>(tile));
    }
}
