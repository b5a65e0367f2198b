//! A round that is left in the middle, and states that belong to another federation.

use burn::prelude::Device;
use hidenseek::FederationError;
use hidenseek::aggregate::{Coding, Rule, Zeros};
use hidenseek::client::{LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::federation::{Federation, Round, Server, Settings};
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;
use hidenseek::supermask::{MaskKind, Surrogate};

use super::{RULES, federation, network, settings, synthetic};

fn resealed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend(crc32fast::hash(&body).to_le_bytes());
    body
}

/// Client by client, saved and loaded after each: the same bytes as in one go.
#[test]
fn a_round_can_be_left_after_any_client() {
    for rule in RULES {
        for (coding, keep_local_scores, evaluate) in [(Coding::Raw, false, true), (Coding::Xor, true, false)] {
            let (federation, mut whole) =
                federation(Settings { coding, keep_local_scores, votes: true, ..settings(rule) });
            let mut pieces = whole.clone();
            for number in 1..=3 {
                let clients = federation.sample(number);
                let expected = federation.round_of(&mut whole, &clients, evaluate).unwrap();
                let mut round = federation.begin_round(&pieces, &clients, evaluate).unwrap();
                for done in 1..=clients.len() {
                    pieces = Server::from_bytes(&pieces.to_bytes()).unwrap();
                    round = federation.resume_round(&pieces, &round.to_bytes()).unwrap();
                    federation.advance(&pieces, &mut round, 1).unwrap();
                    assert_eq!((round.done(), round.clients()), (done, clients.as_slice()));
                    let early = federation.finish_round(&mut pieces.clone(), round.clone());
                    assert_eq!(early.is_err(), done < clients.len(), "{rule:?}");
                }
                // Nobody is left: nothing happens.
                federation.advance(&pieces, &mut round, 7).unwrap();
                let found = federation.finish_round(&mut pieces, round).unwrap();
                assert_eq!((found, pieces.to_bytes()), (expected, whole.to_bytes()), "{rule:?}");
            }
        }
    }
}

#[test]
fn damaged_rounds_are_refused() {
    let (federation, mut server) = federation(Settings { keep_local_scores: true, ..settings(Rule::ScoreMean) });
    let mut round = federation.begin_round(&server, &[1, 4, 7], true).unwrap();
    federation.advance(&server, &mut round, 2).unwrap();
    let bytes = round.to_bytes();
    for at in (0..bytes.len()).step_by(89) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 16;
        let refused = federation.resume_round(&server, &damaged);
        assert!(matches!(refused, Err(FederationError::Saved(_))), "byte {at}");
        let cut = federation.resume_round(&server, &resealed(bytes[..at.max(8)].to_vec()));
        assert!(cut.is_err(), "cut at {at}");
    }
    // Counts that promise more than there is, with a checksum that fits: round, evaluated, clients, done, kept.
    for word in 0..5 {
        for value in [u64::MAX, 1 << 61, 9] {
            let mut boast = bytes[..bytes.len() - 4].to_vec();
            boast[8 + 8 * word..16 + 8 * word].copy_from_slice(&value.to_le_bytes());
            assert!(federation.resume_round(&server, &resealed(boast)).is_err(), "word {word}: {value}");
        }
    }
    // A round of another state of the server.
    federation.round(&mut server, false).unwrap();
    assert!(federation.resume_round(&server, &bytes).is_err());
    assert!(federation.advance(&server, &mut round, 1).is_err());
    assert!(federation.finish_round(&mut server, round).is_err());
}

