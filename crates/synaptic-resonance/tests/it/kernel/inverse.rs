//! The inverse of the parallel form, where it can go wrong (sections 5.3 and 13).

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, assert_gradient, max_difference, values};
use synaptic_resonance::kernel::{chunked, inverse_unit_lower};
use synaptic_resonance::settings::Rule;

use super::case::*;

/// Row by row, `R_r = e_r - sum_(i<r) a_ri R_i`, of matrices one after the other.
fn substituted(a: &[f64], c: usize) -> Vec<f64> {
    let mut all = Vec::with_capacity(a.len());
    for a in a.chunks_exact(c * c) {
        let mut inverse = vec![0.0; c * c];
        for row in 0..c {
            inverse[row * c + row] = 1.0;
            for i in 0..row {
                for column in 0..=i {
                    inverse[row * c + column] -= a[row * c + i] * inverse[i * c + column];
                }
            }
        }
        all.extend(inverse);
    }
    all
}

/// (I - a)(I + a^2)(I + a^4)..., which is forbidden: the powers cancel.
fn squared_repeatedly(a: Tensor<4>) -> Tensor<4> {
    let c = a.dims()[3];
    let eye: Tensor<4> = Tensor::<2>::eye(c, &a.device()).unsqueeze();
    let mut power = a.clone();
    let mut inverse = eye.clone() - a;
    for _ in 1..c.ilog2() {
        power = power.clone().matmul(power);
        inverse = inverse.matmul(eye.clone() + power.clone());
    }
    inverse
}

/// Matrices in rows and chunks; what is not strictly below the diagonal must not be read.
fn matrices(c: usize, at: u64) -> Vec<f64> {
    let mut stream = Stream::new(11, "matrices", at);
    let entry = |i: usize| if i % c < i / c % c { 0.5 * stream.normal() / (c as f64).sqrt() } else { 7.0 };
    (0..2 * 3 * c * c).map(entry).collect()
}

on_each_device!(inverse_is_substitution, |device: Device| {
    for c in [1, 2, 4, 8, 32, 64, 128, 3, 33] {
        let a = matrices(c, c as u64);
        let expected = substituted(&a, c);
        for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-14)] {
            let inverse = inverse_unit_lower(tensor(&a, [2, 3, c, c], &device, dtype));
            assert_eq!((inverse.dims(), inverse.dtype()), ([2, 3, c, c], dtype));
            assert_close(&values(inverse), &expected, tolerance);
        }
    }
});

on_each_device!(inverse_has_its_gradient, |device: Device| {
    for c in [1, 2, 4, 5] {
        let a = matrices(c, 100 + c as u64);
        let x = tensor(&a, [2, 3, c, c], &device.clone().autodiff(), DType::F64).require_grad();
        let grads = inverse_unit_lower(x.clone()).sin().sum().backward();
        let f = |a: &[f64]| substituted(a, c).iter().map(|x| x.sin()).sum::<f64>();
        assert_gradient(f, &a, &values(x.grad(&grads).unwrap()), 1e-8);
    }
});

on_each_device!(o11_equal_keys, |device: Device| {
    let (time, width) = (64, 16);
    for noise in [0.0, 0.05] {
        let mut stream = Stream::new(11, "keys", 0);
        let mut case = Case::random(11, sizes(2, time, 2, 2, width, width)).without_decay().empty();
        let key = unit(&mut stream, 1, width);
        for k in case.k.chunks_exact_mut(width) {
            let noisy: Vec<f64> = key.iter().map(|x| x + noise * stream.normal() / (width as f64).sqrt()).collect();
            let length = norm(&noisy);
            k.iter_mut().zip(noisy).for_each(|(k, x)| *k = x / length);
        }
        case.beta.fill(0.99);
        let expected = case.plain(Rule::Delta);
        let (out, s) = case.run(&device, DType::F32, &|inputs, s| chunked(inputs, s, Rule::Delta, time));
        assert_close(&out, &expected.out, 1e-5);
        assert_close(&s, &expected.s, 1e-5);
    }
});

on_each_device!(o11_finds_repeated_squaring, |device: Device| {
    let (time, width) = (64, 16);
    // The output of an empty memory with either inverse: (M o Q K^T) T diag(beta) V, in f32.
    let worst = |case: &Case, invert: &dyn Fn(Tensor<4>) -> Tensor<4>| {
        let (x, _) = case.inputs(&device, DType::F32);
        let (q, k, v) = (x.q.swap_dims(1, 2), x.k.swap_dims(1, 2), x.v.swap_dims(1, 2));
        let beta: Tensor<4> = x.beta.swap_dims(1, 2).unsqueeze_dim(3);
        let inverse = invert((k.clone().matmul(k.clone().transpose()) * beta.clone()).tril(-1));
        let out = q.matmul(k.transpose()).tril(0).matmul(inverse).matmul(v * beta).swap_dims(1, 2);
        max_difference(&values(out), &case.plain(Rule::Delta).out)
    };
    let mut equal = Case::random(11, sizes(1, time, 1, 1, width, width)).without_decay().empty();
    equal.k = equal.k[..width].repeat(time);
    equal.beta.fill(0.99);
    assert!(worst(&equal, &inverse_unit_lower) < 1e-5);
    let error = worst(&equal, &squared_repeatedly);
    assert!(error > 1e3, "{error}");
    // Nearly orthogonal keys, as random ones of large width are, do not show it.
    let random = Case::random(11, sizes(1, time, 1, 1, 512, 4)).without_decay().empty();
    let error = worst(&random, &squared_repeatedly);
    assert!(error < 1e-4, "{error}");
});
