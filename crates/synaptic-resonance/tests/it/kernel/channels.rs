//! Gates of single channels: what others call their cases, in closed form and against PyTorch, and all forms of them
//! against each other.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{Golden, assert_close, assert_gradient, cpu, max_difference, values};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use synaptic_resonance::kernel::{attention_map, chunked, forward, recurrent, signals};
use synaptic_resonance::settings::Rule;

use super::case::*;

/// Every choice of decay, erasing and writing by channel.
fn choices() -> impl Iterator<Item = [bool; 3]> {
    (0..8).map(|i| [1, 2, 4].map(|bit| i & bit != 0))
}

on_each_device!(all_forms_are_the_plain_rule, |device: Device| {
    for (gates, rule) in choices().flat_map(|gates| RULES.map(|rule| (gates, rule))) {
        for case in [
            Case::random(3, sizes(2, 70, 2, 2, 16, 16)).gated(4, gates),
            Case::random(5, sizes(1, 70, 4, 2, 8, 5)).gated(6, gates).starting(|_, t| t % 23 == 7),
            Case::random(7, sizes(1, 37, 3, 1, 20, 40)).gated(8, gates).without_decay(),
        ] {
            let expected = case.plain(rule);
            let scale = expected.s.iter().chain(&expected.out).fold(1.0, |max: f64, x| max.max(x.abs()));
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
                let forms: [Form; 5] = [
                    &|inputs, s| recurrent(inputs, s, rule),
                    &|inputs, s| chunked(inputs, s, rule, 1),
                    &|inputs, s| chunked(inputs, s, rule, 8),
                    &|inputs, s| chunked(inputs, s, rule, 64),
                    &|inputs, s| forward(inputs, s, rule, 32),
                ];
                for form in forms {
                    let (out, s) = case.run(&device, dtype, form);
                    assert_close(&out, &expected.out, tolerance * scale);
                    assert_close(&s, &expected.s, tolerance * scale);
                }
            }
        }
    }
});

