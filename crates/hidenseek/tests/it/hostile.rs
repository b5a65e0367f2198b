//! What a caller should not have given: typed errors that say what is wrong, never a panic or a number that is none.

use burn::prelude::*;
use burn::tensor::DType;
use hidenseek::FederationError;
use hidenseek::aggregate::{Coding, Received, Rule, Tally, Upload, Zeros, known, upload};
use hidenseek::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::codec::coder::{self, Contexts};
use hidenseek::codec::{Stamp, WireError, bits, payload};
use hidenseek::composed;
use hidenseek::federation::{Federation, Settings, Spread};
use hidenseek::fused::{self, Prepared};
use hidenseek::ledger::{Ledger, Method, payload_bytes};
use hidenseek::mask::PruneMask;
use hidenseek::network::{Architecture, Layer};
use hidenseek::partition::{Partition, Population, Scheme, ShardDraw, Synthetic};
use hidenseek::supermask::{MaskKind, ScoreInit, SignConv2d, SignLinear, Surrogate};
use plasticity_core::rng::Stream;

const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };
const BROKEN: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn field<T>(result: Result<T, FederationError>) -> &'static str {
    match result.map(|_| ()) {
        Err(
            FederationError::Setting { field, .. }
            | FederationError::Length { field, .. }
            | FederationError::NotFinite { field, .. }
            | FederationError::NotEnough { field, .. },
        ) => field,
        other => panic!("{other:?}"),
    }
}

fn stream() -> Stream {
    Stream::new(0, "hostile", 0)
}

fn convolutional() -> (Subnetwork, ClientData) {
    let conv = Layer::Conv { inputs: 1, outputs: 2, kernel: 3, padding: 1 };
    let layers = vec![conv, Layer::Relu, Layer::Linear { inputs: 18, outputs: 2 }];
    let architecture = Architecture::new([1, 3, 3], layers).unwrap();
    let mask = PruneMask::dense(&architecture);
    let weights = stream().normal_vec(architecture.weights());
    let data = ClientData { x: stream().normal_vec(4 * 9), labels: vec![0, 1, 0, 1] };
    (Subnetwork::new(architecture, weights, mask).unwrap(), data)
}

#[test]
fn weights_scores_and_images_that_are_no_numbers() {
    let (sub, data) = convolutional();
    let (n, device) = (sub.mask().survivors(), Device::flex());
    let training = LocalTraining { epochs: 1, batch: 4, optimiser: Optimiser::Adam { lr: 0.1 } };
    let values = stream().uniform_vec(n, -0.1, 0.1);
    let train = |values: &[f32], data: &ClientData| {
        field(composed::train(&sub, SIGN, values, data, &training, &mut stream(), &device))
    };
    for broken in BROKEN {
        let spoil = |good: &[f32]| {
            let mut bad = good.to_vec();
            bad[5] = broken;
            bad
        };
        let (architecture, mask) = (sub.architecture().clone(), sub.mask().clone());
        assert_eq!(field(Subnetwork::new(architecture, spoil(sub.weights()), mask)), "weights");
        let image = ClientData { x: spoil(&data.x), ..data.clone() };
        assert_eq!(train(&values, &image), "x");
        assert_eq!(train(&spoil(&values), &data), "values");
        assert_eq!(field(composed::logits(&sub, SIGN, &values, &image.x, &device)), "x");
        assert_eq!(field(composed::logits(&sub, SIGN, &spoil(&values), &data.x, &device)), "values");
        let partition = Partition::Disjoint { order: vec![0, 1, 2, 3], starts: vec![0, 4] };
        for (which, train, test) in [("train", &image, &data), ("test", &data, &image)] {
            assert_eq!(field(Population::new(train.clone(), test.clone(), 9, partition.clone())), which);
        }
        assert_eq!(field(Synthetic::new((3, 1, 2), (4, 2), broken, 0)), "noise");
        assert_eq!(field(ScoreInit::Uniform { a: f64::from(broken) }.draw(3, &mut stream())), "a");
        assert_eq!(
            field(ScoreInit::Constant { a: f64::from(broken) }.draw_for(sub.architecture(), sub.mask(), &mut stream())),
            "a"
        );
        let scores = || Tensor::<1>::from_floats([0.1, broken], &device);
        let keep = [true, false, false, true];
        assert_eq!(field(SignLinear::new(Tensor::ones([2, 2], &device), &keep, scores())), "scores");
        let weight = Tensor::<2>::from_floats([[1.0, 2.0], [broken, 1.0]], &device);
        assert_eq!(field(SignLinear::new(weight, &keep, Tensor::ones([2], &device))), "weight");
    }
    for a in [0.0, -0.1, 1e300, 1e-60] {
        assert_eq!(field(ScoreInit::Uniform { a }.draw(3, &mut stream())), "a");
    }
    assert_eq!(field(Synthetic::new((3, 1, 2), (4, 2), -1.0, 0)), "noise");
}

