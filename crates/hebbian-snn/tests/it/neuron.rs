use burn::prelude::*;
use hebbian_snn::network::Mlp;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::{dsr, surrogate};
use plasticity_core::on_each_device;
use plasticity_core::testing::{assert_close, values};

use crate::support::*;

/// The layer of `dsr_lif.json`.
fn golden_layer() -> (plasticity_core::testing::Golden, DsrLif) {
    let golden = golden("dsr_lif.json");
    let lif = DsrLif { steps: golden.number("T") as usize, ..DsrLif::default() };
    (golden, lif)
}

on_each_device!(golden_forward, |device: Device| {
    let (golden, lif) = golden_layer();
    assert!((lif.beta() - golden.number("beta")).abs() < 1e-12);
    assert_close(&lif.time_weights(), &golden.numbers("wfr_weights"), 1e-8);
    let x: Tensor<3> = golden.tensor("input", &device);
    let trace = lif.forward(x.clone(), Tensor::full([1], golden.number("vth"), &device));
    assert_close(&values(trace.before), &golden.numbers("membrane_before_reset"), 1e-5);
    assert_close(&values(trace.after), &golden.numbers("membrane_after_reset"), 1e-5);
    assert_close(&values(trace.spikes), &golden.numbers("spikes"), 0.0);
    assert_close(&values(trace.output.clone()), &golden.numbers("output"), 1e-5);
    assert_close(&values(lif.wfr(x)), &golden.numbers("input_rate"), 1e-5);
    assert_close(&values(lif.wfr(trace.output)), &golden.numbers("wfr_output"), 1e-5);
});

on_each_device!(golden_backward, |device: Device| {
    let (golden, lif) = golden_layer();
    let device = device.autodiff();
    let x = golden.tensor::<3>("input", &device).require_grad();
    let threshold = Tensor::<1>::full([1], golden.number("vth"), &device).require_grad();
    let gradient: Tensor<3> = golden.tensor("grad_output", &device);
    let output = lif.forward_autodiff(x.clone(), threshold.clone());
    assert_close(&values(output.clone()), &golden.numbers("output"), 1e-5);
    let grads = (output * gradient).sum().backward();
    let dx = values(x.grad(&grads).unwrap());
    // Oracle 10: the same at every time step.
    for step in dx.chunks_exact(dx.len() / lif.steps) {
        assert_close(step, &golden.numbers("grad_input_per_step"), 1e-5);
    }
    let dv = values(threshold.grad(&grads).unwrap());
    assert_close(&dv, &[golden.number("grad_vth")], 1e-5);
});

on_each_device!(o07_conservation, |device: Device| {
    let lif = DsrLif::default();
    let x: Tensor<3> = normal(20 * 4, 50, "currents", &device).mul_scalar(3.0).add_scalar(1.5).reshape([20, 4, 50]);
    let trace = lif.forward(x.clone(), Tensor::full([1], 0.3, &device));
    assert!(values(trace.spikes).iter().sum::<f64>() > 400.0, "the identity needs spikes");
    let last: Tensor<2> = trace.after.narrow(0, 19, 1).squeeze_dim(0);
    let weights: f64 = lif.time_weights().iter().sum();
    assert!((weights - 12.961105).abs() < 1e-6);
    let gain = (1.0 - lif.beta()) / lif.dt;
    assert!((gain - 0.9754115).abs() < 1e-6);
    let expected = lif.wfr(x).mul_scalar(gain) - last.div_scalar(lif.dt * weights);
    assert_close(&values(lif.wfr(trace.output)), &values(expected), 1e-5);
});

on_each_device!(o07_constant_input, |device: Device| {
    let lif = DsrLif::default();
    let currents = [-2.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 7.0, 20.0];
    let count = [0.0, 0.0, 2.0, 4.0, 7.0, 10.0, 14.0, 17.0, 18.0, 20.0, 20.0, 20.0];
    let rate = [0.0, 0.0, 0.568, 1.248, 2.055, 2.925, 4.216, 5.122, 5.306, 6.0, 6.0, 6.0];
    let x = Tensor::<3>::from_floats([[currents]], &device).repeat_dim(0, 20);
    let trace = lif.forward(x, Tensor::full([1], 0.3, &device));
    assert_close(&values(trace.spikes.sum_dim(0)), &count, 0.0);
    assert_close(&values(lif.wfr(trace.output)), &rate, 6e-4);
});

// The edge itself fires, and a call begins at rest whatever the one before it left. `alpha` is 1, so that the threshold
// is the very number that the membrane is compared with.
on_each_device!(a_membrane_of_exactly_the_threshold_fires_and_nothing_is_left_for_the_next_call, |device: Device| {
    let lif = DsrLif { steps: 1, alpha: 1.0, ..DsrLif::default() };
    let x = Tensor::<3>::full([1, 1, 1], 5.0, &device);
    let call = |threshold: f32| lif.forward(x.clone(), Tensor::full([1], threshold, &device));
    let reached = values(call(1e6).before)[0] as f32;
    assert!((0.2..0.3).contains(&reached), "{reached}");
    for (threshold, spikes) in [(reached.next_down(), 1.0), (reached, 1.0), (reached.next_up(), 0.0)] {
        let trace = call(threshold);
        assert_eq!(values(trace.spikes), [spikes], "threshold {threshold}");
        assert_eq!(values(trace.before), [f64::from(reached)]);
    }
});

