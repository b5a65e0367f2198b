//! A client's round of the reference set-up, 196-100-50-10 (N = 25,100), 40 images, 5 epochs, batch 20: signs on the
//! survivors at density 0.2, and the weights of the whole network (FedAvg); and what a round costs outside training.
//! `benches/peers/client_round.py` does the same work in PyTorch.
//!
//! With `PEER=1` in the environment no statistics are made: the program prints the losses of the first three full-batch
//! steps and the milliseconds of a client's round as the peer does, for `cargo xtask bench`.

use std::time::{Duration, Instant};

use burn::prelude::Device;
use criterion::Criterion;
use hidenseek::aggregate::{self, Coding, Downlink, Received, Rule, Stamp, Tally, Upload, Zeros};
use hidenseek::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable, Trained};
use hidenseek::federation::{Federation, Settings};
use hidenseek::fused::{self, Prepared};
use hidenseek::init::WeightInit;
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;
use hidenseek::partition::{Partition, Population, Scheme, ShardDraw};
use hidenseek::prune::{Pruner, prune};
use hidenseek::supermask::{MaskKind, Surrogate};
use plasticity_core::machine;
use plasticity_core::rng::Stream;
use plasticity_core::testing::peer::{self, Lcg};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTHS: [usize; 4] = [196, 100, 50, 10];
/// Density of each layer as 100 iterations of SynFlow leave it at 0.2.
const DENSITY: [f64; 3] = [0.13, 0.41, 0.80];
const CLIENTS: usize = 10;
const IMAGES: usize = 40;
const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };

/// W0 with the variance 2 / fan_in, the mask, and scores in U(-0.1, 0.1) for all weights.
fn network(dense: bool) -> (Subnetwork, Vec<f32>) {
    let architecture = Architecture::mlp(&WIDTHS).expect("widths");
    let mut lcg = Lcg(1);
    let weights = WIDTHS.windows(2).flat_map(|w| lcg.vector(w[0] * w[1], (6.0 / w[0] as f64).sqrt())).collect();
    let mut lcg = Lcg(2);
    let keep: Vec<bool> = WIDTHS
        .windows(2)
        .zip(DENSITY)
        .flat_map(|(w, density)| (0..w[0] * w[1]).map(|_| lcg.uniform() < density).collect::<Vec<_>>())
        .collect();
    let scores = Lcg(3).vector(keep.len(), 0.1);
    let mask = if dense { PruneMask::dense(&architecture) } else { PruneMask::new(&architecture, keep).expect("fits") };
    let scores = scores.into_iter().zip(mask.keep()).filter(|(_, keep)| **keep).map(|(s, _)| s).collect();
    (Subnetwork::new(architecture, weights, mask).expect("fits"), scores)
}

/// Two classes a client: a class's pattern with noise.
fn clients() -> Vec<ClientData> {
    let mut lcg = Lcg(4);
    let patterns: Vec<Vec<f32>> = (0..10).map(|_| lcg.vector(WIDTHS[0], 1.0)).collect();
    (0..CLIENTS)
        .map(|client| {
            let mut data = ClientData::default();
            for image in 0..IMAGES {
                let label = (client + 3 * (image % 2)) % 10;
                data.labels.push(label as u8);
                data.x.extend(patterns[label].iter().zip(lcg.vector(WIDTHS[0], 1.0)).map(|(p, noise)| p + noise));
            }
            data
        })
        .collect()
}

struct Arm {
    name: &'static str,
    prepared: Prepared,
    trainable: Trainable,
    values: Vec<f32>,
    lr: f32,
}

fn arms() -> Vec<Arm> {
    let ((sparse, scores), (dense, _)) = (network(false), network(true));
    let weights = dense.weights().to_vec();
    let prepare = |sub: &Subnetwork| Prepared::new(sub).expect("a perceptron");
    vec![
        Arm { name: "sign_0.2", prepared: prepare(&sparse), trainable: SIGN, values: scores, lr: 1.0 },
        Arm { name: "fedavg", prepared: prepare(&dense), trainable: Trainable::Weights, values: weights, lr: 0.1 },
    ]
}

impl Arm {
    fn train(&self, data: &ClientData, epochs: usize, batch: usize, stream: u64) -> Trained {
        let training = LocalTraining { epochs, batch, optimiser: Optimiser::Sgd { lr: self.lr, momentum: 0.5 } };
        let mut stream = Stream::new(0, "bench", stream);
        fused::train(&self.prepared, self.trainable, &self.values, data, &training, &mut stream).expect("trains")
    }
}

/// Prints what the peer prints. On a loaded machine only the processor time means something.
fn as_the_peer() {
    let clients = clients();
    for arm in arms() {
        let losses = [1, 2, 3].map(|steps| f64::from(arm.train(&clients[0], steps, IMAGES, 0).loss));
        peer::losses(arm.name, &losses);
        let (rounds, mut cpu) = (peer::repeats(200), 0.0);
        // The first tenth warms up.
        let skipped = rounds.div_ceil(10);
        let times = (0..rounds + skipped).map(|round| {
            if round == skipped {
                cpu = peer::cpu_seconds();
            }
            let start = Instant::now();
            let trained: Vec<_> =
                clients.par_iter().enumerate().map(|(k, data)| arm.train(data, 5, 20, k as u64)).collect();
            assert!(trained.iter().all(|t| t.loss.is_finite()));
            start.elapsed().as_secs_f64() * 1e3
        });
        let round = peer::median(times.skip(skipped).collect()) / CLIENTS as f64;
        let cpu = (peer::cpu_seconds() - cpu) * 1e3 / (rounds * CLIENTS) as f64;
        peer::ms(arm.name, &[("round", round), ("cpu", cpu)]);
    }
}

