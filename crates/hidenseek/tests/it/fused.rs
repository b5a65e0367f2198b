//! The fused round against a network in f64 and against the composed round.

use burn::prelude::Device;
use hidenseek::FederationError;
use hidenseek::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::composed;
use hidenseek::fused::{self, Prepared};
use hidenseek::mask::PruneMask;
use hidenseek::network::{Architecture, Layer};
use hidenseek::supermask::{MaskKind, Surrogate};
use plasticity_core::rng::Stream;

const WIDTHS: [usize; 4] = [37, 21, 18, 5];
const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };

/// A perceptron with these densities, scores of its survivors, and images.
fn example(densities: [f64; 3], images: usize) -> (Subnetwork, Vec<f32>, ClientData) {
    let architecture = Architecture::mlp(&WIDTHS).unwrap();
    let mut stream = Stream::new(1, "example", 0);
    let scale: Vec<f32> = WIDTHS.windows(2).flat_map(|w| vec![(2.0 / w[0] as f32).sqrt(); w[0] * w[1]]).collect();
    let weights = stream.normal_vec(scale.len()).into_iter().zip(scale).map(|(w, scale)| w * scale).collect();
    let densities = architecture.sizes().into_iter().zip(densities);
    let keep = densities.flat_map(|(n, d)| (0..n).map(|_| stream.bernoulli(d)).collect::<Vec<_>>()).collect();
    let mask = PruneMask::new(&architecture, keep).unwrap();
    let scores = stream.uniform_vec(mask.survivors(), -0.1, 0.1);
    let labels: Vec<u8> = (0..images).map(|_| stream.below(5) as u8).collect();
    let data = ClientData { x: stream.normal_vec(images * WIDTHS[0]), labels };
    (Subnetwork::new(architecture, weights, mask).unwrap(), scores, data)
}

fn prepare(sub: &Subnetwork) -> Prepared {
    Prepared::new(sub).expect("a perceptron")
}

/// Logits of one image in f64, with all N effective weights.
fn forward64(weights: &[f64], image: &[f32]) -> Vec<f64> {
    let mut h: Vec<f64> = image.iter().map(|x| f64::from(*x)).collect();
    let mut rest = weights;
    for (i, w) in WIDTHS.windows(2).enumerate() {
        let (layer, tail) = rest.split_at(w[0] * w[1]);
        rest = tail;
        h = layer.chunks(w[0]).map(|row| row.iter().zip(&h).map(|(w, h)| w * h).sum()).collect();
        if i + 2 < WIDTHS.len() {
            h.iter_mut().for_each(|h: &mut f64| *h = h.max(0.0));
        }
    }
    h
}

fn loss64(weights: &[f64], data: &ClientData) -> f64 {
    let losses = data.x.chunks(WIDTHS[0]).zip(&data.labels).map(|(image, label)| {
        let z = forward64(weights, image);
        let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter().map(|z| (z - most).exp()).sum::<f64>().ln() + most - z[usize::from(*label)]
    });
    losses.sum::<f64>() / data.labels.len() as f64
}

/// Effective weights, all N.
fn effective64(sub: &Subnetwork, trainable: Trainable, values: &[f32]) -> Vec<f64> {
    let mut all = vec![0.0; sub.weights().len()];
    for (position, value) in sub.mask().positions().into_iter().zip(values) {
        all[position as usize] = match trainable {
            Trainable::Weights => f64::from(*value),
            Trainable::Scores { kind, .. } => f64::from(kind.entry(*value) * sub.weights()[position as usize]),
        };
    }
    all
}

