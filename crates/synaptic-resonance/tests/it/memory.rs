//! The memory in a block of one's own: streams in segments, and what does not fit.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu, max_difference, tensor, values};
use synaptic_resonance::MemoryError;
use synaptic_resonance::memory::{Memory, Read};
use synaptic_resonance::settings::{Gates, HalfLives, MemoryConfig, ModelConfig, Rule};
use synaptic_resonance::state::MemoryState;

const D: usize = 16;
const HEADS: usize = 4;
const GROUPS: usize = 2;
const WIDTH: usize = 4;

fn host() -> ModelConfig {
    ModelConfig { width: D, heads: HEADS, groups: Some(GROUPS), ..ModelConfig::default() }
}

fn normal(stream: &mut Stream, n: usize) -> Vec<f64> {
    (0..n).map(|_| stream.normal()).collect()
}

/// A memory whose parameters, the gate too, are all random.
fn memory(config: &MemoryConfig, device: &Device) -> Memory {
    let mut stream = Stream::new(1, "memory", 0);
    let mut memory = Memory::new(config, &host(), "memory", &mut |n| vec![0.3; n], device).unwrap();
    let mut vector = |param: &mut Param<Tensor<1>>| {
        let n = param.dims()[0];
        *param = Param::from_tensor(tensor(&normal(&mut stream, n), [n], device, DType::F32));
    };
    vector(&mut memory.gamma);
    vector(&mut memory.write_bias);
    memory.forget_bias.iter_mut().for_each(&mut vector);
    let mut matrix = |param: &mut Param<Tensor<2>>| {
        let shape = param.dims();
        let drawn = normal(&mut stream, shape[0] * shape[1]);
        *param = Param::from_tensor(tensor(&drawn, shape, device, DType::F32));
    };
    matrix(&mut memory.write);
    matrix(&mut memory.gate);
    memory.mu.iter_mut().for_each(&mut matrix);
    if let Some(gates) = &mut memory.channels {
        let all = [&mut gates.decay, &mut gates.erase, &mut gates.write].into_iter().flatten();
        all.for_each(|gate| matrix(&mut gate.matrix));
    }
    memory
}

/// What a memory reads of `batch` rows of `time` tokens.
fn read(batch: usize, time: usize, device: &Device) -> Read {
    let mut stream = Stream::new(2, "read", time as u64);
    let mut draw = |heads: usize| {
        tensor(&normal(&mut stream, batch * time * heads * WIDTH), [batch, time, heads, WIDTH], device, DType::F32)
    };
    let [q, k, v] = [draw(HEADS), draw(GROUPS), draw(GROUPS)];
    let n = tensor(&normal(&mut stream, batch * time * D), [batch, time, D], device, DType::F32);
    Read { n, q, k, v, starts: None, writes: None, lengths: None }
}

/// Tokens `from..to` of all rows.
fn part(read: &Read, from: usize, to: usize) -> Read {
    let cut = |x: &Tensor<4>| x.clone().narrow(1, from, to - from);
    let n = read.n.clone().narrow(1, from, to - from);
    Read { n, q: cut(&read.q), k: cut(&read.k), v: cut(&read.v), starts: None, writes: None, lengths: None }
}

fn contents(state: &MemoryState) -> Vec<f64> {
    let key = state.prev_key.clone().map(values).unwrap_or_default();
    [values(state.s.clone()), key].concat()
}

on_each_device!(a_stream_in_segments_is_the_whole, |device: Device| {
    let configs = [
        MemoryConfig::default(),
        MemoryConfig { blend: false, ..MemoryConfig::default() },
        MemoryConfig { read_norm: false, decay: false, ..MemoryConfig::default() },
        MemoryConfig { gates: Gates::Decay, ..MemoryConfig::default() },
        MemoryConfig { gates: Gates::Channels, gate_rank: Some(3), ..MemoryConfig::default() },
    ];
    for config in configs {
        let memory = memory(&config, &device);
        let whole = read(2, 23, &device);
        let (expected, last) = memory.forward(whole.clone(), memory.start(2, WIDTH)).unwrap();
        for cuts in [vec![1, 23], vec![7, 8, 20, 23], (1..=23).collect()] {
            let (mut state, mut found, mut from) = (memory.start(2, WIDTH), Vec::new(), 0);
            for to in cuts {
                let (out, next) = memory.forward(part(&whole, from, to), state).unwrap();
                found.push(out);
                (state, from) = (next, to);
            }
            assert_close(&values(Tensor::cat(found, 1)), &values(expected.clone()), 1e-5);
            assert_close(&contents(&state), &contents(&last), 1e-5);
        }
    }
});

