//! A correlation, and how its output channels are divided between vectors.

use super::shape::{Layout, Lines};
use crate::nn::vector::Transpose;

/// Up to this many products per output a transposition costs more than unused lanes.
const SHALLOW: usize = 64;
/// Multiply-adds below which other threads are not worth waking.
pub(super) const SMALL: usize = 1 << 20;

/// How many registers tiles may take.
pub(super) trait Registers: Transpose {
    /// Vectors of output channels that one tile spans.
    const PANEL: usize = if Self::WIDE { 2 } else { 1 };
    /// Registers for sums, beside those for factors.
    const SUMS: usize = if Self::WIDE { 24 } else { 12 };
}

impl<S: Transpose> Registers for S {}

/// What to compute.
pub(super) struct Correlation<'a> {
    pub(super) layout: Layout,
    /// `[images, planes * height * width]`
    pub(super) images: &'a [f32],
    pub(super) image_len: usize,
    /// `[channels, depth]`
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) channels: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

/// How the output channels are divided.
pub(super) struct Plan {
    pub(super) panels: Vec<Panel>,
    /// Whether the images are read where they are.
    pub(super) in_place: bool,
    /// Offset of every product's factor in an image.
    pub(super) offsets: Vec<usize>,
    pub(super) packed: Lines,
}

pub(super) struct Panel {
    pub(super) first: usize,
    pub(super) count: usize,
    /// Vectors of channels as lanes, or 0: pixels as lanes.
    pub(super) wide: usize,
    /// Where the packed weights `[depth, lanes]` and the initial values `[lanes]` begin.
    pub(super) weights: usize,
    pub(super) start: usize,
}

impl Plan {
    pub(super) fn new<S: Transpose>(c: &Correlation<'_>) -> Self {
        let depth = c.layout.depth();
        let mut panels = Vec::new();
        let (mut first, mut len) = (0, 0);
        while first < c.channels {
            let left = c.channels - first;
            let (count, wide) = if (depth <= SHALLOW && !c.layout.is_source()) || 2 * left <= S::LANES {
                (left.min(8), 0)
            } else {
                let wide = left.div_ceil(S::LANES).min(S::PANEL);
                // A second vector that is mostly empty is better done as pixels.
                let wide = if wide > 1 && 2 * (left - S::LANES) <= S::LANES { 1 } else { wide };
                (left.min(wide * S::LANES), wide)
            };
            let lanes = if wide == 0 { block(count) } else { wide * S::LANES };
            let count = if wide == 0 { lanes } else { count };
            panels.push(Panel { first, count, wide, weights: len, start: len + depth * lanes });
            len = (len + (depth + 1) * lanes).next_multiple_of(16);
            first += count;
        }
        let mut packed = Lines::zeros(len);
        let to = packed.as_mut_slice();
        for panel in &panels {
            let lanes = if panel.wide == 0 { panel.count } else { panel.wide * S::LANES };
            if let Some(bias) = c.bias {
                to[panel.start..][..panel.count].copy_from_slice(&bias[panel.first..][..panel.count]);
            }
            let from = &c.weights[panel.first * depth..][..panel.count * depth];
            let to = &mut to[panel.weights..][..depth * lanes];
            for (lane, weights) in from.chunks_exact(depth).enumerate() {
                for (to, &w) in to[lane..].iter_mut().step_by(lanes).zip(weights) {
                    *to = w;
                }
            }
        }
        let taps = c.layout.taps;
        let offsets = c.layout.rows.iter().flat_map(|&row| row..row + taps).collect();
        let in_place = c.layout.is_source() && panels.iter().all(|panel| panel.wide > 0);
        Self { panels, in_place, offsets, packed }
    }
}

/// Channels that a tile of pixel lanes spans.
pub(super) fn block(left: usize) -> usize {
    match left {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}
