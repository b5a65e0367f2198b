//! The step of gradient descent on slices, which sees whether what it wrote is finite.

use burn::prelude::*;
use plasticity_core::nn::host::{Host, take};
use plasticity_core::widest;
use rayon::prelude::*;

/// Values that one task works on.
const BLOCK: usize = 1 << 16;

/// `weights - lr gradient`, both `[n, out]`, and whether all of it is finite: a look of its own at the new weights
/// would cost a twentieth of a training step.
pub(crate) fn descend(weights: Tensor<2>, gradient: Tensor<2>, lr: f64) -> (Tensor<2>, bool) {
    let (shape, device) = (weights.dims(), weights.device());
    let weights = Host::new(weights);
    let mut out = take(gradient);
    let blocks = out.par_chunks_mut(BLOCK).zip(weights.as_slice().par_chunks(BLOCK));
    let finite = blocks.map(|(out, weights)| block(out, weights, lr as f32)).reduce(|| true, |a, b| a && b);
    (Tensor::from_data(TensorData::new(out, shape), &device), finite)
}

// Replaces the gradient by the new weights; false where one of them is not finite.
widest!(block = block_plain(out: &mut [f32], weights: &[f32], lr: f32) -> bool);

#[inline(always)]
fn block_plain(out: &mut [f32], weights: &[f32], lr: f32) -> bool {
    /// The exponent's bits: all of them are set in an infinite value and in NaN.
    const EXPONENT: u32 = 0x7f80_0000;
    let mut bad = 0;
    for (out, weight) in out.iter_mut().zip(weights) {
        *out = weight - *out * lr;
        bad |= u32::from(out.to_bits() & EXPONENT == EXPONENT);
    }
    bad == 0
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use plasticity_core::rng::Stream;

    #[test]
    fn the_step_is_that_of_tensor_operations_to_the_last_bit() {
        let device = Device::flex();
        let mut stream = Stream::new(20, "descent", 0);
        let n = BLOCK + 17;
        let mut draw = || Tensor::<2>::from_data(TensorData::new(stream.normal_vec(n), [1, n]), &device);
        let (weights, gradient) = (draw(), draw());
        let expected = weights.clone() - gradient.clone().mul_scalar(0.1);
        let (found, finite) = descend(weights, gradient, 0.1);
        assert!(finite);
        assert_eq!(found.into_data(), expected.into_data());
    }

    #[test]
    fn a_value_that_is_not_finite_is_seen_wherever_it_stands() {
        let device = Device::flex();
        let n = BLOCK + 17;
        for at in [0, 7, BLOCK - 1, BLOCK, n - 1] {
            for (weight, gradient) in [(0.0, f32::NAN), (1.0, f32::INFINITY), (f32::NAN, 0.0), (f32::MAX, -f32::MAX)] {
                let put = |value: f32| {
                    let mut values = vec![0.5; n];
                    values[at] = value;
                    Tensor::<2>::from_data(TensorData::new(values, [n, 1]), &device)
                };
                assert!(!descend(put(weight), put(gradient), 1.0).1, "{weight} and {gradient} at {at}");
            }
        }
    }
}