#[test]
fn gradients_are_those_of_central_differences() {
    let tanh = Trainable::Scores { kind: MaskKind::Binary, surrogate: Surrogate::Tanh };
    let ternary = Trainable::Scores { kind: MaskKind::Ternary { tau: 0.03 }, surrogate: Surrogate::Identity };
    // Sparse, with holes, whole; batches of one vector, two, and three chunks.
    for (densities, images) in [([0.2, 0.6, 1.0], 13), ([1.0, 0.3, 0.2], 20), ([0.5, 1.0, 0.3], 75)] {
        let (sub, scores, data) = example(densities, images);
        let prepared = prepare(&sub);
        for trainable in [SIGN, tanh, ternary, Trainable::Weights] {
            // One step with a large rate: the movement is the gradient.
            let lr = 1024.0;
            let training = LocalTraining { epochs: 1, batch: 100, optimiser: Optimiser::Sgd { lr, momentum: 0.5 } };
            let mut stream = Stream::new(3, "order", 0);
            let trained = fused::train(&prepared, trainable, &scores, &data, &training, &mut stream).unwrap();
            let base = effective64(&sub, trainable, &scores);
            assert!((f64::from(trained.loss) - loss64(&base, &data)).abs() < 1e-5);
            let positions = sub.mask().positions();
            let (mut most, mut size) = (0.0f64, 0.0f64);
            for (j, position) in positions.iter().enumerate().step_by(3) {
                let moved = |by: f64| {
                    let mut weights = base.clone();
                    weights[*position as usize] += by;
                    loss64(&weights, &data)
                };
                let here = loss64(&base, &data);
                let (left, right) = ((here - moved(-1e-6)) / 1e-6, (moved(1e-6) - here) / 1e-6);
                let mut slope = 1.0;
                if let Trainable::Scores { surrogate, .. } = trainable {
                    slope = f64::from(sub.weights()[*position as usize] * surrogate.derivative(scores[j]));
                }
                let found = f64::from(scores[j] - trained.values[j]) / f64::from(lr);
                let (low, high) = (slope * left.min(right), slope * left.max(right));
                let (low, high) = (low.min(high), low.max(high));
                // At a kink (a unit all of whose inputs are off) any slope between the two is one.
                let off = if (left - right).abs() < 1e-5 {
                    found - (low + high) / 2.0
                } else {
                    found - found.clamp(low, high)
                };
                most = most.max(off.abs());
                size = size.max(high.abs());
            }
            assert!(most < 1e-5 * size.max(1e-3), "{trainable:?} {densities:?} {images}: off by {most} of {size}");
        }
    }
}

#[test]
fn a_round_is_the_composed_round() {
    let device = Device::flex();
    let sgd = Optimiser::Sgd { lr: 1.0, momentum: 0.5 };
    let tanh = Trainable::Scores { kind: MaskKind::Binary, surrogate: Surrogate::Tanh };
    let ternary = Trainable::Scores { kind: MaskKind::Ternary { tau: 0.03 }, surrogate: Surrogate::Identity };
    for (densities, trainable, optimiser, batch) in [
        ([0.2, 0.4, 0.8], SIGN, sgd, 20),
        ([0.2, 0.4, 0.8], SIGN, Optimiser::Adam { lr: 0.003 }, 20),
        ([0.3, 0.3, 0.3], tanh, sgd, 16),
        ([0.2, 1.0, 0.5], ternary, sgd, 33),
        ([1.0, 1.0, 1.0], Trainable::Weights, Optimiser::Sgd { lr: 0.1, momentum: 0.5 }, 20),
    ] {
        let (sub, values, data) = example(densities, 50);
        let training = LocalTraining { epochs: 3, batch, optimiser };
        let stream = || Stream::new(4, "order", 0);
        let fused = fused::train(&prepare(&sub), trainable, &values, &data, &training, &mut stream()).unwrap();
        let composed = composed::train(&sub, trainable, &values, &data, &training, &mut stream(), &device).unwrap();
        let off = fused.values.iter().zip(&composed.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let moved = fused.values.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-4 * moved, "{trainable:?} {optimiser:?}: {off} of {moved}");
        assert!((fused.loss - composed.loss).abs() <= 1e-4 * composed.loss, "{} {}", fused.loss, composed.loss);

        let logits = fused::logits(&prepare(&sub), trainable, &values, &data.x, None).unwrap();
        let reference = composed::logits(&sub, trainable, &values, &data.x, &device).unwrap();
        assert!(logits.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 1e-5));
        let rows = [49, 0, 17, 17];
        let picked = fused::logits(&prepare(&sub), trainable, &values, &data.x, Some(&rows)).unwrap();
        let expected: Vec<f32> = rows.iter().flat_map(|r| logits[*r as usize * 5..][..5].to_vec()).collect();
        assert_eq!(picked, expected);
    }
}

