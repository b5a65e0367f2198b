//! The fused operations against their compositions: values and every gradient.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Gradients};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, on_threads, values};
use proptest::prelude::*;
use synaptic_resonance::fused;
use synaptic_resonance::kernel::{Channels, Inputs, recurrent};
use synaptic_resonance::memory::{blend_keys_composed, gate_read_composed};
use synaptic_resonance::model::swiglu_composed;
use synaptic_resonance::settings::Rule;

/// Numbers of a stream as tensors, tracked where a test wants gradients.
struct Numbers {
    stream: Stream,
    device: Device,
}

impl Numbers {
    fn new(seed: u64, device: &Device) -> Self {
        Self { stream: Stream::new(seed, "fused", 0), device: device.clone() }
    }

    fn normal<const D: usize>(&mut self, shape: [usize; D], scale: f32) -> Tensor<D> {
        let data = self.stream.normal_vec(shape.iter().product::<usize>());
        let data: Vec<f32> = data.into_iter().map(|x| x * scale).collect();
        Tensor::from_data(TensorData::new(data, shape), &self.device)
    }

    fn uniform<const D: usize>(&mut self, shape: [usize; D], from: f32, to: f32) -> Tensor<D> {
        let n = shape.iter().product::<usize>();
        let data: Vec<f32> = (0..n).map(|_| from + (to - from) * self.stream.uniform() as f32).collect();
        Tensor::from_data(TensorData::new(data, shape), &self.device)
    }

    fn marks(&mut self, shape: [usize; 2], share: f32) -> Tensor<2> {
        self.uniform(shape, 0.0, 1.0).lower_elem(share).float()
    }
}

/// The largest difference, relative to the largest value (at least 1).
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    plasticity_core::testing::max_difference(found, expected) / scale
}

fn gradient<const D: usize>(x: &Tensor<D>, grads: &Gradients) -> Vec<f64> {
    values(x.grad(grads).expect("a gradient"))
}

#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    batch: usize,
    time: usize,
    groups: usize,
    share: usize,
    key: usize,
    value: usize,
    rule: Rule,
    decay: bool,
    /// Share of tokens that begin a document.
    starts: Option<f32>,
    /// The loss sees read-outs, the last state.
    seen: (bool, bool),
    /// Gates of channels: decay, erasing, writing.
    channels: [bool; 3],
}

const CASE: Case = Case {
    seed: 1,
    batch: 2,
    time: 37,
    groups: 2,
    share: 1,
    key: 16,
    value: 16,
    rule: Rule::Delta,
    decay: true,
    starts: Some(0.2),
    seen: (true, true),
    channels: [false; 3],
};

impl Case {
    fn inputs(&self, device: &Device) -> (Inputs, Tensor<4>) {
        let Self { batch, time, groups, share, key, value, .. } = *self;
        let mut numbers = Numbers::new(self.seed, device);
        let unit = |x: Tensor<4>| {
            let norm = (x.clone().powi_scalar(2).sum_dim(3) + 1e-6).sqrt();
            x / norm
        };
        let q = unit(numbers.normal([batch, time, groups * share, key], 1.0));
        let k = unit(numbers.normal([batch, time, groups, key], 1.0));
        let v = numbers.normal([batch, time, groups, value], 1.0);
        let beta = numbers.uniform([batch, time, groups], 0.0, 1.0);
        let log_a = numbers.uniform([batch, time, groups], -0.2, 0.0);
        let starts = self.starts.map(|share| numbers.marks([batch, time], share));
        let s = numbers.normal([batch, groups, value, key], 0.3);
        let log_decay = numbers.uniform([batch, time, groups, key], -0.2, 0.0);
        let erase = numbers.uniform([batch, time, groups, key], 0.0, 1.0);
        let write = numbers.uniform([batch, time, groups, value], 0.0, 1.0);
        let of = |i: usize, x: Tensor<4>| self.channels[i].then_some(x);
        let channels = Channels { log_decay: of(0, log_decay), erase: of(1, erase), write: of(2, write) };
        (Inputs { q, k, v, beta, log_a: self.decay.then_some(log_a), starts, channels }, s)
    }

