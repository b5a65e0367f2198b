//! Oracles O29 and O33, the rounds' accounting and accuracies, and a million registered clients.

mod state;

use burn::prelude::Device;
use hidenseek::FederationError;
use hidenseek::aggregate::{Coding, Rule, Zeros};
use hidenseek::client::{ClientData, LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::codec::{HEADER, Kind};
use hidenseek::federation::{Federation, Server, Settings};
use hidenseek::fused::{self, Prepared};
use hidenseek::init::WeightInit;
use hidenseek::mask::PruneMask;
use hidenseek::network::{Architecture, Layer};
use hidenseek::partition::{Partition, Population, Scheme, Synthetic};
use hidenseek::prune::{Pruner, prune};
use hidenseek::supermask::{MaskKind, Surrogate};
use plasticity_core::rng::Stream;
use plasticity_core::testing::on_threads;

const SIGN: Trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Identity };

/// 30-20-10, pruned to a half; scores in U(-0.1, 0.1).
fn network() -> (Subnetwork, Vec<f32>) {
    let architecture = Architecture::mlp(&[30, 20, 10]).unwrap();
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    let pruner = Pruner::SynFlow { iterations: 10 };
    let mask = prune(&architecture, &weights, 0.5, pruner, &mut Stream::new(0, "prune", 0)).unwrap();
    let scores = Stream::new(0, "scores", 0).uniform_vec(mask.survivors(), -0.1, 0.1);
    (Subnetwork::new(architecture, weights, mask).unwrap(), scores)
}

fn synthetic(clients: usize, shots: usize) -> Population {
    Population::synthetic(Synthetic::new((clients, 2, shots), (30, 10), 0.7, 1).unwrap(), 20)
}

fn settings(rule: Rule) -> Settings {
    let training = LocalTraining { epochs: 3, batch: 8, optimiser: Optimiser::Sgd { lr: 1.0, momentum: 0.5 } };
    Settings { rule, training, per_round: 4, ..Settings::default() }
}

fn federation(settings: Settings) -> (Federation, Server) {
    let (sub, scores) = network();
    let federation = Federation::new(sub, synthetic(12, 8), settings, &Device::flex()).unwrap();
    let server = federation.begin(scores).unwrap();
    (federation, server)
}

const RULES: [Rule; 7] = [
    Rule::MaskMean,
    Rule::MajorityVote,
    Rule::MaskEma { beta: 0.1 },
    Rule::ScoreMean,
    Rule::StochasticSign,
    Rule::ScaledSignDelta { zeros: Zeros::Keyed },
    Rule::ScaledSignDelta { zeros: Zeros::Ternary },
];

#[test]
fn o29_one_client_is_centralised_training() {
    let (sub, scores) = network();
    for (trainable, lr) in [(SIGN, 1.0), (Trainable::Weights, 0.1)] {
        let optimiser = Optimiser::Sgd { lr, momentum: 0.5 };
        let training = LocalTraining { epochs: 2, batch: 5, optimiser };
        let settings = Settings { trainable, training, per_round: 1, ..settings(Rule::ScoreMean) };
        let federation = Federation::new(sub.clone(), synthetic(1, 9), settings, &Device::flex()).unwrap();
        let mut server = federation.begin(scores.clone()).unwrap();
        let data = federation.population().train(0);
        let prepared = Prepared::new(&sub).unwrap();
        let mut values = scores.clone();
        for round in 1..=4 {
            federation.round(&mut server, false).unwrap();
            let mut stream = federation.client_stream(round, 0);
            values = fused::train(&prepared, trainable, &values, &data, &training, &mut stream).unwrap().values;
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(server.values()), bits(&values), "round {round}");
        }
        assert_ne!(values, scores);
    }
}