/// What a client round costs besides its training, N = 25,100 dense: both messages encoded and decoded, and the sum.
fn overhead(criterion: &mut Criterion) {
    let layers: Vec<usize> = WIDTHS.windows(2).map(|w| w[0] * w[1]).collect();
    let state = Lcg(3).vector(layers.iter().sum(), 0.1);
    let moved: Vec<f32> = state.iter().zip(Lcg(5).vector(state.len(), 0.02)).map(|(s, d)| s + d).collect();
    for (name, rule, coding) in [
        ("mask_raw", Rule::MaskMean, Coding::Raw),
        ("mask_xor", Rule::MaskMean, Coding::Xor),
        ("sign_delta", Rule::ScaledSignDelta { zeros: Zeros::Keyed }, Coding::Raw),
        ("scores", Rule::ScoreMean, Coding::Raw),
    ] {
        let broadcast = Stamp::broadcast(1, 7);
        let downlink = Downlink::Scores(state.clone());
        let (form, message) = (downlink.form(), downlink.encode(broadcast));
        let known = aggregate::known(rule, 0.1, &layers, &state).expect("fits");
        let stamp = Stamp { client: 3, ..broadcast };
        criterion.bench_function(&format!("hidenseek/overhead/n25100/{name}"), |b| {
            b.iter(|| {
                let got = Downlink::decode(&message, form, state.len(), broadcast).expect("due");
                let got = aggregate::state_of(&got, 0.1);
                let mut stream = Stream::new(0, "upload", 3);
                let upload = aggregate::upload(rule, &got, &moved, &layers, 1, &mut stream).expect("fits");
                let bytes = upload.encode(stamp, coding, &known);
                let upload = Upload::decode(&bytes, rule.upload_kind(coding), stamp, &known).expect("due");
                let mut tally = Tally::new(rule, &layers, 1).expect("a rule");
                tally.add(&Received { client: 3, samples: 40, upload }).expect("fits");
                tally
            });
        });
    }
}

/// The server's pruning of the reference network to density 0.2.
fn pruning(criterion: &mut Criterion) {
    let architecture = Architecture::mlp(&WIDTHS).expect("widths");
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    for (name, pruner) in [
        ("synflow100", Pruner::SynFlow { iterations: 100 }),
        ("synflow1", Pruner::SynFlow { iterations: 1 }),
        ("magnitude", Pruner::Magnitude),
    ] {
        criterion.bench_function(&format!("hidenseek/prune/196-100-50-10/{name}"), |b| {
            b.iter(|| {
                let mut stream = Stream::new(0, "prune", 0);
                prune(&architecture, &weights, 0.2, pruner, &mut stream).expect("no layer is emptied")
            });
        });
    }
}

/// A whole round of ten clients out of a hundred, per client, at one and two threads.
fn rounds(criterion: &mut Criterion) {
    let mut all = ClientData::default();
    for data in clients().into_iter().cycle().take(100) {
        all.x.extend(data.x);
        all.labels.extend(data.labels);
    }
    let scheme = Scheme::Shards { ways: 2, shots: 20, unbalance: 1.0, draw: ShardDraw::Distinct };
    let partition = Partition::new(&all.labels, 100, &scheme, 0).expect("enough images");
    let population = Population::new(all, ClientData::default(), WIDTHS[0], partition).expect("fits");
    for (name, dense, settings) in [("sign_0.2", false, Settings::default()), ("fedavg", true, Settings::fedavg(0.1))] {
        let (sub, scores) = network(dense);
        let values = if dense { sub.weights().to_vec() } else { scores };
        let federation = Federation::new(sub, population.clone(), settings, &Device::flex()).expect("fits");
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut server = federation.begin(values.clone()).expect("fits");
            criterion.bench_function(&format!("hidenseek/round/10x40_e5_b20_t{threads}/{name}"), |b| {
                b.iter(|| pool.install(|| federation.round(&mut server, false).expect("trains").loss));
            });
        }
    }
}

fn main() {
    println!("{}", machine::line("no device"));
    if peer::asked() {
        return as_the_peer();
    }
    let criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut criterion = criterion.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let clients = clients();
    for arm in arms() {
        let id = format!("hidenseek/client_round/n40_e5_b20_196-100-50-10/{}", arm.name);
        criterion.bench_function(&id, |b| b.iter(|| arm.train(&clients[0], 5, 20, 0)));
        let test = Lcg(6).vector(2000 * WIDTHS[0], 1.0);
        let id = format!("hidenseek/evaluate/n2000_196-100-50-10/{}", arm.name);
        criterion.bench_function(&id, |b| {
            b.iter(|| fused::logits(&arm.prepared, arm.trainable, &arm.values, &test, None).expect("fits"));
        });
    }
    pruning(&mut criterion);
    overhead(&mut criterion);
    rounds(&mut criterion);
    criterion.final_summary();
}
