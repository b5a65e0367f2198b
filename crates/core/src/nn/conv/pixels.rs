//! Correlation with pixels as lanes of vectors: for few channels, or few products per output.

use super::plan::{Correlation, Panel, Plan};
use super::simd::{Job, Simd};

/// Where vectors of pixels begin.
pub(super) struct Lanes {
    pub(super) positions: Vec<usize>,
    /// From one output row to the next in the computed vectors.
    row: usize,
}

impl Lanes {
    pub(super) fn new(c: &Correlation<'_>, lanes: usize) -> Self {
        let (down, height, width) = (c.layout.down, c.out_height, c.out_width);
        let per_row = width.div_ceil(lanes);
        let flat = ((height - 1) * down + width).div_ceil(lanes);
        if c.layout.is_dense() && flat < per_row * height {
            return Self { positions: (0..flat).map(|i| i * lanes).collect(), row: down };
        }
        let row = |y: usize| (0..per_row).map(move |i| y * down + i * lanes);
        Self { positions: (0..height).flat_map(row).collect(), row: per_row * lanes }
    }
}

/// Computes a panel of one image with pixels as lanes.
///
/// # Safety
/// As for `channel_lanes`; `scratch` holds the panel's channels for all vectors of pixels and
/// one vector more.
#[inline(always)]
pub(super) unsafe fn pixel_lanes<S: Simd>(
    c: &Correlation<'_>,
    plan: &Plan,
    panel: &Panel,
    lanes: &Lanes,
    x: *const f32,
    scratch: *mut f32,
    to: *mut f32,
) {
    let packed = plan.packed.as_slice().as_ptr();
    let len = lanes.positions.len() * S::LANES;
    unsafe {
        let mut strip = Strip {
            x,
            positions: lanes.positions.as_ptr(),
            offsets: &plan.offsets,
            weights: packed.add(panel.weights),
            start: packed.add(panel.start),
            out: scratch,
            step: len,
        };
        let most = if S::WIDE == 1 && panel.count == 8 { 1 } else { 3 };
        let mut left = lanes.positions.len();
        while left > 0 {
            let n = left.min(most);
            match panel.count {
                8 => strip_of::<S, 8>(n, strip),
                4 => strip_of::<S, 4>(n, strip),
                2 => strip_of::<S, 2>(n, strip),
                _ => strip_of::<S, 1>(n, strip),
            }
            strip.positions = strip.positions.add(n);
            strip.out = strip.out.add(n * S::LANES);
            left -= n;
        }
        for channel in 0..panel.count {
            let from = scratch.add(channel * len);
            let to = to.add((panel.first + channel) * c.out_height * c.out_width);
            for y in 0..c.out_height {
                let (from, to) = (from.add(y * lanes.row), to.add(y * c.out_width));
                for i in (0..c.out_width).step_by(S::LANES) {
                    S::store_first(to.add(i), S::load(from.add(i)), (c.out_width - i).min(S::LANES));
                }
            }
        }
    }
}

/// Some vectors of pixels times some channels.
#[derive(Clone, Copy)]
struct Strip<'a> {
    x: *const f32,
    positions: *const usize,
    offsets: &'a [usize],
    weights: *const f32,
    start: *const f32,
    out: *mut f32,
    /// From one channel to the next in `out`.
    step: usize,
}

struct SizedStrip<'a, const C: usize, const N: usize>(Strip<'a>);

impl<const C: usize, const N: usize> Job for SizedStrip<'_, C, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Strip { x, positions, offsets, mut weights, start, out, step } = self.0;
        unsafe {
            let mut from = [x; N];
            for (n, from) in from.iter_mut().enumerate() {
                *from = x.add(*positions.add(n));
            }
            let mut acc = [[S::zero(); N]; C];
            for (c, acc) in acc.iter_mut().enumerate() {
                *acc = [S::splat(start.add(c)); N];
            }
            for &offset in offsets {
                let mut pixels = [S::zero(); N];
                for (pixels, from) in pixels.iter_mut().zip(from) {
                    *pixels = S::load(from.add(offset));
                }
                for (c, acc) in acc.iter_mut().enumerate() {
                    let w = S::splat(weights.add(c));
                    for (acc, pixels) in acc.iter_mut().zip(pixels) {
                        *acc = S::fma(w, pixels, *acc);
                    }
                }
                weights = weights.add(C);
            }
            for (c, acc) in acc.iter().enumerate() {
                for (n, acc) in acc.iter().enumerate() {
                    S::store(out.add(c * step + n * S::LANES), *acc);
                }
            }
        }
    }
}

/// # Safety
/// The strip's pointers are valid for `n` vectors; the CPU has `S`.
#[inline(always)]
unsafe fn strip_of<S: Simd, const C: usize>(n: usize, strip: Strip<'_>) {
    unsafe {
        match n {
            1 => S::enter(SizedStrip::<C, 1>(strip)),
            2 => S::enter(SizedStrip::<C, 2>(strip)),
            _ => S::enter(SizedStrip::<C, 3>(strip)),
        }
    }
}
