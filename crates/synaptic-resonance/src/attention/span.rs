//! What the queries of a pass may see, and what is kept of it: the same for all layers, made once per pass.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::device::has_kernels;

use super::fused::Sight;
use super::geometry::{Geometry, Seen};
use crate::rope::{Rope, Rotation, angles};
use crate::state::{Firsts, Ring};

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
    /// Columns before the tokens.
    pub(super) before: usize,
    pub(super) blocks: usize,
    /// Queries of a block.
    pub(super) rows: usize,
    /// Columns before the first query of a block that it can see; those before the tokens, where there is one block.
    history: usize,
    /// `[1 or batch, 1, blocks, 1, rows, columns of a block]`; none where every query sees all columns.
    pub(super) mask: Option<Tensor<6>>,
    pub(super) queries: Rotation,
    pub(super) keys: Rotation,
}

/// What of all columns the next ring holds.
#[derive(Debug, Clone)]
struct Keep {
    ring: Taken,
    /// First tokens of documents that have left it.
    sinks: Taken,
}

/// Columns that are taken out of all, the last ones of each row holding a token.
#[derive(Debug, Clone)]
struct Taken {
    /// How many, 0 for none.
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
    pub fn new(geometry: &Geometry<'_>, width: usize, rope: Rope, device: &Device, dtype: DType) -> Self {
        if has_kernels(device, dtype) {
            let way = Way::Fused(Arc::new(Sight::new(geometry, width, rope)));
            return Self { way, keep: Keep::new(geometry, device, dtype) };
        }
        let blocked = geometry.window.is_some_and(|w| geometry.time > 2 * w);
        Self::with_blocks(geometry, blocked, width, rope, device, dtype)
    }

    /// As [`Span::new`], of tensor operations: blocks of w queries against 2 w columns, or all queries against all
    /// columns. `blocked` is ignored without a window, and with sinks.
    ///
    /// # Panics
    /// As [`Span::new`].
    pub fn with_blocks(
        geometry: &Geometry<'_>,
        blocked: bool,
        width: usize,
        rope: Rope,
        device: &Device,
        dtype: DType,
    ) -> Self {
        let way = Way::Composed(Box::new(Blocks::new(geometry, blocked, width, rope, device, dtype)));
        Self { way, keep: Keep::new(geometry, device, dtype) }
    }

    /// Whether attention is one operation.
    pub fn is_fused(&self) -> bool {
        matches!(self.way, Way::Fused(_))
    }

    /// The ring after the last token of each row, of all columns `[batch, groups, columns, width]`.
    pub(super) fn keep(&self, k: Tensor<4>, v: Tensor<4>) -> Option<Ring> {
        let Keep { ring, sinks } = &self.keep;
        if ring.columns == 0 {
            return None;
        }
        let kept = (sinks.columns > 0).then(|| Firsts {
            keys: sinks.take(k.clone()),
            values: sinks.take(v.clone()),
            filled: sinks.filled.clone(),
        });
        Some(Ring { keys: ring.take(k), values: ring.take(v), filled: ring.filled.clone(), sinks: kept })
    }
}

impl Blocks {
    fn new(geometry: &Geometry<'_>, blocked: bool, width: usize, rope: Rope, device: &Device, dtype: DType) -> Self {
        let Geometry { window, time, ring, .. } = *geometry;
        let before = geometry.before();
        let (rows, history) = match window {
            Some(window) if blocked && geometry.sinks.is_none() => (window, window),
            _ => (time, before),
        };
        let keys = match before - ring {
            0 => Rotation::new(before + time, width, rope, device, dtype),
            kept => {
                let (others, firsts) = (angles(ring + time, width, rope.base), geometry.kept_angles(width, rope.base));
                let all = firsts.chunks(kept * width / 2).map(|firsts| [firsts, others.as_slice()].concat());
                let all: Vec<_> = all.collect();
                Rotation::of(all.concat(), all.len(), width, rope.pairs, device, dtype)
            }
        };
        let queries = keys.scaled((width as f64).sqrt().recip());
        let mask = mask(geometry, rows, history, device, dtype);
        Self { before, blocks: time.div_ceil(rows), rows, history, mask, queries, keys }
    }

    pub(super) fn block_columns(&self) -> usize {
        self.history + self.rows
    }

