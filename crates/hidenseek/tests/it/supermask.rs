//! Oracles O13 to O18 of the sign layer (section 10), and the composed client round.

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::DType;
use hidenseek::FederationError;
use hidenseek::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::composed::{logits, train};
use hidenseek::init::WeightInit;
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;
use hidenseek::prune::{Pruner, prune};
use hidenseek::supermask::{MaskKind, ScoreInit, SignConv2d, SignLinear, Surrogate, effective};
use plasticity_core::nn::conv2d;
use plasticity_core::on_each_device;
use plasticity_core::rng::{Stream, fnv1a};
use plasticity_core::testing::{assert_close, tensor, values};

const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };
const KINDS: [MaskKind; 3] = [MaskKind::Sign, MaskKind::Binary, MaskKind::Ternary { tau: 0.5 }];

fn normals(n: usize, label: &str) -> Vec<f64> {
    let mut stream = Stream::new(4, label, 0);
    (0..n).map(|_| stream.normal()).collect()
}

fn coins(n: usize, label: &str, p: f64) -> Vec<bool> {
    let mut stream = Stream::new(4, label, 1);
    (0..n).map(|_| stream.bernoulli(p)).collect()
}

/// A linear layer 6 -> 5 and a convolution 2 -> 3 of side 3, both over half of their weights.
struct Set {
    weight: Vec<f64>,
    keep: Vec<bool>,
    scores: Vec<f64>,
    x: Vec<f64>,
}

impl Set {
    fn new(size: usize, inputs: usize) -> Self {
        let keep = coins(size, "keep", 0.5);
        let n = keep.iter().filter(|k| **k).count();
        // Rounded to f32, so that both precisions hold the same numbers.
        let single = |v: Vec<f64>| v.into_iter().map(|x| f64::from(x as f32)).collect();
        let (weight, x) = (single(normals(size, "weight")), single(normals(inputs, "x")));
        Self { weight, keep, scores: single(normals(n, "scores")), x }
    }

    fn linear(&self, device: &Device, dtype: DType) -> SignLinear {
        let weight = tensor(&self.weight, [5, 6], device, dtype);
        SignLinear::new(weight, &self.keep, self.scores(device, dtype)).unwrap()
    }

    fn conv(&self, device: &Device, dtype: DType) -> SignConv2d {
        let weight = tensor(&self.weight, [3, 2, 3, 3], device, dtype);
        SignConv2d::new(weight, &self.keep, self.scores(device, dtype), 1, 1).unwrap()
    }

    fn scores(&self, device: &Device, dtype: DType) -> Tensor<1> {
        tensor(&self.scores, [self.scores.len()], device, dtype)
    }

    /// P m(s) W0, on the host.
    fn acting(&self, kind: MaskKind) -> Vec<f64> {
        let mut scores = self.scores.iter();
        let mut entry = |keep: bool, w: f64| match keep {
            true => w * f64::from(kind.entry(*scores.next().unwrap() as f32)),
            false => 0.0,
        };
        self.keep.iter().zip(&self.weight).map(|(keep, w)| entry(*keep, *w)).collect()
    }

    /// `dense` at the survivors.
    fn kept(&self, dense: &[f64]) -> Vec<f64> {
        dense.iter().zip(&self.keep).filter(|(_, keep)| **keep).map(|(v, _)| *v).collect()
    }
}