#[test]
fn o29_one_full_batch_of_fedavg_is_one_step_on_the_union() {
    let (sub, _) = network();
    let start = Stream::new(0, "start", 0).uniform_vec(sub.mask().survivors(), -0.5, 0.5);
    // Clients of 5, 8 and 17 images.
    let all = Synthetic::new((1, 10, 3), (30, 10), 0.7, 2).unwrap().train(0);
    let partition = Partition::Disjoint { order: (0..30).collect(), starts: vec![0, 5, 13, 30] };
    let population = Population::new(all.clone(), all.clone(), 30, partition).unwrap();
    let training = LocalTraining { epochs: 1, batch: 100, optimiser: Optimiser::Sgd { lr: 8.0, momentum: 0.0 } };
    let settings = Settings { training, per_round: 3, ..Settings::fedavg(0.0) };
    let federation = Federation::new(sub.clone(), population, settings, &Device::flex()).unwrap();
    let mut server = federation.begin(start.clone()).unwrap();
    federation.round(&mut server, false).unwrap();
    let prepared = Prepared::new(&sub).unwrap();
    let mut stream = Stream::new(9, "any order", 0);
    let union = fused::train(&prepared, Trainable::Weights, &start, &all, &training, &mut stream).unwrap();
    let (mut off, mut moved) = (0.0f32, 0.0f32);
    for ((found, expected), start) in server.values().iter().zip(&union.values).zip(&start) {
        off = off.max((found - expected).abs());
        moved = moved.max((expected - start).abs());
    }
    assert!(off < 2e-6 * moved.max(1.0) && moved > 0.1, "{off} of {moved}");
}

#[test]
fn o33_threads_order_and_interruption_change_no_byte() {
    for rule in RULES {
        for (coding, keep_local_scores) in [(Coding::Raw, false), (Coding::Xor, true)] {
            let settings = Settings { coding, keep_local_scores, votes: true, ..settings(rule) };
            let run = |threads, backwards: bool, stop: u64| {
                on_threads(threads, move || {
                    let (federation, mut server) = federation(settings);
                    let mut reports = Vec::new();
                    for round in 1..=4 {
                        let mut clients = federation.sample(round);
                        if backwards {
                            clients.reverse();
                        }
                        reports.push(federation.round_of(&mut server, &clients, true).unwrap());
                        if round == stop {
                            server = Server::from_bytes(&server.to_bytes()).unwrap();
                        }
                    }
                    (server.to_bytes(), reports)
                })
            };
            let reference = run(1, false, 0);
            assert_eq!(run(2, false, 0), reference, "{rule:?}: threads");
            assert_eq!(run(1, true, 0), reference, "{rule:?}: order");
            assert_eq!(run(2, true, 2), reference, "{rule:?}: resumed");
        }
    }
}

#[test]
fn damaged_states_are_refused() {
    let (federation, mut server) = federation(Settings { keep_local_scores: true, ..settings(Rule::MaskMean) });
    federation.round(&mut server, false).unwrap();
    let bytes = server.to_bytes();
    assert_eq!(server.kept(), 4);
    assert_eq!(Server::from_bytes(&bytes).unwrap(), server);
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(matches!(Server::from_bytes(&damaged), Err(FederationError::Saved(_))), "byte {at}");
        assert!(matches!(Server::from_bytes(&bytes[..at]), Err(FederationError::Saved(_))), "cut at {at}");
    }
    // Counts that promise more than there is, with a checksum that fits.
    for at in [16, 24, 40] {
        for count in [u64::MAX, 1 << 62, 1 << 40] {
            let mut boast = bytes[..bytes.len() - 4].to_vec();
            boast[at..at + 8].copy_from_slice(&count.to_le_bytes());
            boast.extend(crc32fast::hash(&boast).to_le_bytes());
            let refused = Server::from_bytes(&boast).unwrap_err();
            assert!(matches!(refused, FederationError::Saved(_)), "{at}: {count}: {refused}");
        }
    }
    // A state of another network.
    let (sub, scores) = network();
    let other = PruneMask::dense(sub.architecture());
    let other = Subnetwork::new(sub.architecture().clone(), sub.weights().to_vec(), other).unwrap();
    let dense = Federation::new(other, synthetic(12, 8), settings(Rule::MaskMean), &Device::flex()).unwrap();
    let refused = dense.round(&mut server, false).unwrap_err().to_string();
    assert!(refused.contains("its prune mask is"), "{refused}");
    assert!(matches!(dense.begin(scores), Err(FederationError::Length { field: "values", .. })));
}

