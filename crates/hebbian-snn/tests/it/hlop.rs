use burn::prelude::*;
use hebbian_snn::dsr;
use hebbian_snn::error::SnnError;
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use plasticity_core::on_each_device;
use plasticity_core::testing::{assert_close, max_difference, values};

use crate::support::*;

fn fixed(h: Tensor<2>, device: &Device) -> Subspace {
    let mut subspace = Subspace::new(h.dims()[1], LateralRule::default(), device).unwrap();
    subspace.append(h).unwrap();
    subspace.finish_task(Consolidate::None);
    subspace
}

on_each_device!(golden_linear, |device: Device| {
    let golden = golden("project_linear.json");
    let subspace = fixed(golden.tensor("H_old", &device), &device);
    let x: Tensor<2> = golden.tensor("x", &device);
    let g: Tensor<2> = golden.tensor("grad_output", &device);
    let w = golden.tensor::<2>("W", &device).transpose();
    assert_close(&values(x.clone().matmul(w.clone())), &golden.numbers("y"), 1e-5);
    let x_orth = subspace.project(x.clone()).unwrap();
    assert_close(&values(x_orth.clone()), &golden.numbers("x_orth"), 1e-5);
    // The fixture's gradients are [out, in], ours [in, out].
    let as_fixture = |gradient: Tensor<2>| values(gradient.transpose());
    let plain = x.transpose().matmul(g.clone());
    assert_close(&as_fixture(plain.clone()), &golden.numbers("dW_plain"), 1e-5);
    let by_input = x_orth.transpose().matmul(g.clone());
    assert_close(&as_fixture(by_input), &golden.numbers("dW_projected"), 1e-5);
    let by_weight = subspace.project_gradient(plain).unwrap();
    assert_close(&as_fixture(by_weight), &golden.numbers("dW_projected"), 1e-5);
    assert_close(&values(g.matmul(w.transpose())), &golden.numbers("dx_backprop"), 1e-5);
});

// Among the gradients of a model that Burn differentiates.
on_each_device!(the_gradient_of_a_weight_gives_way_to_its_projection, |device: Device| {
    use burn::module::Param;
    use burn::nn::Linear;
    use burn::optim::GradientsParams;

    let subspace = fixed(Tensor::from_data([[0.0, 1.0, 0.0]], &device), &device);
    let autodiff = device.clone().autodiff();
    let layer = |inputs: usize| {
        let values = TensorData::new(vec![0.5f32; 2 * inputs], [inputs, 2]);
        Linear { weight: Param::from_data(values, &autodiff), bias: None }
    };
    let (net, other) = (layer(3), layer(4));
    let loss = net.forward(Tensor::<2>::ones([1, 3], &autodiff)).sum();
    let mut gradients = GradientsParams::from_grads(loss.backward(), &net);
    let of_net = |gradients: &GradientsParams| values(gradients.get::<2>(net.weight.id).unwrap());
    assert_close(&of_net(&gradients), &[1.0; 6], 0.0);
    subspace.project_in(&mut gradients, &net.weight).unwrap();
    assert_close(&of_net(&gradients), &[1.0, 1.0, 0.0, 0.0, 1.0, 1.0], 1e-6);
    // A weight that the loss does not know has no gradient, and gets none.
    subspace.project_in(&mut gradients, &other.weight).unwrap();
    assert_eq!(gradients.len(), 1);
    // One of another width is refused and stays.
    gradients.register(other.weight.id, Tensor::<2>::ones([4, 2], &device));
    assert!(subspace.project_in(&mut gradients, &other.weight).is_err());
    assert_close(&values(gradients.get::<2>(other.weight.id).unwrap()), &[1.0; 8], 0.0);
});

on_each_device!(golden_orthonormal, |device: Device| {
    let golden = golden("project_linear.json").at("orthonormal_case");
    let subspace = fixed(golden.tensor("H_orthonormal", &device), &device);
    let old: Tensor<2> = golden.tensor("x_old_in_span", &device);
    let gradient: Tensor<2> = golden.tensor("dW", &device);
    assert!(largest(subspace.project(old.clone()).unwrap()) < 1e-5);
    // The file's gradient is projected already: it moves nothing on old inputs.
    assert!(largest(gradient.clone()) > 0.1);
    assert!(largest(old.matmul(gradient.transpose())) < 1e-5);
});

on_each_device!(o04_null_space, |device: Device| {
    let (n, out, batch) = (784, 80, 16);
    let h = orthonormal(80, n, "basis", &device);
    let old = normal(32, 80, "coordinates", &device).matmul(h.clone());
    let w = normal(n, out, "weights", &device).mul_scalar(0.3);
    let x = normal(batch, n, "x", &device);
    let g = normal(batch, out, "g", &device);
    let moved = |x: Tensor<2>| {
        let after = w.clone() - x.transpose().matmul(g.clone()).mul_scalar(0.1);
        largest(old.clone().matmul(after) - old.clone().matmul(w.clone()))
    };
    let subspace = fixed(h, &device);
    let (protected, plain) = (moved(subspace.project(x.clone()).unwrap()), moved(x));
    assert!(protected < 1e-4, "with projection {protected}");
    assert!(plain > 1.0, "without {plain}");
});