on_each_device!(padding_changes_neither_the_memory_nor_its_last_key, |device: Device| {
    for gates in [Gates::Heads, Gates::Decay, Gates::Channels] {
        check_padding(&memory(&MemoryConfig { gates, ..MemoryConfig::default() }, &device), &device);
    }
});

fn check_padding(memory: &Memory, device: &Device) {
    let whole = read(3, 9, device);
    let lengths = [9, 0, 4];
    let before = memory.forward(part(&whole, 0, 2), memory.start(3, WIDTH)).unwrap().1;
    let padded = Read { lengths: Some(lengths.to_vec()), ..whole.clone() };
    let (out, after) = memory.forward(padded, before.clone()).unwrap();
    let row = |x: &Tensor<4>, row: usize| x.clone().narrow(0, row, 1);
    let alone = |state: &MemoryState, i: usize| MemoryState {
        s: row(&state.s, i),
        prev_key: state.prev_key.clone().map(|key| key.narrow(0, i, 1)),
    };
    for (i, length) in lengths.into_iter().enumerate() {
        let own = alone(&before, i);
        let expected = match length {
            0 => own,
            n => {
                let whole = part(&whole, 0, n);
                let read = Read {
                    n: whole.n.narrow(0, i, 1),
                    q: row(&whole.q, i),
                    k: row(&whole.k, i),
                    v: row(&whole.v, i),
                    ..whole
                };
                let (expected, state) = memory.forward(read, own).unwrap();
                assert_close(&values(row(&out, i).narrow(1, 0, n)), &values(expected), 1e-6);
                state
            }
        };
        assert_close(&contents(&alone(&after, i)), &contents(&expected), 1e-6);
    }
}

/// Gates of channels whose parameters are zero are those of their heads, also where a model has learned without them.
#[test]
fn fresh_gates_of_channels_change_nothing() {
    let device = cpu();
    for rule in [Rule::Delta, Rule::Hebbian] {
        let plain = MemoryConfig { rule, lambda_min: 0.01, ..MemoryConfig::default() };
        let learned = memory(&plain, &device);
        let whole = read(2, 23, &device);
        let (expected, last) = learned.forward(whole.clone(), learned.start(2, WIDTH)).unwrap();
        for (gates, gate_rank) in [(Gates::Decay, None), (Gates::Channels, None), (Gates::Channels, Some(2))] {
            let config = MemoryConfig { gates, gate_rank, ..plain.clone() };
            let fresh = Memory::new(&config, &host(), "memory", &mut |n| vec![0.3; n], &device).unwrap();
            let gated = Memory { channels: fresh.channels, config, ..learned.clone() };
            let (out, state) = gated.forward(whole.clone(), gated.start(2, WIDTH)).unwrap();
            assert_close(&values(out), &values(expected.clone()), 2e-6);
            assert_close(&contents(&state), &contents(&last), 2e-6);
        }
    }
}

#[test]
fn gates_of_channels_that_do_not_fit_are_named() {
    let device = cpu();
    let check = |change: &dyn Fn(&mut MemoryConfig)| {
        let mut config = MemoryConfig::default();
        change(&mut config);
        Memory::new(&config, &host(), "memory", &mut |n| vec![0.3; n], &device).map(drop).unwrap_err().to_string()
    };
    let found = check(&|config| (config.gates, config.decay) = (Gates::Decay, false));
    assert!(found.starts_with("`memory.gates` is decay: a decay for every channel needs `decay = true`"), "{found}");
    let found = check(&|config| config.gate_rank = Some(4));
    assert!(found.starts_with("`memory.gate_rank` is 4: is for gates of channels"), "{found}");
    let found = check(&|config| (config.gates, config.gate_rank) = (Gates::Channels, Some(0)));
    assert_eq!(found, "`memory.gate_rank` is 0: must be at least 1");
    let found = check(&|config| (config.gates, config.gate_rank) = (Gates::Channels, Some(usize::MAX)));
    assert!(found.starts_with("`memory.gate_rank` is 18446744073709551615: must be at most"), "{found}");

    let config = MemoryConfig { gates: Gates::Channels, ..MemoryConfig::default() };
    let right = memory(&config, &device);
    let error = |memory: Memory| {
        let state = memory.start(1, WIDTH);
        memory.forward(read(1, 5, &device), state).map(drop).unwrap_err().to_string()
    };
    let found = error(Memory { channels: None, ..right.clone() });
    assert!(found.starts_with("`channels` is missing: must be there exactly where"), "{found}");
    let found = error(Memory { config: MemoryConfig::default(), ..right.clone() });
    assert!(found.starts_with("`channels` is given: "), "{found}");
    let mut torn = right.clone();
    torn.channels.as_mut().unwrap().erase = None;
    assert!(error(torn).starts_with("`channels.erase.matrix` is missing: of `gates` Channels"));
    let mut torn = right.clone();
    let write = torn.channels.as_mut().unwrap().write.as_mut().unwrap();
    write.bias = Param::from_tensor(Tensor::ones([3], &device));
    assert_eq!(error(torn), "`channels.write.bias` has shape [3], expected [8]");
}

