//! The lateral rule on slices: three matrix products and one pass over the rows per iteration.

use burn::prelude::*;
use plasticity_core::nn::host::{Host, take};
use plasticity_core::nn::product::{Matrix, Threads::Late, add_product, product, product_into};
use rayon::prelude::*;

use crate::lateral::{CLAMP, LateralRule};

/// `x - (x H^T) H` for `x` `[batch, n]` and `H` `[k, n]`.
pub(crate) fn residual(x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
    let ([batch, n], [k, _], device) = (x.dims(), h.dims(), x.device());
    let h = Host::new(h);
    let h = Matrix::new(h.as_slice(), k, n);
    let mut out = take(x);
    let inside = product(Matrix::new(&out, batch, n), h.transpose(), Late);
    add_product(&mut out, Matrix::new(&inside, batch, k), h, -1.0, Late);
    Tensor::from_data(TensorData::new(out, [batch, n]), &device)
}

/// See `crate::composed::lateral_update`.
pub(crate) fn lateral_update(
    rows: Tensor<2>,
    velocity: Tensor<2>,
    x: Tensor<2>,
    unfixed: Tensor<2>,
    rule: &LateralRule,
) -> (Tensor<2>, Tensor<2>) {
    let ([k, n], [batch, _], device) = (rows.dims(), x.dims(), rows.device());
    let (mut h, mut v) = (take(rows), take(velocity));
    let (x, unfixed) = (Host::new(x), Host::new(unfixed));
    let x = Matrix::new(x.as_slice(), batch, n);
    let mut y = vec![0.0; batch * k];
    let mut unexplained = vec![0.0; batch * n];
    let mut d = vec![0.0; k * n];
    let (momentum, lr) = (rule.momentum as f32, rule.lr as f32);
    let (fresh, scale) = ((1.0 - rule.momentum) as f32, 1.0 / batch as f32);
    for _ in 0..rule.iterations {
        product_into(&mut y, x, Matrix::new(&h, k, n).transpose(), Late);
        unexplained.copy_from_slice(unfixed.as_slice());
        let y = Matrix::new(&y, batch, k);
        add_product(&mut unexplained, y, Matrix::new(&h, k, n), -1.0, Late);
        product_into(&mut d, y.transpose(), Matrix::new(&unexplained, batch, n), Late);
        let rows = h.par_chunks_mut(8 * n).zip(v.par_chunks_mut(8 * n)).zip(d.par_chunks(8 * n));
        rows.for_each(|((h, v), d)| {
            for ((h, v), d) in h.iter_mut().zip(v).zip(d) {
                *v = momentum * *v + fresh * (d * scale).clamp(-CLAMP, CLAMP);
                *h += lr * *v;
            }
        });
    }
    let tensor = |data| Tensor::from_data(TensorData::new(data, [k, n]), &device);
    (tensor(h), tensor(v))
}

/// The largest absolute value; infinite or NaN where one of them is.
pub(crate) fn largest(x: &Tensor<2>) -> f32 {
    // Without the sign, floats are in the order of their bits, NaN last.
    let bits = |most: u32, x: &f32| most.max(x.to_bits() & 0x7fff_ffff);
    f32::from_bits(Host::new(x.clone()).as_slice().iter().fold(0, bits))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::composed;
    use plasticity_core::rng::Stream;

    #[test]
    fn the_update_is_the_composition() {
        let device = Device::flex();
        let mut stream = Stream::new(19, "lateral", 0);
        let mut draw = |rows: usize| {
            let values = stream.normal_vec(rows * 37);
            Tensor::<2>::from_data(TensorData::new(values, [rows, 37]), &device)
        };
        let (h, v, x) = (draw(11).mul_scalar(0.2), draw(11).mul_scalar(0.1), draw(9));
        let unfixed = x.clone() * 0.5;
        let rule = LateralRule { lr: 0.05, momentum: 0.8, iterations: 4 };
        let fused = lateral_update(h.clone(), v.clone(), x.clone(), unfixed.clone(), &rule);
        let plain = composed::lateral_update(h.clone(), v, x, unfixed, &rule);
        let far = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
        assert!(far(plain.0.clone(), h) > 1e-2);
        assert!(far(fused.0, plain.0) < 1e-5);
        assert!(far(fused.1, plain.1) < 1e-5);
    }
    #[test]
    fn the_largest_is_seen_wherever_it_stands() {
        let device = Device::flex();
        for (value, expected) in [(-7.5, 7.5), (f32::NEG_INFINITY, f32::INFINITY), (0.25, 1.0)] {
            let x = Tensor::<2>::from_floats([[1.0, value, -0.5]], &device);
            assert_eq!(largest(&x), expected);
        }
        assert!(largest(&Tensor::from_floats([[f32::INFINITY, f32::NAN, 0.0]], &device)).is_nan());
    }
}
