//! Rotary positions (section 3): base 10000, interleaved pairs.

use burn::prelude::*;
use burn::tensor::DType;

const BASE: f64 = 10_000.0;

/// Sine and cosine of every column and pair, `[columns, width / 2]`.
pub(crate) fn angles(columns: usize, width: usize) -> Vec<(f64, f64)> {
    let steps: Vec<f64> = (0..width / 2).map(|pair| BASE.powf(-2.0 * pair as f64 / width as f64)).collect();
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
    /// `[columns, width]`, each angle twice.
    cos: Tensor<2>,
    /// `[columns, width]`.
    sin: Tensor<2>,
    /// `[width, width]`: `(x0, x1) -> (-x1, x0)` for every pair.
    turn: Tensor<2>,
}

impl Rotation {
    /// The tables of `columns` columns for heads of an even `width`, of the given type.
    ///
    /// # Panics
    /// For an odd width.
    pub fn new(columns: usize, width: usize, device: &Device, dtype: DType) -> Self {
        let (mut sin, mut cos) = (Vec::with_capacity(columns * width), Vec::with_capacity(columns * width));
        for (s, c) in angles(columns, width) {
            sin.extend([s; 2]);
            cos.extend([c; 2]);
        }
        let table = |values: Vec<f64>| Tensor::from_data(TensorData::new(values, [columns, width]), (device, dtype));
        let mut turn = vec![0f64; width * width];
        for pair in 0..width / 2 {
            let (even, odd) = (2 * pair, 2 * pair + 1);
            turn[odd * width + even] = -1.0;
            turn[even * width + odd] = 1.0;
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
        let table = |t: &Tensor<2>| t.clone().narrow(0, offset, time).reshape([1, 1, time, width]);
        let turned = x.clone().reshape([batch * heads * time, width]).matmul(self.turn.clone());
        x * table(&self.cos) + turned.reshape([batch, heads, time, width]) * table(&self.sin)
    }
}
