//! A run that is cut off and resumed ends in the same bytes, whatever the optimiser keeps.

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig};
use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use plasticity_core::nn::{load_model, load_optimiser, parameter, save_model, save_optimiser};
use plasticity_core::rng::Stream;

#[derive(Module, Debug)]
struct Net {
    up: Param<Tensor<2>>,
    down: Param<Tensor<2>>,
}

fn device() -> Device {
    plasticity_core::testing::cpu().autodiff()
}

fn net() -> Net {
    let mut stream = Stream::new(5, "net", 0);
    let mut weight = |path: &str, n: usize, out: usize| {
        let data = TensorData::new(stream.uniform_vec(n * out, -0.5, 0.5), [n, out]);
        parameter(path, Tensor::from_data(data, &device()))
    };
    Net { up: weight("up", 6, 12), down: weight("down", 12, 3) }
}

fn train(mut net: Net, optimiser: &mut ModuleOptimizer, steps: std::ops::Range<u64>) -> Net {
    for step in steps {
        let mut stream = Stream::new(5, "batch", step);
        let x = Tensor::<2>::from_data(TensorData::new(stream.normal_vec(4 * 6), [4, 6]), &device());
        let y = Tensor::<2>::from_data(TensorData::new(stream.normal_vec(4 * 3), [4, 3]), &device());
        let loss = (x.matmul(net.up.val()).tanh().matmul(net.down.val()) - y).powi_scalar(2).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimiser.step(0.05, net, gradients);
    }
    net
}

fn resumed_equals_straight(fresh: impl Fn() -> ModuleOptimizer) {
    let straight = save_model(&train(net(), &mut fresh(), 0..12)).unwrap();

    let mut optimiser = fresh();
    let half = train(net(), &mut optimiser, 0..5);
    let (weights, state) = (save_model(&half).unwrap(), save_optimiser(&optimiser).unwrap());
    drop((half, optimiser));
    let mut half = net();
    load_model(&mut half, &weights).unwrap();
    let mut optimiser = load_optimiser(fresh(), &half, &state).unwrap();
    let resumed = save_model(&train(half, &mut optimiser, 5..12)).unwrap();
    assert!(straight == resumed, "the resumed run ended in other bytes");

    // The state matters: without it the run ends elsewhere.
    let mut half = net();
    load_model(&mut half, &weights).unwrap();
    assert!(straight != save_model(&train(half, &mut fresh(), 5..12)).unwrap());
}

#[test]
fn with_sgd_and_momentum() {
    resumed_equals_straight(|| {
        let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
        SgdConfig::new().with_momentum(Some(momentum)).init()
    });
}

#[test]
fn with_adamw() {
    resumed_equals_straight(|| AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init());
}

#[test]
fn a_model_of_other_parameters_is_refused() {
    #[derive(Module, Debug)]
    struct Other {
        up: Param<Tensor<2>>,
    }
    let bytes = save_model(&net()).unwrap();
    let mut other = Other { up: net().up };
    let error = load_model(&mut other, &bytes).unwrap_err().to_string();
    assert!(error.contains("down"), "{error}");
    let bytes = save_model(&other).unwrap();
    assert!(load_model(&mut net(), &bytes).is_err());
}

/// The network in another float type.
fn net_of(dtype: DType) -> Net {
    let cast = |path: &str, x: Tensor<2>| parameter(path, x.inner().cast(FloatDType::from(dtype)));
    let Net { up, down } = net();
    Net { up: cast("up", up.val()), down: cast("down", down.val()) }
}

/// Burn would take these and fail, or panic, at the next step.
#[test]
fn weights_of_another_type_are_refused_and_nothing_is_changed() {
    let mut ours = net();
    let before = save_model(&ours).unwrap();
    for (dtype, name) in [(DType::F64, "F64"), (DType::F16, "F16"), (DType::BF16, "BF16")] {
        let other = save_model(&net_of(dtype)).unwrap();
        let error = load_model(&mut ours, &other).unwrap_err().to_string();
        assert_eq!(error, format!("model.safetensors: `up` is of {name}, the model's of F32"));
        assert!(save_model(&ours).unwrap() == before);
    }
    // And the other way.
    let mut double = net_of(DType::F64);
    assert!(load_model(&mut double, &before).unwrap_err().to_string().contains("`up` is of F32, the model's of F64"));
    load_model(&mut double, &save_model(&net_of(DType::F64)).unwrap()).unwrap();
}