on_each_device!(what_does_not_fit_is_named, |device: Device| {
    let memory = memory(&MemoryConfig::default(), &device);
    let (right, start) = (read(2, 5, &device), memory.start(2, WIDTH));
    let shape3 = |shape: [usize; 3]| Tensor::<3>::ones(shape, &device);
    let shape4 = |shape: [usize; 4]| Tensor::<4>::ones(shape, &device);
    let table = |shape: [usize; 2]| Some(Tensor::<2>::ones(shape, &device));
    let key = |key: Tensor<3>| MemoryState { prev_key: Some(key), ..start.clone() };
    let state = |s: Tensor<4>| MemoryState { s, ..start.clone() };
    let wrong: Vec<(&str, Read, MemoryState)> = vec![
        ("n", Read { n: shape3([2, 5, D + 1]), ..right.clone() }, start.clone()),
        ("n", Read { n: shape3([2, 0, D]), ..right.clone() }, start.clone()),
        ("q", Read { q: shape4([2, 4, HEADS, WIDTH]), ..right.clone() }, start.clone()),
        ("q", Read { q: shape4([2, 5, HEADS + 1, WIDTH]), ..right.clone() }, start.clone()),
        ("mu", Read { q: shape4([2, 5, HEADS, WIDTH + 1]), ..right.clone() }, start.clone()),
        ("k", Read { k: shape4([2, 5, GROUPS + 1, WIDTH]), ..right.clone() }, start.clone()),
        ("k", Read { k: shape4([1, 5, GROUPS, WIDTH]), ..right.clone() }, start.clone()),
        ("v", Read { v: shape4([2, 5, GROUPS, WIDTH + 1]), ..right.clone() }, start.clone()),
        ("starts", Read { starts: table([2, 4]), ..right.clone() }, start.clone()),
        ("writes", Read { writes: table([1, 5]), ..right.clone() }, start.clone()),
        ("lengths", Read { lengths: Some(vec![5]), ..right.clone() }, start.clone()),
        ("lengths", Read { lengths: Some(vec![5, 6]), ..right.clone() }, start.clone()),
        ("q", Read { q: right.q.clone().cast(DType::F64), ..right.clone() }, start.clone()),
        ("state.s", right.clone(), state(shape4([1, GROUPS, WIDTH, WIDTH]))),
        ("state.s", right.clone(), state(shape4([2, HEADS, WIDTH, WIDTH]))),
        ("state.s", right.clone(), state(start.s.clone().cast(DType::F64))),
        ("state.prev_key", right.clone(), key(shape3([2, HEADS, WIDTH]))),
        ("state.prev_key", right.clone(), MemoryState { prev_key: None, ..start.clone() }),
    ];
    let error = |read: Read, state: MemoryState| memory.forward(read, state).expect_err("it does not fit").to_string();
    for (i, (field, read, state)) in wrong.into_iter().enumerate() {
        assert!(memory.inputs(&read, &state).is_err(), "{i}");
        let found = error(read, state);
        assert!(found.starts_with(&format!("`{field}` ")), "{i}: {found}");
    }
    for value in [f64::NAN, f64::INFINITY] {
        let found = error(right.clone(), state(start.s.clone() + value));
        assert!(found.starts_with("the state's `s` holds a value that is not finite"), "{found}");
        let found = error(right.clone(), key(shape3([2, GROUPS, WIDTH]) * value));
        assert!(found.starts_with("the state's `prev_key` holds a value that is not finite"), "{found}");
    }
    // Nor does a number that is none, wherever it is read, leave in a state that somebody would go on from.
    let at = |x: &Tensor<4>| x.clone() * f64::NAN;
    let spoilt = [
        ("q", "what the memory adds", Read { q: at(&right.q), ..right.clone() }),
        ("n", "what the memory adds", Read { n: right.n.clone() * f64::INFINITY, ..right.clone() }),
        ("k", "what the memory adds", Read { k: at(&right.k), ..right.clone() }),
        ("v", "what the memory adds", Read { v: at(&right.v), ..right.clone() }),
    ];
    for (field, what, read) in spoilt {
        let found = error(read, start.clone());
        assert!(
            found.starts_with(&format!("{what} holds a value that is not finite: give tokens")),
            "{field}: {found}"
        );
    }
    for value in [2.0, 0.5, -1.0, f64::NAN] {
        let flags = || table([2, 5]).map(|flags| flags * value);
        let found = error(Read { starts: flags(), ..right.clone() }, start.clone());
        assert!(found.starts_with("`starts` is ") && found.ends_with("must be 0 or 1 for every token"), "{found}");
        let found = error(Read { writes: flags(), ..right.clone() }, start.clone());
        assert!(found.starts_with("`writes` is "), "{found}");
    }
    let plain = self::memory(&MemoryConfig { blend: false, ..MemoryConfig::default() }, &device);
    assert!(plain.forward(right.clone(), start.clone()).is_err(), "a key that nobody would blend");
    let mut torn = memory.clone();
    torn.gamma = Param::from_tensor(Tensor::ones([HEADS + 1], &device));
    assert!(matches!(torn.forward(right.clone(), start.clone()), Err(MemoryError::Shape { field: "gamma", .. })));
    assert!(memory.forward(right, start).is_ok());
});