on_each_device!(all_forms_agree_with_their_gradients, |device: Device| {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let shape = (1usize..3, 1usize..40, 1usize..3, 1usize..4, 1usize..6, 1usize..6);
    let rest = (0u32..7, any::<bool>(), prop::option::of(0.0..0.5), any::<u64>(), any::<bool>(), any::<[bool; 3]>());
    let run = |(shape, rest)| {
        let (batch, time, groups, share, key, value): (usize, usize, usize, usize, usize, usize) = shape;
        let (chunk, decay, starts, seed, delta, gates): (u32, bool, Option<f64>, u64, bool, [bool; 3]) = rest;
        let mut case = Case::random(seed, sizes(batch, time, groups * share, groups, key, value)).gated(seed, gates);
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

/// What a gradient belongs to.
fn of<'a>(case: &'a mut Case, gradient: &str) -> &'a mut Vec<f64> {
    let gates = &mut case.channels;
    match gradient {
        "dq" => &mut case.q,
        "dk" => &mut case.k,
        "dv" => &mut case.v,
        "dbeta" => &mut case.beta,
        "ds" => &mut case.s,
        "dlog_a" => case.log_a.as_mut().unwrap(),
        "dlog_decay" => gates.log_decay.as_mut().unwrap(),
        "derase" => gates.erase.as_mut().unwrap(),
        "dwrite" => gates.write.as_mut().unwrap(),
        name => panic!("{name}"),
    }
}

on_each_device!(gradients_are_differences, |device: Device| {
    for rule in RULES {
        let case = Case::random(10, sizes(1, 9, 2, 1, 4, 3)).gated(11, [true; 3]).starting(|_, t| t == 6);
        let found = case.derive(&device, &|inputs, s| chunked(inputs, s, rule, 4), loss);
        assert_eq!(found.len(), if rule == Rule::Delta { 11 } else { 10 });
        for (name, gradient) in &found[2..] {
            // Of the plain rule: independent of everything that is tested.
            let f = |x: &[f64]| {
                let mut case = case.clone();
                *of(&mut case, name) = x.to_vec();
                let plain = case.plain(rule);
                plain.out.iter().map(|x| x.sin()).sum::<f64>() + plain.s.iter().map(|x| x.cos()).sum::<f64>()
            };
            assert_gradient(f, &of(&mut case.clone(), name).clone(), gradient, 1e-7);
        }
    }
});

/// Some channels forget nearly all at some tokens, at neighbouring ones too, and others nothing.
fn forgetting(log_decay: f64) -> Case {
    let mut case = Case::random(21, sizes(2, 50, 2, 1, 8, 8)).gated(22, [true; 3]);
    let gates = case.channels.log_decay.as_mut().unwrap();
    for (t, channel) in [(3, 0), (3, 5), (4, 5), (17, 2), (31, 7), (32, 7), (49, 1), (50 + 9, 3), (50 + 40, 3)] {
        gates[t * 8 + channel] = log_decay;
        gates[t * 8 + (channel + 1) % 8] = 0.0;
    }
    case
}

const LOG_DECAY: [f64; 8] = [-1.0, -30.0, -88.0, -1e4, -1e5, -1e7, -1e30, f64::NEG_INFINITY];

on_each_device!(any_decay_in_any_form, |device: Device| {
    for (log_decay, rule) in LOG_DECAY.iter().flat_map(|log_decay| RULES.map(|rule| (*log_decay, rule))) {
        let case = forgetting(log_decay);
        assert_any_form(&case, &device, rule);
        assert_gradients(&case, &device, rule, log_decay);
    }
});

/// A thousand tokens that each leave a tenth, in chunks as long as that: quotients of cumulated decays would be 10^1000.
#[test]
fn a_long_chunk_of_strong_forgetting_overflows_nowhere() {
    let mut case = Case::random(23, sizes(1, 1000, 1, 1, 4, 4)).gated(24, [true; 3]);
    let gates = case.channels.log_decay.as_mut().unwrap();
    gates.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 4 == 0 { 0.0 } else { -2.3 });
    let expected = case.plain(Rule::Delta);
    let (out, s) = case.run(&cpu(), DType::F32, &|inputs, s| chunked(inputs, s, Rule::Delta, 1024));
    assert_close(&out, &expected.out, 1e-5);
    assert_close(&s, &expected.s, 1e-5);
}

/// Channels that all are one are the rule without them, bit for bit; so are powers of two in place of the head's gates.
#[test]
fn equal_channels_are_the_rule_of_heads() {
    let device = cpu();
    let serial: Form = &|inputs, s| recurrent(inputs, s, Rule::Delta);
    let fused: Form = &|inputs, s| forward(inputs, s, Rule::Delta, 32);
    let parallel: Form = &|inputs, s| chunked(inputs, s, Rule::Delta, 16);
    for (i, shape) in
        [sizes(2, 33, 4, 2, 32, 32), sizes(1, 20, 1, 1, 64, 64), sizes(1, 9, 3, 1, 5, 40)].iter().enumerate()
    {
        let plain = Case::random(i as u64, *shape).starting(|row, t| row == 0 && t == 5);
        let (keys, values) = (plain.k.len(), plain.v.len());
        let with = |case: &Case, left: f64, share: f64| {
            let mut case = case.clone();
            let log_decay = Some(vec![left.ln(); keys]);
            case.channels = Gates { log_decay, erase: Some(vec![share; keys]), write: Some(vec![share; values]) };
            case
        };
        let bits = |x: (Vec<f64>, Vec<f64>)| -> Vec<u64> { x.0.iter().chain(&x.1).map(|x| x.to_bits()).collect() };
        let ones = with(&plain, 1.0, 1.0);
        for form in [serial, fused] {
            let run = |case: &Case| bits(case.run(&device, DType::F32, form));
            assert_eq!(run(&ones), run(&plain), "case {i}");
            // A half that is written and read, of the head or of its channels.
            let mut heads = plain.clone();
            heads.beta.fill(0.5);
            let mut whole = heads.clone();
            whole.beta.fill(1.0);
            assert_eq!(run(&with(&whole, 1.0, 0.5)), run(&heads), "case {i}");
        }
        // Any other number, within rounding.
        let mut heads = plain.clone();
        (heads.beta, heads.log_a) = (vec![0.3; plain.beta.len()], Some(vec![0.9f64.ln(); plain.beta.len()]));
        let mut whole = heads.clone();
        (whole.beta, whole.log_a) = (vec![1.0; plain.beta.len()], None);
        for form in [serial, fused, parallel] {
            for (channels, heads) in [(&ones, &plain), (&with(&whole, 0.9, 0.3), &heads)] {
                let (out, s) = channels.run(&device, DType::F32, form);
                let (expected, last) = heads.run(&device, DType::F32, form);
                assert_close(&out, &expected, 2e-6);
                assert_close(&s, &last, 2e-6);
            }
        }
    }
}

