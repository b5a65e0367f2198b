//! What the queries of a pass may see, and what is kept of it: the same for all layers, made once per pass.

use burn::prelude::*;
use burn::tensor::DType;

use super::pad;
use crate::rope::Rotation;
use crate::state::Ring;

/// Added to the score of what a query must not see: finite, so that no derivative is NaN.
const HIDDEN: f32 = -1e30;

/// A pass as attention sees it.
#[derive(Debug, Clone)]
pub struct Geometry<'a> {
    /// w; none for full attention.
    pub window: Option<usize>,
    /// T.
    pub time: usize,
    /// Columns of the ring, 0 without.
    pub ring: usize,
    /// How many of them hold a token, per row: the last ones.
    pub filled: &'a [usize],
    /// Valid tokens of each row.
    pub lengths: &'a [usize],
    /// First tokens of documents, `[batch, time]` row-major; none: no document begins.
    pub starts: Option<&'a [bool]>,
}

/// Masks, rotations, and what the ring keeps, for all layers of a pass.
#[derive(Debug, Clone)]
pub struct Span {
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
    keep: Keep,
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
    /// Tables for heads of an even `width`, of the given type. Queries go in blocks where that is cheaper.
    pub fn new(geometry: &Geometry<'_>, width: usize, device: &Device, dtype: DType) -> Self {
        let blocked = geometry.window.is_some_and(|w| geometry.time > 2 * w);
        Self::with_blocks(geometry, blocked, width, device, dtype)
    }

    /// As [`Span::new`]; blocks of w queries against 2 w columns, or all queries against all columns. `blocked` is
    /// ignored without a window.
    pub fn with_blocks(geometry: &Geometry<'_>, blocked: bool, width: usize, device: &Device, dtype: DType) -> Self {
        let Geometry { window, time, ring, .. } = *geometry;
        let (rows, history) = match window {
            Some(window) if blocked => (window, window),
            _ => (time, ring),
        };
        let blocks = time.div_ceil(rows);
        let keys = Rotation::new(ring + time, width, device, dtype);
        let queries = keys.scaled((width as f64).sqrt().recip());
        let mask = mask(geometry, rows, history, device, dtype);
        let keep = Keep::new(geometry, device, dtype);
        Self { ring, blocks, rows, history, mask, queries, keys, keep }
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

/// 0 where a query sees a column, else [`HIDDEN`]; none where that is nowhere.
fn mask(geometry: &Geometry<'_>, rows: usize, history: usize, device: &Device, dtype: DType) -> Option<Tensor<6>> {
    let Geometry { window, time, ring, filled, starts, .. } = *geometry;
    let (blocks, columns) = (time.div_ceil(rows), history + rows);
    let alike = starts.is_none() && filled.iter().all(|n| *n == filled[0]);
    let batch = if alike { 1 } else { filled.len() };
    let mut values = vec![HIDDEN; batch * blocks * rows * columns];
    let mut place = values.iter_mut();
    for row in 0..batch {
        // First column (of ring and tokens) that the query of a token sees, its window aside.
        let mut first = ring - filled[row];
        for query in 0..blocks * rows {
            let own = ring + query;
            if starts.is_some_and(|s| query < time && s[row * time + query]) {
                first = own;
            }
            let from = window.map_or(first, |w| first.max((own + 1).saturating_sub(w)));
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
