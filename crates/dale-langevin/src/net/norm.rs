//! Group normalisation, modulation and SiLU, the operation between two convolutions.

use burn::prelude::*;
use burn::tensor::{DType, activation};
use plasticity_core::device::takes_kernels;

#[cfg(any(feature = "flex", feature = "ndarray"))]
use super::fused;
use super::groups::{EPSILON, GROUP};

/// `silu(scale xhat + shift)`, where xhat is `x` `[batch, channels, h, w]` normalised to mean 0 and
/// variance 1 over the pixels of each group of four channels. `scale`, `shift`: `[batch, channels]`,
/// or `[1, channels]` for all.
pub(super) fn norm_silu(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    if takes_kernels(&x) {
        return fused::norm_silu(x, scale, shift);
    }
    composed_norm_silu(x, scale, shift)
}

/// z sigmoid(z). Burn's own is used in f32: it casts f64 down.
pub(super) fn silu<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    match z.dtype() {
        DType::F64 => z.clone() / ((-z).exp() + 1.0),
        _ => activation::silu(z),
    }
}

/// [`norm_silu`] from tensor operations: what the fused kernel is compared with.
pub(super) fn composed_norm_silu(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let [rows, _] = scale.dims();
    let x = x.reshape([n, c / GROUP, GROUP * h * w]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normal = (centred / (variance + EPSILON).sqrt()).reshape([n, c, h, w]);
    silu(normal * scale.reshape([rows, c, 1, 1]) + shift.reshape([rows, c, 1, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plasticity_core::on_each_device;
    use plasticity_core::rng::Stream;
    use plasticity_core::testing::{max_difference, values};

    type Operation = fn(Tensor<4>, Tensor<2>, Tensor<2>) -> Tensor<4>;

    /// The result, and the gradients of x, scale and shift, for a gradient drawn at random.
    fn evaluate(f: Operation, [n, c, h, w]: [usize; 4], rows: usize, device: &Device) -> [Vec<f64>; 4] {
        let mut stream = Stream::new(13, "norm", 0);
        let device = device.clone().autodiff();
        let mut draw = |n: usize| stream.normal_vec(n);
        // Off zero, as activations are.
        let x = draw(n * c * h * w).into_iter().map(|z| 3.0 + 2.0 * z).collect::<Vec<_>>();
        let x = Tensor::<4>::from_data(TensorData::new(x, [n, c, h, w]), &device).require_grad();
        let scale = Tensor::<2>::from_data(TensorData::new(draw(rows * c), [rows, c]), &device).require_grad();
        let shift = Tensor::<2>::from_data(TensorData::new(draw(rows * c), [rows, c]), &device).require_grad();
        let grad = Tensor::<4>::from_data(TensorData::new(draw(n * c * h * w), [n, c, h, w]), &device);
        let out = f(x.clone(), scale.clone(), shift.clone());
        let grads = (out.clone() * grad).sum().backward();
        let of_x = values(x.grad(&grads).expect("reached"));
        let of = |t: &Tensor<2>| values(t.grad(&grads).expect("reached"));
        [values(out), of_x, of(&scale), of(&shift)]
    }

    on_each_device!(the_fused_operation_is_the_composition, |device: Device| {
        assert!(takes_kernels(&Tensor::<1>::zeros([1], &device)));
        for shape in [[3, 8, 7, 7], [2, 4, 14, 14], [3, 12, 1, 1], [1, 4, 3, 5], [5, 4, 4, 4]] {
            for rows in [1, shape[0]] {
                let fused = evaluate(norm_silu, shape, rows, &device);
                let plain = evaluate(composed_norm_silu, shape, rows, &device);
                for (name, (fused, plain)) in ["out", "x", "scale", "shift"].iter().zip(fused.iter().zip(&plain)) {
                    let size = plain.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                    let far = max_difference(fused, plain) / size;
                    assert!(far < 3e-6, "{name} of {shape:?} with {rows} rows: {far}");
                }
            }
        }
    });

    on_each_device!(a_strided_view_and_extreme_values, |device: Device| {
        let x = Tensor::<4>::from_floats([[[[1e30, -1e30]], [[0.0, 200.0]], [[-200.0, 3.0]], [[1.0, 2.0]]]], &device);
        let table = |v: [f32; 4]| Tensor::<2>::from_floats([v], &device);
        let (scale, shift) = (table([1.0, 1e3, -1e3, 0.0]), table([0.0, 90.0, -90.0, f32::NAN]));
        let view = x.swap_dims(2, 3);
        let fused = values(norm_silu(view.clone(), scale.clone(), shift.clone()));
        let plain = values(composed_norm_silu(view, scale, shift));
        for (fused, plain) in fused.into_iter().zip(plain) {
            assert!((fused - plain).abs() < 1e-5 || fused.is_nan() && plain.is_nan(), "{fused} {plain}");
        }
    });
}
