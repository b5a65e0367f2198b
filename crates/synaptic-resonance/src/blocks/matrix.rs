//! A matrix whose weights stay in blocks.

use plasticity_core::nn::vector::Isa;

use super::convert::{finite, half};
use super::product::{Inputs, rows_of};
use super::{BlockError, BlockType};

/// Rows that lie side by side, block by block, so that a product reads the numbers of its vector once for all of them.
pub(super) const TILE: usize = 4;
/// Values that a product takes at a time: a block.
pub(super) const BLOCK: usize = 32;
/// Rows of a part of a product, whole tiles.
pub(crate) const PART_ROWS: usize = 64;

/// One row's share of a block column; bits of halves.
pub(super) type Quads<T> = Vec<[T; TILE]>;

/// The weights, `[tiles][blocks][4 rows]`, with the bits of their scales in the same order; rows behind the last one
/// and values behind a row's end are 0.
#[derive(Debug, Clone)]
pub(super) enum Body {
    F32(Quads<[[f32; 16]; 2]>),
    F16(Quads<[[u16; 16]; 2]>),
    BF16(Quads<[[u16; 16]; 2]>),
    Q8(Quads<[[i8; 16]; 2]>, Vec<u16>),
    /// `x = d (q - 8)`; scales d.
    Q40(Quads<[u8; 16]>, Vec<u16>),
    /// `x = d q + m`; scales d, m.
    Q41(Quads<[u8; 16]>, Vec<u16>),
}

/// A matrix `[rows][columns]`, of as many bytes as its blocks have. A row gives one number of a product.
#[derive(Debug, Clone)]
pub struct Matrix {
    kind: BlockType,
    rows: usize,
    columns: usize,
    pub(super) body: Body,
}