    /// `[batch, groups, before + time, width]` cut to the columns that each block can see,
    /// `[batch x groups, blocks, columns of a block, width]`.
    pub(super) fn cut(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, groups, columns, width] = x.dims();
        let (blocks, rows) = (self.blocks, self.rows);
        if blocks == 1 && self.history == self.before {
            return x.reshape([batch * groups, 1, columns, width]);
        }
        let x = pad(x, self.history - self.before, blocks * rows + self.before - columns);
        let x = x.reshape([batch * groups, (blocks + 1) * rows, width]);
        let part =
            |from: usize| x.clone().narrow(1, from, blocks * rows).reshape([batch * groups, blocks, rows, width]);
        Tensor::cat(vec![part(0), part(rows)], 2)
    }
}

/// 0 where a query sees a column, else [`HIDDEN`]; none where that is nowhere.
fn mask(geometry: &Geometry<'_>, rows: usize, history: usize, device: &Device, dtype: DType) -> Option<Tensor<6>> {
    let (time, before) = (geometry.time, geometry.before());
    let (blocks, columns, batch) = (time.div_ceil(rows), history + rows, geometry.kinds());
    let mut values = vec![HIDDEN; batch * blocks * rows * columns];
    let mut place = values.iter_mut();
    for row in 0..batch {
        for (query, Seen { first, sinks: (from, to) }) in geometry.seen(row, blocks * rows).enumerate() {
            let own = before + query;
            // Columns of the block begin `history` before its first query.
            let origin = before + query / rows * rows;
            for (column, value) in (&mut place).take(columns).enumerate() {
                let at = column + origin;
                if (first + history..=own + history).contains(&at) || (from + history..to + history).contains(&at) {
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
        let Geometry { window, time, filled, lengths, starts, sinks, .. } = *geometry;
        let (batch, before) = (filled.len(), geometry.before());
        let most = window.map_or(usize::MAX, |w| w - 1);
        let last = |row: usize| starts.and_then(|s| s[row * time..][..lengths[row]].iter().rposition(|start| *start));
        let held = |row: usize| most.min(last(row).map_or(filled[row] + lengths[row], |at| lengths[row] - at));
        let taken = |filled: Vec<usize>, ends: Vec<usize>| Taken::new(before + time, filled, ends, device, dtype);
        let ring = taken((0..batch).map(held).collect(), lengths.iter().map(|n| before + n).collect());
        // Of each row's document: its first column, and how many of its first tokens the next ring does not hold.
        let left = |row: usize| {
            let Some(sinks) = sinks else { return (0, 0) };
            let (document, age) = match last(row) {
                Some(at) => (before + at, lengths[row] - at),
                None => {
                    let seen = usize::try_from(sinks.position[row]).unwrap_or(usize::MAX);
                    (geometry.document(row), seen.saturating_add(lengths[row]))
                }
            };
            (document, sinks.most.min(age.saturating_sub(ring.filled[row])))
        };
        let (documents, left): (Vec<usize>, Vec<usize>) = (0..batch).map(left).unzip();
        let ends = documents.iter().zip(&left).map(|(document, left)| document + left).collect();
        Self { sinks: taken(left, ends), ring }
    }
}

impl Taken {
    /// The `filled` columns of each row before the one where its `ends` are, of `all` columns.
    fn new(all: usize, filled: Vec<usize>, ends: Vec<usize>, device: &Device, dtype: DType) -> Self {
        let batch = filled.len();
        let columns = filled.iter().copied().max().unwrap_or(0);
        let from = ends[0].saturating_sub(columns);
        let aligned = ends.iter().all(|end| *end == ends[0]);
        let select = (!aligned && columns > 0).then(|| {
            // Columns before the first one hold no token: any will do.
            let at = |row: usize, column: usize| row * all + (ends[row] + column).saturating_sub(columns);
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

    /// These columns of `[batch, groups, all, width]`, zero where they hold no token.
    fn take(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, groups, all, width] = x.dims();
        let taken = match &self.select {
            None => x.narrow(2, self.from, self.columns),
            Some(index) => x
                .swap_dims(1, 2)
                .reshape([batch * all, groups * width])
                .select(0, index.clone())
                .reshape([batch, self.columns, groups, width])
                .swap_dims(1, 2),
        };
        match &self.valid {
            None => taken,
            Some(valid) => taken * valid.clone(),
        }
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
