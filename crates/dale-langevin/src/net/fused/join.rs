//! Nearest neighbours at twice the size, beside the channels of a skip connection, on slices.

use plasticity_core::nn::share;

/// Sizes of the operation.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// Channels, height and width of the small image.
    small: [usize; 3],
    /// Of the skip connection: the height and width are those of the result.
    skip: [usize; 3],
}

impl Join {
    /// Of `x` `[batch, channels, h, w]` and `skip` `[batch, channels', h', w']`.
    pub(super) fn new(x: &[usize], skip: &[usize]) -> Self {
        let fits = |axis: usize| skip[axis] > 2 * (x[axis] - 1) && skip[axis] <= 2 * x[axis];
        assert!(x[0] == skip[0] && fits(2) && fits(3), "{x:?} doubled is not {skip:?}");
        Self { small: [x[1], x[2], x[3]], skip: [skip[1], skip[2], skip[3]] }
    }

    pub(super) fn of_x(&self, batch: usize) -> [usize; 4] {
        let [c, h, w] = self.small;
        [batch, c, h, w]
    }

    pub(super) fn of_skip(&self, batch: usize) -> [usize; 4] {
        let [c, h, w] = self.skip;
        [batch, c, h, w]
    }

    pub(super) fn of_result(&self, batch: usize) -> [usize; 4] {
        let [c, h, w] = self.skip;
        [batch, self.small[0] + c, h, w]
    }

    /// Values of an image: of x, of the skip connection, and of the upsampled x.
    fn images(&self) -> [usize; 3] {
        let [c, h, w] = self.skip;
        [self.small.iter().product(), c * h * w, self.small[0] * h * w]
    }

    /// `[batch, channels + channels', h', w']`.
    pub(super) fn forward(&self, x: &[f32], skip: &[f32]) -> Vec<f32> {
        let [of_x, of_skip, of_doubled] = self.images();
        let mut out = vec![0.0; x.len() / of_x * (of_doubled + of_skip)];
        let images = out.chunks_mut(of_doubled + of_skip).zip(x.chunks(of_x)).zip(skip.chunks(of_skip));
        share::each(images, |_, ((out, x), skip)| {
            let (doubled, rest) = out.split_at_mut(of_doubled);
            self.double(x, doubled);
            rest.copy_from_slice(skip);
        });
        out
    }

    /// The gradients of x and of the skip connection.
    pub(super) fn backward(&self, grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let [of_x, of_skip, of_doubled] = self.images();
        let batch = grad.len() / (of_doubled + of_skip);
        let (mut dx, mut dskip) = (vec![0.0; batch * of_x], vec![0.0; batch * of_skip]);
        let images = dx.chunks_mut(of_x).zip(dskip.chunks_mut(of_skip)).zip(grad.chunks(of_doubled + of_skip));
        share::each(images, |_, ((dx, dskip), grad)| {
            let (doubled, rest) = grad.split_at(of_doubled);
            self.halve(doubled, dx);
            dskip.copy_from_slice(rest);
        });
        (dx, dskip)
    }

    fn double(&self, x: &[f32], out: &mut [f32]) {
        let ([_, h, w], [_, height, width]) = (self.small, self.skip);
        for (x, out) in x.chunks_exact(h * w).zip(out.chunks_exact_mut(height * width)) {
            for (x, rows) in x.chunks_exact(w).zip(out.chunks_mut(2 * width)) {
                let (row, below) = rows.split_at_mut(width);
                row.chunks_mut(2).zip(x).for_each(|(pair, x)| pair.fill(*x));
                below.copy_from_slice(&row[..below.len()]);
            }
        }
    }

    /// Sums what [`Join::double`] has copied.
    fn halve(&self, grad: &[f32], dx: &mut [f32]) {
        let ([_, h, w], [_, height, width]) = (self.small, self.skip);
        for (dx, grad) in dx.chunks_exact_mut(h * w).zip(grad.chunks_exact(height * width)) {
            for (dx, rows) in dx.chunks_exact_mut(w).zip(grad.chunks(2 * width)) {
                for row in rows.chunks_exact(width) {
                    dx.iter_mut().zip(row.chunks(2)).for_each(|(dx, pair)| *dx += pair.iter().sum::<f32>());
                }
            }
        }
    }
}