on_each_device!(o05_input_and_weight_agree, |device: Device| {
    let subspace = fixed(orthonormal(9, 30, "agree", &device), &device);
    let x = normal(7, 30, "x5", &device);
    let g = normal(7, 12, "g5", &device);
    let plain = x.clone().transpose().matmul(g.clone());
    let by_input = subspace.project(x).unwrap().transpose().matmul(g);
    let by_weight = subspace.project_gradient(plain.clone()).unwrap();
    assert_close(&values(by_input.clone()), &values(by_weight), 1e-5);
    assert!(max_difference(&values(plain), &values(by_input)) > 0.1);
});

/// HLOP with three rows of a finished task in every layer, and two that learn.
fn after_one_task(inputs: &[usize], projection: Projection, device: &Device) -> Hlop {
    let (fixed, new) = (vec![3; inputs.len()], vec![2; inputs.len()]);
    with_rows(inputs, &fixed, &new, projection, device)
}

on_each_device!(o05_both_types_over_a_network, |device: Device| {
    let mlp = small_mlp(12, &[10, 8], 4, &device);
    let x = normal(6, 12, "net5", &device).mul_scalar(2.0);
    let (logits, records) = dsr::forward(&mlp, x).unwrap();
    let (_, error) = dsr::cross_entropy(logits, labels(6, 4, 5, &device)).unwrap();
    let gradients = |projection| {
        let hlop = after_one_task(&mlp.layer_inputs(), projection, &device);
        let factors = hlop.project(&records).unwrap().factors;
        let mut gradients = dsr::backward(&mlp, &records, factors, error.clone()).unwrap();
        hlop.project_gradients(&mut gradients).unwrap();
        gradients.weights
    };
    let plain = dsr::backward(&mlp, &records, records.factors(), error.clone()).unwrap().weights;
    let by_weight = gradients(Projection::Weight);
    for (layer, by_input) in gradients(Projection::Input).into_iter().enumerate() {
        assert_close(&values(by_input.clone()), &values(by_weight[layer].clone()), 1e-5);
        let plain = values(plain[layer].clone());
        assert!(max_difference(&plain, &values(by_input)) > 1e-3, "layer {layer} not projected");
    }
});

on_each_device!(o06_projection_leaves_the_error_alone, |device: Device| {
    let mlp = small_mlp(12, &[10, 8], 4, &device);
    let x = normal(6, 12, "net6", &device).mul_scalar(2.0);
    let (logits, records) = dsr::forward(&mlp, x.clone()).unwrap();
    let hlop = after_one_task(&mlp.layer_inputs(), Projection::Input, &device);
    let factors = hlop.project(&records).unwrap().factors;
    // The circuit never touches the forward pass...
    assert_eq!(values(dsr::forward(&mlp, x).unwrap().0), values(logits.clone()));
    // ...nor the error that reaches a layer: with all factors but one plain, the gradients of
    // the other layers are bitwise those without projection.
    let (_, error) = dsr::cross_entropy(logits, labels(6, 4, 6, &device)).unwrap();
    let plain = dsr::backward(&mlp, &records, records.factors(), error.clone()).unwrap();
    for projected in 0..3 {
        let mut mixed = records.factors();
        mixed[projected] = factors[projected].clone();
        let found = dsr::backward(&mlp, &records, mixed, error.clone()).unwrap();
        for layer in 0..3 {
            let same = values(found.weights[layer].clone()) == values(plain.weights[layer].clone());
            assert_eq!(same, layer != projected, "layer {layer}, projected {projected}");
        }
    }
});

#[test]
fn what_is_of_another_network_is_refused() {
    let device = Device::flex();
    let mlp = small_mlp(12, &[10, 8], 4, &device);
    let (logits, records) = dsr::forward(&mlp, normal(6, 12, "net7", &device)).unwrap();
    let (_, error) = dsr::cross_entropy(logits, labels(6, 4, 7, &device)).unwrap();
    let mut shallow = after_one_task(&[12, 10], Projection::Weight, &device);
    let layers = |field, expected, found| SnnError::Shape { field, expected: vec![expected], found: vec![found] };
    assert_eq!(shallow.project(&records).unwrap_err(), layers("records", 2, 3));
    let projected = after_one_task(&mlp.layer_inputs(), Projection::Weight, &device).project(&records).unwrap();
    assert_eq!(shallow.teach(&records, &projected).unwrap_err(), layers("records", 2, 3));
    let two = records.factors().split_off(1);
    assert_eq!(dsr::backward(&mlp, &records, two, error.clone()).unwrap_err(), layers("factors", 3, 2));
    let mut gradients = dsr::backward(&mlp, &records, records.factors(), error).unwrap();
    assert_eq!(shallow.project_gradients(&mut gradients).unwrap_err(), layers("gradients", 2, 3));
    let mut narrow = gradients.clone();
    narrow.weights[1] = narrow.weights[1].clone().narrow(0, 0, 9);
    let shape = SnnError::Shape { field: "gradients", expected: vec![10, 8], found: vec![9, 8] };
    assert_eq!(narrow.into_params(&mlp, false).unwrap_err(), shape);
    gradients.weights.pop();
    assert_eq!(gradients.into_params(&mlp, false).unwrap_err(), layers("gradients", 3, 2));
}
