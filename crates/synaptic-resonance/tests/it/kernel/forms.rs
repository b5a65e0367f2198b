//! Chunks, token by token, and plain loops give the same.

use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, assert_gradient, cpu, max_difference, values};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use synaptic_resonance::MemoryError;
use synaptic_resonance::kernel::{Channels, Inputs, Sizes, chunked, forward, recurrent};
use synaptic_resonance::settings::Rule;

use super::case::*;

/// Sum sin(o) + sum cos(S) of O10b.
fn loss(out: Tensor<4>, s: Tensor<4>) -> Tensor<1> {
    out.sin().sum() + s.cos().sum()
}

on_each_device!(o03_parallel_is_recurrent, |device: Device| {
    for (case, rule) in
        [sizes(2, 131, 2, 2, 16, 16), sizes(1, 131, 4, 2, 8, 5)].iter().flat_map(|s| RULES.map(|rule| (*s, rule)))
    {
        for case in [Case::random(3, case), Case::random(3, case).without_decay()] {
            let expected = case.plain(rule);
            // Without forgetting the Hebbian state grows with the number of tokens.
            let scale = expected.s.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
                let (out, s) = case.run(&device, dtype, &|inputs, s| recurrent(inputs, s, rule));
                assert_close(&out, &expected.out, tolerance * scale);
                assert_close(&s, &expected.s, tolerance * scale);
                for chunk in [4, 16, 32, 64] {
                    let (out, s) = case.run(&device, dtype, &|inputs, s| chunked(inputs, s, rule, chunk));
                    assert_close(&out, &expected.out, tolerance * scale);
                    assert_close(&s, &expected.s, tolerance * scale);
                }
            }
        }
    }
});

on_each_device!(o04_segments_hand_over, |device: Device| {
    let case = Case::random(4, sizes(1, 131, 2, 1, 8, 8));
    let form: Form = &|inputs, s| chunked(inputs, s, Rule::Delta, 32);
    let (whole, last) = case.run(&device, DType::F32, form);
    for split in [1, 31, 32, 33, 100, 130] {
        let (mut out, s) = case.part(0, split).run(&device, DType::F32, form);
        let (more, s) = Case { s, ..case.part(split, 131 - split) }.run(&device, DType::F32, form);
        out.extend(more);
        assert_close(&out, &whole, 1e-5);
        assert_close(&s, &last, 1e-5);
    }
});

on_each_device!(o10_gradients_are_differences, |device: Device| {
    for rule in RULES {
        let case = Case::random(10, sizes(1, 9, 1, 1, 4, 4)).starting(|_, t| t == 6);
        let found = case.derive(&device, &|inputs, s| chunked(inputs, s, rule, 4), loss);
        let with = |place: usize, x: &[f64]| {
            let mut case = case.clone();
            match place {
                2 => case.q = x.to_vec(),
                3 => case.k = x.to_vec(),
                4 => case.v = x.to_vec(),
                5 => case.beta = x.to_vec(),
                6 => case.s = x.to_vec(),
                _ => case.log_a = Some(x.to_vec()),
            }
            case
        };
        let at = [&case.q, &case.k, &case.v, &case.beta, &case.s, case.log_a.as_ref().unwrap()];
        for (place, (x, (_, gradient))) in at.into_iter().zip(&found[2..]).enumerate() {
            // Of the plain rule: independent of everything that is tested.
            let f = |x: &[f64]| {
                let plain = with(place + 2, x).plain(rule);
                plain.out.iter().map(|x| x.sin()).sum::<f64>() + plain.s.iter().map(|x| x.cos()).sum::<f64>()
            };
            assert_gradient(f, x, gradient, 1e-7);
        }
    }
});

