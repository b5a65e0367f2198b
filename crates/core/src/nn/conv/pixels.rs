//! Correlation with pixels as lanes of vectors: for few channels, or few products per output.

use super::plan::{Correlation, Panel, Plan, Registers};
use crate::nn::vector::{Job, Transpose};

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
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn pixel_lanes<S: Transpose>(
    s: S,
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
    // SAFETY: the caller's promise; the plan has packed the weights of the panel.
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
        let most = if S::PANEL == 1 && panel.count == 8 { 1 } else { 3 };
        let mut left = lanes.positions.len();
        while left > 0 {
            let n = left.min(most);
            match panel.count {
                8 => strip_of::<S, 8>(s, n, strip),
                4 => strip_of::<S, 4>(s, n, strip),
                2 => strip_of::<S, 2>(s, n, strip),
                _ => strip_of::<S, 1>(s, n, strip),
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
                    s.store_first(to.add(i), s.load(from.add(i)), (c.out_width - i).min(S::LANES));
                }
            }
        }
    }
}

/// Some vectors of pixels times some channels. Whoever makes one answers for its pointers.
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
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let Strip { x, positions, offsets, mut weights, start, out, step } = self.0;
        // SAFETY: the promise of whoever made the strip.
        unsafe {
            let mut from = [x; N];
            for (n, from) in from.iter_mut().enumerate() {
                *from = x.add(*positions.add(n));
            }
            let mut acc = [[s.zero(); N]; C];
            for (c, acc) in acc.iter_mut().enumerate() {
                *acc = [s.splat(*start.add(c)); N];
            }
            for &offset in offsets {
                let mut pixels = [s.zero(); N];
                for (pixels, from) in pixels.iter_mut().zip(from) {
                    *pixels = s.load(from.add(offset));
                }
                for (c, acc) in acc.iter_mut().enumerate() {
                    let w = s.splat(*weights.add(c));
                    for (acc, pixels) in acc.iter_mut().zip(pixels) {
                        *acc = s.fma(w, pixels, *acc);
                    }
                }
                weights = weights.add(C);
            }
            for (c, acc) in acc.iter().enumerate() {
                for (n, acc) in acc.iter().enumerate() {
                    s.store(out.add(c * step + n * S::LANES), *acc);
                }
            }
        }
    }
}

#[inline(always)]
fn strip_of<S: Transpose, const C: usize>(s: S, n: usize, strip: Strip<'_>) {
    match n {
        1 => s.run(SizedStrip::<C, 1>(strip)),
        2 => s.run(SizedStrip::<C, 2>(strip)),
        _ => s.run(SizedStrip::<C, 3>(strip)),
    }
}