on_each_device!(o13_mask_entries_are_exact, |device: Device| {
    let scores = [0.0, -0.0, 1e-30, -1e-30, 3.0, -3.0, 0.5, -0.5, 1e30, -1e30];
    for dtype in [DType::F32, DType::F64] {
        let of = |kind: MaskKind| values(kind.entries(tensor(&scores, [10], &device, dtype)));
        assert_eq!(of(MaskKind::Sign), [1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]);
        assert_eq!(of(MaskKind::Binary), [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let ternary = MaskKind::Ternary { tau: 0.5 };
        assert_eq!(of(ternary), [0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 1.0, -1.0]);
        for kind in KINDS {
            assert_eq!(of(kind), scores.map(|s| f64::from(kind.entry(s as f32))));
        }
        // Exact forward also where scores dwarf 1.
        for surrogate in [Surrogate::Identity, Surrogate::Tanh] {
            let scores = tensor(&scores, [10], &device.clone().autodiff(), dtype).require_grad();
            let frozen = tensor(&[0.1; 10], [10], &device, dtype);
            let acting = values(effective(scores, frozen.clone(), MaskKind::Sign, surrogate).inner());
            assert!(acting.iter().zip(values(frozen)).all(|(w, w0)| w.abs() == w0));
        }
    }
});

on_each_device!(o13_frozen_weights_stay_frozen, |device: Device| {
    let set = Set::new(30, 24);
    let mut layer = set.linear(&device, DType::F32).at_path("fc");
    assert_eq!(layer.num_params(), set.scores.len());
    let magnitudes: Vec<f64> = set.acting(MaskKind::Sign).iter().map(|w| w.abs()).collect();
    let bytes = |layer: &SignLinear| layer.weight.frozen().into_data().as_bytes().to_vec();
    let (before, start) = (blake3::hash(&bytes(&layer)), values(layer.weight.scores.val().inner()));
    let x = tensor(&set.x, [4, 6], &device, DType::F32);
    let mut optimiser = SgdConfig::new().init();
    for _ in 0..20 {
        let acting: Vec<f64> = values(layer.weight.value().inner()).iter().map(|w| w.abs()).collect();
        assert_eq!(acting, magnitudes);
        let loss = layer.forward(x.clone()).powi_scalar(2).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optimiser.step(0.3, layer, gradients);
    }
    assert_eq!(blake3::hash(&bytes(&layer)), before);
    let end = values(layer.weight.scores.val().inner());
    assert!(start.iter().zip(&end).any(|(a, b)| (*a >= 0.0) != (*b >= 0.0)), "no sign flipped");
    assert_eq!(layer.weight.scores.id, burn::module::ParamId::from(fnv1a("fc.weight.scores")));
});

on_each_device!(o14_gradients_of_scores_are_those_of_weights, |device: Device| {
    let tracked = device.clone().autodiff();
    for surrogate in [Surrogate::Identity, Surrogate::Tanh] {
        for kind in KINDS {
            let set = Set::new(30, 24);
            let layer = set.linear(&device, DType::F64).with_mask(kind, surrogate).unwrap();
            let x = tensor(&set.x, [4, 6], &device, DType::F64);
            let target = tensor(&normals(20, "target"), [4, 5], &device, DType::F64);
            let loss = |y: Tensor<2>| (y - target.clone()).powi_scalar(2).mean();
            let plain = tensor(&set.acting(kind), [5, 6], &tracked, DType::F64).require_grad();
            let mut gradients = loss(x.clone().matmul(plain.clone().transpose())).backward();
            let by_weight = values(plain.grad_remove(&mut gradients).unwrap());
            let gradients = loss(layer.forward(x)).backward();
            check_scores(&set, &values(layer.weight.scores.val().grad(&gradients).unwrap()), &by_weight, surrogate);

            let set = Set::new(54, 40);
            let layer = set.conv(&device, DType::F64).with_mask(kind, surrogate).unwrap();
            let x = tensor(&set.x, [1, 2, 5, 4], &device, DType::F64);
            let target = tensor(&normals(60, "target"), [1, 3, 5, 4], &device, DType::F64);
            let loss = |y: Tensor<4>| (y - target.clone()).powi_scalar(2).mean();
            let plain = tensor(&set.acting(kind), [3, 2, 3, 3], &tracked, DType::F64).require_grad();
            let mut gradients = loss(conv2d(x.clone(), plain.clone(), None, 1, 1)).backward();
            let by_weight = values(plain.grad_remove(&mut gradients).unwrap());
            let gradients = loss(layer.forward(x)).backward();
            check_scores(&set, &values(layer.weight.scores.val().grad(&gradients).unwrap()), &by_weight, surrogate);
        }
    }
});

fn check_scores(set: &Set, found: &[f64], by_weight: &[f64], surrogate: Surrogate) {
    let through: Vec<f64> = by_weight.iter().zip(&set.weight).map(|(g, w)| g * w).collect();
    let expected = set.kept(&through);
    match surrogate {
        Surrogate::Identity => assert_eq!(found, expected),
        Surrogate::Tanh => {
            for ((found, expected), s) in found.iter().zip(expected).zip(&set.scores) {
                let expected = expected * (1.0 - s.tanh().powi(2));
                assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{found} against {expected}");
            }
        }
    }
    for s in &set.scores {
        let exact = match surrogate {
            Surrogate::Identity => 1.0,
            Surrogate::Tanh => 1.0 - s.tanh().powi(2),
        };
        assert!((f64::from(surrogate.derivative(*s as f32)) - exact).abs() < 1e-6);
    }
}

on_each_device!(o15_the_output_is_that_of_a_plain_layer, |device: Device| {
    for kind in KINDS {
        for surrogate in [Surrogate::Identity, Surrogate::Tanh] {
            let set = Set::new(30, 24);
            let x = tensor(&set.x, [4, 6], &device, DType::F32);
            let plain = tensor(&set.acting(kind), [5, 6], &device, DType::F32);
            let layer = set.linear(&device, DType::F32).with_mask(kind, surrogate).unwrap();
            assert_eq!(values(layer.forward(x.clone()).inner()), values(x.matmul(plain.transpose())));
            let set = Set::new(54, 40);
            let x = tensor(&set.x, [1, 2, 5, 4], &device, DType::F32);
            let plain = tensor(&set.acting(kind), [3, 2, 3, 3], &device, DType::F32);
            let layer = set.conv(&device, DType::F32).with_mask(kind, surrogate).unwrap();
            assert_eq!(values(layer.forward(x.clone()).inner()), values(conv2d(x, plain, None, 1, 1)));
        }
    }
    // A whole network, evaluated by the composed path.
    let sub = subnetwork(Architecture::mlp(&[6, 5, 4, 3]).unwrap(), 0.5);
    let scores = ScoreInit::Uniform { a: 0.1 }.draw(sub.mask().survivors(), &mut Stream::new(1, "s", 0)).unwrap();
    let mut signs = scores.iter();
    let acting: Vec<f32> = (sub.weights().iter().zip(sub.mask().keep()))
        .map(|(w, keep)| if *keep { w * MaskKind::Sign.entry(*signs.next().unwrap()) } else { 0.0 })
        .collect();
    let x: Vec<f32> = normals(600 * 6, "batch").iter().map(|x| *x as f32).collect();
    let found = logits(&sub, SIGN, &scores, &x, &device).unwrap();
    let weights = sub.architecture().tensors(&acting, &device).unwrap();
    assert_eq!(Architecture::flat(&weights), acting);
    let x = Tensor::from_data(TensorData::new(x, [600, 6]), &device);
    let plain: Vec<f32> = sub.architecture().forward(&weights, x).unwrap().into_data().iter::<f32>().collect();
    assert_close(&doubles(&found), &doubles(&plain), 1e-6);
});

on_each_device!(o16_negating_weights_and_scores_changes_nothing, |device: Device| {
    let set = Set::new(30, 24);
    let minus = |v: &[f64]| v.iter().map(|x| -x).collect::<Vec<_>>();
    let other = Set { weight: minus(&set.weight), scores: minus(&set.scores), keep: set.keep.clone(), x: vec![] };
    assert!(set.scores.iter().all(|s| *s != 0.0));
    let x = tensor(&set.x, [4, 6], &device, DType::F32);
    let of = |set: &Set| {
        let layer = set.linear(&device, DType::F32);
        let y = layer.forward(x.clone());
        let gradients = y.clone().powi_scalar(2).sum().backward();
        let gradient = values(layer.weight.scores.val().grad(&gradients).unwrap());
        (values(layer.weight.value().inner()), values(y.inner()), gradient)
    };
    let ((w, y, g), (other_w, other_y, other_g)) = (of(&set), of(&other));
    assert_eq!((w, y, minus(&g)), (other_w, other_y, other_g));
    assert!(g.iter().any(|g| *g != 0.0));
});

fn doubles(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}

fn subnetwork(architecture: Architecture, density: f64) -> Subnetwork {
    let mut stream = Stream::new(0, "weights", 0);
    let weights = WeightInit::KaimingNormal.draw(&architecture, &mut stream);
    let mask = match density {
        1.0 => PruneMask::dense(&architecture),
        _ => prune(&architecture, &weights, density, Pruner::SynFlow { iterations: 20 }, &mut stream).unwrap(),
    };
    Subnetwork::new(architecture, weights, mask).unwrap()
}

fn images(n: usize, inputs: usize, classes: u8) -> ClientData {
    let mut stream = Stream::new(8, "images", 0);
    ClientData { x: stream.normal_vec(n * inputs), labels: (0..n).map(|i| (i % usize::from(classes)) as u8).collect() }
}

fn flips(before: &[f32], after: &[f32]) -> usize {
    before.iter().zip(after).filter(|(a, b)| (**a >= 0.0) != (**b >= 0.0)).count()
}

#[test]
fn o17_adam_cannot_leave_the_dead_zone() {
    let sub = subnetwork(Architecture::mlp(&[20, 30, 10]).unwrap(), 0.5);
    let a = 0.1f32;
    let mut coin = Stream::new(2, "scores", 0);
    let scores: Vec<f32> = (0..sub.mask().survivors()).map(|_| if coin.bernoulli(0.5) { a } else { -a }).collect();
    let data = images(40, 20, 10);
    for (epochs, factor, moves) in [(5, 0.5, false), (60, 0.5, false), (5, 4.0, true)] {
        // Two batches an epoch.
        let lr = factor * a / (2 * epochs) as f32;
        let training = LocalTraining { epochs, batch: 20, optimiser: Optimiser::Adam { lr } };
        let mut stream = Stream::new(2, "order", 0);
        let trained = train(&sub, SIGN, &scores, &data, &training, &mut stream, &Device::flex()).unwrap();
        assert_eq!(flips(&scores, &trained.values) > 0, moves, "epochs {epochs}, lr * steps = {factor} a");
        assert_ne!(trained.values, scores);
    }
}

#[test]
fn o18_signs_learn_to_separate() {
    let sub = |seed: u64| {
        let architecture = Architecture::mlp(&[10, 64, 2]).unwrap();
        let weights = WeightInit::KaimingNormal.draw(&architecture, &mut Stream::new(seed, "weights", 0));
        let mask = PruneMask::dense(&architecture);
        Subnetwork::new(architecture, weights, mask).unwrap()
    };
    let (device, mut frozen) = (Device::flex(), Vec::new());
    for seed in 0..5 {
        let (sub, mut stream) = (sub(seed), Stream::new(seed, "points", 0));
        let direction: Vec<f64> = (0..10).map(|_| stream.normal()).collect();
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let mut data = ClientData::default();
        while data.labels.len() < 147 {
            let x = stream.normal_vec(10);
            let side = x.iter().zip(&direction).map(|(x, d)| f64::from(*x) * d).sum::<f64>() / length;
            if side.abs() >= 0.3 {
                data.labels.push(u8::from(side > 0.0));
                data.x.extend(x);
            }
        }
        let accuracy = |scores: &[f32]| {
            let out = logits(&sub, SIGN, scores, &data.x, &device).unwrap();
            out.chunks(2).zip(&data.labels).filter(|(y, l)| u8::from(y[1] > y[0]) == **l).count() as f64 / 147.0
        };
        let start = ScoreInit::Uniform { a: 0.1 }.draw(sub.mask().survivors(), &mut stream).unwrap();
        frozen.push(accuracy(&start));
        for lr in [0.1, 0.3, 1.0] {
            let optimiser = Optimiser::Sgd { lr, momentum: 0.0 };
            let training = LocalTraining { epochs: 1, batch: 147, optimiser };
            let mut scores = start.clone();
            let separated = (0..400).any(|_| {
                scores = train(&sub, SIGN, &scores, &data, &training, &mut stream, &device).unwrap().values;
                accuracy(&scores) == 1.0
            });
            assert!(separated, "seed {seed}, lr {lr}: {}", accuracy(&scores));
        }
    }
    assert!(frozen.iter().all(|a| (0.15..0.85).contains(a)), "with frozen scores: {frozen:?}");
}

/// A round of a network of two linear layers by hand, in f64: values, mean loss of the last epoch.
fn by_hand(
    sub: &Subnetwork,
    trainable: Trainable,
    start: &[f32],
    data: &ClientData,
    training: &LocalTraining,
    stream: &mut Stream,
) -> (Vec<f64>, f64) {
    let (first, second) = (sub.architecture().sizes()[0], sub.architecture().sizes()[1]);
    let classes = sub.architecture().classes();
    let (inputs, hidden) = (sub.architecture().inputs(), second / classes);
    let positions = sub.mask().positions();
    let frozen: Vec<f64> = positions.iter().map(|i| f64::from(sub.weights()[*i as usize])).collect();
    let mut values = doubles(start);
    let (mut m, mut v, mut steps, mut loss) = (vec![0.0; values.len()], vec![0.0; values.len()], 0, 0.0);
    for _ in 0..training.epochs {
        let order = stream.permutation(data.labels.len());
        loss = 0.0;
        for batch in order.chunks(training.batch) {
            let mut w = vec![0.0; first + second];
            for ((i, value), w0) in positions.iter().zip(&values).zip(&frozen) {
                w[*i as usize] = match trainable {
                    Trainable::Weights => *value,
                    Trainable::Scores { kind, .. } => w0 * f64::from(kind.entry(*value as f32)),
                };
            }
            let (w1, w2) = w.split_at(first);
            let mut dw = vec![0.0; w.len()];
            for image in batch {
                let x = doubles(&data.x[image * inputs..][..inputs]);
                let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
                let h: Vec<f64> = w1.chunks(inputs).map(|row| dot(row, &x).max(0.0)).collect();
                let y: Vec<f64> = w2.chunks(hidden).map(|row| dot(row, &h)).collect();
                let total: f64 = y.iter().map(|y| y.exp()).sum();
                let label = usize::from(data.labels[*image]);
                loss += total.ln() - y[label];
                for (c, y) in y.iter().enumerate() {
                    let g = (y.exp() / total - f64::from(u8::from(c == label))) / batch.len() as f64;
                    for j in (0..hidden).filter(|j| h[*j] > 0.0) {
                        dw[first + c * hidden + j] += g * h[j];
                        for (k, x) in x.iter().enumerate() {
                            dw[j * inputs + k] += g * w2[c * hidden + j] * x;
                        }
                    }
                }
            }
            steps += 1;
            for (n, i) in positions.iter().enumerate() {
                let g = dw[*i as usize]
                    * match trainable {
                        Trainable::Weights => 1.0,
                        Trainable::Scores { surrogate: Surrogate::Identity, .. } => frozen[n],
                        Trainable::Scores { .. } => frozen[n] * (1.0 - values[n].tanh().powi(2)),
                    };
                match training.optimiser {
                    Optimiser::Sgd { lr, momentum } => {
                        m[n] = f64::from(momentum) * m[n] + g;
                        values[n] -= f64::from(lr) * m[n];
                    }
                    Optimiser::Adam { lr } => {
                        m[n] = 0.9 * m[n] + 0.1 * g;
                        v[n] = 0.999 * v[n] + 0.001 * g * g;
                        let (m, v) = (m[n] / (1.0 - 0.9f64.powi(steps)), v[n] / (1.0 - 0.999f64.powi(steps)));
                        values[n] -= f64::from(lr) * m / (v.sqrt() + 1e-8);
                    }
                }
            }
        }
    }
    (values, loss / data.labels.len() as f64)
}

on_each_device!(a_round_is_what_section_3_3_says, |device: Device| {
    let sub = subnetwork(Architecture::mlp(&[7, 9, 4]).unwrap(), 0.6);
    let data = images(11, 7, 4);
    let scores = |kind, surrogate| Trainable::Scores { kind, surrogate };
    for trainable in [
        Trainable::Weights,
        SIGN,
        scores(MaskKind::Sign, Surrogate::Tanh),
        scores(MaskKind::Binary, Surrogate::Identity),
        scores(MaskKind::Ternary { tau: 0.04 }, Surrogate::Identity),
    ] {
        for optimiser in [Optimiser::Sgd { lr: 0.3, momentum: 0.5 }, Optimiser::Adam { lr: 0.02 }] {
            let training = LocalTraining { epochs: 3, batch: 4, optimiser };
            let start =
                ScoreInit::Uniform { a: 0.1 }.draw(sub.mask().survivors(), &mut Stream::new(3, "s", 0)).unwrap();
            let (mut here, mut there) = (Stream::new(6, "order", 2), Stream::new(6, "order", 2));
            let found = train(&sub, trainable, &start, &data, &training, &mut here, &device).unwrap();
            let (expected, loss) = by_hand(&sub, trainable, &start, &data, &training, &mut there);
            assert_close(&doubles(&found.values), &expected, 2e-5);
            assert!((f64::from(found.loss) - loss).abs() < 1e-5, "loss {} against {loss}", found.loss);
            assert_eq!(here.bits(), there.bits());
            let same = train(&sub, trainable, &start, &data, &training, &mut Stream::new(6, "order", 2), &device);
            assert_eq!(same.unwrap(), found);
        }
    }
});

#[test]
fn a_convolutional_network_learns_its_images() {
    let sub = subnetwork(Architecture::mnist_cnn(), 0.2);
    let data = images(20, 784, 10);
    let start = ScoreInit::Uniform { a: 0.1 }.draw(sub.mask().survivors(), &mut Stream::new(3, "s", 0)).unwrap();
    let training = LocalTraining { epochs: 80, batch: 8, optimiser: Optimiser::Adam { lr: 0.01 } };
    let order = &mut Stream::new(0, "order", 0);
    let trained = train(&sub, SIGN, &start, &data, &training, order, &Device::flex()).unwrap();
    let out = logits(&sub, SIGN, &trained.values, &data.x, &Device::flex()).unwrap();
    let best = |y: &[f32]| (0..10).max_by(|a, b| y[*a].total_cmp(&y[*b])).unwrap();
    let right = out.chunks(10).zip(&data.labels).filter(|(y, l)| best(y) == usize::from(**l)).count();
    assert!(right >= 18 && trained.loss < 1.0, "{right} of 20 images right, loss {}", trained.loss);
}

#[test]
fn scores_begin_as_they_should() {
    let sub = subnetwork(Architecture::mlp(&[20, 30, 10]).unwrap(), 0.5);
    let draw = |init: ScoreInit| init.draw_for(sub.architecture(), sub.mask(), &mut Stream::new(0, "s", 0)).unwrap();
    let uniform = ScoreInit::Uniform { a: 0.1 };
    assert_eq!(draw(uniform), uniform.draw(sub.mask().survivors(), &mut Stream::new(0, "s", 0)).unwrap());
    assert_eq!(draw(ScoreInit::Constant { a: 0.1 }), vec![0.1; sub.mask().survivors()]);
    let xavier = draw(ScoreInit::XavierUniform);
    let (first, second) = xavier.split_at(sub.mask().per_layer()[0]);
    for (scores, fans) in [(first, 50.0f32), (second, 40.0)] {
        let (a, most) = ((6.0 / fans).sqrt(), scores.iter().fold(0.0f32, |m, s| m.max(s.abs())));
        assert!(most <= a && most > 0.95 * a, "at most {most}, expected near {a}");
    }
    let other = PruneMask::dense(&Architecture::har_mlp());
    assert!(uniform.draw_for(sub.architecture(), &other, &mut Stream::new(0, "s", 0)).is_err());
}

#[test]
fn wrong_input_is_a_typed_error() {
    let sub = subnetwork(Architecture::mlp(&[4, 6, 3]).unwrap(), 0.5);
    let (data, device) = (images(5, 4, 3), Device::flex());
    let values = vec![0.1; sub.mask().survivors()];
    let good = LocalTraining { epochs: 1, batch: 2, optimiser: Optimiser::Adam { lr: 0.1 } };
    let run = |sub: &Subnetwork, trainable, values: &[f32], data: &ClientData, training: LocalTraining| match train(
        sub,
        trainable,
        values,
        data,
        &training,
        &mut Stream::new(0, "o", 0),
        &device,
    ) {
        Ok(_) => "",
        Err(
            FederationError::Setting { field, .. }
            | FederationError::Length { field, .. }
            | FederationError::NotEnough { field, .. },
        ) => field,
        Err(FederationError::EmptyLayer { .. }) => "empty layer",
        Err(other) => panic!("{other}"),
    };
    assert_eq!(run(&sub, SIGN, &values, &data, good), "");
    assert_eq!(run(&sub, SIGN, &values[1..], &data, good), "values");
    assert_eq!(run(&sub, SIGN, &values, &ClientData::default(), good), "data");
    assert_eq!(run(&sub, SIGN, &values, &ClientData { labels: vec![0, 1, 2, 3, 0], ..data.clone() }, good), "labels");
    assert_eq!(run(&sub, SIGN, &values, &ClientData { x: vec![0.0; 21], ..data.clone() }, good), "x");
    assert_eq!(run(&sub, SIGN, &values, &data, LocalTraining { batch: 0, ..good }), "batch");
    assert_eq!(run(&sub, SIGN, &values, &data, LocalTraining { epochs: 0, ..good }), "epochs");
    let optimiser = Optimiser::Sgd { lr: 0.1, momentum: f32::NAN };
    assert_eq!(run(&sub, SIGN, &values, &data, LocalTraining { optimiser, ..good }), "momentum");
    let broken = Trainable::Scores { kind: MaskKind::Ternary { tau: -1.0 }, surrogate: Surrogate::Identity };
    assert_eq!(run(&sub, broken, &values, &data, good), "tau");
    let other = PruneMask::dense(&Architecture::har_mlp());
    let foreign = Subnetwork::new(sub.architecture().clone(), sub.weights().to_vec(), other);
    assert!(matches!(foreign, Err(FederationError::Setting { field: "mask", .. })), "{foreign:?}");
    let keep = (0..42).map(|i| i < 24).collect();
    let hollow = PruneMask::new(sub.architecture(), keep).unwrap();
    let hollow = Subnetwork::new(sub.architecture().clone(), sub.weights().to_vec(), hollow).unwrap();
    assert_eq!(run(&hollow, SIGN, &[0.1; 24], &data, good), "empty layer");
    assert!(matches!(logits(&sub, SIGN, &values, &[0.0; 5], &device), Err(FederationError::Length { field: "x", .. })));
    let whole = sub.architecture().tensors(sub.weights(), &device).unwrap();
    let forward =
        |weights: &[Tensor<2>], width| match sub.architecture().forward(weights, Tensor::zeros([2, width], &device)) {
            Ok(logits) => format!("{:?}", logits.dims()),
            Err(FederationError::Setting { field, .. } | FederationError::Length { field, .. }) => field.into(),
            Err(other) => panic!("{other}"),
        };
    assert_eq!(forward(&whole, 4), "[2, 3]");
    assert_eq!(forward(&whole, 5), "x");
    assert_eq!(forward(&whole[1..], 4), "weights");
    assert_eq!(forward(&[whole[1].clone(), whole[0].clone()], 4), "weights");
    let weight = || Tensor::<2>::zeros([2, 2], &device);
    let scores = || Tensor::<1>::zeros([2], &device);
    assert!(SignLinear::new(weight(), &[true; 3], scores()).is_err());
    assert!(SignLinear::new(weight(), &[false; 4], Tensor::zeros([1], &device)).is_err());
    assert!(SignLinear::new(weight(), &[true; 4], scores()).is_err());
    assert!(SignLinear::new(weight(), &[true, false, false, true], scores()).is_ok());
}