#[test]
fn a_score_of_minus_zero_is_plus_one() {
    let (sub, mut scores, data) = example([0.3, 0.5, 1.0], 3);
    let logits = |scores: &[f32]| fused::logits(&prepare(&sub), SIGN, scores, &data.x, None).unwrap();
    scores.fill(0.0);
    let plus = logits(&scores);
    scores.fill(-0.0);
    assert_eq!(logits(&scores), plus);
    scores.fill(-f32::MIN_POSITIVE);
    assert_ne!(logits(&scores), plus);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (sub, scores, data) = example([0.3, 0.5, 1.0], 6);
    let prepared = prepare(&sub);
    let training = LocalTraining { epochs: 1, batch: 4, optimiser: Optimiser::Adam { lr: 0.1 } };
    let train = |values: &[f32], data: &ClientData, training: &LocalTraining| {
        fused::train(&prepared, SIGN, values, data, training, &mut Stream::new(0, "x", 0))
    };
    let setting = |result: Result<_, FederationError>| match result {
        Err(FederationError::Setting { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert!(matches!(train(&scores[1..], &data, &training), Err(FederationError::Length { field: "values", .. })));
    let short = ClientData { x: data.x[1..].to_vec(), ..data.clone() };
    assert!(matches!(train(&scores, &short, &training), Err(FederationError::Length { field: "x", .. })));
    let foreign = ClientData { labels: vec![5; 6], ..data.clone() };
    assert_eq!(setting(train(&scores, &foreign, &training)), "labels");
    assert!(matches!(
        train(&scores, &ClientData::default(), &training),
        Err(FederationError::NotEnough { field: "data", .. })
    ));
    assert_eq!(setting(train(&scores, &data, &LocalTraining { batch: 0, ..training })), "batch");
    assert_eq!(setting(train(&scores, &data, &LocalTraining { epochs: 0, ..training })), "epochs");
    let wild = Optimiser::Sgd { lr: f32::NAN, momentum: 0.0 };
    assert_eq!(setting(train(&scores, &data, &LocalTraining { optimiser: wild, ..training })), "lr");
    for broken in [f32::INFINITY, f32::NAN] {
        let mut hot = data.clone();
        hot.x[7] = broken;
        assert_eq!(setting(train(&scores, &hot, &training)), "x");
        let refused = fused::logits(&prepared, SIGN, &scores, &hot.x, Some(&[5]));
        assert!(matches!(refused, Err(FederationError::Setting { field: "x", .. })), "{refused:?}");
        let mut scores = scores.clone();
        scores[3] = broken;
        assert_eq!(setting(train(&scores, &data, &training)), "values");
        let refused = fused::logits(&prepared, SIGN, &scores, &data.x, None);
        assert!(matches!(refused, Err(FederationError::Setting { field: "values", .. })), "{refused:?}");
    }
    assert!(fused::logits(&prepared, SIGN, &scores, &data.x, Some(&[6])).is_err());
    // Not a perceptron: none, for the composed round.
    let linear = [(4, 3), (3, 2)].map(|(inputs, outputs)| Layer::Linear { inputs, outputs });
    let other = Architecture::new([1, 1, 4], linear.to_vec()).unwrap();
    let mask = PruneMask::dense(&other);
    let linear = Subnetwork::new(other.clone(), vec![0.0; other.weights()], mask).unwrap();
    assert!(Prepared::new(&linear).is_none());
}
