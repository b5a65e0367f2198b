//! The sizes of a convolution and where its numbers lie.

use std::mem::MaybeUninit;

use crate::nn::vector::Transpose;

/// A convolution of `[batch, inputs, height, width]` to `[batch, outputs, out_height, out_width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape2d {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

impl Shape2d {
    /// `None` where the kernels have no form of it: kernels that are not square or wider than 5,
    /// strides above 3, empty tensors, a kernel larger than the padded image.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], stride: usize, padding: usize) -> Option<Self> {
        let ([batch, inputs, height, width], [outputs, from, kernel, across]) = (x, weight);
        let fits = |side: usize| padding.checked_mul(2).and_then(|p| side.checked_add(p)).is_some_and(|s| s >= kernel);
        let known = (1..=5).contains(&kernel) && kernel == across && (1..=3).contains(&stride);
        if !known || !fits(height) || !fits(width) || inputs != from || x.contains(&0) || outputs == 0 {
            return None;
        }
        let (out_height, out_width) =
            ((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1);
        Some(Self { batch, inputs, height, width, outputs, kernel, stride, padding, out_height, out_width })
    }

    /// The same convolution of longer rows where a pixel is a pixel, wherever it is: fewer tiles
    /// are cut short.
    pub(super) fn with_long_rows(self) -> Self {
        const LONGEST: usize = 112;
        if (self.kernel, self.stride, self.padding) != (1, 1, 0) || self.width > LONGEST {
            return self;
        }
        let pixels = self.height * self.width;
        let width = (self.width..=LONGEST).rev().find(|width| pixels.is_multiple_of(*width)).unwrap_or(self.width);
        let height = pixels / width;
        Self { height, width, out_height: height, out_width: width, ..self }
    }

    pub(super) fn input(&self) -> [usize; 4] {
        [self.batch, self.inputs, self.height, self.width]
    }

    pub(super) fn output(&self) -> [usize; 4] {
        [self.batch, self.outputs, self.out_height, self.out_width]
    }

    pub(super) fn weight(&self) -> [usize; 4] {
        [self.outputs, self.inputs, self.kernel, self.kernel]
    }
}

/// How one image is laid out for the kernels: planes with a border of zeros, where the value
/// under tap (i, j) of output pixel (y, x) stands at `y * down + x + rows[..] + ..`.
///
/// Neighbouring rows share their border where that serves both. For strides above 1 a row is cut
/// into columns of equal remainder, so that an output row always reads consecutive numbers.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Planes, and rows and columns of each that hold numbers of the source.
    planes: usize,
    height: usize,
    width: usize,
    /// Where the source's first pixel goes; outside the layout where negative.
    border: isize,
    /// Distance of the source's pixels: above 1, zeros lie between.
    spread: usize,
    stride: usize,
    padded_height: usize,
    padded_width: usize,
    /// Distance of two rows, and of two columns of neighbouring remainder.
    row: usize,
    column: usize,
    plane: usize,
    plain: bool,
    /// From one output row to the next.
    pub(super) down: usize,
    /// Offsets of runs of `taps` consecutive taps, over planes, kernel rows and, for strides
    /// above 1, kernel columns.
    pub(super) rows: Vec<usize>,
    pub(super) taps: usize,
}

/// Numbers per cache line.
pub(super) const LINE: usize = 16;