/// What f32 cannot hold in a step: the values are as before, since none come back.
#[test]
fn a_step_that_is_not_finite_is_an_error() {
    let architecture = Architecture::mlp(&[3, 4, 2]).unwrap();
    let mask = PruneMask::dense(&architecture);
    let images = ClientData { x: vec![1.0; 6], labels: vec![0, 1] };
    let of = |scale: f32| {
        let weights = stream().normal_vec(20).iter().map(|w| w * scale).collect();
        Subnetwork::new(architecture.clone(), weights, mask.clone()).unwrap()
    };
    let adam = LocalTraining { epochs: 3, batch: 2, optimiser: Optimiser::Adam { lr: 1e-3 } };
    let sgd = LocalTraining { epochs: 3, batch: 2, optimiser: Optimiser::Sgd { lr: 1e38, momentum: 0.5 } };
    let values = vec![0.1; 20];
    // Logits of 1e14 and a gradient whose square is beyond f32: Adam's second moment would be infinite from then on, and
    // no score would move again, which is Ok to look at.
    for (scale, training, expected) in [(1e10, adam, "gradient"), (1e25, adam, "loss"), (1e3, sgd, "values")] {
        let sub = of(scale);
        let prepared = Prepared::new(&sub).unwrap();
        let fused = fused::train(&prepared, SIGN, &values, &images, &training, &mut stream());
        let device = Device::flex();
        let composed = composed::train(&sub, SIGN, &values, &images, &training, &mut stream(), &device);
        for found in [fused, composed] {
            // An infinite score is seen in the loss of the next step, or at the end.
            let found = field(found);
            assert!(found == expected || expected == "values" && found == "loss", "{scale}: {found}");
        }
    }
    // Logits that are none have no largest one.
    let sub = of(1e25);
    let logits = fused::logits(&Prepared::new(&sub).unwrap(), SIGN, &values, &images.x, None);
    assert_eq!(field(logits), "logits");
    assert_eq!(field(composed::logits(&sub, SIGN, &values, &images.x, &Device::flex())), "logits");
}

#[test]
fn networks_and_their_tensors() {
    let (sub, data) = convolutional();
    let network = sub.architecture();
    let device = Device::flex();
    let weights = network.tensors(sub.weights(), &device).unwrap();
    assert_eq!(field(network.forward(&weights, Tensor::zeros([0, 9], &device))), "x");
    let double = Tensor::zeros([1, 9], (&device, DType::F64));
    assert_eq!(field(network.forward(&weights, double)), "weights");
    assert_eq!(field(network.tensors(&[], &device)), "weights");
    assert_eq!(field(PruneMask::new(network, vec![])), "mask");
    // A mask whose layers have other sizes, which has as many entries.
    let other = Architecture::mlp(&[9, 6]).unwrap();
    let (a, b) = (Architecture::mlp(&[4, 4, 2]).unwrap(), Architecture::mlp(&[4, 2, 8]).unwrap());
    assert_eq!((a.weights(), b.weights(), other.weights()), (24, 24, 54));
    assert_eq!(field(Subnetwork::new(a, vec![0.0; 24], PruneMask::dense(&b))), "mask");
    // Nothing left of a layer, and no loop over the survivors: refused before the first round.
    let keep = (0..54).map(|i| i >= 18).collect();
    let mask = PruneMask::new(network, keep).unwrap();
    let hollow = Subnetwork::new(network.clone(), sub.weights().to_vec(), mask).unwrap();
    let partition = Partition::Disjoint { order: vec![0, 1, 2, 3], starts: vec![0, 2, 4] };
    let population = Population::new(data.clone(), data, 9, partition).unwrap();
    let settings = Settings { per_round: 1, ..Settings::default() };
    let refused = Federation::new(hollow, population, settings, &device);
    assert!(matches!(refused, Err(FederationError::EmptyLayer { layer: 0, .. })), "{refused:?}");
}