on_each_device!(o10b_gradients_of_both_forms, |device: Device| {
    for rule in RULES {
        let case = Case::random(11, sizes(1, 37, 2, 2, 4, 4));
        let parallel = case.derive(&device, &|inputs, s| chunked(inputs, s, rule, 8), loss);
        let serial = case.derive(&device, &|inputs, s| recurrent(inputs, s, rule), loss);
        for ((name, a), (_, b)) in parallel.iter().zip(&serial) {
            assert!(max_difference(a, b) < 1e-10, "{name} of {rule:?}");
        }
    }
});

on_each_device!(o12_rows_and_heads_are_independent, |device: Device| {
    let (batch, time, groups, width) = (3, 21, 2, 4);
    let case = Case::random(12, sizes(batch, time, groups, groups, width, width));
    let form: Form = &|inputs, s| chunked(inputs, s, Rule::Delta, 8);
    let (inputs, s) = case.inputs(&device, DType::F32);
    let (out, last) = form(inputs.clone(), s.clone()).unwrap();
    for (row, group) in (0..batch).flat_map(|b| (0..groups).map(move |g| (b, g))) {
        let of = |x: &Tensor<4>| x.clone().narrow(0, row, 1).narrow(2, group, 1);
        let of3 = |x: &Tensor<3>| x.clone().narrow(0, row, 1).narrow(2, group, 1);
        let part = Inputs {
            q: of(&inputs.q),
            k: of(&inputs.k),
            v: of(&inputs.v),
            beta: of3(&inputs.beta),
            log_a: inputs.log_a.as_ref().map(of3),
            starts: None,
            channels: Channels::default(),
        };
        let of_state = |x: &Tensor<4>| x.clone().narrow(0, row, 1).narrow(1, group, 1);
        let (o, s) = form(part, of_state(&s)).unwrap();
        assert_close(&values(o), &values(of(&out)), 1e-6);
        assert_close(&values(s), &values(of_state(&last)), 1e-6);
    }
});

on_each_device!(o13b_documents, |device: Device| {
    let mut stream = Stream::new(13, "starts", 0);
    let any: Vec<bool> = (0..2 * 150).map(|_| stream.bernoulli(0.2)).collect();
    let places: [&dyn Fn(usize, usize) -> bool; 5] = [
        &|_, t| t % 4 == 0,
        &|_, t| t % 16 == 0,
        &|row, t| t % 16 == 5 + row,
        &|row, t| any[row * 150 + t],
        &|row, t| row == 1 && t == 149,
    ];
    for (at, rule) in places.iter().flat_map(|at| RULES.map(|rule| (at, rule))) {
        for decay in [true, false] {
            let mut case = Case::random(13, sizes(2, 150, 2, 1, 8, 8)).starting(at);
            if !decay {
                case.log_a = None;
            }
            let expected = case.plain(rule);
            let scale = expected.s.iter().chain(&expected.out).fold(2.0, |max: f64, x| max.max(x.abs())) / 2.0;
            for chunk in [64, 8] {
                let (out, s) = case.run(&device, DType::F32, &|inputs, s| chunked(inputs, s, rule, chunk));
                assert_close(&out, &expected.out, 2e-6 * scale);
                assert_close(&s, &expected.s, 2e-6 * scale);
            }
            let (out, s) = case.run(&device, DType::F32, &|inputs, s| recurrent(inputs, s, rule));
            assert_close(&out, &expected.out, 2e-6 * scale);
            assert_close(&s, &expected.s, 2e-6 * scale);
        }
    }
});

on_each_device!(a_start_empties_any_state, |device: Device| {
    let mut case = Case::random(14, sizes(1, 20, 1, 1, 4, 4)).starting(|_, t| t == 0);
    let expected = case.clone().empty().plain(Rule::Delta);
    case.s.iter_mut().for_each(|x| *x *= 1e37);
    // A start is a start, however much would have been forgotten there.
    case.log_a.as_mut().unwrap()[0] = -1e4;
    let forms: [Form; 2] =
        [&|inputs, s| chunked(inputs, s, Rule::Delta, 8), &|inputs, s| recurrent(inputs, s, Rule::Delta)];
    for form in forms {
        let (out, s) = case.run(&device, DType::F32, form);
        assert_close(&out, &expected.out, 1e-5);
        assert_close(&s, &expected.s, 1e-5);
    }
});

