//! A run that is cut off and resumed ends in the same bytes, whatever the optimiser keeps.

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig};
use burn::prelude::*;
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
    let mut optimiser = load_optimiser(fresh(), &state).unwrap();
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