    /// Read-outs, state, and the gradients of all inputs, by either form.
    fn run(&self, device: &Device, fuse: bool) -> Vec<(&'static str, Vec<f64>)> {
        let (plain, s) = self.inputs(device);
        let auto = |x: Tensor<4>| Tensor::<4>::from_data(x.into_data(), &device.clone().autodiff()).require_grad();
        let auto3 = |x: Tensor<3>| Tensor::<3>::from_data(x.into_data(), &device.clone().autodiff()).require_grad();
        let (q, k, v, s) = (auto(plain.q), auto(plain.k), auto(plain.v), auto(s));
        let (beta, log_a) = (auto3(plain.beta), plain.log_a.map(auto3));
        let Channels { log_decay, erase, write } = plain.channels;
        let [log_decay, erase, write] = [log_decay, erase, write].map(|x| x.map(auto));
        let inputs = Inputs {
            q: q.clone(),
            k: k.clone(),
            v: v.clone(),
            beta: beta.clone(),
            log_a: log_a.clone(),
            starts: plain.starts,
            channels: Channels { log_decay: log_decay.clone(), erase: erase.clone(), write: write.clone() },
        };
        let (read, state) = match fuse {
            true => {
                let sizes = inputs.sizes(&s).unwrap();
                fused::rule(inputs, s.clone(), self.rule, sizes)
            }
            false => recurrent(inputs, s.clone(), self.rule).unwrap(),
        };
        let mut out = vec![("read", values(read.clone())), ("state", values(state.clone()))];
        let loss = match self.seen {
            (true, true) => read.sin().sum() + state.cos().sum(),
            (true, false) => read.sin().sum(),
            _ => state.cos().sum(),
        };
        let grads = loss.backward();
        if self.seen.0 {
            out.push(("q", gradient(&q, &grads)));
        }
        out.extend([("k", gradient(&k, &grads)), ("v", gradient(&v, &grads))]);
        out.extend([("beta", gradient(&beta, &grads)), ("s", gradient(&s, &grads))]);
        out.extend(log_a.map(|x| ("log_a", gradient(&x, &grads))));
        out.extend(log_decay.map(|x| ("log_decay", gradient(&x, &grads))));
        // The Hebbian rule does not read it.
        out.extend(erase.filter(|_| self.rule == Rule::Delta).map(|x| ("erase", gradient(&x, &grads))));
        out.extend(write.map(|x| ("write", gradient(&x, &grads))));
        out
    }

    fn agree(&self, device: &Device) {
        let (found, expected) = (self.run(device, true), self.run(device, false));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            let difference = relative(found, expected);
            assert!(difference < 1e-5, "{name}: {difference} in {self:?}");
        }
    }
}