impl Matrix {
    /// A matrix of the blocks of its rows, one row after the other, as a GGUF file holds them.
    ///
    /// # Errors
    /// [`BlockError::Partial`] where a row is no whole number of blocks, [`BlockError::TooMany`] and
    /// [`BlockError::Bytes`] where `bytes` are not as many as the matrix takes, [`BlockError::NotFinite`] for a number or
    /// a scale that is not finite.
    pub fn new(kind: BlockType, rows: usize, columns: usize, bytes: &[u8]) -> Result<Self, BlockError> {
        let expected = kind.bytes_of_rows(rows, columns)?;
        if bytes.len() != expected {
            let (kind, values, found) = (kind.name(), rows * columns, bytes.len());
            return Err(BlockError::Bytes { kind, values, expected, found });
        }
        finite(kind, bytes)?;
        let shape = Shape { rows, blocks: columns.div_ceil(BLOCK), row: expected.checked_div(rows).unwrap_or(0) };
        let body = match kind {
            BlockType::F32 => {
                Body::F32(shape.quads(bytes, 128, |b| shape_of(b, 4, |x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]))))
            }
            BlockType::F16 => Body::F16(shape.quads(bytes, 64, |b| shape_of(b, 2, bits))),
            BlockType::BF16 => Body::BF16(shape.quads(bytes, 64, |b| shape_of(b, 2, bits))),
            BlockType::Q8_0 => Body::Q8(
                shape.quads(bytes, 34, |b| shape_of(&b[2..], 1, |x| x[0].cast_signed())),
                shape.scales::<1>(bytes, 34),
            ),
            BlockType::Q4_0 => Body::Q40(shape.quads(bytes, 18, nibbles::<2>), shape.scales::<1>(bytes, 18)),
            BlockType::Q4_1 => Body::Q41(shape.quads(bytes, 20, nibbles::<4>), shape.scales::<2>(bytes, 20)),
        };
        Ok(Self { kind, rows, columns, body })
    }

    /// A matrix of these values, rounded to what the type has.
    ///
    /// # Errors
    /// As [`Matrix::new`] and [`BlockType::quantise`]; [`BlockError::Length`] where there are not `rows * columns`.
    pub fn quantised(kind: BlockType, rows: usize, columns: usize, values: &[f32]) -> Result<Self, BlockError> {
        kind.bytes_of_rows(rows, columns)?;
        check("values", values.len(), rows * columns)?;
        Self::new(kind, rows, columns, &kind.quantise(values)?)
    }

    /// How its numbers are kept.
    pub fn kind(&self) -> BlockType {
        self.kind
    }

    /// The length of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of what it is multiplied with.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The bytes that its weights take, and that a product reads.
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::F32(q) => size_of_val(q.as_slice()),
            Body::F16(q) | Body::BF16(q) => size_of_val(q.as_slice()),
            Body::Q8(q, scales) => size_of_val(q.as_slice()) + 2 * scales.len(),
            Body::Q40(q, scales) | Body::Q41(q, scales) => size_of_val(q.as_slice()) + 2 * scales.len(),
        }
    }

    /// Blocks of a row, the last one of which may be filled up with zeros.
    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// The numbers of row `row`, `[columns]`: exactly those of [`BlockType::dequantise`].
    ///
    /// # Errors
    /// [`BlockError::Row`] where there is no such row, [`BlockError::Length`] where `to` is of another length.
    pub fn row(&self, row: usize, to: &mut [f32]) -> Result<(), BlockError> {
        if row >= self.rows {
            return Err(BlockError::Row { row, rows: self.rows });
        }
        check("to", to.len(), self.columns)?;
        let (blocks, lane) = (self.blocks(), row % TILE);
        for (b, to) in to.chunks_mut(BLOCK).enumerate() {
            let at = row / TILE * blocks + b;
            let scale = |scales: &[u16], n: usize, i: usize| half(scales[(at * TILE + lane) * n + i]);
            let low_high = |q: &[u8; 16], i: usize| f32::from(if i < 16 { q[i] & 15 } else { q[i - 16] >> 4 });
            for (i, to) in to.iter_mut().enumerate() {
                *to = match &self.body {
                    Body::F32(q) => q[at][lane][i / 16][i % 16],
                    Body::F16(q) => half(q[at][lane][i / 16][i % 16]),
                    Body::BF16(q) => f32::from_bits(u32::from(q[at][lane][i / 16][i % 16]) << 16),
                    Body::Q8(q, d) => scale(d, 1, 0) * f32::from(q[at][lane][i / 16][i % 16]),
                    Body::Q40(q, d) => scale(d, 1, 0) * (low_high(&q[at][lane], i) - 8.0),
                    Body::Q41(q, d) => scale(d, 2, 0) * low_high(&q[at][lane], i) + scale(d, 2, 1),
                };
            }
        }
        Ok(())
    }

    /// Appends the blocks of row `row`, which there is: the bytes that [`Matrix::new`] was given for it.
    pub(crate) fn blocks_of(&self, row: usize, to: &mut Vec<u8>) {
        let (blocks, lane) = (self.blocks(), row % TILE);
        for b in 0..blocks {
            let at = row / TILE * blocks + b;
            let n = BLOCK.min(self.columns - b * BLOCK);
            let scales = |scales: &[u16], n: usize, to: &mut Vec<u8>| {
                scales[(at * TILE + lane) * n..][..n].iter().for_each(|bits| to.extend_from_slice(&bits.to_le_bytes()));
            };
            match &self.body {
                Body::F32(q) => {
                    q[at][lane].as_flattened()[..n].iter().for_each(|x| to.extend_from_slice(&x.to_le_bytes()));
                }
                Body::F16(q) | Body::BF16(q) => {
                    q[at][lane].as_flattened()[..n].iter().for_each(|x| to.extend_from_slice(&x.to_le_bytes()));
                }
                Body::Q8(q, d) => {
                    scales(d, 1, to);
                    to.extend(q[at][lane].as_flattened().iter().map(|q| q.cast_unsigned()));
                }
                Body::Q40(q, d) => {
                    scales(d, 1, to);
                    to.extend_from_slice(&q[at][lane]);
                }
                Body::Q41(q, d) => {
                    scales(d, 2, to);
                    to.extend_from_slice(&q[at][lane]);
                }
            }
        }
    }

    /// `y = W x` for every row of `x`: `[batch, columns]` to `[batch, rows]`. Weights become f32 in registers, and
    /// nothing is rounded but the sums.
    ///
    /// The numbers of a product depend neither on the batch nor on the number of threads, and they are the same on
    /// every machine whose products are fused.
    ///
    /// # Errors
    /// [`BlockError::Length`] where `x` is no whole number of rows, or `y` is of another length.
    pub fn product(&self, x: &[f32], y: &mut [f32]) -> Result<(), BlockError> {
        self.product_with(Isa::widest(), x, y)
    }

    /// [`Matrix::product`] with an instruction set of the caller's choice.
    ///
    /// # Errors
    /// As [`Matrix::product`].
    pub fn product_with(&self, isa: Isa, x: &[f32], y: &mut [f32]) -> Result<(), BlockError> {
        let batch = x.len() / self.columns.max(1);
        check("x", x.len(), batch * self.columns)?;
        check("y", y.len(), batch.saturating_mul(self.rows))?;
        if y.is_empty() {
            return Ok(());
        }
        let mut inputs = Inputs::default();
        inputs.set(x, batch, self.columns);
        if batch == 1 {
            self.parts(isa, &inputs, batch, y);
            return Ok(());
        }
        // Threads write rows of the matrix: these are turned at the end.
        let mut turned = vec![0.0; y.len()];
        self.parts(isa, &inputs, batch, &mut turned);
        for (r, values) in turned.chunks_exact(batch).enumerate() {
            for (b, value) in values.iter().enumerate() {
                y[b * self.rows + r] = *value;
            }
        }
        Ok(())
    }

    /// The numbers of part `part` of a product, `[rows][batch]`: those of [`PART_ROWS`] rows, or of what is left.
    pub(crate) fn part(&self, isa: Isa, part: usize, inputs: &Inputs, y: &mut [f32]) {
        rows_of(isa, self, part * PART_ROWS, inputs, y);
    }

    /// All rows, in parts of fixed size, `[rows][batch]`.
    fn parts(&self, isa: Isa, inputs: &Inputs, batch: usize, y: &mut [f32]) {
        let size = PART_ROWS * batch;
        plasticity_core::nn::share::chunks(y, size, |part, y| self.part(isa, part, inputs, y));
    }
}