#[test]
fn the_ledger_holds_what_section_4_says() {
    let n = network().0.mask().survivors() as u64;
    for rule in RULES {
        let bitmap = Settings { send_bitmap: true, ..settings(rule) };
        let (federation, mut server) = federation(bitmap);
        let setup = server.ledger().total.down.of(Kind::PruneBitmap);
        assert_eq!((setup.messages, setup.payload), (12, 12 * 800u64.div_ceil(8)));
        for _ in 0..3 {
            let report = federation.round(&mut server, false).unwrap();
            assert_eq!(report.traffic.up.total().messages, 4);
            assert_eq!(report.traffic.down.total().header, 4 * HEADER as u64);
        }
        let (up, down) = (server.ledger().total.up.total(), server.ledger().total.down.total());
        let each = match rule {
            Rule::ScoreMean => 4 * n,
            Rule::ScaledSignDelta { zeros: Zeros::Keyed } => 8 + n.div_ceil(8),
            // Entropy-coded: each its own length.
            Rule::ScaledSignDelta { zeros: Zeros::Ternary } => 0,
            _ => n.div_ceil(8),
        };
        assert_eq!(up.messages, 12);
        assert!(up.payload == 12 * each || each == 0 && up.payload <= 12 * (9 + n.div_ceil(4)), "{rule:?}");
        let state = if rule == Rule::MajorityVote { n.div_ceil(8) } else { 4 * n };
        assert_eq!(down.payload - setup.payload, 12 * state, "{rule:?}");
    }
}

#[test]
fn a_federation_learns_and_its_accuracies_are_what_they_say() {
    let (sub, scores) = network();
    let settings = Settings { per_round: 6, ..settings(Rule::ScoreMean) };
    let federation = Federation::new(sub.clone(), synthetic(12, 8), settings, &Device::flex()).unwrap();
    let mut server = federation.begin(scores.clone()).unwrap();
    let start = federation.global(&server).unwrap();

    // Before training: the downloaded model. After: the client's.
    let prepared = Prepared::new(&sub).unwrap();
    let accuracy = |values: &[f32], client: usize| {
        let data = federation.population().train(client);
        let test = federation.population().test();
        let own: Vec<usize> = (0..200).filter(|i| data.labels.contains(&test.labels[*i])).collect();
        let logits = fused::logits(&prepared, SIGN, values, &test.x, None).unwrap();
        let best = |i: usize| (0..10).max_by(|a, b| logits[10 * i + a].total_cmp(&logits[10 * i + b])).unwrap();
        own.iter().filter(|i| best(**i) == usize::from(test.labels[**i])).count() as f64 / own.len() as f64
    };
    let report = federation.round(&mut server, true).unwrap();
    for client in &report.clients {
        let data = federation.population().train(client.client);
        let mut stream = federation.client_stream(1, client.client);
        let trained = fused::train(&prepared, SIGN, &scores, &data, &settings.training, &mut stream).unwrap();
        assert_eq!(client.global_on_own, Some(accuracy(&scores, client.client)));
        assert_eq!(client.personal, Some(accuracy(&trained.values, client.client)));
        assert_eq!((client.images, client.loss), (16, f64::from(trained.loss)));
        let flips = trained.values.iter().zip(&scores).filter(|(a, b)| (**a >= 0.0) != (**b >= 0.0)).count();
        assert_eq!(client.flips, flips as f64 / scores.len() as f64);
    }
    let mean = report.clients.iter().map(|c| c.personal.unwrap()).sum::<f64>() / 6.0;
    assert_eq!(report.personal(), Some(mean));

    for _ in 0..40 {
        federation.round(&mut server, false).unwrap();
    }
    let end = federation.global(&server).unwrap();
    assert!(end > 0.7 && start < 0.3, "{start} to {end}");
    let own = federation.global_on_own(&server).unwrap();
    assert_eq!(own.clients, 12);
    let each: Vec<f64> = (0..12).map(|k| accuracy(server.values(), k)).collect();
    assert!((own.mean - each.iter().sum::<f64>() / 12.0).abs() < 1e-12);
    let mut sorted = each.clone();
    sorted.sort_by(f64::total_cmp);
    // The tenth of twelve is the second least.
    assert_eq!((own.worst, own.tenth), (sorted[0], sorted[1]));
    let (fine, alone) = (federation.fine_tuned(&server).unwrap(), federation.standalone(&scores, 3).unwrap());
    assert!(fine.mean > own.mean, "{fine:?} {own:?}");
    assert!(alone.mean > 0.6, "two classes, trained alone: {alone:?}");
    assert!(federation.standalone(&scores, 1).unwrap().mean < alone.mean);
}

