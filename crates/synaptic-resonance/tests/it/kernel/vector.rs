//! The fixed vector of section 10.1.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::testing::assert_close;
use synaptic_resonance::kernel::{chunked, recurrent};
use synaptic_resonance::settings::Rule;

use super::case::*;

fn fixed() -> Case {
    let rows = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        (1..=6).flat_map(|t| (1..=3).map(move |j| (f64::from(t), f64::from(j)))).map(|(t, j)| f(t, j)).collect()
    };
    let plain_norm = |mut x: Vec<f64>| {
        for row in x.chunks_exact_mut(3) {
            let length = norm(row);
            row.iter_mut().for_each(|x| *x /= length);
        }
        x
    };
    let each = |f: &dyn Fn(f64) -> f64| (1..=6).map(|t| f(f64::from(t))).collect::<Vec<f64>>();
    Case {
        sizes: sizes(1, 6, 1, 1, 3, 3),
        q: plain_norm(rows(&|t, j| (0.5 * t - 0.9 * j).cos())),
        k: plain_norm(rows(&|t, j| (0.7 * t + 1.3 * j).sin())),
        v: rows(&|t, j| (1.1 * t * j).sin()),
        beta: each(&|t| 0.5 + 0.4 * t.sin()),
        log_a: Some(each(&|t| -(0.05 + 0.04 * t.cos()))),
        starts: None,
        s: vec![0.0; 9],
        channels: Gates::default(),
    }
}

/// The printed digits.
const DIGITS: f64 = 6e-11;

/// All forms: chunks smaller than, as large as and larger than the sequence, token by token.
fn each_form(rule: Rule, check: impl Fn(Form)) {
    for chunk in [1, 2, 4, 8, 64] {
        check(&|inputs, s| chunked(inputs, s, rule, chunk));
    }
    check(&|inputs, s| recurrent(inputs, s, rule));
}

#[test]
fn inputs_are_the_printed_ones() {
    let case = fixed();
    assert_close(&case.k[..3], &[0.6705019783, -0.1163192558, -0.7327325077], DIGITS);
    assert_close(&case.q[..3], &[0.8185212153, 0.2377187480, -0.5229845285], DIGITS);
    assert_close(&case.v[..3], &[0.8912073601, 0.8084964038, -0.1577456941], DIGITS);
    assert_close(&case.beta[..1], &[0.8365883939], DIGITS);
    assert_close(&case.log_a.unwrap()[..1], &[-0.0716120922], DIGITS);
}

on_each_device!(delta_from_empty, |device: Device| {
    let out = [
        [0.6742794321, 0.6117010703, -0.1193489662],
        [0.4024198343, 0.3599149549, -0.0698377466],
        [0.2101953926, 0.0798609527, 0.1748852947],
        [-0.1004552996, 0.1473976001, 0.0390820968],
        [-0.4305654732, 0.1894797324, -0.0128099854],
        [-0.2819366409, 0.3434543707, 0.2761684560],
    ];
    let state = [
        [0.3284275109, 0.1811762331, -0.2314986506],
        [-0.1750871899, 0.1554326604, 0.2582432991],
        [-0.1106562616, 0.1753504386, 0.2044683355],
    ];
    each_form(Rule::Delta, |form| {
        let (o, s) = fixed().run(&device, DType::F64, form);
        assert_close(&o, out.as_flattened(), DIGITS);
        assert_close(&s, state.as_flattened(), DIGITS);
    });
});

on_each_device!(delta_from_a_state, |device: Device| {
    let state = [
        [0.2603347552, 0.1873668958, -0.2698272135],
        [-0.1679653948, 0.1607324051, 0.2539568549],
        [-0.0283199156, 0.1797592653, 0.2342240100],
    ];
    let mut case = fixed();
    case.s = (0..9).map(|i| 0.1 * (f64::from(i / 3) - f64::from(i % 3))).collect();
    each_form(Rule::Delta, |form| {
        let (o, s) = case.run(&device, DType::F64, form);
        assert_close(&o[..3], &[0.6381130361, 0.6377503324, -0.0310840461], DIGITS);
        assert_close(&o[15..], &[-0.2819340766, 0.3383914846, 0.2660401196], DIGITS);
        assert_close(&s, state.as_flattened(), DIGITS);
    });
});

on_each_device!(hebbian_with_decay, |device: Device| {
    let state = [
        [0.7263150534, -0.2055301033, -0.8362731772],
        [-0.0273361178, 0.2681586014, 0.1708003413],
        [-0.1253427833, 0.1372834219, 0.1987890923],
    ];
    each_form(Rule::Hebbian, |form| {
        let (o, s) = fixed().run(&device, DType::F64, form);
        assert_close(&o[15..], &[-1.0881030964, 0.2405454528, 0.2658101363], DIGITS);
        assert_close(&s, state.as_flattened(), DIGITS);
    });
});

on_each_device!(gradients, |device: Device| {
    let loss = |out: Tensor<4>, s: Tensor<4>| out.powi_scalar(2).sum() * 0.5 + s.sum();
    each_form(Rule::Delta, |form| {
        let found = fixed().derive(&device, form, loss);
        let of = |name: &str| found.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        let check = |found: &[f64], expected: &[f64]| assert_close(found, expected, 6e-9);
        let dbeta = [1.69335768, 0.70702025, -0.39998064, -0.86008084, 0.23909044, 1.41514144];
        check(&of("dbeta"), &dbeta);
        check(&of("dlog_a"), &[0.0, 0.57356825, 0.70158500, 0.75911039, 0.67009389, 0.53913128]);
        check(&of("dk")[..3], &[2.21400536, 0.55745991, 0.00410556]);
        check(&of("dk")[15..], &[0.79777906, 0.82951903, 0.93126493]);
        check(&of("dq")[..3], &[0.62505326, -0.10843477, -0.68306562]);
        check(&of("dv")[15..], &[0.11877053, 0.35885477, 0.33302407]);
    });
});