impl Layout {
    pub(super) fn new(
        [planes, height, width]: [usize; 3],
        border: isize,
        spread: usize,
        kernel: usize,
        stride: usize,
        [out_height, out_width]: [usize; 2],
    ) -> Self {
        let (padded_height, padded_width) = ((out_height - 1) * stride + kernel, (out_width - 1) * stride + kernel);
        let column = padded_width.div_ceil(stride);
        let left = border.max(0) as usize;
        let row = if stride == 1 {
            let end = (left + (width - 1) * spread + 1).min(padded_width);
            end.max(padded_width.saturating_sub(left))
        } else {
            stride * column
        };
        // An odd number of cache lines, so that planes do not compete for the same places.
        let lines = (padded_height * row + left + kernel).div_ceil(LINE);
        let plain = (border, spread, kernel, stride) == (0, 1, 1, 1);
        let plane = if plain { height * width } else { (lines | 1) * LINE };
        // Four taps are two runs of two: one size of run less to compile.
        let taps = match (stride, kernel) {
            (1, 4) => 2,
            (1, kernel) => kernel,
            _ => 1,
        };
        let mut rows = Vec::with_capacity(planes * kernel * kernel / taps);
        for at in (0..planes).map(|p| p * plane) {
            for i in 0..kernel {
                let at = at + i * row;
                rows.extend((0..kernel).step_by(taps).map(|j| at + j % stride * column + j / stride));
            }
        }
        let down = stride * row;
        Self {
            planes,
            height,
            width,
            border,
            spread,
            stride,
            padded_height,
            padded_width,
            row,
            column,
            plane,
            plain,
            down,
            rows,
            taps,
        }
    }

    /// Numbers in memory, with what vectors may read beyond the last plane.
    pub(super) fn len(&self) -> usize {
        self.planes * self.plane + self.down + 8 * LINE
    }

    /// Whether consecutive pixels, over the ends of rows too, read consecutive numbers.
    pub(super) fn is_dense(&self) -> bool {
        self.stride == 1
    }

    /// Numbers that one output pixel depends on.
    pub(super) fn depth(&self) -> usize {
        self.rows.len() * self.taps
    }

    /// Whether an image lies in this layout already. Vectors of pixels read beyond its end.
    pub(super) fn is_source(&self) -> bool {
        self.plain
    }

    /// Writes one image's numbers; the rest of `to` has to be zero and stays.
    #[inline(always)]
    pub(super) fn fill<S: Transpose>(&self, s: S, image: &[f32], to: &mut [f32]) {
        let inside = |size: usize, padded: usize| {
            // First and one past the last of the source's rows or columns inside.
            let first = if self.border < 0 { self.border.unsigned_abs().div_ceil(self.spread) } else { 0 };
            let room = (padded as isize - self.border).max(0) as usize;
            first.min(size)..size.min(room.div_ceil(self.spread)).max(first.min(size))
        };
        let (rows, columns) = (inside(self.height, self.padded_height), inside(self.width, self.padded_width));
        let position = |i: usize| (self.border + (i * self.spread) as isize) as usize;
        if columns.is_empty() {
            return;
        }
        for (plane, to) in image.chunks_exact(self.height * self.width).zip(to.chunks_mut(self.plane)) {
            for y in rows.clone() {
                let from = &plane[y * self.width..][columns.clone()];
                let to = &mut to[position(y) * self.row..];
                if self.stride == 1 && self.spread == 1 {
                    let to = &mut to[position(columns.start)..][..from.len()];
                    // A call of `memcpy` costs more than a row of a small image.
                    for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                        // SAFETY: both are of one length, and no longer than a vector.
                        unsafe { s.store_first(to.as_mut_ptr(), s.load_first(from.as_ptr(), from.len()), from.len()) }
                    }
                } else {
                    for (x, &value) in columns.clone().zip(from) {
                        let at = position(x);
                        to[at % self.stride * self.column + at / self.stride] = value;
                    }
                }
            }
        }
    }
}

/// Numbers that begin at a cache line.
pub(super) struct Lines(Vec<Line>);

/// A cache line of numbers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; LINE]);

impl Lines {
    pub(super) fn zeros(len: usize) -> Self {
        Self(vec![Line([0.0; LINE]); len.div_ceil(LINE)])
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        // SAFETY: a `Line` is 16 numbers without padding between or after them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

/// Room for numbers that are written before they are read.
pub(super) fn room(len: usize) -> Vec<MaybeUninit<Line>> {
    let lines = len.div_ceil(LINE);
    let mut room = Vec::with_capacity(lines);
    // SAFETY: a `MaybeUninit` may hold anything.
    unsafe { room.set_len(lines) };
    room
}