/// Every form, by name.
fn each_form(check: impl Fn(Form)) {
    check(&|inputs, s| recurrent(inputs, s, Rule::Delta));
    check(&|inputs, s| chunked(inputs, s, Rule::Delta, 4));
    check(&|inputs, s| forward(inputs, s, Rule::Delta, 4));
}

/// One token with a key along axis 1 of 3, and a state of two values.
fn one_token() -> Case {
    let mut case = Case::random(30, sizes(1, 1, 1, 1, 3, 2)).without_decay();
    case.k = vec![0.0, 1.0, 0.0];
    case.s = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    case.v = vec![10.0, 20.0];
    case
}

on_each_device!(the_delta_net_replaces_a_value, |device: Device| {
    let mut case = one_token();
    case.beta = vec![1.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &[1.0, 10.0, 3.0, 4.0, 20.0, 6.0], 1e-5));
});

on_each_device!(gated_delta_net_forgets_and_replaces_a_part, |device: Device| {
    let mut case = one_token();
    (case.beta, case.log_a) = (vec![0.25], Some(vec![0.5f64.ln()]));
    // a S + beta (v - a S k) k^T
    let expected = [0.5, 1.0 + 0.25 * (10.0 - 1.0), 1.5, 2.0, 2.5 + 0.25 * (20.0 - 2.5), 3.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
});

on_each_device!(kimi_delta_attention_forgets_by_key_channel, |device: Device| {
    let mut case = one_token();
    case.beta = vec![0.25];
    case.channels.log_decay = Some([0.5f64, 0.1, 1.0].map(f64::ln).to_vec());
    let expected = [0.5, 0.2 + 0.25 * (10.0 - 0.2), 3.0, 2.0, 0.5 + 0.25 * (20.0 - 0.5), 6.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
    // What has been written along a key decays along it: after t tokens that write nothing, v (k o c^t) . q.
    let mut case = Case::random(31, sizes(1, 12, 1, 1, 3, 2)).without_decay().empty();
    case.beta.fill(0.0);
    case.beta[0] = 1.0;
    case.channels.log_decay = Some([0.9f64, 0.5, 1.0].map(f64::ln).repeat(12));
    let (k, q, v) = (&case.k[..3], &case.q[33..], &case.v[..2]);
    let left: f64 = [0.9f64, 0.5, 1.0].iter().enumerate().map(|(i, c)| k[i] * q[i] * c.powi(11)).sum();
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).0[22..], &[v[0] * left, v[1] * left], 1e-6));
});

