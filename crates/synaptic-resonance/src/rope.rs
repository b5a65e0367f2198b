//! Rotary positions (section 3): base 10000, interleaved pairs.

use burn::prelude::*;
use burn::tensor::DType;

const BASE: f64 = 10_000.0;

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
    pub fn new(columns: usize, width: usize, device: &Device, dtype: DType) -> Self {
        let steps: Vec<f64> = (0..width / 2).map(|pair| BASE.powf(-2.0 * pair as f64 / width as f64)).collect();
        let turns = |column: usize| steps.iter().map(move |step| (column as f64 * step).sin_cos());
        let table = |part: fn((f64, f64)) -> f64| {
            let values: Vec<f64> = (0..columns).flat_map(turns).map(part).flat_map(|x| [x, x]).collect();
            Tensor::from_data(TensorData::new(values, [columns, width]), (device, dtype))
        };
        let mut turn = vec![0f64; width * width];
        for pair in 0..width / 2 {
            let (even, odd) = (2 * pair, 2 * pair + 1);
            turn[odd * width + even] = -1.0;
            turn[even * width + odd] = 1.0;
        }
        let turn = Tensor::from_data(TensorData::new(turn, [width, width]), (device, dtype));
        Self { cos: table(|(_, cos)| cos), sin: table(|(sin, _)| sin), turn }
    }

    /// Multiplies what it rotates by `scale` as well: it costs nothing in the tables.
    pub fn scaled(&self, scale: f64) -> Self {
        Self { cos: self.cos.clone() * scale, sin: self.sin.clone() * scale, turn: self.turn.clone() }
    }

    /// Rotates `x` `[batch, heads, time, width]`, whose first column stands at `offset` of the buffer.
    pub fn rotate(&self, x: Tensor<4>, offset: usize) -> Tensor<4> {
        let [batch, heads, time, width] = x.dims();
        let table = |t: &Tensor<2>| t.clone().narrow(0, offset, time).reshape([1, 1, time, width]);
        let turned = x.clone().reshape([batch * heads * time, width]).matmul(self.turn.clone());
        x * table(&self.cos) + turned.reshape([batch, heads, time, width]) * table(&self.sin)
    }
}
