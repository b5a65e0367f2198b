//! The generated digits are neither trivial nor noise.

use plasticity_core::data::{Batches, order};
use plasticity_core::data::{Images, Split, glyphs};
use plasticity_core::rng::Stream;

const TRAIN: usize = 10_000;
const TEST: usize = 2_000;

/// Pixels in `[0, 1]`, `[image, pixel]`.
fn scaled(images: &Images) -> Vec<f32> {
    images.pixels.iter().map(|p| f32::from(*p) / 255.0).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight partial sums, so that the compiler may use vector instructions.
    let mut sums = [0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

/// Fraction of images whose label `predict` finds.
fn accuracy(images: &Images, predict: impl Fn(usize) -> u8) -> f64 {
    let right = (0..images.len()).filter(|i| predict(*i) == images.labels[*i]).count();
    right as f64 / images.len() as f64
}

/// Softmax regression by stochastic gradient descent: weights `[class, pixel]`, biases.
fn softmax_regression(train: &Images, epochs: u64) -> (Vec<f32>, [f32; 10]) {
    let (pixels, size) = (scaled(train), train.size());
    let (mut weights, mut biases) = (vec![0f32; 10 * size], [0f32; 10]);
    for epoch in 0..epochs {
        let rate = 0.1 / (1.0 + epoch as f32) / 10.0;
        let batches = Batches::new(order(Stream::new(1, "test/order", epoch), train.len()), 10);
        for batch in batches.iter() {
            for &i in batch {
                let image = &pixels[i * size..][..size];
                let mut p: Vec<f32> = (0..10).map(|c| biases[c] + dot(&weights[c * size..][..size], image)).collect();
                let most = p.iter().copied().fold(f32::MIN, f32::max);
                p.iter_mut().for_each(|p| *p = (*p - most).exp());
                let sum: f32 = p.iter().sum();
                for c in 0..10 {
                    let error = p[c] / sum - f32::from(u8::from(usize::from(train.labels[i]) == c));
                    biases[c] -= rate * error;
                    for (w, x) in weights[c * size..][..size].iter_mut().zip(image) {
                        *w -= rate * error * x;
                    }
                }
            }
        }
    }
    (weights, biases)
}

#[test]
fn a_linear_classifier_learns_the_glyphs_and_a_nearest_neighbour_learns_more() {
    let train = glyphs::generate(1, Split::Train, TRAIN);
    let test = glyphs::generate(1, Split::Test, TEST);
    let (size, train_pixels, test_pixels) = (train.size(), scaled(&train), scaled(&test));

    let (weights, biases) = softmax_regression(&train, 8);
    let linear = accuracy(&test, |i| {
        let image = &test_pixels[i * size..][..size];
        let score = |c: usize| biases[c] + dot(&weights[c * size..][..size], image);
        (0..10).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap() as u8
    });

    // |x - y|^2 = |x|^2 - 2 x.y + |y|^2, of which |y|^2 does not matter.
    let norms: Vec<f32> = train_pixels.chunks(size).map(|x| dot(x, x)).collect();
    let neighbour = accuracy(&test, |i| {
        let image = &test_pixels[i * size..][..size];
        let distance = |j: usize| norms[j] - 2.0 * dot(&train_pixels[j * size..][..size], image);
        let nearest = (0..train.len()).map(|j| (j, distance(j))).min_by(|a, b| a.1.total_cmp(&b.1));
        train.labels[nearest.unwrap().0]
    });

    println!("softmax regression {linear:.4}, one nearest neighbour {neighbour:.4}");
    assert!((0.80..=0.95).contains(&linear), "softmax regression: {linear}");
    assert!(neighbour > linear && neighbour < 0.995, "one nearest neighbour: {neighbour}, linear: {linear}");
}