#[test]
fn a_memory_of_wrong_settings_is_not_made() {
    let own = MemoryConfig { own_projections: true, ..MemoryConfig::default() };
    let make = |config: &MemoryConfig, model: &ModelConfig, n: usize| {
        Memory::new(config, model, "memory", &mut |_| vec![0.0; n], &cpu()).map(|_| ())
    };
    assert!(make(&own, &host(), D * D).is_err(), "as many numbers for keys as for queries");
    assert!(make(&own, &ModelConfig { heads: 0, ..host() }, 0).is_err());
    assert!(make(&MemoryConfig { chunk: 3, ..MemoryConfig::default() }, &host(), 0).is_err());
    assert!(make(&MemoryConfig::default(), &host(), 0).is_ok());
    let n = memory(&MemoryConfig::default(), &cpu()).project(&Tensor::ones([1, 2, D + 1], &cpu()));
    assert!(matches!(n, Err(MemoryError::Shape { field: "n", .. })));
}

/// `softplus(b) = ln 2 / HL`, at every half-life that a setting allows.
#[test]
fn half_lives_of_any_length_are_finite_biases() {
    let bias = |from: f64, to: f64| {
        let config = MemoryConfig { half_lives: HalfLives::LogSpaced { from, to }, ..MemoryConfig::default() };
        let memory = Memory::new(&config, &host(), "memory", &mut |n| vec![0.0; n], &cpu())?;
        Ok::<_, MemoryError>(values(memory.forget_bias.expect("it forgets").val()))
    };
    for half_life in [1e-30, 1e-10, 1e-4, 1e-3, 0.01, 1.0, 38.0, 1e6, 1e30] {
        for found in bias(half_life, half_life).unwrap() {
            assert!(found.is_finite(), "{half_life}");
            let rate = std::f64::consts::LN_2 / half_life;
            // The inverse, in f64 and without overflow.
            let softplus = found.max(0.0) + (-found.abs()).exp().ln_1p();
            assert!((softplus / rate - 1.0).abs() < 1e-5, "{half_life}: {softplus} instead of {rate}");
        }
    }
    assert!(bias(1e-30, 1e30).unwrap().iter().all(|b| b.is_finite()));
    for (from, to) in [(0.0, 1.0), (-1.0, 1.0), (1e-31, 1.0), (1.0, 1e31), (2.0, 1.0), (f64::NAN, 1.0)] {
        assert!(bias(from, to).is_err(), "{from} to {to}");
    }
    // What forgets everything at once forgets everything: the read-out is that of a memory that reads one token.
    let config = MemoryConfig {
        half_lives: HalfLives::LogSpaced { from: 1e-4, to: 1e-4 },
        blend: false,
        ..MemoryConfig::default()
    };
    let mut memory = Memory::new(&config, &host(), "memory", &mut |n| vec![0.0; n], &cpu()).unwrap();
    memory.gamma = Param::from_tensor(Tensor::ones([HEADS], &cpu()));
    let whole = read(1, 6, &cpu());
    let (out, _) = memory.forward(whole.clone(), memory.start(1, WIDTH)).unwrap();
    for t in 0..6 {
        let (alone, _) = memory.forward(part(&whole, t, t + 1), memory.start(1, WIDTH)).unwrap();
        let worst = max_difference(&values(out.clone().narrow(1, t, 1)), &values(alone));
        assert!(worst < 1e-6, "token {t}: {worst}");
    }
}