on_each_device!(rule_is_the_recurrence, |device: Device| {
    let cases = [
        CASE,
        Case { time: 1, ..CASE },
        Case { time: 16, starts: None, ..CASE },
        Case { seed: 2, share: 3, groups: 1, key: 5, value: 7, ..CASE },
        Case { seed: 3, share: 2, key: 32, value: 64, time: 33, ..CASE },
        Case { seed: 4, key: 64, value: 24, time: 17, decay: false, ..CASE },
        Case { seed: 5, key: 80, value: 48, time: 18, batch: 1, ..CASE },
        Case { seed: 6, rule: Rule::Hebbian, key: 20, value: 33, ..CASE },
        Case { seed: 7, rule: Rule::Hebbian, decay: false, starts: None, ..CASE },
        Case { seed: 8, seen: (true, false), ..CASE },
        Case { seed: 9, seen: (false, true), ..CASE },
        Case { seed: 10, starts: Some(1.0), ..CASE },
        Case { seed: 11, channels: [true; 3], ..CASE },
        Case { seed: 12, channels: [true; 3], decay: false, share: 2, key: 64, value: 64, time: 33, ..CASE },
        Case { seed: 13, channels: [true, false, false], key: 20, value: 33, seen: (false, true), ..CASE },
        Case { seed: 14, channels: [false, true, false], key: 32, value: 32, seen: (true, false), ..CASE },
        Case { seed: 15, channels: [false, false, true], rule: Rule::Hebbian, ..CASE },
        Case { seed: 16, channels: [true, false, true], rule: Rule::Hebbian, starts: Some(1.0), ..CASE },
    ];
    cases.iter().for_each(|case| case.agree(&device));
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rule_is_the_recurrence_for_any_sizes(
        seed in 0u64..1000,
        (batch, time, groups, share) in (1usize..4, 1usize..40, 1usize..4, 1usize..4),
        (key, value) in (1usize..70, 1usize..70),
        (delta, decay, starts, channels) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<[bool; 3]>()),
    ) {
        let rule = if delta { Rule::Delta } else { Rule::Hebbian };
        let starts = starts.then_some(0.1);
        let seen = (true, true);
        let case = Case { seed, batch, time, groups, share, key, value, rule, decay, starts, seen, channels };
        case.agree(&cpu());
    }

    #[test]
    fn blend_and_gate_are_their_compositions_for_any_sizes(
        seed in 0u64..1000,
        dims in (1usize..4, 1usize..20, 1usize..4, 1usize..70),
        (mu, prev, starts, normalise, norm) in any::<(bool, bool, bool, bool, bool)>(),
    ) {
        let device = cpu();
        let dims = [dims.0, dims.1, dims.2, dims.3];
        blend_agrees(seed, dims, mu, prev, starts, normalise, &device);
        gate_agrees(seed, dims, norm, &device);
    }
}

on_each_device!(rule_of_strided_and_untracked_inputs, |device: Device| {
    let (x, s) = CASE.inputs(&device);
    // The same numbers, in another order in memory.
    let turn = |x: Tensor<4>| {
        let data = x.clone().swap_dims(1, 2).into_data();
        Tensor::<4>::from_data(data, &device).swap_dims(1, 2)
    };
    let beta = Tensor::<3>::from_data(x.beta.clone().swap_dims(0, 2).into_data(), &device).swap_dims(0, 2);
    let strided = Inputs { q: turn(x.q.clone()), k: turn(x.k.clone()), v: turn(x.v.clone()), beta, ..x.clone() };
    let sizes = x.sizes(&s).unwrap();
    let (read, state) = fused::rule(x.clone(), s.clone(), Rule::Delta, sizes);
    let (same, same_state) = fused::rule(strided, turn(s.clone()), Rule::Delta, sizes);
    assert_eq!((values(read.clone()), values(state.clone())), (values(same), values(same_state)));
    // Only the values are tracked: their gradient is that of the whole.
    let v = Tensor::<4>::from_data(x.v.clone().into_data(), &device.clone().autodiff()).require_grad();
    let (tracked, _) = fused::rule(Inputs { v: v.clone(), ..x.clone() }, s.clone(), Rule::Delta, sizes);
    assert_eq!(values(tracked.clone()), values(read));
    let found = gradient(&v, &tracked.sin().sum().backward());
    let expected = Tensor::<4>::from_data(x.v.clone().into_data(), &device.clone().autodiff()).require_grad();
    let (read, _) = recurrent(Inputs { v: expected.clone(), ..x.clone() }, s.clone(), Rule::Delta).unwrap();
    assert!(relative(&found, &gradient(&expected, &read.sin().sum().backward())) < 1e-5);
    // Only the queries are tracked: the state is a constant.
    let q = Tensor::<4>::from_data(x.q.clone().into_data(), &device.clone().autodiff()).require_grad();
    let (read, last) = fused::rule(Inputs { q: q.clone(), ..x }, s, Rule::Delta, sizes);
    assert_eq!(values(last), values(state));
    assert!(gradient(&q, &read.sum().backward()).iter().any(|x| *x != 0.0));
});

#[cfg(feature = "flex")]
#[test]
fn threads_do_not_change_a_byte() {
    let device = cpu();
    let run = |threads: usize| {
        on_threads(threads, || {
            let case = Case { batch: 3, time: 70, key: 32, value: 32, share: 2, ..CASE };
            let rule = (case.run(&device, true), Case { channels: [true; 3], ..case }.run(&device, true));
            (
                rule,
                blend_run(1, [4, 100, 2, 32], [true; 4], true, &device),
                gate_run(1, [4, 100, 2, 32], true, true, &device),
            )
        })
    };
    assert_eq!(run(1), run(2));
}