/// A round has its number, clients and lengths in common with those of other rules, settings and states: its sums would be
/// taken for something else.
#[test]
fn a_round_is_held_against_what_it_is_a_round_of() {
    let base = settings(Rule::ScoreMean);
    let (federation, mut server) = federation(base);
    let clients = [1, 4, 7];
    let other_server = {
        let values = server.values().iter().map(|value| value + 0.01).collect();
        federation.begin(values).unwrap()
    };
    let mut round = federation.begin_round(&server, &clients, false).unwrap();
    federation.advance(&server, &mut round, 2).unwrap();
    let with = |settings| super::federation(settings);
    let foreign = |other: &Federation, server: &mut Server, round: &Round, expected: &str| {
        let before = server.clone();
        let errors = [
            other.resume_round(server, &round.to_bytes()).unwrap_err(),
            other.advance(server, &mut round.clone(), 1).unwrap_err(),
            other.finish_round(server, round.clone()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, FederationError::Saved(_)), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(*server, before);
    };
    let foreign_round = "with other settings, by another federation or from another state";
    let slower = LocalTraining { epochs: 1, ..base.training };
    for settings in [
        settings(Rule::ScaledSignDelta { zeros: Zeros::Keyed }),
        Settings { seed: 1, ..base },
        Settings { training: slower, ..base },
        Settings { keep_local_scores: true, ..base },
    ] {
        let (other, mut begun) = with(settings);
        foreign(&other, &mut begun, &round, foreign_round);
    }
    foreign(&federation, &mut other_server.clone(), &round, foreign_round);
    // Its own goes on.
    round = federation.resume_round(&server, &round.to_bytes()).unwrap();
    federation.advance(&server, &mut round, 1).unwrap();
    federation.finish_round(&mut server, round).unwrap();
}

/// Each federation but the last three would have gone on with the state and meant something else by its numbers.
#[test]
fn a_state_is_held_against_what_it_is_for() {
    let base = settings(Rule::MaskMean);
    let (federation, mut server) = federation(base);
    federation.round(&mut server, false).unwrap();
    let (sub, scores) = network();
    let of = |sub: &Subnetwork, population, settings| {
        Federation::new(sub.clone(), population, settings, &Device::flex()).unwrap()
    };
    let with = |settings: Settings| of(&sub, synthetic(12, 8), settings);
    let binary = Trainable::Scores { kind: MaskKind::Binary, surrogate: Surrogate::Identity };
    let other_weights: Vec<f32> = sub.weights().iter().map(|w| -w).collect();
    let other_weights = Subnetwork::new(sub.architecture().clone(), other_weights, sub.mask().clone()).unwrap();
    // As many survivors, one of them elsewhere.
    let mut keep = sub.mask().keep().to_vec();
    let (first, gap) = (keep.iter().position(|k| *k).unwrap(), keep.iter().position(|k| !*k).unwrap());
    keep.swap(first, gap);
    let keep = PruneMask::new(sub.architecture(), keep).unwrap();
    let other_mask = Subnetwork::new(sub.architecture().clone(), sub.weights().to_vec(), keep).unwrap();
    // As many weights: 30 x 20 + 20 x 10 = 30 x 16 + 16 x 20.
    let other_network = Architecture::mlp(&[30, 16, 20]).unwrap();
    let keep = sub.mask().keep().to_vec();
    let mask = PruneMask::new(&other_network, keep).unwrap();
    let other_network = Subnetwork::new(other_network, sub.weights().to_vec(), mask).unwrap();
    for (name, other) in [
        ("rule", with(settings(Rule::ScaledSignDelta { zeros: Zeros::Keyed }))),
        ("rule", with(settings(Rule::MaskEma { beta: 0.5 }))),
        ("trainable", with(Settings { trainable: binary, ..base })),
        ("magnitude", with(Settings { a: 0.2, ..base })),
        ("seed", with(Settings { seed: 1, ..base })),
        ("frozen weights", of(&other_weights, synthetic(12, 8), base)),
        ("prune mask", of(&other_mask, synthetic(12, 8), base)),
        ("network", of(&other_network, synthetic(12, 8), base)),
        ("number of clients", of(&sub, synthetic(13, 8), base)),
        ("training data", of(&sub, synthetic(12, 9), base)),
    ] {
        let mut loaded = Server::from_bytes(&server.to_bytes()).unwrap();
        let before = loaded.clone();
        let errors = [
            other.round(&mut loaded, false).unwrap_err(),
            other.global(&loaded).unwrap_err(),
            other.global_on_own(&loaded).unwrap_err(),
            other.fine_tuned(&loaded).unwrap_err(),
            other.begin_round(&loaded, &[1], false).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, FederationError::Saved(_)), "{error:?}");
            assert!(error.to_string().contains(&format!("its {name}")), "{name}: {error}");
        }
        assert_eq!(loaded, before);
    }
    // What may change from round to round.
    let slower = LocalTraining { epochs: 1, batch: 3, optimiser: Optimiser::Adam { lr: 0.01 } };
    for other in [
        Settings { training: slower, ..base },
        Settings { per_round: 2, ..base },
        Settings { coding: Coding::Xor, votes: true, ..base },
    ] {
        assert!(with(other).round(&mut server.clone(), false).is_ok());
    }
    assert!(with(base).begin(scores).is_ok());
}

#[test]
fn a_state_of_numbers_that_are_none_is_refused() {
    let (federation, mut server) = federation(Settings { keep_local_scores: true, ..settings(Rule::ScoreMean) });
    federation.round(&mut server, false).unwrap();
    let bytes = server.to_bytes();
    let body = &bytes[..bytes.len() - 4];
    // The last value of a client, and the last of the server's.
    let record = 4 + 4 * server.values().len();
    for at in [body.len() - 4, body.len() - 4 * record - 4] {
        for broken in [f32::NAN, f32::INFINITY] {
            let mut broke = body.to_vec();
            broke[at..at + 4].copy_from_slice(&broken.to_le_bytes());
            assert!(matches!(Server::from_bytes(&resealed(broke)), Err(FederationError::Saved(_))), "{at} {broken}");
        }
    }
    // A client twice.
    let mut twice = body.to_vec();
    let (last, before) = (body.len() - record, body.len() - 2 * record);
    let client = twice[before..before + 4].to_vec();
    twice[last..last + 4].copy_from_slice(&client);
    assert!(matches!(Server::from_bytes(&resealed(twice)), Err(FederationError::Saved(_))));
    // Values of another federation's clients, or none at all.
    let n = server.values().len();
    for broken in [f32::NAN, f32::NEG_INFINITY] {
        let mut values = vec![0.1; n];
        values[n - 1] = broken;
        assert!(federation.begin(values.clone()).is_err());
        assert!(federation.standalone(&values, 1).is_err());
    }
    assert!(federation.standalone(&vec![0.1; n + 1], 1).is_err());
    assert!(federation.standalone_of(&vec![0.1; n], 1, 10..13).is_err());
    assert!(federation.fine_tuned_of(&server, 12..13).is_err());
    assert!(federation.fine_tuned_of(&server, 12..12).unwrap().is_empty());
    let (all, some) = (federation.fine_tuned_of(&server, 0..12).unwrap(), 5);
    assert_eq!(federation.fine_tuned_of(&server, some..12).unwrap(), all[some..]);
}
