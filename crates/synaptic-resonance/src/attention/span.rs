//! What the queries of a pass may see, and what is kept of it: the same for all layers, made once per pass.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::device::has_kernels;

use super::fused::Sight;
use super::geometry::Geometry;
use crate::rope::Rotation;
use crate::state::Ring;

/// Added to the score of what a query must not see: finite, so that no derivative is NaN.
const HIDDEN: f32 = -1e30;

/// What the queries see, rotations, and what the ring keeps, for all layers of a pass.
#[derive(Debug, Clone)]
pub struct Span {
    pub(super) way: Way,
    keep: Keep,
}

/// How attention is computed.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// In one operation.
    Fused(Arc<Sight>),
    /// Of tensor operations.
    Composed(Box<Blocks>),
}

/// Masks and rotations.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    /// Columns of the ring.
    pub(super) ring: usize,
    pub(super) blocks: usize,
    /// Queries of a block.
    pub(super) rows: usize,
    /// Columns before the first query of a block that it can see; the ring's, where there is one block.
    history: usize,
    /// `[1 or batch, 1, blocks, 1, rows, columns of a block]`; none where every query sees all columns.
    pub(super) mask: Option<Tensor<6>>,
    pub(super) queries: Rotation,
    pub(super) keys: Rotation,
}

/// What of ring and tokens the next ring holds.
#[derive(Debug, Clone)]
struct Keep {
    /// Columns of the next ring, 0 for none.
    columns: usize,
    filled: Vec<usize>,
    /// First column, where it is the same for all rows.
    from: usize,
    /// Rows of `[batch x columns]`, where it is not.
    select: Option<Tensor<1, Int>>,
    /// 1 in filled columns, `[batch, 1, columns, 1]`, where some are not.
    valid: Option<Tensor<4>>,
}

impl Span {
    /// For heads of an even `width` in numbers of the given type: one operation in f32 on the CPU, else tensor
    /// operations, with queries in blocks where that is cheaper.
    ///
    /// # Panics
    /// When the parts of `geometry` are not of one batch.
    pub fn new(geometry: &Geometry<'_>, width: usize, device: &Device, dtype: DType) -> Self {
        if has_kernels(device, dtype) {
            let way = Way::Fused(Arc::new(Sight::new(geometry, width)));
            return Self { way, keep: Keep::new(geometry, device, dtype) };
        }
        let blocked = geometry.window.is_some_and(|w| geometry.time > 2 * w);
        Self::with_blocks(geometry, blocked, width, device, dtype)
    }

    /// As [`Span::new`], of tensor operations: blocks of w queries against 2 w columns, or all queries against all
    /// columns. `blocked` is ignored without a window.
    ///
    /// # Panics
    /// As [`Span::new`].
    pub fn with_blocks(geometry: &Geometry<'_>, blocked: bool, width: usize, device: &Device, dtype: DType) -> Self {
        let way = Way::Composed(Box::new(Blocks::new(geometry, blocked, width, device, dtype)));
        Self { way, keep: Keep::new(geometry, device, dtype) }
    }

    /// Whether attention is one operation.
    pub fn is_fused(&self) -> bool {
        matches!(self.way, Way::Fused(_))
    }

    /// The ring after the last token of each row, of ring and tokens `[batch, groups, columns, width]`.
    pub(super) fn keep(&self, k: Tensor<4>, v: Tensor<4>) -> Option<Ring> {
        let keep = &self.keep;
        if keep.columns == 0 {
            return None;
        }
        let take = |x: Tensor<4>| {
            let [batch, groups, columns, width] = x.dims();
            let taken = match &keep.select {
                None => x.narrow(2, keep.from, keep.columns),
                Some(index) => x
                    .swap_dims(1, 2)
                    .reshape([batch * columns, groups * width])
                    .select(0, index.clone())
                    .reshape([batch, keep.columns, groups, width])
                    .swap_dims(1, 2),
            };
            match &keep.valid {
                None => taken,
                Some(valid) => taken * valid.clone(),
            }
        };
        Some(Ring { keys: take(k), values: take(v), filled: keep.filled.clone() })
    }
}

impl Blocks {
    fn new(geometry: &Geometry<'_>, blocked: bool, width: usize, device: &Device, dtype: DType) -> Self {
        let Geometry { window, time, ring, .. } = *geometry;
        let (rows, history) = match window {
            Some(window) if blocked => (window, window),
            _ => (time, ring),
        };
        let keys = Rotation::new(ring + time, width, device, dtype);
        let queries = keys.scaled((width as f64).sqrt().recip());
        let mask = mask(geometry, rows, history, device, dtype);
        Self { ring, blocks: time.div_ceil(rows), rows, history, mask, queries, keys }
    }

