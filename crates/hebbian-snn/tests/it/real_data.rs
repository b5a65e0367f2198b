//! Oracles that need MNIST itself.

use hebbian_snn::experiment::TaskStream;
use hebbian_snn::experiment::tasks::Task;
use hebbian_snn::subspace::{LateralRule, Subspace};
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Batches, Split, load, order};
use plasticity_core::device;
use plasticity_core::rng::Stream;

/// The rows of the first layer capture the energy of the digits: 938 batches of 64, five
/// iterations each, 80 rows, rate 0.001 (the best 80 rows hold 0.922).
#[test]
fn o21_energy_of_mnist_in_the_first_subspace() {
    let Some(mnist) = data_or_skip("mnist") else { return };
    let images = load(&mnist, Split::Train, None).unwrap();
    let device = device::by_name("auto").unwrap();
    let task = Task::new(TaskStream::Permuted, 0).unwrap();
    let rule = LateralRule { lr: 0.001, ..LateralRule::default() };
    let mut subspace = Subspace::new(784, rule, &device).unwrap();
    subspace.grow(80, &mut Stream::new(0, "rows", 0)).unwrap();
    let batches = Batches::new(order(Stream::new(0, "order", 0), images.len()), 64);
    assert_eq!(batches.len(), 938);
    for batch in batches.iter() {
        subspace.update(task.batch(&images, batch, &device).0);
    }
    subspace.freeze();
    let sample: Vec<usize> = (0..10_000).collect();
    let (x, _) = task.batch(&images, &sample, &device);
    let energy = |x: burn::tensor::Tensor<2>| x.powi_scalar(2).sum_dim(1).sum().into_scalar::<f32>();
    let captured = 1.0 - energy(subspace.project(x.clone())) / energy(x);
    assert!(captured > 0.90 && captured < 0.93, "{captured}");
}