#[test]
fn layers_of_tensors() {
    let device = Device::flex();
    let scores = || Tensor::<1>::ones([4], &device);
    let weight = || Tensor::<2>::ones([2, 2], &device);
    let layer = SignLinear::new(weight(), &[true; 4], scores()).unwrap();
    for tau in [-1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(field(layer.clone().with_mask(MaskKind::Ternary { tau }, Surrogate::Tanh)), "tau");
    }
    let layer = layer.with_mask(MaskKind::Ternary { tau: 0.5 }, Surrogate::Tanh).unwrap();
    assert_eq!(layer.weight.mask(), (MaskKind::Ternary { tau: 0.5 }, Surrogate::Tanh));
    let double = Tensor::<1>::ones([4], (&device, DType::F64));
    assert_eq!(field(SignLinear::new(weight(), &[true; 4], double)), "scores");
    let kernel = Tensor::<4>::ones([1, 1, 2, 2], &device);
    assert_eq!(field(SignConv2d::new(kernel, &[true; 4], scores(), 0, 0)), "stride");
    // An infinite tau of a trainable, wherever it goes in.
    let (sub, data) = convolutional();
    let broken = Trainable::Scores { kind: MaskKind::Ternary { tau: f32::NAN }, surrogate: Surrogate::Identity };
    let values = vec![0.1; sub.mask().survivors()];
    assert_eq!(field(composed::logits(&sub, broken, &values, &data.x, &device)), "tau");
    let architecture = Architecture::mlp(&[9, 2]).unwrap();
    let sub = Subnetwork::new(architecture.clone(), vec![1.0; 18], PruneMask::dense(&architecture)).unwrap();
    let prepared = Prepared::new(&sub).unwrap();
    assert_eq!(field(fused::logits(&prepared, broken, &[0.1; 18], &data.x, None)), "tau");
    let training = LocalTraining { epochs: 1, batch: 4, optimiser: Optimiser::Adam { lr: 0.1 } };
    assert_eq!(field(fused::train(&prepared, broken, &[0.1; 18], &data, &training, &mut stream())), "tau");
}

/// Sizes whose sum wraps around to that of the values.
#[test]
fn layers_that_no_message_can_count() {
    let layers = [usize::MAX, 3];
    for rule in [Rule::MaskMean, Rule::ScaledSignDelta { zeros: Zeros::Keyed }] {
        assert_eq!(field(upload(rule, &[0.0; 2], &[0.1; 2], &layers, 1, &mut stream())), "layers");
        assert_eq!(field(Tally::new(rule, &layers, 1)), "layers");
    }
    assert!(matches!(known(Rule::MaskMean, 0.1, &layers, &[0.0; 2]), Err(FederationError::Message(_))));
    assert!(matches!(Contexts::new(&layers, [0.0f32; 2].into_iter()), Err(WireError::Survivors { .. })));
    let many = u32::MAX as usize + 1;
    assert_eq!(coder::decode(&[], many, &Contexts::one()), Err(WireError::TooMany { found: 1 << 32 }));
    assert_eq!(payload::read_votes(&[], usize::MAX, 0), Err(WireError::TooMany { found: u64::MAX }));
    assert_eq!(bits::unpack_fields(&[], usize::MAX, 0), Err(WireError::TooMany { found: u64::MAX }));
    let scales = payload::write_scores(&[0.0; 2]);
    assert!(matches!(payload::read_ternary(&scales, &layers), Err(WireError::TooMany { .. })));
    assert!(payload::read_coded(&[1], many, &Contexts::one()).is_err());
}

#[test]
fn uploads_of_no_client() {
    let rule = Rule::ScaledSignDelta { zeros: Zeros::Keyed };
    let delta = |scales: Vec<f32>| Upload::SignDelta { scales, signs: vec![true; 3] };
    let add = |upload| Tally::new(rule, &[2, 1], 1).unwrap().add(&Received { client: 0, samples: 1, upload });
    assert_eq!(field(add(delta(vec![0.1, -0.1]))), "scales");
    assert_eq!(field(add(delta(vec![0.1]))), "scales");
    assert_eq!(field(add(delta(vec![0.1, f32::NAN]))), "upload");
    assert_eq!(field(Tally::new(rule, &[3], 1).unwrap().finish(0.1, &mut [0.0; 3])), "samples");
    for a in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(field(Tally::new(rule, &[3], 1).unwrap().finish(a, &mut [0.0; 3])), "a");
    }
    assert_eq!(field(Spread::of(vec![])), "accuracies");
    assert_eq!(field(Spread::of(vec![0.5, f64::NAN])), "accuracies");
}