#[test]
fn a_client_keeps_its_scores_where_the_server_agrees() {
    let base = Settings { keep_local_scores: true, ..settings(Rule::MaskMean) };
    let (federation, mut server) = federation(base);
    let (sub, scores) = network();
    let prepared = Prepared::new(&sub).unwrap();
    let train = |start: &[f32], round| {
        let mut stream = federation.client_stream(round, 3);
        fused::train(&prepared, SIGN, start, &federation.population().train(3), &base.training, &mut stream).unwrap()
    };
    federation.round_of(&mut server, &[3, 5, 7], false).unwrap();
    let own = train(&scores, 1).values;
    let agree = |(s, own): (&f32, &f32)| if (*s >= 0.0) == (*own >= 0.0) { *own } else { *s };
    let start: Vec<f32> = server.values().iter().zip(&own).map(agree).collect();
    assert!(start != own && start != server.values());
    let report = federation.round_of(&mut server, &[3, 5], false).unwrap();
    assert_eq!(report.clients[0].loss, f64::from(train(&start, 2).loss));
    assert_eq!(server.kept(), 3);
}

#[test]
fn sampling_is_without_replacement_and_streams_are_apart() {
    let (federation, _) = federation(settings(Rule::MaskMean));
    let mut seen = [0i32; 12];
    for round in 1..=600 {
        let clients = federation.sample(round);
        assert!(clients.len() == 4 && clients.windows(2).all(|pair| pair[0] < pair[1]));
        clients.into_iter().for_each(|client| seen[client] += 1);
    }
    // 200 each, standard deviation 11.5.
    assert!(seen.iter().all(|n| (n - 200).abs() < 60), "{seen:?}");
    let first = |round, client| federation.client_stream(round, client).bits();
    let all = [first(1, 0), first(1, 1), first(2, 0), first(2, 1)];
    assert!((0..4).all(|i| all[i + 1..].iter().all(|other| *other != all[i])));
}

