//! The product of blocks with vectors: weights become f32 in registers.
//!
//! Every number of a product is the sum over 16 lanes of what they have added up along the row, whatever the tile of
//! rows and vectors that it is computed in.

// Loops over registers in step.
#![allow(clippy::needless_range_loop)]

use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use super::matrix::{BLOCK, Body, Matrix, Quads, TILE};

/// Blocks whose scales are widened at a time.
const SPAN: usize = 32;

/// Rows of numbers to be multiplied with a matrix, in blocks.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    batch: usize,
    /// In [`piece`]s, each `[blocks][rows]`.
    packed: Vec<[f32; BLOCK]>,
}

impl Inputs {
    /// Takes `x` `[batch, columns]`; the last block of a row is filled up with zeros.
    pub(crate) fn set(&mut self, x: &[f32], batch: usize, columns: usize) {
        let blocks = columns.div_ceil(BLOCK);
        self.batch = batch;
        self.packed.clear();
        self.packed.resize(batch * blocks, [0.0; BLOCK]);
        let mut first = 0;
        while first < batch {
            let n = piece(batch - first);
            for row in 0..n {
                for (b, part) in x[(first + row) * columns..][..columns].chunks(BLOCK).enumerate() {
                    self.packed[first * blocks + b * n + row][..part.len()].copy_from_slice(part);
                }
            }
            first += n;
        }
    }

    /// The blocks of the `n` rows from `first` on.
    #[inline(always)]
    fn rows<const N: usize>(&self, first: usize, blocks: usize) -> &[[[f32; BLOCK]; N]] {
        self.packed[first * blocks..(first + N) * blocks].as_chunks().0
    }
}

/// How many of `left` rows of x are multiplied together: four, two or one.
#[inline(always)]
fn piece(left: usize) -> usize {
    match left {
        0 | 1 => left,
        2 | 3 => 2,
        _ => 4,
    }
}

/// The rows of the matrix from `first` on, the first of a tile, as many as `y` `[rows][batch]` has.
pub(super) fn rows_of(isa: Isa, matrix: &Matrix, first: usize, x: &Inputs, y: &mut [f32]) {
    isa.run16(Rows { matrix, first, x, y });
}

struct Rows<'a> {
    matrix: &'a Matrix,
    first: usize,
    x: &'a Inputs,
    y: &'a mut [f32],
}

impl Job16 for Rows<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(mut self, s: S) {
        match &self.matrix.body {
            Body::F32(q) => f32s::tiles(&mut self, s, q, &[]),
            Body::F16(q) => f16s::tiles(&mut self, s, q, &[]),
            Body::BF16(q) => bf16s::tiles(&mut self, s, q, &[]),
            Body::Q8(q, scales) => q8::tiles(&mut self, s, q, scales),
            Body::Q40(q, scales) => q4_0::tiles(&mut self, s, q, scales),
            Body::Q41(q, scales) => q4_1::tiles(&mut self, s, q, scales),
        }
    }
}