/// An empty layer has the scale 0, not -0, which the server refuses: a client's own message arrives.
#[test]
fn the_scale_of_an_empty_layer_arrives() {
    for zeros in [Zeros::Keyed, Zeros::Ternary] {
        let (rule, layers) = (Rule::ScaledSignDelta { zeros }, [2, 0, 1, 0]);
        let known = known(rule, 0.1, &layers, &[0.1; 3]).unwrap();
        let sent = upload(rule, &[0.1; 3], &[0.2, 0.0, 0.3], &layers, 1, &mut stream()).unwrap();
        let stamp = Stamp { round: 1, client: 2, mask_hash: 7 };
        let bytes = sent.encode(stamp, Coding::Raw, &known);
        assert_eq!(Upload::decode(&bytes, rule.upload_kind(Coding::Raw), stamp, &known), Ok(sent));
    }
    // A tally of no survivors: shares of nothing are 0, not -0.
    let mut tally = Tally::new(Rule::MaskMean, &[], 1).unwrap();
    tally.add(&Received { client: 0, samples: 1, upload: Upload::Signs(vec![]) }).unwrap();
    let stats = tally.finish(0.1, &mut []).unwrap();
    assert!([stats.ties, stats.agreement, stats.flips].iter().all(|share| share.to_bits() == 0));
}

#[test]
fn counts_of_bytes_do_not_wrap_around() {
    let mut ledger = Ledger::default();
    let message = known(Rule::MaskMean, 0.1, &[8], &[0.0; 8])
        .map(|known| Upload::Signs(vec![true; 8]).encode(Stamp::broadcast(1, 7), Coding::Raw, &known))
        .unwrap();
    ledger.down(&message, u64::MAX).unwrap();
    ledger.down(&message, 2).unwrap();
    assert_eq!((ledger.total.down.total().bytes(), ledger.total.bytes()), (u64::MAX, u64::MAX));
    let most = u64::MAX;
    assert_eq!(payload_bytes(Method::FedAvg { biases: most }, most, most, most), (most, most));
    for rule in [Rule::ScoreMean, Rule::ScaledSignDelta { zeros: Zeros::Ternary }] {
        assert_eq!(payload_bytes(Method::HideNseek(rule), most, most, most), (most, most));
    }
}

#[test]
fn schemes_that_no_data_can_serve() {
    let labels: Vec<u8> = (0..60).map(|i| i % 3).collect();
    let shards = |ways, shots, unbalance, draw| Scheme::Shards { ways, shots, unbalance, draw };
    for draw in [ShardDraw::Distinct, ShardDraw::Literal, ShardDraw::Overlap] {
        for (ways, shots) in [(usize::MAX, 1), (usize::MAX, usize::MAX), (2, usize::MAX), (61, 1)] {
            for clients in [1, 1 << 31] {
                let scheme = shards(ways, shots, 1.0, draw);
                let refused = Partition::new(&labels, clients, &scheme, 0);
                assert!(matches!(refused, Err(FederationError::NotEnough { .. })), "{scheme:?} {clients}: {refused:?}");
                assert!(scheme.fits(60, 3, clients).is_err(), "{scheme:?} {clients}");
            }
        }
        for unbalance in [f64::NAN, 0.0, -1.0, 1.5, f64::INFINITY] {
            assert_eq!(field(Partition::new(&labels, 2, &shards(2, 2, unbalance, draw), 0)), "unbalance");
        }
        assert!(shards(2, 5, 1.0, draw).fits(60, 3, 6).is_ok());
        assert!(Partition::new(&labels, 6, &shards(2, 5, 1.0, draw), 0).is_ok());
    }
    for scheme in [
        Scheme::Iid { shots: Some(usize::MAX) },
        Scheme::Iid { shots: Some(31) },
        Scheme::Dirichlet { alpha: 1.0, least: usize::MAX },
    ] {
        assert_eq!(field(Partition::new(&labels, 2, &scheme, 0)), "clients", "{scheme:?}");
        assert_eq!(field(scheme.fits(60, 3, 2)), "clients", "{scheme:?}");
    }
    // Concentrations at the ends of f64: still all images, each once.
    for alpha in [1e-100, 1e-9, 1e300] {
        let dealt = Partition::new(&labels, 1, &Scheme::Dirichlet { alpha, least: 1 }, 0).unwrap();
        assert_eq!(dealt.client(0).len(), 60, "{alpha}");
    }
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-320] {
        assert_eq!(field(Partition::new(&labels, 2, &Scheme::Dirichlet { alpha, least: 1 }, 0)), "alpha");
    }
    assert_eq!(field(Partition::new(&labels, 0, &Scheme::Iid { shots: None }, 0)), "clients");
    assert_eq!(field(Partition::new(&[], 1, &Scheme::Iid { shots: None }, 0)), "clients");
}

