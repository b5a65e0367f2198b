//! The inverse of a unit lower triangular matrix (section 5.3 b).

use burn::prelude::*;
use burn::tensor::ops::PadMode;

/// Blocks up to this size are doubled in place by masks: few operations, on which small matrices spend their time.
/// Larger ones are cut out, since masked products would cost log C times C^3.
const MASKED: usize = 16;

/// `(I + a)^-1` for `a` `[rows, chunks, C, C]`, of which only the part strictly below the diagonal is read, by block
/// doubling (section 5.3 b): neighbouring inverses of size b are merged to one of size 2 b. Differentiable: the
/// derivative `-(I + a)^-1 da (I + a)^-1` is taken of the result, not through the rounds. C is a power of two, else
/// the matrices are padded to one.
///
/// # Panics
/// When the matrices are not square, or empty.
pub fn inverse_unit_lower(a: Tensor<4>) -> Tensor<4> {
    let c = a.dims()[3];
    if !c.is_power_of_two() {
        let more = c.next_power_of_two() - c;
        let padded = a.pad((0, more, 0, more), PadMode::Constant(0.0));
        return inverse_unit_lower(padded).narrow(2, 0, c).narrow(3, 0, c);
    }
    if !a.is_autodiff() {
        return doubled(a);
    }
    let inverse = doubled(a.clone().inner());
    // Zero in value: it carries the derivative, so that the rounds need no graph.
    let change = (a.clone() - a.inner()).tril(-1);
    inverse.clone() - inverse.clone().matmul(change).matmul(inverse)
}

fn doubled(a: Tensor<4>) -> Tensor<4> {
    let [rows, chunks, c, _] = a.dims();
    if c <= MASKED {
        return doubled_by_masks(a);
    }
    let device = a.device();
    let matrices = rows * chunks;
    // A row of zeros more: the matrix, read along its storage, is then a whole number of diagonal blocks.
    let zeros = Tensor::zeros([matrices, c], (&device, a.dtype()));
    let stored: Tensor<2> = Tensor::cat(vec![a.reshape([matrices, c * c]), zeros], 1);
    // Rows `first..first + height` of all blocks on the diagonal that are `size` wide: [matrices, blocks, height, C].
    let cut = |size: usize, first: usize, height: usize| {
        let blocks = stored.clone().reshape([matrices, c / size, size * (c + 1)]);
        blocks.narrow(2, first * c, height * c).reshape([matrices, c / size, height, c])
    };
    let mut inverse = doubled_by_masks(cut(MASKED, 0, MASKED).narrow(3, 0, MASKED));
    let mut b = MASKED;
    while b < c {
        let pairs = matrices * c / (2 * b);
        let halves = inverse.reshape([pairs, 2, b, b]);
        let (upper, lower) = (halves.clone().narrow(1, 0, 1), halves.narrow(1, 1, 1));
        let between = cut(2 * b, b, b).narrow(3, 0, b).reshape([pairs, 1, b, b]);
        let corner = lower.clone().matmul(between).matmul(upper.clone()).neg();
        let upper = Tensor::cat(vec![upper.clone(), upper.zeros_like()], 3);
        inverse = Tensor::cat(vec![upper, Tensor::cat(vec![corner, lower], 3)], 2);
        b *= 2;
    }
    inverse.reshape([rows, chunks, c, c])
}

/// With R the inverses of size b on the diagonal and zeros elsewhere, R - R (a o m) R are those of size 2 b, where the
/// mask m keeps the blocks below them.
fn doubled_by_masks(a: Tensor<4>) -> Tensor<4> {
    let c = a.dims()[3];
    let rounds = c.ilog2() as usize;
    let at = |i: usize| (i / (c * c), i / c % c, i % c);
    let below = |b: usize, row: usize, column: usize| row / b == column / b + 1 && (row / b) % 2 == 1;
    let constants: Vec<f32> = (0..(rounds + 1) * c * c)
        .map(|i| match at(i) {
            (0, row, column) => f32::from(row == column),
            (round, row, column) => f32::from(below(1 << (round - 1), row, column)),
        })
        .collect();
    let constants = Tensor::<4>::from_data(TensorData::new(constants, [1, rounds + 1, c, c]), (&a.device(), a.dtype()));
    let constant = |i: usize| constants.clone().narrow(1, i, 1);
    let [rows, chunks, ..] = a.dims();
    if rounds == 0 {
        return constant(0).expand([rows, chunks, c, c]);
    }
    // The first round: R is I.
    let mut inverse = constant(0) - a.clone() * constant(1);
    for round in 2..=rounds {
        let corners = inverse.clone().matmul(a.clone() * constant(round)).matmul(inverse.clone());
        inverse = inverse - corners;
    }
    inverse
}
