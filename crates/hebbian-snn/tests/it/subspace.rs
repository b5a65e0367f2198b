use burn::prelude::*;
use hebbian_snn::error::SnnError;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{Golden, assert_close, values};

use crate::support::*;

fn rule(lr: f64, iterations: usize) -> LateralRule {
    LateralRule { lr, momentum: 0.9, iterations }
}

/// The subspace of `hlop_update.json`, one iteration at a time.
fn golden_subspace(golden: &Golden, device: &Device) -> Subspace {
    let mut subspace = Subspace::new(8, rule(golden.number("lr"), 1), device).unwrap();
    subspace.append(golden.tensor("H_init", device)).unwrap();
    subspace
}

on_each_device!(golden_update_and_growth, |device: Device| {
    let golden = golden("hlop_update.json");
    let mut subspace = golden_subspace(&golden, &device);
    for i in 0..golden.len("task0_after_each_iteration") {
        subspace.update(golden.tensor("batch_task0", &device)).unwrap();
        let after = golden.at(&format!("task0_after_each_iteration.{i}"));
        assert_close(&values(subspace.h().unwrap()), &after.numbers("H"), 1e-5);
        assert_close(&values(subspace.velocity().unwrap()), &after.numbers("v"), 1e-5);
    }
    subspace.finish_task(Consolidate::None);
    subspace.append(golden.tensor("H_new_rows", &device)).unwrap();
    assert_eq!(subspace.fixed_rows(), golden.number("fixed_rows") as usize);
    let old = values(subspace.fixed().unwrap());
    for i in 0..golden.len("task1_after_each_iteration") {
        subspace.update(golden.tensor("batch_task1", &device)).unwrap();
        let after = golden.at(&format!("task1_after_each_iteration.{i}"));
        assert_close(&values(subspace.h().unwrap()), &after.numbers("H"), 1e-5);
        let learning = after.numbers("v")[old.len()..].to_vec();
        assert_close(&values(subspace.velocity().unwrap()), &learning, 1e-5);
    }
    assert_eq!(values(subspace.fixed().unwrap()), old);
});

on_each_device!(o12_golden_clamp, |device: Device| {
    let golden = golden("hlop_update.json");
    let mut subspace = golden_subspace(&golden, &device);
    subspace.update(golden.tensor("clamp_case.batch", &device)).unwrap();
    assert_close(&values(subspace.h().unwrap()), &golden.numbers("clamp_case.H_after_1"), 1e-5);
    let velocity = values(subspace.velocity().unwrap());
    assert_close(&velocity, &golden.numbers("clamp_case.v_after_1"), 1e-5);
});

on_each_device!(o12_clamp, |device: Device| {
    let x = normal(16, 24, "clamp", &device).mul_scalar(40.0);
    let mut subspace = Subspace::new(24, rule(0.01, 1), &device).unwrap();
    subspace.grow(4, &mut Stream::new(1, "rows", 0)).unwrap();
    let before = subspace.h().unwrap();
    subspace.update(x).unwrap();
    let moved = largest(subspace.h().unwrap() - before);
    // Without the clamp some entry moves by a hundred times as much.
    assert!(moved <= 0.01 * 0.1 * 10.0 + 1e-6 && moved > 0.0099, "{moved}");
});

on_each_device!(o13_new_rows, |device: Device| {
    let mut subspace = Subspace::new(32, rule(0.01, 5), &device).unwrap();
    subspace.grow(5, &mut Stream::new(2, "rows", 0)).unwrap();
    let old = subspace.h().unwrap();
    assert!(off_orthonormal(old.clone()) < 1e-5);
    subspace.finish_task(Consolidate::None);
    subspace.grow(6, &mut Stream::new(2, "rows", 1)).unwrap();
    let new = subspace.h().unwrap().narrow(0, 5, 6);
    assert!(off_orthonormal(new.clone()) < 1e-5);
    assert!(largest(new.matmul(old.transpose())) > 0.05);
    assert!(largest(subspace.velocity().unwrap()) == 0.0);
});

on_each_device!(o11_fixed_rows, |device: Device| {
    let mut subspace = Subspace::new(24, rule(0.05, 5), &device).unwrap();
    subspace.grow(4, &mut Stream::new(3, "rows", 0)).unwrap();
    let x = normal(16, 24, "frozen", &device);
    subspace.update(x.clone()).unwrap();
    subspace.finish_task(Consolidate::None);
    let before = values(subspace.h().unwrap());
    for _ in 0..10 {
        subspace.update(x.clone()).unwrap();
    }
    assert_eq!(values(subspace.h().unwrap()), before);
    // No new rows is legal and changes nothing either.
    subspace.grow(0, &mut Stream::new(3, "rows", 1)).unwrap();
    subspace.update(x).unwrap();
    assert_eq!(values(subspace.h().unwrap()), before);
});

