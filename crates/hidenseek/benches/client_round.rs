//! A client's round of the reference set-up, 196-100-50-10 (N = 25,100), 40 images, 5 epochs, batch 20: signs on the
//! survivors at density 0.2, and the weights of the whole network (FedAvg); and what a round costs outside training.
//! `benches/peers/client_round.py` does the same work in PyTorch.
//!
//! With `PEER=1` in the environment no statistics are made: the program prints the losses of the first three
//! full-batch steps and client rounds per second as the peer does, for interleaved runs.

use std::time::Instant;

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
use plasticity_core::rng::Stream;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTHS: [usize; 4] = [196, 100, 50, 10];
/// Density of each layer as 100 iterations of SynFlow leave it at 0.2.
const DENSITY: [f64; 3] = [0.13, 0.41, 0.80];
const CLIENTS: usize = 10;
const IMAGES: usize = 40;
const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };

/// Numbers that the peer can make too: a 64-bit linear congruential generator, of whose state the upper 24 bits are
/// a number in [0, 1).
struct Lcg(u64);

impl Lcg {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    fn vector(&mut self, n: usize, scale: f64) -> Vec<f32> {
        (0..n).map(|_| ((2.0 * self.uniform() - 1.0) * scale) as f32).collect()
    }
}

/// W0 with the variance 2 / fan_in, the mask, and scores in U(-0.1, 0.1) for all weights.
fn network(dense: bool) -> (Subnetwork, Vec<f32>) {
    let architecture = Architecture::mlp(&WIDTHS);
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
    (Subnetwork { architecture, weights, mask }, scores)
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
    let weights = dense.weights.clone();
    let prepare = |sub: &Subnetwork| Prepared::new(sub).expect("fits").expect("a perceptron");
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

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("machine: {model}, {cores} cores, rayon threads {}, mimalloc", rayon::current_num_threads())
}

/// Processor time of this process so far, in seconds; in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Prints what the peer prints. On a loaded machine only the processor time means something.
fn as_the_peer() {
    let clients = clients();
    for arm in arms() {
        let loss = |steps| arm.train(&clients[0], steps, IMAGES, 0).loss;
        let losses = [loss(1), loss(2), loss(3)];
        const ROUNDS: usize = 200;
        let mut cpu = 0.0;
        let mut times: Vec<f64> = (0..ROUNDS + 20)
            .map(|round| {
                if round == 20 {
                    cpu = cpu_seconds();
                }
                let start = Instant::now();
                let trained: Vec<_> =
                    clients.par_iter().enumerate().map(|(k, data)| arm.train(data, 5, 20, k as u64)).collect();
                assert!(trained.iter().all(|t| t.loss.is_finite()));
                start.elapsed().as_secs_f64()
            })
            .skip(20)
            .collect();
        let cpu = (cpu_seconds() - cpu) / (ROUNDS * CLIENTS) as f64;
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2] / CLIENTS as f64;
        println!(
            "{:10} ms/client-round {:.3} cpu {:.3} client-rounds/s {:.0} losses {:.5} {:.5} {:.5}",
            arm.name,
            median * 1e3,
            cpu * 1e3,
            1.0 / median,
            losses[0],
            losses[1],
            losses[2]
        );
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
    let architecture = Architecture::mlp(&WIDTHS);
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
        let values = if dense { sub.weights.clone() } else { scores };
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
    println!("{}", machine());
    if std::env::var_os("PEER").is_some() {
        return as_the_peer();
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
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
