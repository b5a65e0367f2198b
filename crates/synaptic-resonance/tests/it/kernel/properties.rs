//! What section 4.6 proves and section 10 asks of the rule.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::kernel::{chunked, recurrent, signals};
use synaptic_resonance::settings::Rule;

use super::case::*;

const DELTA: Form = &|inputs, s| chunked(inputs, s, Rule::Delta, 32);
const HEBBIAN: Form = &|inputs, s| chunked(inputs, s, Rule::Hebbian, 32);
const SERIAL: Form = &|inputs, s| recurrent(inputs, s, Rule::Delta);

/// ||S||_F after every token, in f32.
fn norms(case: &Case, device: &Device) -> Vec<f64> {
    let (inputs, s) = case.inputs(device, DType::F32);
    let f = s.clone().narrow(2, 0, 1).zeros_like().squeeze_dim(2);
    values(signals(inputs, s, f, Rule::Delta).unwrap().0.norm)
}

on_each_device!(o05_state_is_bounded, |device: Device| {
    let case = Case::random(5, sizes(1, 2000, 1, 1, 8, 8));
    let decay = case.log_a.clone().unwrap();
    let mut bound = norm(&case.s).powi(2);
    for (t, found) in norms(&case, &device).iter().enumerate() {
        let v = &case.v[t * 8..][..8];
        bound = (2.0 * decay[t]).exp() * bound + case.beta[t] * norm(v).powi(2);
        assert!(found.powi(2) <= bound * (1.0 + 1e-5), "token {t}: {found} squared above {bound}");
    }
});

/// One value channel, always 1, and keys orthogonal to the state that they meet: the worst that P3 allows.
fn adversary(time: usize, log_a: f64) -> Case {
    let mut case = Case::random(5, sizes(1, time, 1, 1, 2, 1)).empty();
    case.v.fill(1.0);
    case.beta.fill(1.0);
    case.log_a = Some(vec![log_a; time]);
    let mut s = [0.0, 0.0];
    for k in case.k.chunks_exact_mut(2) {
        let length = norm(&s);
        let across = if length == 0.0 { [1.0, 0.0] } else { [-s[1] / length, s[0] / length] };
        k.copy_from_slice(&across);
        s = [s[0] * log_a.exp() + k[0], s[1] * log_a.exp() + k[1]];
    }
    case
}

on_each_device!(o05_adversary, |device: Device| {
    let time = 2000;
    let growing = adversary(time, 0.0);
    for (t, found) in norms(&growing, &device).iter().enumerate() {
        let expected = (t as f64 + 1.0).sqrt();
        assert!((found / expected - 1.0).abs() < 1e-5, "token {t}: {found}, not {expected}");
    }
    let (_, s) = growing.run(&device, DType::F64, DELTA);
    assert!((norm(&s) - 44.721).abs() < 1e-3);
    // Forgetting stops it, exactly at the bound.
    let forgetting = adversary(time, -0.01);
    let bound = 1.0 / (1.0 - (-0.02f64).exp()).sqrt();
    let found = norms(&forgetting, &device);
    assert!(found.iter().all(|x| *x <= bound * (1.0 + 1e-5)));
    assert!((found[time - 1] - 7.10645).abs() < 1e-4);
    let (_, s) = forgetting.run(&device, DType::F64, DELTA);
    assert!((norm(&s) / bound - 1.0).abs() < 1e-12);
});

on_each_device!(o06_decay_to_zero, |device: Device| {
    let mut case = Case::random(6, sizes(2, 100, 2, 2, 16, 16));
    case.beta.fill(0.0);
    case.log_a.as_mut().unwrap().fill(-0.05);
    let expected: Vec<f64> = case.s.iter().map(|x| x * (-5.0f64).exp()).collect();
    for form in [DELTA, HEBBIAN, SERIAL] {
        assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-6);
    }
});