on_each_device!(gated_delta_net_2_erases_and_writes_apart, |device: Device| {
    let mut case = one_token();
    case.beta = vec![1.0];
    case.channels.erase = Some(vec![0.7, 0.25, 0.7]);
    case.channels.write = Some(vec![0.1, 0.9]);
    // (1 - b_1) S_1 + w o v; the other key channels stay as they are.
    let expected = [1.0, 1.5 + 1.0, 3.0, 4.0, 3.75 + 18.0, 6.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
    // A key channel that does not erase is not asked: of a key of two channels the old value is that of the other one.
    let half = 0.5f64.sqrt();
    case.k = vec![half, half, 0.0];
    case.channels.erase = Some(vec![1.0, 0.0, 1.0]);
    let new = [1.0 - half, 18.0 - 4.0 * half];
    let expected = [1.0 + half * new[0], 2.0 + half * new[0], 3.0, 4.0 + half * new[1], 5.0 + half * new[1], 6.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
    // Nothing erased: a plain sum. Nothing written: it only forgets what it had there.
    case.channels.erase = Some(vec![0.0; 3]);
    let expected = [1.0 + half, 2.0 + half, 3.0, 4.0 + 18.0 * half, 5.0 + 18.0 * half, 6.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
    (case.channels.erase, case.channels.write) = (Some(vec![1.0; 3]), Some(vec![0.0; 2]));
    let expected = [-0.5, 0.5, 3.0, -0.5, 0.5, 6.0];
    each_form(|form| assert_close(&case.run(&device, DType::F32, form).1, &expected, 1e-5));
});

// P3 is one of heads: with a share of the key that erases, a state can grow although nothing is written.
on_each_device!(erasing_by_channel_can_make_a_state_longer, |device: Device| {
    let mut case = one_token();
    let half = 0.5f64.sqrt();
    (case.k, case.beta) = (vec![half, half, 0.0], vec![1.0]);
    (case.s, case.v) = (vec![1.0, -1.0, 0.0, 0.0, 0.0, 0.0], vec![0.0, 0.0]);
    case.channels.erase = Some(vec![1.0, 0.0, 1.0]);
    each_form(|form| {
        let (_, s) = case.run(&device, DType::F32, form);
        assert_close(&s, &[0.5, -1.5, 0.0, 0.0, 0.0, 0.0], 1e-6);
        assert!(norm(&s) > 1.1 * norm(&case.s));
    });
});

on_each_device!(the_rule_is_that_of_pytorch, |device: Device| {
    let golden = Golden::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/channels.json"));
    let shape: Vec<usize> = golden.numbers("sizes").iter().map(|n| *n as usize).collect();
    let [batch, time, heads, groups, key, value] = shape[..] else { panic!("{shape:?}") };
    let start = golden.numbers("start");
    let given = |name: &str| golden.numbers(&format!("inputs.{name}"));
    let mut case = Case::random(0, sizes(batch, time, heads, groups, key, value));
    (case.q, case.k, case.v, case.beta, case.s) = (given("q"), given("k"), given("v"), given("beta"), given("s"));
    case.log_a = Some(given("log_a"));
    let gates = ["log_decay", "erase", "write"].map(|name| Some(given(name)));
    let [log_decay, erase, write] = gates;
    case.channels = Gates { log_decay, erase, write };
    let case = case.starting(|row, t| [row as f64, t as f64] == start[..]);
    for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-12)] {
        each_form(|form| {
            let (out, s) = case.run(&device, dtype, form);
            assert_close(&out, &golden.numbers("out"), tolerance);
            assert_close(&s, &golden.numbers("state"), tolerance);
        });
    }
    let forms: [Form; 2] =
        [&|inputs, s| recurrent(inputs, s, Rule::Delta), &|inputs, s| chunked(inputs, s, Rule::Delta, 4)];
    for form in forms {
        let found = case.derive(&device, form, loss);
        for (name, gradient) in &found[2..] {
            assert_close(gradient, &golden.numbers(&format!("gradients.{}", &name[1..])), 1e-11);
        }
    }
});

on_each_device!(segments_hand_over_and_silence_changes_nothing, |device: Device| {
    let case = Case::random(41, sizes(1, 60, 2, 1, 8, 8)).gated(42, [true; 3]);
    each_form(|form| {
        let (whole, last) = case.run(&device, DType::F32, form);
        for split in [1, 31, 32, 59] {
            let (mut out, s) = case.part(0, split).run(&device, DType::F32, form);
            let (more, s) = Case { s, ..case.part(split, 60 - split) }.run(&device, DType::F32, form);
            out.extend(more);
            assert_close(&out, &whole, 1e-5);
            assert_close(&s, &last, 1e-5);
        }
        let mut silent = case.clone().without_decay();
        silent.beta.fill(0.0);
        silent.channels.log_decay.as_mut().unwrap().fill(0.0);
        let (inputs, s) = silent.inputs(&device, DType::F32);
        assert_eq!(values(form(inputs, s.clone()).unwrap().1), values(s));
    });
});

on_each_device!(signals_and_the_map_are_those_of_the_plain_rule, |device: Device| {
    for rule in RULES {
        let case =
            Case::random(71, sizes(2, 23, 4, 2, 6, 5)).gated(72, [true; 3]).starting(|row, t| row == 0 && t == 9);
        let expected = case.plain(rule);
        let (inputs, s) = case.inputs(&device, DType::F64);
        let f = Tensor::zeros([2, 2, 6], (&device, DType::F64));
        let (seen, last, row) = signals(inputs, s, f, rule).unwrap();
        for (found, expected) in [
            (values(seen.surprise), &expected.surprise),
            (values(seen.familiarity), &expected.familiarity),
            (values(seen.norm), &expected.norm),
            (values(seen.read), &expected.out),
            (values(last), &expected.s),
            (values(row), &expected.f),
        ] {
            assert_close(&found, expected, 1e-12);
        }
        // The map times the values that are let through.
        let case = case.empty();
        let (inputs, _) = case.inputs(&device, DType::F64);
        let map = attention_map(inputs.clone(), rule).unwrap();
        let v: Tensor<5> = (inputs.v * inputs.channels.write.unwrap()).swap_dims(1, 2).unsqueeze_dim(2);
        let read = map.matmul(v.repeat_dim(2, 2).reshape([2, 4, 23, 5])).swap_dims(1, 2);
        assert_close(&values(read), &case.plain(rule).out, 1e-12);
    }
});

#[cfg(feature = "flex")]
#[test]
fn half_precision_keeps_a_wide_state() {
    let device = cpu();
    let mut case = Case::random(17, sizes(1, 40, 2, 1, 4, 4)).gated(18, [true; 3]);
    let (mut inputs, s) = case.inputs(&device, DType::F32);
    (inputs.q, inputs.k) = (inputs.q.cast(FloatDType::F16), inputs.k.cast(FloatDType::F16));
    inputs.channels.erase = inputs.channels.erase.map(|x| x.cast(FloatDType::F16));
    (case.q, case.k) = (values(inputs.q.clone()), values(inputs.k.clone()));
    case.channels.erase = inputs.channels.erase.clone().map(values);
    let expected = case.plain(Rule::Delta);
    each_form(|form| {
        let (out, last) = form(inputs.clone(), s.clone()).unwrap();
        assert_eq!((out.dtype(), last.dtype()), (DType::F16, DType::F32));
        assert_close(&values(last), &expected.s, 1e-5);
        assert_close(&values(out), &expected.out, 4e-3);
    });
}

on_each_device!(wrong_gates_are_named, |device: Device| {
    let case = Case::random(18, sizes(2, 5, 4, 2, 3, 6)).gated(19, [true; 3]);
    let (right, s) = case.inputs(&device, DType::F32);
    let wrong = Tensor::<4>::ones([2, 5, 2, 4], &device);
    for (field, width) in [("log_decay", 3), ("erase", 3), ("write", 6)] {
        let mut inputs = right.clone();
        let gate = match field {
            "log_decay" => &mut inputs.channels.log_decay,
            "erase" => &mut inputs.channels.erase,
            _ => &mut inputs.channels.write,
        };
        *gate = Some(wrong.clone());
        each_form(|form| {
            let error = form(inputs.clone(), s.clone()).unwrap_err().to_string();
            assert_eq!(error, format!("`channels.{field}` has shape [2, 5, 2, 4], expected [2, 5, 2, {width}]"));
        });
    }
});