on_each_device!(a_token_that_writes_nothing_leaves_the_state, |device: Device| {
    let (x, s) = Case { starts: None, ..CASE }.inputs(&device);
    let x = Inputs { beta: x.beta.zeros_like(), log_a: x.log_a.map(|x| x.zeros_like()), ..x };
    let sizes = x.sizes(&s).unwrap();
    assert_eq!(values(fused::rule(x, s.clone(), Rule::Delta, sizes).1), values(s));
});

fn blend_run(
    seed: u64,
    dims: [usize; 4],
    [mu, prev, starts, normalise]: [bool; 4],
    fuse: bool,
    device: &Device,
) -> Vec<Vec<f64>> {
    let [batch, time, groups, width] = dims;
    let auto = device.clone().autodiff();
    let mut numbers = Numbers::new(seed, &auto);
    let k = numbers.normal(dims, 1.0).require_grad();
    let prev = prev.then(|| numbers.normal([batch, groups, width], 1.0).require_grad()).filter(|_| mu);
    let mu = mu.then(|| numbers.normal([groups, width], 2.0).require_grad());
    let starts = starts.then(|| Numbers::new(seed, device).marks([batch, time], 0.3));
    let form = if fuse { fused::blend } else { blend_keys_composed };
    let out = form(k.clone(), prev.clone(), mu.clone(), starts, normalise);
    let mut all = vec![values(out.clone())];
    let weights = Numbers::new(seed + 1, device).normal(dims, 1.0);
    let grads = (out * Tensor::from_inner(weights)).sin().sum().backward();
    all.push(gradient(&k, &grads));
    all.extend(mu.map(|x| gradient(&x, &grads)));
    all.extend(prev.map(|x| gradient(&x, &grads)));
    all
}

fn blend_agrees(seed: u64, dims: [usize; 4], mu: bool, prev: bool, starts: bool, normalise: bool, device: &Device) {
    let flags = [mu, prev, starts, normalise];
    let (found, expected) = (blend_run(seed, dims, flags, true, device), blend_run(seed, dims, flags, false, device));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // A gradient of l2 is large where the key is small: 1 / |k|.
        let difference = relative(found, expected);
        assert!(difference < 1e-5, "{i}: {difference} at {dims:?}, {flags:?}");
    }
}

on_each_device!(blend_is_its_composition, |device: Device| {
    for flags in 0..16 {
        let [mu, prev, starts, normalise] = [1, 2, 4, 8].map(|bit| flags & bit != 0);
        blend_agrees(flags, [2, 5, 2, 12], mu, prev, starts, normalise, &device);
        blend_agrees(flags, [1, 1, 3, 32], mu, prev, starts, normalise, &device);
    }
});

fn gate_run(seed: u64, dims: [usize; 4], norm: bool, fuse: bool, device: &Device) -> Vec<Vec<f64>> {
    let [batch, time, heads, width] = dims;
    let mut numbers = Numbers::new(seed, &device.clone().autodiff());
    let r = numbers.normal(dims, 0.5).require_grad();
    let gate = numbers.normal([batch, time, heads], 2.0).require_grad();
    let gamma = numbers.normal([heads], 1.0).require_grad();
    let c = norm.then(|| numbers.normal([heads, width], 1.0).require_grad());
    let form = if fuse { fused::gate } else { gate_read_composed };
    let out = form(r.clone(), gate.clone(), gamma.clone(), c.clone());
    let mut all = vec![values(out.clone())];
    let weights = Numbers::new(seed + 1, device).normal(dims, 1.0);
    let grads = (out * Tensor::from_inner(weights)).sin().sum().backward();
    all.extend([gradient(&r, &grads), gradient(&gate, &grads), gradient(&gamma, &grads)]);
    all.extend(c.map(|x| gradient(&x, &grads)));
    all
}