/// The product for one way of keeping weights: 32 of them, of their bytes and their scales. A module each, since a function
/// that is handed over would be compiled without the instructions.
macro_rules! product {
    ($name:ident, $quants:ty, $scales:literal, |$s:ident, $q:ident, $scale:ident| $weights:expr) => {
        mod $name {
            use super::*;

            /// Tile after tile.
            #[inline(always)]
            pub(super) fn tiles<S: Simd16>(rows: &mut Rows<'_>, s: S, quants: &Quads<$quants>, scales: &[u16]) {
                const N: usize = TILE * $scales;
                let (batch, blocks) = (rows.x.batch, rows.matrix.blocks());
                let mut wide = [[[0.0f32; $scales]; TILE]; SPAN];
                for (t, y) in rows.y.chunks_mut(TILE * batch).enumerate() {
                    let tile = rows.first / TILE + t;
                    let quants = &quants[tile * blocks..][..blocks];
                    let scales = &scales[tile * blocks * N..][..blocks * N];
                    let mut first = 0;
                    while first < batch {
                        let (x, y) = (rows.x, &mut *y);
                        let n = piece(batch - first);
                        match (n, S::WIDE) {
                            (1, _) => tile_of::<S, 4, 1>(s, quants, scales, &mut wide, x, first, y),
                            (2, true) => tile_of::<S, 4, 2>(s, quants, scales, &mut wide, x, first, y),
                            (2, false) => tile_of::<S, 2, 2>(s, quants, scales, &mut wide, x, first, y),
                            (_, true) => tile_of::<S, 4, 4>(s, quants, scales, &mut wide, x, first, y),
                            (_, false) => tile_of::<S, 1, 4>(s, quants, scales, &mut wide, x, first, y),
                        }
                        first += n;
                    }
                }
            }

            /// The products of a tile with `B` rows of x from `from` on, `R` of its rows at a time, to `y` `[4][batch]`.
            #[inline(always)]
            fn tile_of<S: Simd16, const R: usize, const B: usize>(
                $s: S,
                quants: &[[$quants; TILE]],
                scales: &[u16],
                wide: &mut [[[f32; $scales]; TILE]; SPAN],
                x: &Inputs,
                from: usize,
                y: &mut [f32],
            ) {
                let rows = x.rows::<B>(from, quants.len());
                for first in (0..TILE).step_by(R) {
                    let mut sums = [[$s.zero(); B]; R];
                    for (span, (quants, x)) in quants.chunks(SPAN).zip(rows.chunks(SPAN)).enumerate() {
                        if $scales > 0 {
                            let scales = &scales[span * SPAN * TILE * $scales..][..quants.len() * TILE * $scales];
                            widen($s, scales, wide.as_flattened_mut().as_flattened_mut());
                        }
                        for ((q, scale), x) in quants.iter().zip(wide.iter()).zip(x) {
                            for r in 0..R {
                                let ($q, $scale) = (&q[first + r], &scale[first + r]);
                                let [low, high]: [S::V; 2] = $weights;
                                for b in 0..B {
                                    let with = $s.fma(low, $s.read(&x[b][..LANES]), sums[r][b]);
                                    sums[r][b] = $s.fma(high, $s.read(&x[b][LANES..]), with);
                                }
                            }
                        }
                    }
                    for r in 0..R {
                        for b in 0..B {
                            // Rows behind the last one have no place.
                            if let Some(y) = y.get_mut((first + r) * x.batch + from + b) {
                                *y = $s.total(sums[r][b]);
                            }
                        }
                    }
                }
            }
        }
    };
}

product!(q4_1, [u8; 16], 2, |s, q, scale| s.nibbles(q, s.splat(scale[0]), s.splat(scale[1])));
product!(q4_0, [u8; 16], 1, |s, q, scale| {
    let d = s.splat(scale[0]);
    s.nibbles(q, d, s.mul(s.splat(-8.0), d))
});
product!(q8, [[i8; 16]; 2], 1, |s, q, scale| {
    let d = s.splat(scale[0]);
    [s.mul(d, s.bytes(&q[0])), s.mul(d, s.bytes(&q[1]))]
});
product!(f32s, [[f32; 16]; 2], 0, |s, q, _scale| [s.read(&q[0]), s.read(&q[1])]);
product!(f16s, [[u16; 16]; 2], 0, |s, q, _scale| [s.halves(&q[0]), s.halves(&q[1])]);
product!(bf16s, [[u16; 16]; 2], 0, |s, q, _scale| {
    let mut wide = [0.0f32; BLOCK];
    for i in 0..BLOCK {
        wide[i] = f32::from_bits(u32::from(q[i / 16][i % 16]) << 16);
    }
    [s.read(&wide[..LANES]), s.read(&wide[LANES..])]
});

/// Scales in single precision.
#[inline(always)]
fn widen<S: Simd16>(s: S, scales: &[u16], to: &mut [f32]) {
    let (whole, rest) = scales.as_chunks::<LANES>();
    let (to_whole, to_rest) = to.split_at_mut(whole.len() * LANES);
    for (bits, to) in whole.iter().zip(to_whole.chunks_exact_mut(LANES)) {
        s.write(to, s.halves(bits));
    }
    if !rest.is_empty() {
        let mut bits = [0; LANES];
        bits[..rest.len()].copy_from_slice(rest);
        s.write(&mut to_rest[..rest.len()], s.halves(&bits));
    }
}