    pub(super) fn block_columns(&self) -> usize {
        self.history + self.rows
    }

    /// `[batch, groups, ring + time, width]` cut to the columns that each block can see,
    /// `[batch x groups, blocks, columns of a block, width]`.
    pub(super) fn cut(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, groups, columns, width] = x.dims();
        let (blocks, rows) = (self.blocks, self.rows);
        if blocks == 1 && self.history == self.ring {
            return x.reshape([batch * groups, 1, columns, width]);
        }
        let x = pad(x, self.history - self.ring, blocks * rows + self.ring - columns);
        let x = x.reshape([batch * groups, (blocks + 1) * rows, width]);
        let part =
            |from: usize| x.clone().narrow(1, from, blocks * rows).reshape([batch * groups, blocks, rows, width]);
        Tensor::cat(vec![part(0), part(rows)], 2)
    }
}

/// 0 where a query sees a column, else [`HIDDEN`]; none where that is nowhere.
fn mask(geometry: &Geometry<'_>, rows: usize, history: usize, device: &Device, dtype: DType) -> Option<Tensor<6>> {
    let Geometry { time, ring, .. } = *geometry;
    let (blocks, columns, batch) = (time.div_ceil(rows), history + rows, geometry.kinds());
    let mut values = vec![HIDDEN; batch * blocks * rows * columns];
    let mut place = values.iter_mut();
    for row in 0..batch {
        for (query, from) in geometry.first_columns(row, blocks * rows).enumerate() {
            let own = ring + query;
            // Columns of the block begin `history` before its first query.
            let origin = ring + query / rows * rows;
            for (column, value) in (&mut place).take(columns).enumerate() {
                if (from + history..=own + history).contains(&(column + origin)) {
                    *value = 0.0;
                }
            }
        }
    }
    let shape = [batch, 1, blocks, 1, rows, columns];
    values.contains(&HIDDEN).then(|| Tensor::from_data(TensorData::new(values, shape), (device, dtype)))
}

impl Keep {
    fn new(geometry: &Geometry<'_>, device: &Device, dtype: DType) -> Self {
        let Geometry { window, time, ring, filled, lengths, starts } = *geometry;
        let batch = filled.len();
        let most = window.map_or(usize::MAX, |w| w - 1);
        let held = |row: usize| {
            let last = starts.and_then(|s| s[row * time..][..lengths[row]].iter().rposition(|start| *start));
            most.min(last.map_or(filled[row] + lengths[row], |at| lengths[row] - at))
        };
        let filled: Vec<usize> = (0..batch).map(held).collect();
        let columns = filled.iter().copied().max().unwrap_or(0);
        let end = |row: usize| ring + lengths[row];
        let from = end(0).saturating_sub(columns);
        let aligned = lengths.iter().all(|n| *n == lengths[0]);
        let select = (!aligned && columns > 0).then(|| {
            // Columns before the first one hold no token: any will do.
            let at = |row: usize, column: usize| row * (ring + time) + (end(row) + column).saturating_sub(columns);
            let index: Vec<i32> =
                (0..batch).flat_map(|row| (0..columns).map(move |column| at(row, column) as i32)).collect();
            Tensor::from_data(TensorData::new(index, [batch * columns]), device)
        });
        let valid = (columns > 0 && filled.iter().any(|n| *n < columns)).then(|| {
            let values: Vec<f64> = filled
                .iter()
                .flat_map(|n| (0..columns).map(move |column| f64::from(u8::from(column + n >= columns))))
                .collect();
            Tensor::from_data(TensorData::new(values, [batch, 1, columns, 1]), (device, dtype))
        });
        Self { columns, filled, from, select, valid }
    }
}

/// `x` `[.., .., time, width]` with zero columns before and after.
pub(super) fn pad(x: Tensor<4>, before: usize, after: usize) -> Tensor<4> {
    if before + after == 0 {
        return x;
    }
    let [a, b, _, width] = x.dims();
    let zeros = |n: usize| Tensor::zeros([a, b, n, width], (&x.device(), x.dtype()));
    let left = (before > 0).then(|| zeros(before));
    let right = (after > 0).then(|| zeros(after));
    Tensor::cat([left, Some(x), right].into_iter().flatten().collect(), 2)
}