fn gate_agrees(seed: u64, dims: [usize; 4], norm: bool, device: &Device) {
    let (found, expected) = (gate_run(seed, dims, norm, true, device), gate_run(seed, dims, norm, false, device));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = relative(found, expected);
        assert!(difference < 1e-5, "{i}: {difference} at {dims:?}");
    }
}

on_each_device!(gate_is_its_composition, |device: Device| {
    for norm in [false, true] {
        gate_agrees(1, [2, 5, 2, 12], norm, &device);
        gate_agrees(2, [1, 1, 3, 32], norm, &device);
    }
});

on_each_device!(a_closed_gate_gives_exact_zeros, |device: Device| {
    let mut numbers = Numbers::new(3, &device);
    let (gate, c) = (numbers.normal([2, 3, 2], 100.0), numbers.normal([2, 8], 1.0));
    for scale in [0.0, 1.0, 1e30] {
        let r = numbers.normal([2, 3, 2, 8], scale);
        for c in [None, Some(c.clone())] {
            let out = values(fused::gate(r.clone(), gate.clone(), Tensor::zeros([2], &device), c));
            assert!(out.iter().all(|x| *x == 0.0));
        }
    }
});

/// Values and derivative of a function of one number: in f32 by the kernel, in f64 by Burn.
fn gelus(x: &[f32], device: &Device) -> [Vec<f64>; 4] {
    let auto = device.clone().autodiff();
    let tensor = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [1, x.len()]), &auto).require_grad();
    let found = fused::gelu(tensor.clone());
    let data = TensorData::new(x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), [1, x.len()]);
    let exact = Tensor::<2>::from_data(data, (&auto, DType::F64)).require_grad();
    let cdf = ((exact.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    let expected = exact.clone() * cdf;
    let out = [values(found.clone()), values(expected.clone())];
    let (found, expected) = (found.sum().backward(), expected.sum().backward());
    let [a, b] = out;
    [a, b, gradient(&tensor, &found), gradient(&exact, &expected)]
}

on_each_device!(gelu_is_that_of_f64, |device: Device| {
    let mut x: Vec<f32> = (-60_000..=60_000).map(|i| i as f32 * 2e-4).collect();
    x.extend([0.0, -0.0, 1e-20, -1e-20, 50.0, -50.0, 1e10, -1e10]);
    let [found, expected, slope, exact] = gelus(&x, &device);
    for i in 0..x.len() {
        let bound = 2e-7 * expected[i].abs().max(1.0);
        assert!((found[i] - expected[i]).abs() <= bound, "gelu({}) is {}, not {}", x[i], found[i], expected[i]);
        assert!((slope[i] - exact[i]).abs() <= 3e-7, "gelu'({}) is {}, not {}", x[i], slope[i], exact[i]);
    }
    // The distribution function itself: erf within 2e-7.
    let erf = |i: usize| 2.0 * found[i] / f64::from(x[i]) - 1.0;
    let wrong = (0..120_000).filter(|i| x[*i].abs() > 0.01);
    let wrong = wrong.map(|i| (erf(i) - (2.0 * expected[i] / f64::from(x[i]) - 1.0)).abs()).fold(0.0, f64::max);
    assert!(wrong <= 2.5e-7, "{wrong}");
    let nan = Tensor::<1>::from_floats([f32::NAN, f32::INFINITY], &device);
    let out = values(fused::gelu(nan));
    assert!(out[0].is_nan() && out[1] == f64::INFINITY);
});

fn norm_run(seed: u64, dims: [usize; 3], epsilon: f64, fuse: bool, device: &Device) -> Vec<Vec<f64>> {
    let mut numbers = Numbers::new(seed, &device.clone().autodiff());
    let (x, scale) = (numbers.normal(dims, 1.5).require_grad(), numbers.normal([dims[2]], 1.0).require_grad());
    let out = match fuse {
        true => fused::rms_norm(x.clone(), scale.clone(), epsilon),
        false => {
            let rms = (x.clone().powi_scalar(2).mean_dim(2) + epsilon).sqrt();
            x.clone() * rms.recip() * scale.clone().unsqueeze()
        }
    };
    let weights = Numbers::new(seed + 1, device).normal(dims, 1.0);
    let grads = (out.clone() * Tensor::from_inner(weights)).sin().sum().backward();
    vec![values(out), gradient(&x, &grads), gradient(&scale, &grads)]
}

on_each_device!(rms_norm_is_its_composition, |device: Device| {
    let sizes = [(1, [2, 5, 12]), (2, [1, 1, 64]), (3, [3, 100, 33]), (4, [2, 3, 1])];
    for ((seed, dims), epsilon) in sizes.into_iter().flat_map(|size| [1e-6, 1e-5, 0.3].map(|epsilon| (size, epsilon))) {
        let run = |fuse| norm_run(seed, dims, epsilon, fuse, &device);
        let (found, expected) = (run(true), run(false));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = relative(found, expected);
            assert!(difference < 1e-5, "{i}: {difference} at {dims:?}");
        }
    }
});