on_each_device!(o09_surrogate, |device: Device| {
    let golden = golden("sg_lif.json");
    let g = surrogate::derivative::<1>(golden.tensor("surrogate_points.x", &device));
    assert_close(&values(g), &golden.numbers("surrogate_points.g"), 1e-6);
    let points = 20_001;
    let z: Vec<f32> = (0..points).map(|i| -10.0 + i as f32 * 1e-3).collect();
    let z = Tensor::<1>::from_data(TensorData::new(z, [points]), &device);
    let g = values(surrogate::derivative(z.clone()));
    let integral: f64 = g.iter().sum::<f64>() * 1e-3;
    assert!((integral - 1.0).abs() < 1e-4, "{integral}");
    assert_close(&values(surrogate::derivative(z.neg())), &g, 1e-6);
});

on_each_device!(o09_spike, |device: Device| {
    let device = device.autodiff();
    let z = Tensor::<1>::from_floats([-0.5, 0.0, 0.25, 3.0], &device).require_grad();
    let spikes = surrogate::spike(z.clone());
    assert_close(&values(spikes.clone()), &[0.0, 1.0, 1.0, 1.0], 1e-6);
    let dz = z.grad(&spikes.sum().backward()).unwrap();
    assert_close(&values(dz), &values(surrogate::derivative(z)), 1e-6);
});

/// Two neurons of one hidden layer, weights chosen so that the rates are known: the input is one
/// pixel of value 1, so that the current is the weight.
fn one_hidden(weights: [f32; 4], device: &Device) -> Mlp {
    let first = Tensor::<2>::from_floats([weights], device);
    let head = Tensor::<2>::from_floats([[1.0, -1.0], [2.0, 0.5], [-1.0, 1.5], [0.5, 3.0]], device);
    Mlp::from_weights(vec![first, head], DsrLif::default()).unwrap()
}

on_each_device!(o10_masks, |device: Device| {
    // Rates below 0, inside, above tau V / dt = 6, inside.
    let mlp = one_hidden([-0.5, 2.0, 7.0, 4.0], &device);
    let x = Tensor::<2>::ones([1, 1], &device);
    let (_, records) = dsr::forward(&mlp, x).unwrap();
    let error = Tensor::<2>::from_floats([[0.25, -0.5]], &device);
    let gradients = dsr::backward(&mlp, &records, records.factors(), error.clone()).unwrap();
    let c = values(error.matmul(mlp.weight(1).transpose()).mul_scalar(0.0540876));
    // dW1 = T x c mask / tau.
    let expected = [0.0, 20.0 * c[1], 0.0, 20.0 * c[3]];
    assert_close(&values(gradients.weights[0].clone()), &expected, 1e-6);
    // Equation (4): dt T c of the saturated neuron only.
    assert_close(&values(gradients.thresholds[0].clone()), &[0.05 * 20.0 * c[2]], 1e-6);
});

on_each_device!(o10_no_saturation_no_threshold_gradient, |device: Device| {
    let mlp = one_hidden([-0.5, 2.0, 5.9, 4.0], &device);
    let (_, records) = dsr::forward(&mlp, Tensor::ones([1, 1], &device)).unwrap();
    let error = Tensor::<2>::from_floats([[0.25, -0.5]], &device);
    let gradients = dsr::backward(&mlp, &records, records.factors(), error).unwrap();
    assert_close(&values(gradients.thresholds[0].clone()), &[0.0], 0.0);
    // Oracle 10: the edges themselves are outside.
    let lif = DsrLif::default();
    let rate = Tensor::<2>::from_floats([[0.0, 6.0, 3.0]], &device);
    let (mask, saturated) = lif.masks(rate, Tensor::from_floats([0.3], &device));
    assert_close(&values(mask)[..1], &[0.0], 0.0);
    assert_close(&values(saturated)[..1], &[0.0], 0.0);
});

#[test]
fn o10_readout_share() {
    let lif = DsrLif::default();
    assert!((lif.readout_share() - 0.0540876).abs() < 1e-7);
    assert!((lif.readout_share() * 20.0 - 1.0817514).abs() < 1e-6);
}

#[test]
fn a_neuron_without_steps_is_refused() {
    let lif = DsrLif { steps: 0, ..DsrLif::default() };
    assert!(lif.check().is_err());
    let lif = DsrLif { tau: f64::NAN, ..DsrLif::default() };
    assert!(lif.check().unwrap_err().to_string().contains("tau"));
}

/// Constants whose spikes or thresholds 32 bits do not hold: no neuron would ever fire, or each always.
#[test]
fn constants_that_vanish_or_overflow_in_f32_are_refused() {
    let fine = DsrLif::default;
    for (lif, field) in [
        (DsrLif { threshold: 1e300, ..fine() }, "threshold"),
        (DsrLif { threshold: 1e-60, ..fine() }, "threshold"),
        (DsrLif { alpha: 1e60, ..fine() }, "alpha"),
        (DsrLif { threshold_bound: 1e-70, ..fine() }, "threshold_bound"),
        (DsrLif { dt: 1e-60, ..fine() }, "dt"),
        (DsrLif { tau: 1e300, ..fine() }, "tau"),
    ] {
        let error = lif.check().unwrap_err();
        assert!(matches!(error, hebbian_snn::SnnError::Setting { field: found, .. } if found == field), "{error}");
    }
    DsrLif { threshold: 1e20, dt: 1e-10, ..fine() }.check().unwrap();
}

/// One current would be repeated for each step of the neuron.
#[test]
#[should_panic(expected = "time steps of `z`, and of the neuron")]
fn a_current_of_another_number_of_steps_is_no_current_of_this_neuron() {
    let device = Device::flex().autodiff();
    DsrLif::default().forward_autodiff(Tensor::ones([1, 2, 3], &device), Tensor::full([1], 0.3, &device));
}