on_each_device!(grouped_heads_are_repeated_groups, |device: Device| {
    let case = Case::random(15, sizes(2, 19, 6, 2, 4, 3)).starting(|row, t| row == 1 && t == 7);
    let (inputs, s) = case.inputs(&device, DType::F64);
    let repeat = |x: Tensor<4>| {
        let [b, t, g, w] = x.dims();
        let x: Tensor<5> = x.unsqueeze_dim(3);
        x.repeat_dim(3, 3).reshape([b, t, 3 * g, w])
    };
    let repeat3 = |x: Tensor<3>| repeat(x.unsqueeze_dim(3)).squeeze_dim(3);
    let repeated = Inputs {
        q: inputs.q.clone(),
        k: repeat(inputs.k.clone()),
        v: repeat(inputs.v.clone()),
        beta: repeat3(inputs.beta.clone()),
        log_a: inputs.log_a.clone().map(repeat3),
        starts: inputs.starts.clone(),
        channels: Channels::default(),
    };
    let of_every_head: Tensor<4> = repeat(s.clone().swap_dims(1, 2)).swap_dims(1, 2);
    for rule in RULES {
        let (grouped, last) = chunked(inputs.clone(), s.clone(), rule, 8).unwrap();
        let (single, last_of_heads) = chunked(repeated.clone(), of_every_head.clone(), rule, 8).unwrap();
        assert_close(&values(grouped), &values(single), 1e-13);
        assert_close(&values(repeat(last.swap_dims(1, 2)).swap_dims(1, 2)), &values(last_of_heads), 1e-13);
    }
});

on_each_device!(all_forms_agree_with_their_gradients, |device: Device| {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let shape = (1usize..3, 1usize..40, 1usize..3, 1usize..4, 1usize..5, 1usize..5);
    let rest = (0u32..7, any::<bool>(), prop::option::of(0.0..0.5), any::<u64>(), any::<bool>());
    let run = |(shape, rest)| {
        let (batch, time, groups, share, key, value): (usize, usize, usize, usize, usize, usize) = shape;
        let (chunk, decay, starts, seed, delta): (u32, bool, Option<f64>, u64, bool) = rest;
        let sizes = Sizes { batch, time, heads: groups * share, groups, key, value };
        let mut case: Case = Case::random(seed, sizes);
        if !decay {
            case.log_a = None;
        }
        if let Some(p) = starts {
            let mut stream = Stream::new(seed, "starts", 0);
            case = case.starting(|_, _| stream.bernoulli(p));
        }
        let rule = if delta { Rule::Delta } else { Rule::Hebbian };
        let parallel = case.derive(&device, &|inputs, s| chunked(inputs, s, rule, 1 << chunk), loss);
        let serial = case.derive(&device, &|inputs, s| recurrent(inputs, s, rule), loss);
        prop_assert_eq!(parallel.len(), serial.len());
        for ((name, a), (_, b)) in parallel.iter().zip(&serial) {
            let difference = max_difference(a, b);
            prop_assert!(difference < 1e-10, "{} differs by {}", name, difference);
        }
        Ok(())
    };
    TestRunner::new(config).run(&(shape, rest), run).unwrap();
});

on_each_device!(any_type_of_numbers, |device: Device| {
    let case = Case::random(16, sizes(1, 21, 2, 1, 4, 4));
    let expected = case.plain(Rule::Delta);
    for form in [|i: Inputs, s| recurrent(i, s, Rule::Delta), |i: Inputs, s| forward(i, s, Rule::Delta, 8)] {
        // Rates in another type than the queries are converted, not refused.
        let (mut inputs, s) = case.inputs(&device, DType::F32);
        inputs.beta = inputs.beta.cast(FloatDType::F64);
        let (out, last) = form(inputs, s).unwrap();
        assert_eq!((out.dtype(), last.dtype()), (DType::F32, DType::F32));
        assert_close(&values(out), &expected.out, 1e-5);
    }
});