/// The columns of a random rotation.
fn orthonormal(stream: &mut Stream, width: usize) -> Vec<f64> {
    let mut all: Vec<f64> = Vec::new();
    while all.len() < width * width {
        let mut x = unit(stream, 1, width);
        // Twice, so that rounding leaves no trace.
        for _ in 0..2 {
            for other in all.chunks_exact(width) {
                let along: f64 = other.iter().zip(&x).map(|(a, b)| a * b).sum();
                x.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
            let length = norm(&x);
            x.iter_mut().for_each(|x| *x /= length);
        }
        all.extend(x);
    }
    all
}

on_each_device!(o07_one_shot_recall, |device: Device| {
    let width = 16;
    // Written once, then read with every key while nothing is written.
    let mut case = Case::random(7, sizes(1, 2 * width, 1, 1, width, width)).without_decay().empty();
    case.k = orthonormal(&mut Stream::new(7, "keys", 0), width).repeat(2);
    case.q = case.k.clone();
    case.beta = [vec![1.0; width], vec![0.0; width]].concat();
    for form in [DELTA, SERIAL] {
        let (out, _) = case.run(&device, DType::F32, form);
        assert_close(&out[width * width..], &case.v[..width * width], 1e-5);
    }
});

on_each_device!(o08_overwrite, |device: Device| {
    let width = 16;
    let mut case = Case::random(8, sizes(1, 2, 1, 1, width, width)).without_decay().empty();
    case.k = case.k[..width].repeat(2);
    case.q = case.k.clone();
    case.beta.fill(1.0);
    let (first, second) = case.v.split_at(width);
    let sum: Vec<f64> = first.iter().zip(second).map(|(a, b)| a + b).collect();
    for (form, expected) in [(DELTA, second), (SERIAL, second), (HEBBIAN, &sum)] {
        assert_close(&case.run(&device, DType::F32, form).0[width..], expected, 1e-5);
    }
});

on_each_device!(o09_reinforcement_saturates, |device: Device| {
    let width = 16;
    let mut case = Case::random(9, sizes(1, 7, 1, 1, width, width)).without_decay().empty();
    case.k = case.k[..width].repeat(7);
    case.q = case.k.clone();
    case.v = case.v[..width].repeat(7);
    case.beta.fill(0.3);
    let expected: Vec<f64> =
        (1..=7).flat_map(|n| case.v[..width].iter().map(move |v| (1.0 - 0.7f64.powi(n)) * v)).collect();
    for form in [DELTA, SERIAL] {
        assert_close(&case.run(&device, DType::F32, form).0, &expected, 1e-5);
    }
});

on_each_device!(o13_strong_forgetting, |device: Device| {
    let mut case = Case::random(13, sizes(2, 70, 2, 2, 16, 16));
    case.log_a.as_mut().unwrap().fill(-40.0);
    let last = case.part(69, 1);
    let mut expected = Vec::new();
    for (i, k) in last.k.chunks_exact(16).enumerate() {
        let v = &last.v[i * 16..][..16];
        expected.extend(v.iter().flat_map(|v| k.iter().map(move |k| (v, k))).map(|(v, k)| last.beta[i] * v * k));
    }
    for form in [DELTA, HEBBIAN, SERIAL] {
        let (out, s) = case.run(&device, DType::F32, form);
        assert_close(&s, &expected, 1e-6);
        assert!(out.iter().all(|x| x.is_finite()));
        let sum = |o: Tensor<4>, s: Tensor<4>| o.sum() + s.sum();
        let gradients = case.derive(&device, form, sum);
        assert!(gradients.iter().all(|(_, x)| x.iter().all(|x| x.is_finite())));
    }
});

on_each_device!(o14_linear_attention, |device: Device| {
    let (time, width) = (70, 16);
    let mut case = Case::random(14, sizes(2, time, 2, 2, width, width)).without_decay().empty();
    case.beta.fill(1.0);
    let (inputs, _) = case.inputs(&device, DType::F32);
    let (q, k, v) = (inputs.q.swap_dims(1, 2), inputs.k.swap_dims(1, 2), inputs.v.swap_dims(1, 2));
    let expected = q.matmul(k.transpose()).tril(0).matmul(v).swap_dims(1, 2);
    assert_close(&case.run(&device, DType::F32, HEBBIAN).0, &values(expected), 1e-4);
});

on_each_device!(o15_rotation, |device: Device| {
    let case = Case::random(15, sizes(2, 70, 2, 2, 16, 16));
    let r = orthonormal(&mut Stream::new(15, "rotation", 0), 16);
    let rotate = |x: &[f64]| -> Vec<f64> {
        let row = |x: &[f64], r: &[f64]| x.iter().zip(r).map(|(a, b)| a * b).sum::<f64>();
        x.chunks_exact(16).flat_map(|x| r.chunks_exact(16).map(move |r| row(x, r))).collect()
    };
    let rotated = Case { q: rotate(&case.q), k: rotate(&case.k), s: rotate(&case.s), ..case.clone() };
    for form in [DELTA, HEBBIAN] {
        let (a, b) = (case.run(&device, DType::F32, form).0, rotated.run(&device, DType::F32, form).0);
        assert_close(&a, &b, 1e-5);
    }
});

on_each_device!(o16_linear_in_values, |device: Device| {
    let case = Case::random(16, sizes(2, 70, 2, 2, 16, 16)).empty();
    let other = Case::random(17, case.sizes).v;
    let mix = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| 2.0 * a - 0.5 * b).collect::<Vec<f64>>();
    for form in [DELTA, HEBBIAN] {
        let of = |v: &[f64]| Case { v: v.to_vec(), ..case.clone() }.run(&device, DType::F32, form).0;
        assert_close(&of(&mix(&case.v, &other)), &mix(&of(&case.v), &of(&other)), 1e-4);
    }
});