fn swiglu_run(gate: &[f32], up: &[f32], fuse: bool, dtype: DType, device: &Device) -> Vec<Vec<f64>> {
    let auto = device.clone().autodiff();
    let upload = |x: &[f32]| {
        let data = TensorData::new(x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), [1, x.len()]);
        Tensor::<2>::from_data(data, (&auto, dtype)).require_grad()
    };
    let (gate, up) = (upload(gate), upload(up));
    let out = if fuse { fused::swiglu(gate.clone(), up.clone()) } else { swiglu_composed(gate.clone(), up.clone()) };
    let grads = (out.clone() * 1.5).sum().backward();
    vec![values(out), gradient(&gate, &grads), gradient(&up, &grads)]
}

on_each_device!(swiglu_is_that_of_f64, |device: Device| {
    let mut x: Vec<f32> = (-60_000..=60_000).map(|i| i as f32 * 1.7e-3).collect();
    x.extend([0.0, -0.0, 1e-20, -1e-20, 88.0, -87.1, -300.0, 1e10, -1e10]);
    let up: Vec<f32> = (0..x.len()).map(|i| [1.0, -3.0, 0.5][i % 3]).collect();
    let found = swiglu_run(&x, &up, true, DType::F32, &device);
    // What the definition gives, by the standard library: no backend has a part in it.
    for (i, (x, up)) in x.iter().zip(&up).map(|(x, up)| (f64::from(*x), f64::from(*up))).enumerate() {
        let share = 1.0 / (1.0 + (-x).exp());
        let expected = [x * share * up, 1.5 * up * share * (1.0 + x * (1.0 - share)), 1.5 * x * share];
        for (found, expected) in found.iter().zip(expected) {
            let bound = 4e-7 * expected.abs().max(1.0);
            assert!((found[i] - expected).abs() <= bound, "at {x}, {up}: {} for {expected}", found[i]);
        }
    }
    let composed = swiglu_run(&x, &up, false, DType::F32, &device);
    for (found, expected) in found.iter().zip(&composed) {
        assert!(relative(found, expected) < 1e-6);
    }
    let narrow = swiglu_run(&[f32::NAN, f32::INFINITY, 1.0], &[1.0, 2.0, f32::NAN], true, DType::F32, &device);
    assert!(narrow[0][0].is_nan() && narrow[0][1] == f64::INFINITY && narrow[0][2].is_nan());
});

// One input alone is tracked, and inputs that lie in another order.
on_each_device!(swiglu_of_strided_and_untracked_inputs, |device: Device| {
    let mut numbers = Numbers::new(5, &device);
    let (gate, up) = (numbers.normal([37, 21], 2.0), numbers.normal([37, 21], 1.0));
    let turned = Tensor::<2>::from_data(gate.clone().transpose().into_data(), &device).transpose();
    let expected = values(fused::swiglu(gate.clone(), up.clone()));
    assert_eq!(values(fused::swiglu(turned, up.clone())), expected);
    let tracked = Tensor::<2>::from_data(up.into_data(), &device.clone().autodiff()).require_grad();
    let out = fused::swiglu(Tensor::from_inner(gate.clone()), tracked.clone());
    let found = gradient(&tracked, &out.sum().backward());
    assert!(relative(&found, &values(gate.clone() * sigmoid(gate))) < 1e-6);
});
