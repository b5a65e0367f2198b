//! Oracles O23 to O27: the server's rules. Everything that crosses is encoded and decoded.

mod delta;
mod votes;

use hidenseek::FederationError;
use hidenseek::aggregate::{Coding, Downlink, Received, RoundStats, Rule, Stamp, Upload, Zeros, aggregate, known};
use plasticity_core::rng::Stream;
use proptest::prelude::*;

const A: f32 = 0.1;
const MASK_RULES: [Rule; 5] = [
    Rule::MaskMean,
    Rule::MajorityVote,
    Rule::MaskEma { beta: 0.25 },
    Rule::StochasticSign,
    Rule::BetaMode { clip: 0.01 },
];

/// Signs from "+-+".
fn mask(text: &str) -> Vec<bool> {
    text.chars().map(|c| c == '+').collect()
}

/// A server's round in one layer of survivors: each (client, n_k, upload) goes through the wire.
fn round(rule: Rule, a: f32, state: &mut [f32], uploads: &[(u32, u32, Upload)]) -> Result<RoundStats, FederationError> {
    layered(rule, a, state, &[state.len()], uploads)
}

fn layered(
    rule: Rule,
    a: f32,
    state: &mut [f32],
    layers: &[usize],
    uploads: &[(u32, u32, Upload)],
) -> Result<RoundStats, FederationError> {
    let known = known(rule, a, layers, state)?;
    let received = uploads.iter().map(|(client, samples, upload)| {
        let stamp = Stamp { round: 1, client: *client, mask_hash: 7 };
        // Each client its own coding: all say the same.
        let coding = [Coding::Raw, Coding::Coded, Coding::Xor][*client as usize % 3];
        let bytes = upload.encode(stamp, coding, &known);
        let upload = Upload::decode(&bytes, rule.upload_kind(coding), stamp, &known).expect("its own message");
        Received { client: *client, samples: *samples, upload }
    });
    aggregate(rule, a, state, layers, &received.collect::<Vec<_>>(), 1)
}

/// Random uploads of `clients` clients with their n_k under a rule, one layer of `n`.
fn random_uploads(rule: Rule, clients: u32, n: usize, seed: u64) -> Vec<(u32, u32, Upload)> {
    let draw = |client| {
        let mut stream = Stream::new(seed, "uploads", u64::from(client));
        let values = stream.uniform_vec(n, -1.0, 1.0);
        let signs = values.iter().map(|v| *v >= 0.0).collect();
        let scales = vec![stream.uniform() as f32];
        let upload = match rule {
            Rule::ScoreMean => Upload::Scores(values),
            Rule::ScaledSignDelta { zeros: Zeros::Keyed } => Upload::SignDelta { scales, signs },
            Rule::ScaledSignDelta { zeros: Zeros::Ternary } => {
                let symbols = values.iter().map(|v| if v.abs() < 0.2 { 0 } else { v.signum() as i8 }).collect();
                Upload::TernaryDelta { scales, symbols }
            }
            _ => Upload::Signs(signs),
        };
        (client, 1 + stream.below(40) as u32, upload)
    };
    (0..clients).map(draw).collect()
}

fn negated(upload: &Upload) -> Upload {
    let flip = |signs: &[bool]| signs.iter().map(|sign| !sign).collect();
    match upload {
        Upload::Signs(signs) => Upload::Signs(flip(signs)),
        Upload::Scores(scores) => Upload::Scores(scores.iter().map(|s| -s).collect()),
        Upload::SignDelta { scales, signs } => Upload::SignDelta { scales: scales.clone(), signs: flip(signs) },
        Upload::TernaryDelta { scales, symbols } => {
            Upload::TernaryDelta { scales: scales.clone(), symbols: symbols.iter().map(|s| -s).collect() }
        }
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let mut rules = MASK_RULES.to_vec();
    rules.extend(
        [Rule::ScoreMean]
            .into_iter()
            .chain([Zeros::Keyed, Zeros::Ternary].map(|zeros| Rule::ScaledSignDelta { zeros })),
    );
    prop::sample::select(rules)
}

proptest! {
    /// O24: reordering the clients changes no bit, whatever the rule.
    #[test]
    fn o24_permutation_invariance(rule in any_rule(), clients in 1u32..9, n in 1usize..40, seed: u64) {
        let uploads = random_uploads(rule, clients, n, seed);
        let start = Stream::new(seed, "state", 0).uniform_vec(n, -1.0, 1.0);
        let mut first = start.clone();
        let stats = round(rule, A, &mut first, &uploads).unwrap();
        let order = Stream::new(seed, "order", 0).permutation(clients as usize);
        let shuffled: Vec<_> = order.into_iter().map(|k| uploads[k].clone()).collect();
        let mut second = start;
        prop_assert_eq!(round(rule, A, &mut second, &shuffled).unwrap(), stats);
        let bits = |state: &[f32]| state.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&first), bits(&second));
    }

    /// O24: negating the state and all uploads negates the result.
    #[test]
    fn o24_sign_equivariance(rule in any_rule(), clients in 1u32..9, n in 1usize..40, seed: u64) {
        let uploads = random_uploads(rule, clients, n, seed);
        let mut plus = Stream::new(seed, "state", 0).uniform_vec(n, -1.0, 1.0);
        let mut minus: Vec<f32> = plus.iter().map(|s| -s).collect();
        let opposite: Vec<_> = uploads.iter().map(|(k, n_k, upload)| (*k, *n_k, negated(upload))).collect();
        let stats = round(rule, A, &mut plus, &uploads).unwrap();
        prop_assert_eq!(round(rule, A, &mut minus, &opposite).unwrap().ties, stats.ties);
        minus.iter_mut().for_each(|s| *s = -*s);
        prop_assert_eq!(plus, minus);
    }
}