#[test]
fn partitions_by_hand() {
    let data = ClientData { x: vec![0.0; 8], labels: vec![0, 1, 2, 3] };
    let new = |partition| Population::new(data.clone(), data.clone(), 2, partition);
    let disjoint =
        |order: &[u32], starts: &[u32]| Partition::Disjoint { order: order.to_vec(), starts: starts.to_vec() };
    assert!(new(disjoint(&[0, 3, 1], &[0, 1, 3])).is_ok());
    let refused = new(disjoint(&[0, 1, 1], &[0, 1, 3])).unwrap_err().to_string();
    assert!(refused.contains("image 1 twice"), "{refused}");
    let refused = new(disjoint(&[0, 1], &[0, 1, 1, 2])).unwrap_err().to_string();
    assert!(refused.contains("none for client 1"), "{refused}");
    let overlap = |by_class: &[Vec<u32>], shards: &[usize]| Partition::Overlap {
        by_class: by_class.to_vec(),
        clients: 3,
        shards: shards.to_vec(),
        seed: 0,
    };
    assert!(new(overlap(&[vec![0], vec![1, 2]], &[1, 1])).is_ok());
    for hollow in
        [overlap(&[], &[1]), overlap(&[vec![0], vec![]], &[1]), overlap(&[vec![0]], &[]), overlap(&[vec![0]], &[0])]
    {
        assert_eq!(field(new(hollow)), "partition");
    }
    let whole = disjoint(&[0, 1, 2, 3], &[0, 4]);
    assert_eq!(field(Population::new(ClientData::default(), data.clone(), 0, whole)), "inputs");
}

/// Clients whose classes the test set lacks: told before any training, not after all of it.
#[test]
fn a_client_that_cannot_be_tested_is_named() {
    let train = ClientData { x: vec![0.5; 12], labels: vec![0, 0, 1, 1, 2, 2] };
    let test = |labels: &[u8]| ClientData { x: vec![0.5; 2 * labels.len()], labels: labels.to_vec() };
    let partition = Partition::Disjoint { order: vec![0, 1, 2, 4, 3, 5], starts: vec![0, 2, 4, 5, 6] };
    let population = |labels: &[u8]| Population::new(train.clone(), test(labels), 2, partition.clone()).unwrap();
    assert_eq!(population(&[0, 1, 2]).untestable(), None);
    // Client 1 has classes 1 and 2.
    assert_eq!(population(&[2, 0]).untestable(), Some(2));
    assert_eq!(population(&[1, 2, 1]).untestable(), Some(0));
    assert_eq!(population(&[0, 1]).untestable(), Some(3));
    assert_eq!(population(&[]).untestable(), Some(0));
    assert_eq!(population(&[9, 0, 1, 2]).untestable(), None);
    let architecture = Architecture::mlp(&[2, 3]).unwrap();
    let sub = Subnetwork::new(architecture.clone(), vec![1.0; 6], PruneMask::dense(&architecture)).unwrap();
    let settings = Settings { per_round: 1, ..Settings::default() };
    let federation = Federation::new(sub, population(&[2, 0]), settings, &Device::flex()).unwrap();
    let refused = federation.check_tests().unwrap_err().to_string();
    assert!(refused.contains("client 2") && refused.contains("take more test images"), "{refused}");
    let synthetic = Synthetic::new((1_000_000, 2, 20), (4, 10), 0.5, 0).unwrap();
    assert_eq!(Population::synthetic(synthetic.clone(), 1).untestable(), None);
    assert_eq!(Population::synthetic(synthetic, 0).untestable(), Some(0));
}
