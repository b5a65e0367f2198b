//! The real data, where it is on this machine.

use plasticity_core::data::digits::MEAN;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Images, Split, load};

fn histogram(images: &Images) -> Vec<usize> {
    let mut counts = vec![0; images.classes];
    images.labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    counts
}

#[test]
fn mnist_has_its_known_shape_labels_and_mean() {
    let Some(set) = data_or_skip("mnist") else { return };
    assert!(set.exact);
    let train = load(&set, Split::Train, None).unwrap();
    assert_eq!((train.len(), train.channels, train.height, train.width), (60_000, 1, 28, 28));
    assert_eq!(train.pixels.len(), 60_000 * 28 * 28);
    assert_eq!(histogram(&train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(train.labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    // The mean of the training pixels that everyone normalises with: 0.1307.
    let sum: u64 = train.pixels.iter().map(|p| u64::from(*p)).sum();
    let mean = sum as f64 / 255.0 / train.pixels.len() as f64;
    assert!((mean - f64::from(MEAN)).abs() < 5e-5, "{mean}");
    let test = load(&set, Split::Test, None).unwrap();
    assert_eq!(histogram(&test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!(load(&set, Split::Train, Some(100)).unwrap(), train.take(100));
}

#[test]
fn fashion_mnist_has_its_known_shape_and_labels() {
    let Some(set) = data_or_skip("fashion-mnist") else { return };
    let train = load(&set, Split::Train, None).unwrap();
    assert_eq!((train.len(), train.height, train.width), (60_000, 28, 28));
    assert_eq!(histogram(&train), [6000; 10]);
    assert_eq!(train.labels[..5], [9, 0, 0, 3, 0]);
    assert_eq!(histogram(&load(&set, Split::Test, None).unwrap()), [1000; 10]);
}
