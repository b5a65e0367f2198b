//! Signals, the attention map, and rehearsal's trick.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::kernel::{Inputs, attention_map, chunked, signals};
use synaptic_resonance::settings::Rule;

use super::case::*;

on_each_device!(signals_are_those_of_the_plain_rule, |device: Device| {
    for rule in RULES {
        let case = Case::random(71, sizes(2, 23, 4, 2, 6, 5)).starting(|row, t| row == 0 && t == 9);
        let expected = case.plain(rule);
        let (inputs, s) = case.inputs(&device, DType::F64);
        let f = Tensor::zeros([2, 2, 6], (&device, DType::F64));
        let (seen, last, row) = signals(inputs.clone(), s.clone(), f.clone(), rule).unwrap();
        assert_eq!(seen.read.dims(), [2, 23, 4, 5]);
        assert_eq!((seen.surprise.dims(), seen.norm.dims()), ([2, 23, 2], [2, 23, 2]));
        assert_eq!(seen.familiarity.dims(), [2, 23, 4]);
        for (found, expected) in [
            (values(seen.surprise), &expected.surprise),
            (values(seen.familiarity.clone()), &expected.familiarity),
            (values(seen.norm), &expected.norm),
            (values(seen.read), &expected.out),
            (values(last), &expected.s),
            (values(row), &expected.f),
        ] {
            assert_close(&found, expected, 1e-12);
        }
        // State and row carry on where they were left.
        let of = |from: usize, time: usize, s: Tensor<4>, f: Tensor<3>| {
            signals(case.part(from, time).inputs(&device, DType::F64).0, s, f, rule).unwrap()
        };
        let (first, s, f) = of(0, 8, s, f);
        let (second, ..) = of(8, 15, s, f);
        let joined = Tensor::cat(vec![first.familiarity, second.familiarity], 1);
        assert_close(&values(joined), &values(seen.familiarity), 1e-12);
    }
});

on_each_device!(familiarity_is_one_for_a_stored_key, |device: Device| {
    let width = 4;
    let mut case = Case::random(72, sizes(1, 3, 1, 1, width, width)).without_decay().empty();
    // Two unit vectors are written; the queries are the first, the first again, and a third that was never written.
    let axis = |i: usize| (0..width).map(|j| f64::from(i == j)).collect::<Vec<f64>>();
    case.k = [axis(0), axis(1), axis(1)].concat();
    case.q = [axis(0), axis(0), axis(2)].concat();
    case.beta = vec![1.0, 1.0, 0.0];
    let (inputs, s) = case.inputs(&device, DType::F32);
    let f = Tensor::zeros([1, 1, width], &device);
    let (seen, ..) = signals(inputs, s, f, Rule::Delta).unwrap();
    assert_close(&values(seen.familiarity), &[1.0, 1.0, 0.0], 1e-6);
    // What is not known surprises by its whole length.
    assert_close(&values(seen.surprise)[..2], &[norm(&case.v[..width]), norm(&case.v[width..2 * width])], 1e-6);
});

on_each_device!(o18_attention_map, |device: Device| {
    for (rule, time) in RULES.into_iter().flat_map(|rule| [(rule, 1), (rule, 32), (rule, 75)]) {
        for case in [
            Case::random(18, sizes(2, time, 2, 2, 16, 16)).empty(),
            Case::random(18, sizes(1, time, 4, 2, 16, 16)).empty().starting(|_, t| t % 20 == 7),
            Case::random(18, sizes(1, time, 2, 1, 16, 3)).empty().without_decay(),
        ] {
            let (inputs, _) = case.inputs(&device, DType::F32);
            let map = attention_map(inputs.clone(), rule).unwrap();
            let share = case.sizes.heads / case.sizes.groups;
            assert_eq!(map.dims(), [case.sizes.batch, case.sizes.heads, time, time]);
            assert!(values(map.clone().triu(1)).iter().all(|x| *x == 0.0));
            let v: Tensor<5> = inputs.v.swap_dims(1, 2).unsqueeze_dim(2);
            let v = v.repeat_dim(2, share).reshape([case.sizes.batch, case.sizes.heads, time, case.sizes.value]);
            let out = map.matmul(v).swap_dims(1, 2);
            let expected = case.plain(rule).out;
            let scale = expected.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
            assert_close(&values(out), &expected, 1e-5 * scale);
        }
    }
});

on_each_device!(o22_familiarity_of_keys_by_shifted_queries, |device: Device| {
    let (time, groups, width) = (45, 2, 16);
    let case = Case::random(22, sizes(2, time, groups, groups, width, 1));
    let (inputs, f) = case.inputs(&device, DType::F32);
    let key = |t: usize| inputs.k.clone().narrow(1, t, 1);
    // f_(t-1) . k_t, one token at a time.
    let one: Form = &|inputs, s| chunked(inputs, s, Rule::Delta, 16);
    let ones = Case { v: vec![1.0; case.v.len()], ..case.clone() };
    let (mut direct, mut state) = (Vec::new(), ones.s.clone());
    for t in 0..time {
        let row: Tensor<4> = tensor(&state, [2, groups, 1, width], &device, DType::F32).swap_dims(1, 2);
        direct.push((row * key(t)).sum_dim(3));
        state = Case { s: state, ..ones.part(t, 1) }.run(&device, DType::F32, one).1;
    }
    let direct = Tensor::cat(direct, 1);
    // The key of the next token as query of this one; the first key meets the incoming row.
    let shifted = Inputs {
        q: Tensor::cat(vec![inputs.k.clone().narrow(1, 1, time - 1), key(0).zeros_like()], 1),
        v: inputs.v.ones_like(),
        ..inputs.clone()
    };
    let (read, last) = one(shifted, f.clone()).unwrap();
    let first = (f.swap_dims(1, 2) * key(0)).sum_dim(3);
    let familiarity = Tensor::cat(vec![first, read.narrow(1, 0, time - 1)], 1);
    assert_close(&values(familiarity), &values(direct), 1e-5);
    assert_close(&values(last), &state, 1e-5);
});

on_each_device!(wrong_inputs_are_refused, |device: Device| {
    let case = Case::random(73, sizes(1, 4, 2, 2, 3, 5));
    let (inputs, s) = case.inputs(&device, DType::F32);
    let f = Tensor::zeros([1, 2, 5], &device);
    let error = signals(inputs.clone(), s, f, Rule::Delta).unwrap_err().to_string();
    assert_eq!(error, "`f` has shape [1, 2, 5], expected [1, 2, 3]");
    let wrong = Inputs { k: inputs.k.clone().narrow(1, 0, 3), ..inputs };
    let error = attention_map(wrong, Rule::Delta).unwrap_err().to_string();
    assert_eq!(error, "`k` has shape [1, 3, 2, 3], expected [1, 4, 2, 3]");
});