on_each_device!(o01_oja_o03_second_subspace, |device: Device| {
    let first = five_strong_directions("first", &device);
    let mut subspace = Subspace::new(32, rule(0.01, 400), &device).unwrap();
    subspace.grow(5, &mut Stream::new(4, "rows", 0)).unwrap();
    let start = angle(leading_five(&first), rows_of(subspace.h().unwrap()));
    assert!(start > 0.5, "nothing to learn: {start}");
    subspace.update(first.clone()).unwrap();
    let h = subspace.h().unwrap();
    let learned = angle(leading_five(&first), rows_of(h.clone()));
    assert!(learned < 1e-2, "angle {learned}");
    assert!(off_orthonormal(h.clone()) < 1e-3);

    let second = five_strong_directions("second", &device);
    subspace.finish_task(Consolidate::None);
    subspace.grow(5, &mut Stream::new(4, "rows", 1)).unwrap();
    let overlap = |s: &Subspace| {
        let h = s.h().unwrap();
        largest(h.clone().narrow(0, 5, 5).matmul(h.narrow(0, 0, 5).transpose()))
    };
    assert!(overlap(&subspace) > 0.1);
    for _ in 0..3 {
        subspace.update(second.clone()).unwrap();
    }
    assert!(overlap(&subspace) < 1e-3, "overlap {}", overlap(&subspace));
    assert_eq!(values(subspace.fixed().unwrap()), values(h));
    let residual = leading_five(&subspace.project(second).unwrap());
    let new = rows_of(subspace.h().unwrap().narrow(0, 5, 5));
    let learned = angle(residual, new);
    assert!(learned < 1e-2, "angle to the residual's directions {learned}");
});

on_each_device!(o02_noise_floor, |device: Device| {
    let x = five_strong_directions("batches", &device);
    let mut subspace = Subspace::new(32, rule(0.01, 5), &device).unwrap();
    subspace.grow(5, &mut Stream::new(5, "rows", 0)).unwrap();
    for _ in 0..10 {
        for batch in x.clone().split(64, 0) {
            subspace.update(batch).unwrap();
        }
    }
    let best = leading_five(&x);
    let learned = angle(best.clone(), rows_of(subspace.h().unwrap()));
    assert!(learned < 0.1, "angle {learned}");
    let mut optimum = Subspace::new(32, rule(0.01, 5), &device).unwrap();
    let best: Vec<f32> = best.concat().into_iter().map(|x| x as f32).collect();
    optimum.append(matrix(best, 32, &device)).unwrap();
    let energy = subspace.captured_energy(x.clone()).unwrap() / optimum.captured_energy(x).unwrap();
    assert!(energy > 0.998 && energy < 1.0 + 1e-6, "energy {energy}");
});

on_each_device!(orthonormal_rows_at_the_end_of_a_task, |device: Device| {
    let rows = normal(6, 20, "skew", &device);
    let twice = Tensor::cat(vec![rows.clone(), rows.clone().narrow(0, 0, 1)], 0);
    let mut subspace = Subspace::new(20, rule(0.01, 5), &device).unwrap();
    subspace.append(twice).unwrap();
    assert!(subspace.least_eigenvalue() < -5.0);
    let mut paper = subspace.clone();
    assert_eq!(paper.finish_task(Consolidate::None), 0);
    assert_eq!((paper.fixed_rows(), paper.rows()), (7, 7));
    assert_eq!(paper.least_eigenvalue(), subspace.least_eigenvalue());
    assert_eq!(subspace.finish_task(Consolidate::Qr), 1);
    // The repeated row is gone, the span is the same.
    assert_eq!((subspace.fixed_rows(), subspace.rows()), (6, 6));
    let h = subspace.h().unwrap();
    assert!(off_orthonormal(h.clone()) < 1e-6);
    assert!(angle(rows_of(rows), rows_of(h)) < 1e-5);
    assert!(subspace.least_eigenvalue().abs() < 1e-6);
});