#[cfg(feature = "flex")]
#[test]
fn half_precision_keeps_a_wide_state() {
    let device = cpu();
    let mut case = Case::random(17, sizes(1, 40, 2, 1, 4, 4));
    let (mut inputs, s) = case.inputs(&device, DType::F32);
    (inputs.q, inputs.k) = (inputs.q.cast(FloatDType::F16), inputs.k.cast(FloatDType::F16));
    (case.q, case.k) = (values(inputs.q.clone()), values(inputs.k.clone()));
    let expected = case.plain(Rule::Delta);
    for form in [|i, s| recurrent(i, s, Rule::Delta), |i, s| chunked(i, s, Rule::Delta, 16)] {
        let (out, last) = form(inputs.clone(), s.clone()).unwrap();
        assert_eq!((out.dtype(), last.dtype()), (DType::F16, DType::F32));
        assert_close(&values(last), &expected.s, 1e-5);
        assert_close(&values(out), &expected.out, 4e-3);
    }
}

on_each_device!(wrong_inputs_are_named, |device: Device| {
    let case = Case::random(18, sizes(2, 5, 4, 2, 3, 6));
    let (right, s) = case.inputs(&device, DType::F32);
    let run = |inputs: &Inputs, s: &Tensor<4>, chunk: usize| -> String {
        let error = |result: Result<_, MemoryError>| match result {
            Err(error) => error.to_string(),
            Ok(_) => "accepted".into(),
        };
        let found = error(chunked(inputs.clone(), s.clone(), Rule::Delta, chunk));
        assert_eq!(found, error(forward(inputs.clone(), s.clone(), Rule::Delta, chunk)));
        if chunk.is_power_of_two() {
            assert_eq!(found, error(recurrent(inputs.clone(), s.clone(), Rule::Delta)));
        }
        found
    };
    for chunk in [0, 3, 48] {
        let text = run(&right, &s, chunk);
        assert_eq!(text, format!("`chunk` is {chunk}: must be a power of two, such as 32"));
    }
    let shape4 = |shape: [usize; 4]| Tensor::<4>::ones(shape, &device);
    let mut wrong = right.clone();
    wrong.q = shape4([2, 5, 3, 3]);
    assert_eq!(run(&wrong, &s, 4), "`heads` is 3: must be a multiple of the groups 2");
    type Spoil = fn(&mut Inputs);
    let checks: [(&str, Spoil); 5] = [
        ("`k` has shape [2, 4, 2, 3], expected [2, 5, 2, 3]", |x| x.k = x.k.clone().narrow(1, 0, 4)),
        ("`v` has shape [1, 5, 2, 6], expected [2, 5, 2, 6]", |x| x.v = x.v.clone().narrow(0, 0, 1)),
        ("`beta` has shape [2, 5, 1], expected [2, 5, 2]", |x| x.beta = x.beta.clone().narrow(2, 0, 1)),
        ("`log_a` has shape [2, 4, 2], expected [2, 5, 2]", |x| x.log_a = Some(x.beta.clone().narrow(1, 0, 4))),
        ("`starts` has shape [2, 2], expected [2, 5]", |x| {
            x.starts = Some(x.beta.clone().narrow(1, 0, 1).squeeze_dim(1));
        }),
    ];
    for (text, spoil) in checks {
        let mut wrong = right.clone();
        spoil(&mut wrong);
        assert_eq!(run(&wrong, &s, 4), text);
    }
    // Flex and ndarray both hold tensors without values.
    let mut nothing = right.clone();
    nothing.q = shape4([2, 0, 4, 3]);
    assert_eq!(run(&nothing, &s, 4), "`time` is 0: must be at least 1");
    assert_eq!(run(&right, &s.swap_dims(2, 3), 4), "`s` has shape [2, 2, 3, 6], expected [2, 2, 6, 3]");
});