#[test]
fn any_other_network_goes_through_tensor_operations() {
    let conv = Layer::Conv { inputs: 1, outputs: 3, kernel: 3, padding: 1 };
    let linear = Layer::Linear { inputs: 3 * 3 * 2, outputs: 10 };
    let architecture = Architecture::new([1, 6, 5], vec![conv, Layer::Relu, Layer::MaxPool, linear]).unwrap();
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    let mask = PruneMask::dense(&architecture);
    let scores = Stream::new(0, "scores", 0).uniform_vec(mask.survivors(), -0.1, 0.1);
    let sub = Subnetwork::new(architecture, weights, mask).unwrap();
    let run = |threads| {
        on_threads(threads, || {
            let population = synthetic(5, 6);
            let federation =
                Federation::new(sub.clone(), population, settings(Rule::ScoreMean), &Device::flex()).unwrap();
            assert!(!federation.is_fused());
            let mut server = federation.begin(scores.clone()).unwrap();
            let first = federation.round(&mut server, true).unwrap();
            let last = (0..6).map(|_| federation.round(&mut server, true).unwrap().loss).last().unwrap();
            assert!(last < first.loss, "{} to {last}", first.loss);
            server.to_bytes()
        })
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (sub, scores) = network();
    let new = |settings: Settings| {
        Federation::new(sub.clone(), synthetic(12, 8), settings, &Device::flex()).map(|_| ()).unwrap_err()
    };
    let field = |settings: Settings| match new(settings) {
        FederationError::Setting { field, .. } | FederationError::NotEnough { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let ok = settings(Rule::MaskMean);
    let weights = Settings { trainable: Trainable::Weights, ..ok };
    let ternary = Trainable::Scores { kind: MaskKind::Ternary { tau: 0.05 }, surrogate: Surrogate::Identity };
    assert_eq!(field(Settings { per_round: 13, ..ok }), "per_round");
    assert_eq!(field(Settings { per_round: 0, ..ok }), "per_round");
    assert_eq!(field(Settings { a: 0.0, ..ok }), "a");
    assert_eq!(field(weights), "rule");
    assert_eq!(field(Settings { trainable: ternary, ..ok }), "rule");
    assert_eq!(field(Settings { keep_local_scores: true, ..Settings::fedavg(0.1) }), "keep_local_scores");
    assert_eq!(field(Settings { rule: Rule::MaskEma { beta: 2.0 }, ..ok }), "beta");
    let image = Population::synthetic(Synthetic::new((12, 2, 8), (31, 10), 0.7, 1).unwrap(), 20);
    let wrong = Federation::new(sub.clone(), image, ok, &Device::flex());
    assert!(matches!(wrong, Err(FederationError::Length { expected: 30, found: 31, .. })));

    let (federation, mut server) = federation(ok);
    let before = server.clone();
    assert!(federation.round_of(&mut server, &[12], false).is_err());
    assert!(federation.round_of(&mut server, &[1, 1], false).is_err());
    assert!(federation.round_of(&mut server, &[], false).is_err());
    let hot = Optimiser::Sgd { lr: 1e38, momentum: 0.5 };
    let hot = Settings { training: LocalTraining { optimiser: hot, ..ok.training }, ..Settings::fedavg(0.1) };
    let diverging = Federation::new(sub.clone(), synthetic(12, 8), hot, &Device::flex()).unwrap();
    let mut lost = diverging.begin(scores.clone()).unwrap();
    let error = diverging.round(&mut lost, false).unwrap_err();
    assert!(matches!(error, FederationError::NotFinite { step: 1, .. }), "{error:?}");
    assert_eq!((server, lost.round()), (before, 0));
    // No test images at all.
    let all = Synthetic::new((1, 10, 3), (30, 10), 0.7, 2).unwrap().train(0);
    let partition = Partition::new(&all.labels, 12, &Scheme::Iid { shots: None }, 0).unwrap();
    let population = Population::new(all, ClientData::default(), 30, partition).unwrap();
    let untested = Federation::new(sub.clone(), population, ok, &Device::flex()).unwrap();
    let mut server = untested.begin(scores).unwrap();
    assert!(untested.global(&server).is_err() && untested.round(&mut server, true).is_err());
    assert!(untested.round(&mut server, false).is_ok());
}

/// Rounds with so many registered clients, in a process of their own; prints the peak of its memory.
#[test]
#[ignore = "started by the test below"]
fn in_a_process_of_its_own() {
    let Some(clients) = std::env::var("HIDENSEEK_CLIENTS").ok().and_then(|n| n.parse().ok()) else { return };
    let (sub, scores) = network();
    let settings = Settings { per_round: 50, ..settings(Rule::MaskMean) };
    let federation = Federation::new(sub, synthetic(clients, 20), settings, &Device::flex()).unwrap();
    let mut server = federation.begin(scores).unwrap();
    for _ in 0..20 {
        federation.round(&mut server, true).unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    println!("clients {clients} peak {}", peak.trim().trim_end_matches("kB").trim());
}

#[test]
#[cfg(target_os = "linux")]
fn a_million_registered_clients_need_no_more_memory_than_a_thousand() {
    let peak = |clients: usize| -> f64 {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["federation::in_a_process_of_its_own", "--exact", "--ignored", "--nocapture"])
            .env("HIDENSEEK_CLIENTS", clients.to_string())
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let found = text.split("peak ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        found.unwrap_or_else(|| panic!("no figure in {text}"))
    };
    let (thousand, million) = (peak(1000), peak(1_000_000));
    assert!(thousand > 1000.0, "{thousand} kB");
    assert!((million / thousand - 1.0).abs() < 0.2, "{thousand} kB and {million} kB");
}