on_each_device!(the_state_survives_a_checkpoint, |device: Device| {
    let mut subspace = Subspace::new(12, rule(0.05, 5), &device).unwrap();
    for task in 0..2 {
        subspace.finish_task(Consolidate::None);
        subspace.grow(3, &mut Stream::new(6, "rows", task)).unwrap();
        subspace.update(normal(8, 12, "saved", &device)).unwrap();
    }
    let saved = subspace.to_tensors();
    let mut restored = Subspace::new(12, rule(0.05, 5), &device).unwrap();
    let take = |name: &str| saved.iter().find(|(n, _)| *n == name).map(|(_, data)| data.clone());
    restored.load_tensors(take).unwrap();
    for s in [&mut subspace, &mut restored] {
        s.update(normal(8, 12, "later", &device)).unwrap();
    }
    assert_eq!(values(subspace.h().unwrap()), values(restored.h().unwrap()));
    let mut narrow = Subspace::new(11, rule(0.05, 5), &device).unwrap();
    assert!(matches!(narrow.load_tensors(take), Err(SnnError::Shape { .. })));
    let half = |name: &str| if name == "velocity" { None } else { take(name) };
    assert!(matches!(restored.load_tensors(half), Err(SnnError::Saved(_))));
});

#[test]
fn more_rows_than_inputs_are_refused() {
    let device = Device::flex();
    let mut subspace = Subspace::new(4, rule(0.01, 5), &device).unwrap();
    subspace.grow(3, &mut Stream::new(7, "rows", 0)).unwrap();
    subspace.finish_task(Consolidate::None);
    let error = subspace.grow(2, &mut Stream::new(7, "rows", 1)).unwrap_err();
    assert_eq!(error.to_string(), "`rows` is 5: at most 4, the layer's inputs");
    assert!(LateralRule { momentum: 1.0, ..LateralRule::default() }.check().is_err());
}

#[test]
fn rows_of_another_width_are_refused() {
    let device = Device::flex();
    let mut subspace = Subspace::new(4, rule(0.01, 5), &device).unwrap();
    subspace.grow(2, &mut Stream::new(7, "rows", 0)).unwrap();
    subspace.finish_task(Consolidate::None);
    subspace.grow(1, &mut Stream::new(7, "rows", 1)).unwrap();
    let before = values(subspace.h().unwrap());
    let wide = normal(3, 8, "wide", &device);
    let refused = |error| {
        let shape = SnnError::Shape { field: "x", expected: vec![3, 4], found: vec![3, 8] };
        assert_eq!(error, shape);
    };
    refused(subspace.project(wide.clone()).unwrap_err());
    refused(subspace.update(wide.clone()).unwrap_err());
    refused(subspace.captured_energy(wide.clone()).unwrap_err());
    assert!(subspace.project_gradient(wide).is_err());
    // An empty batch teaches nothing.
    subspace.update(Tensor::zeros([0, 4], &device)).unwrap();
    assert_eq!(values(subspace.h().unwrap()), before);
}

/// The rows of the first layer capture the energy of the digits: 938 batches of 64, five
/// iterations each, 80 rows, rate 0.001 (the best 80 rows hold 0.922).
#[cfg(feature = "experiment")]
#[test]
fn o21_energy_of_mnist_in_the_first_subspace() {
    use hebbian_snn::experiment::{Task, TaskStream};
    use plasticity_core::data::testing::data_or_skip;
    use plasticity_core::data::{Batches, Split, load, order};

    let Some(mnist) = data_or_skip("mnist") else { return };
    let images = load(&mnist, Split::Train, None).unwrap();
    let device = plasticity_core::testing::cpu();
    let task = Task::new(TaskStream::Permuted, 0).unwrap();
    let rule = LateralRule { lr: 0.001, ..LateralRule::default() };
    let mut subspace = Subspace::new(784, rule, &device).unwrap();
    subspace.grow(80, &mut Stream::new(0, "rows", 0)).unwrap();
    let batches = Batches::new(order(Stream::new(0, "order", 0), images.len()), 64);
    assert_eq!(batches.len(), 938);
    for batch in batches.iter() {
        subspace.update(task.batch(&images, batch, &device).0).unwrap();
    }
    subspace.finish_task(Consolidate::None);
    let sample: Vec<usize> = (0..10_000).collect();
    let (x, _) = task.batch(&images, &sample, &device);
    let energy = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1).sum().into_scalar::<f32>();
    let captured = 1.0 - energy(subspace.project(x.clone()).unwrap()) / energy(x);
    assert!(captured > 0.90 && captured < 0.93, "{captured}");
}