/// FedAvg: the same mean, of weights; the client's own weights come back bit for bit when it is alone.
#[test]
fn score_mean_is_the_weighted_mean_in_f64() {
    let values = [vec![1.0, -2.0, 1e-8], vec![4.0, 2.0, 1.0], vec![-1.0, 0.5, -1.0]];
    let uploads: Vec<_> =
        values.iter().zip([1u32, 2, 5]).zip(0..).map(|((v, n), k)| (k, n, Upload::Scores(v.clone()))).collect();
    let mut state = [9.0; 3];
    let stats = round(Rule::ScoreMean, A, &mut state, &uploads).unwrap();
    assert_eq!(state[..2], [0.5, 0.5625]);
    // 1e-8 + 2 - 5 in f64; f32 sums would lose the first.
    assert_eq!(state[2], ((f64::from(1e-8f32) + 2.0 - 5.0) / 8.0) as f32);
    assert_eq!((stats.clients, stats.samples), (3, 8));
    let alone = Stream::new(3, "weights", 0).normal_vec(500);
    let mut state = vec![0.0; 500];
    round(Rule::ScoreMean, A, &mut state, &[(0, 37, Upload::Scores(alone.clone()))]).unwrap();
    assert_eq!(state, alone);
}

/// Wrong uploads are errors that name the field, and leave the state alone.
#[test]
fn wrong_uploads_change_nothing() {
    let signs = |client| Received { client, samples: 4, upload: Upload::Signs(mask("+-")) };
    let field = |rule, a, uploads: &[Received]| {
        let mut state = [0.3, -0.3];
        let error = aggregate(rule, a, &mut state, &[1, 1], uploads, 6).expect_err("refused");
        assert_eq!(state, [0.3, -0.3]);
        match error {
            FederationError::Setting { field, .. } | FederationError::Length { field, .. } => field,
            FederationError::NotFinite { field, step } => {
                assert_eq!(step, 6);
                field
            }
            other => panic!("{other}"),
        }
    };
    let with = |upload| [signs(0), Received { client: 1, samples: 4, upload }];
    assert_eq!(field(Rule::MaskMean, A, &[]), "samples");
    assert_eq!(field(Rule::MaskMean, A, &[signs(2), signs(1), signs(2)]), "client");
    assert_eq!(field(Rule::MaskMean, A, &[Received { samples: 0, ..signs(0) }]), "samples");
    assert_eq!(field(Rule::MaskMean, 0.0, &[signs(0)]), "a");
    assert_eq!(field(Rule::MaskMean, f32::NAN, &[signs(0)]), "a");
    assert_eq!(field(Rule::MaskMean, A, &with(Upload::Signs(mask("+")))), "upload");
    assert_eq!(field(Rule::MaskMean, A, &with(Upload::Scores(vec![1.0, 1.0]))), "upload");
    assert_eq!(field(Rule::ScoreMean, A, &[signs(0)]), "upload");
    let delta = |scales| Received { client: 0, samples: 1, upload: Upload::SignDelta { scales, signs: mask("+-") } };
    let keyed = Rule::ScaledSignDelta { zeros: Zeros::Keyed };
    assert_eq!(field(keyed, A, &[delta(vec![1.0])]), "scales");
    assert_eq!(field(keyed, A, &[delta(vec![1.0, f32::NAN])]), "upload");
    assert_eq!(field(Rule::ScaledSignDelta { zeros: Zeros::Ternary }, A, &[delta(vec![1.0; 2])]), "upload");
    assert_eq!(field(Rule::MaskEma { beta: 0.0 }, A, &[signs(0)]), "beta");
    assert_eq!(field(Rule::BetaMode { clip: 0.5 }, A, &[signs(0)]), "clip");
    let scores = |value| Received { client: 0, samples: 1, upload: Upload::Scores(vec![0.0, value]) };
    assert_eq!(field(Rule::ScoreMean, A, &[scores(f32::INFINITY)]), "upload");
    // A state too large for f32.
    let huge = [delta(vec![f32::MAX, f32::MAX])];
    let mut state = [f32::MAX, 0.0];
    assert!(aggregate(keyed, A, &mut state, &[1, 1], &huge, 6).is_err());
    assert_eq!(state, [f32::MAX, 0.0]);
    let mut short = [0.0];
    assert!(aggregate(Rule::MaskMean, A, &mut short, &[1, 1], &[signs(0)], 6).is_err());
}

/// The wire carries a rule's own uploads only: the receiver says which kind is due.
#[test]
fn downlinks_cross_the_wire() {
    let stamp = Stamp::broadcast(4, 7);
    for down in [
        Downlink::Scores(vec![0.5, -0.25, 0.0]),
        Downlink::Signs(mask("+-+")),
        Downlink::Votes { counts: vec![0, 4, 5], voters: 4 },
    ] {
        let bytes = down.encode(stamp);
        assert_eq!(Downlink::decode(&bytes, down.form(), 3, stamp), Ok(down));
    }
}
