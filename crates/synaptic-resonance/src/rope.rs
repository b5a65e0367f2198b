//! Rotary positions (section 3).

use burn::prelude::*;
use burn::tensor::DType;

use crate::settings::Pairs;

/// How positions become rotations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Pair i of a head of width D turns by `base^(-2i / D)` from token to token.
    pub base: f64,
    /// Which numbers of a head are a pair.
    pub pairs: Pairs,
}

impl Pairs {
    /// Places of the two numbers of a pair in a head of this width.
    pub(crate) fn places(self, pair: usize, width: usize) -> [usize; 2] {
        match self {
            Self::Interleaved => [2 * pair, 2 * pair + 1],
            Self::Halves => [pair, pair + width / 2],
        }
    }
}

/// Sine and cosine of every pair at a position, which may be before the first one.
pub(crate) fn angles_at(position: f64, width: usize, base: f64) -> impl Iterator<Item = (f64, f64)> {
    (0..width / 2).map(move |pair| (position * base.powf(-2.0 * pair as f64 / width as f64)).sin_cos())
}

/// Sine and cosine of every column and pair, `[columns, width / 2]`.
pub(crate) fn angles(columns: usize, width: usize, base: f64) -> Vec<(f64, f64)> {
    let steps: Vec<f64> = (0..width / 2).map(|pair| base.powf(-2.0 * pair as f64 / width as f64)).collect();
    let at = |column: usize| steps.iter().map(move |step| (column as f64 * step).sin_cos()).collect::<Vec<_>>();
    let (first, mut now) = (at(1), Vec::new());
    let mut all = Vec::with_capacity(columns * steps.len());
    for column in 0..columns {
        // From one column to the next by the sum of angles, which is cheap, and anew before errors add up.
        match column % 32 {
            0 => now = at(column),
            _ => now
                .iter_mut()
                .zip(&first)
                .for_each(|((s, c), (ds, dc))| (*s, *c) = (*s * dc + *c * ds, *c * dc - *s * ds)),
        }
        all.extend_from_slice(&now);
    }
    all
}

/// Cosines and sines of the columns of a buffer. A column's angle is its offset in the buffer, which never grows with
/// a stream, and is taken in f64 (section 6).
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `[1 or batch, 1, columns, width]`, each angle twice.
    cos: Tensor<4>,
    /// The same.
    sin: Tensor<4>,
    /// `[width, width]`: `(x0, x1) -> (-x1, x0)` for every pair.
    turn: Tensor<2>,
}

impl Rotation {
    /// The tables of `columns` columns for heads of an even `width`, of the given type.
    ///
    /// # Panics
    /// For an odd width.
    pub fn new(columns: usize, width: usize, rope: Rope, device: &Device, dtype: DType) -> Self {
        Self::of(angles(columns, width, rope.base), 1, width, rope.pairs, device, dtype)
    }

    /// Of the angles `[1 or batch, columns, width / 2]`.
    pub(crate) fn of(
        angles: Vec<(f64, f64)>,
        rows: usize,
        width: usize,
        pairs: Pairs,
        device: &Device,
        dtype: DType,
    ) -> Self {
        let (mut sin, mut cos) = (vec![0.0; angles.len() * 2], vec![0.0; angles.len() * 2]);
        let shape = [rows, 1, angles.len() * 2 / (rows * width).max(1), width];
        for (i, (s, c)) in angles.into_iter().enumerate() {
            let (column, pair) = (i / (width / 2), i % (width / 2));
            for place in pairs.places(pair, width) {
                (sin[column * width + place], cos[column * width + place]) = (s, c);
            }
        }
        let table = |values: Vec<f64>| Tensor::from_data(TensorData::new(values, shape), (device, dtype));
        let mut turn = vec![0f64; width * width];
        for pair in 0..width / 2 {
            let [first, second] = pairs.places(pair, width);
            turn[second * width + first] = -1.0;
            turn[first * width + second] = 1.0;
        }
        let turn = Tensor::from_data(TensorData::new(turn, [width, width]), (device, dtype));
        Self { cos: table(cos), sin: table(sin), turn }
    }

    /// Multiplies what it rotates by `scale` as well: it costs nothing in the tables.
    pub fn scaled(&self, scale: f64) -> Self {
        Self { cos: self.cos.clone() * scale, sin: self.sin.clone() * scale, turn: self.turn.clone() }
    }

    /// Rotates `x` `[batch, heads, time, width]`, whose first column stands at `offset` of the buffer.
    ///
    /// # Panics
    /// When `x` is of another width, or reaches beyond the tables.
    pub fn rotate(&self, x: Tensor<4>, offset: usize) -> Tensor<4> {
        let [batch, heads, time, width] = x.dims();
        let table = |t: &Tensor<4>| t.clone().narrow(2, offset, time);
        let turned = x.clone().reshape([batch * heads * time, width]).matmul(self.turn.clone());
        x * table(&self.cos) + turned.reshape([batch, heads, time, width]) * table(&self.sin)
    }
}