/// # Errors
/// When the lengths differ.
fn check(field: &'static str, found: usize, expected: usize) -> Result<(), BlockError> {
    match found == expected {
        true => Ok(()),
        false => Err(BlockError::Length { field, expected, found }),
    }
}

fn bits(x: &[u8]) -> u16 {
    u16::from_le_bytes([x[0], x[1]])
}

/// The 16 bytes of nibbles behind the scales of a block.
fn nibbles<const SCALES: usize>(block: &[u8]) -> [u8; 16] {
    std::array::from_fn(|i| block[SCALES + i])
}

/// Up to 32 numbers of `size` bytes as two halves of a block, the rest zeros.
fn shape_of<T: Copy + Default>(bytes: &[u8], size: usize, f: impl Fn(&[u8]) -> T) -> [[T; 16]; 2] {
    let mut to = [[T::default(); 16]; 2];
    to.as_flattened_mut().iter_mut().zip(bytes.chunks_exact(size)).for_each(|(to, x)| *to = f(x));
    to
}

/// Where the blocks of a matrix lie in its bytes.
struct Shape {
    rows: usize,
    /// Blocks of a row.
    blocks: usize,
    /// Bytes of a row.
    row: usize,
}

impl Shape {
    /// `f` of every block of `size` bytes, in tiles.
    fn quads<T: Copy + Default>(&self, bytes: &[u8], size: usize, f: impl Fn(&[u8]) -> T) -> Quads<T> {
        let mut to = vec![[T::default(); TILE]; self.rows.div_ceil(TILE) * self.blocks];
        self.each(bytes, size, |at, lane, block| to[at][lane] = f(block));
        to
    }

    /// The first `N` halves of every block of `size` bytes, in tiles.
    fn scales<const N: usize>(&self, bytes: &[u8], size: usize) -> Vec<u16> {
        let mut to = vec![0; self.rows.div_ceil(TILE) * self.blocks * TILE * N];
        self.each(bytes, size, |at, lane, block| {
            let place = (at * TILE + lane) * N;
            to[place..place + N].iter_mut().zip(block.chunks_exact(2)).for_each(|(to, x)| *to = bits(x));
        });
        to
    }

    fn each(&self, bytes: &[u8], size: usize, mut f: impl FnMut(usize, usize, &[u8])) {
        for (r, row) in bytes.chunks_exact(self.row.max(1)).enumerate() {
            for (b, block) in row.chunks(size).enumerate() {
                f(r / TILE * self.blocks + b, r % TILE, block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_in_and_come_out() {
        for (rows, columns) in [(1, 32), (4, 64), (7, 96), (66, 32)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.71).sin()).collect();
            for kind in BlockType::ALL {
                let columns = if kind.values() == 1 { columns - 3 } else { columns };
                let bytes = kind.quantise(&values[..rows * columns]).unwrap();
                let matrix = Matrix::new(kind, rows, columns, &bytes).unwrap();
                let mut found = Vec::new();
                (0..rows).for_each(|row| matrix.blocks_of(row, &mut found));
                assert_eq!(found, bytes, "{kind}, {rows} rows of {columns}");
            }
        }
    }
}