on_each_device!(o17_frozen_to_the_bit, |device: Device| {
    let mut frozen = Case::random(17, sizes(2, 70, 4, 2, 16, 16));
    frozen.beta.fill(0.0);
    for log_a in [Some(vec![0.0; 2 * 70 * 2]), None] {
        frozen.log_a = log_a;
        let (inputs, s) = frozen.inputs(&device, DType::F32);
        for form in [DELTA, HEBBIAN, SERIAL] {
            let (out, last) = form(inputs.clone(), s.clone()).unwrap();
            last.into_data().assert_eq(&s.clone().into_data(), true);
            assert_close(&values(out), &frozen.plain(Rule::Delta).out, 1e-5);
        }
    }
    // Padding inside a sequence and at its end changes nothing for the tokens beside it.
    let mut case = Case::random(18, sizes(1, 70, 2, 2, 16, 16));
    let padding = |t: usize| (20..37).contains(&t) || t >= 61;
    for t in (0..70).filter(|t| padding(*t)) {
        case.beta[2 * t..2 * t + 2].fill(0.0);
        case.log_a.as_mut().unwrap()[2 * t..2 * t + 2].fill(0.0);
    }
    let (out, s) = case.run(&device, DType::F32, DELTA);
    let (first, between) = case.part(0, 20).run(&device, DType::F32, DELTA);
    let (second, last) = Case { s: between, ..case.part(37, 24) }.run(&device, DType::F32, DELTA);
    let width = first.len() / 20;
    assert_close(&out[..20 * width], &first, 1e-5);
    assert_close(&out[37 * width..61 * width], &second, 1e-5);
    assert_close(&s, &last, 1e-5);
});

on_each_device!(o19_contraction, |device: Device| {
    let case = Case::random(19, sizes(1, 60, 1, 1, 16, 16));
    let other = Case { s: Case::random(20, case.sizes).s, ..case.clone() };
    let distance = |a: &[f64], b: &[f64]| norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>());
    let start = distance(&case.s, &other.s);
    for time in [1, 7, 32, 60] {
        let kept = case.log_a.as_ref().unwrap()[..time].iter().sum::<f64>().exp();
        for form in [DELTA, SERIAL] {
            let of = |case: &Case| case.part(0, time).run(&device, DType::F32, form).1;
            let ratio = distance(&of(&case), &of(&other)) / (kept * start);
            assert!(ratio <= 1.0 + 1e-5, "after {time} tokens {ratio}");
        }
        // The Hebbian state does not correct itself: the distance shrinks by the decay alone.
        let of = |case: &Case| case.part(0, time).run(&device, DType::F32, HEBBIAN).1;
        assert!((distance(&of(&case), &of(&other)) / (kept * start) - 1.0).abs() < 1e-3);
    }
});