/// The network with one weight of `down` set.
fn with_weight(value: f32) -> Net {
    let Net { up, down } = net();
    let mut values = down.val().inner().into_data().try_to_vec::<f32>().unwrap();
    values[7] = value;
    Net { up, down: parameter("down", Tensor::from_data(TensorData::new(values, [12, 3]), &device())) }
}

#[test]
fn a_fault_in_the_last_parameter_leaves_the_first_as_it_was() {
    #[derive(Module, Debug)]
    struct Narrow {
        up: Param<Tensor<2>>,
        down: Param<Tensor<2>>,
    }
    let trained = train(net(), &mut SgdConfig::new().init(), 0..3);
    let up = || trained.up.clone();
    let narrow = Narrow { up: up(), down: parameter("down", Tensor::zeros([12, 2], &device())) };
    #[derive(Module, Debug)]
    struct One {
        up: Param<Tensor<2>>,
    }
    let mut ours = net();
    let before = save_model(&ours).unwrap();
    let mut refused = |bytes: Vec<u8>, words: &str| {
        let error = load_model(&mut ours, &bytes).unwrap_err().to_string();
        assert!(error.starts_with("model.safetensors: ") && error.contains(words), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(save_model(&ours).unwrap() == before, "{words}: the model was changed");
    };
    refused(save_model(&narrow).unwrap(), "`down` has the shape [12, 2], the model's has [12, 3]");
    refused(save_model(&One { up: up() }).unwrap(), "lacks the parameter `down`");
    for (value, said) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        refused(
            save_model(&with_weight(value)).unwrap(),
            &format!("`down` holds {said}, which is not a finite number"),
        );
    }
    let whole = save_model(&trained).unwrap();
    refused(whole[..whole.len() - 1].to_vec(), "");
    refused([whole.as_slice(), b"more"].concat(), "");
    refused(Vec::new(), "");
    let mut wild = whole.clone();
    wild[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(wild, "");
    load_model(&mut ours, &whole).unwrap();
    assert!(save_model(&ours).unwrap() == whole);
}

#[test]
fn the_state_of_other_parameters_is_refused() {
    let momentum = || {
        let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
        SgdConfig::new().with_momentum(Some(momentum)).init()
    };
    let adam = || AdamWConfig::new().init();
    type Fresh = fn() -> ModuleOptimizer;
    for fresh in [momentum as Fresh, adam as Fresh] {
        let mut optimiser = fresh();
        let trained = train(net(), &mut optimiser, 0..3);
        let bytes = save_optimiser(&optimiser).unwrap();
        let refused = |model: &Net, bytes: &[u8], words: &str| {
            let error = load_optimiser(fresh(), model, bytes).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("optimiser: ") && error.contains(words), "{words}: {error}");
        };
        assert!(load_optimiser(fresh(), &trained, &bytes).is_ok());
        // The same shapes under other paths.
        let moved = Net { up: parameter("left", net().up.val()), down: parameter("right", net().down.val()) };
        refused(&moved, &bytes, "a parameter that this model does not have");
        let wide = Net {
            up: parameter("up", Tensor::zeros([6, 13], &device())),
            down: parameter("down", Tensor::zeros([13, 3], &device())),
        };
        refused(&wide, &bytes, ", the parameter has [");
        refused(&net_of(DType::F64), &bytes, " is of F32, the parameter of F64");
        refused(&trained, &bytes[..bytes.len() / 2], "");
        refused(&trained, b"", "");
        // A state that has overflowed would freeze what it belongs to.
        let mut optimiser = fresh();
        train(with_weight(f32::INFINITY), &mut optimiser, 0..1);
        refused(&trained, &save_optimiser(&optimiser).unwrap(), "not a finite number");
    }
    // The state of another kind of optimiser.
    let mut optimiser = momentum();
    let trained = train(net(), &mut optimiser, 0..3);
    let error =
        load_optimiser(adam(), &trained, &save_optimiser(&optimiser).unwrap()).map(drop).unwrap_err().to_string();
    assert!(error.contains("fit this optimiser"), "{error}");
    // Before the first step there is no state, of whichever model.
    assert!(load_optimiser(adam(), &trained, &save_optimiser(&adam()).unwrap()).is_ok());
}
