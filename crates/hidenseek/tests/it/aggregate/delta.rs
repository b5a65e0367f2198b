//! ScaledSignDelta: scales, zeros, and what the server makes of them (section 3.4).

use hidenseek::FederationError;
use hidenseek::aggregate::{Rule, Upload, Zeros, upload};
use plasticity_core::rng::Stream;

use super::{A, layered, mask};

const KEYED: Rule = Rule::ScaledSignDelta { zeros: Zeros::Keyed };
const TERNARY: Rule = Rule::ScaledSignDelta { zeros: Zeros::Ternary };

fn stream(round: u64, client: u64) -> Stream {
    Stream::new(round, "delta", client)
}

/// Layers of 4 and 2: scales are the means of the changes' sizes, zeros included.
#[test]
fn changes_by_hand() {
    let old = [0.5, 0.5, -0.5, 0.25, 1.0, -1.0];
    let trained = [1.0, 0.25, -0.5, 0.5, 0.5, -2.0];
    let sent = upload(TERNARY, &old, &trained, &[4, 2], 1, &mut stream(0, 0)).unwrap();
    let (scales, symbols) = (vec![0.25, 0.75], vec![1, -1, 0, 1, -1, -1]);
    assert_eq!(sent, Upload::TernaryDelta { scales: scales.clone(), symbols });
    let Upload::SignDelta { scales: same, signs } =
        upload(KEYED, &old, &trained, &[4, 2], 1, &mut stream(0, 0)).unwrap()
    else {
        panic!("signs")
    };
    assert_eq!(same, scales);
    assert_eq!([&signs[..2], &signs[3..]].concat(), mask("+-+--"));
    // Two clients with n_k 1 and 3: s + (1 * scale_1 sgn_1 + 3 * scale_2 sgn_2) / 4.
    let other = Upload::TernaryDelta { scales: vec![0.5, 0.0], symbols: vec![-1, -1, 1, 0, 1, 0] };
    let mut state = old;
    let stats = layered(TERNARY, A, &mut state, &[4, 2], &[(8, 3, other), (2, 1, sent)]).unwrap();
    assert_eq!(state, [0.1875, 0.0625, -0.125, 0.3125, 0.8125, -1.1875]);
    // Votes: -2, -4, +3, +1, +2, -1 of 4.
    assert_eq!((stats.ties, stats.agreement), (0.0, 13.0 / 24.0));
    let mut state = [0.0, 0.0, 0.0];
    let signs = |text| Upload::SignDelta { scales: vec![1.0, 2.0], signs: mask(text) };
    layered(KEYED, A, &mut state, &[1, 2], &[(0, 1, signs("++-")), (1, 1, signs("+-+"))]).unwrap();
    assert_eq!(state, [1.0, 0.0, 0.0]);
}

/// A single client that changes every score by the same amount is followed exactly: the compressor has no error then.
#[test]
fn equal_changes_are_exact() {
    let old = Stream::new(1, "old", 0).uniform_vec(300, -1.0, 1.0);
    let trained: Vec<f32> =
        old.iter().enumerate().map(|(j, s)| if j % 3 == 0 { s + 0.125 } else { s - 0.125 }).collect();
    let sent = upload(KEYED, &old, &trained, &[200, 100], 1, &mut stream(0, 0)).unwrap();
    let mut state = old.clone();
    layered(KEYED, A, &mut state, &[200, 100], &[(0, 5, sent)]).unwrap();
    let worst = state.iter().zip(&trained).map(|(s, t)| (s - t).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "{worst}");
}

/// The sign of a zero depends on its position, round and client, on nothing else, and is fair.
#[test]
fn zeros_are_keyed_by_position() {
    let n = 20_000;
    let old = vec![0.5; n];
    let signs = |trained: &[f32], round, client| match upload(KEYED, &old, trained, &[n], 1, &mut stream(round, client))
        .unwrap()
    {
        Upload::SignDelta { signs, .. } => signs,
        _ => panic!("signs"),
    };
    let all = signs(&old, 1, 1);
    let share = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / n as f64;
    assert!((share(&all, &vec![true; n]) - 0.5).abs() < 4.0 * 0.5 / (n as f64).sqrt());
    // Every third position moves: the zeros between them keep their signs.
    let moved: Vec<f32> = (0..n).map(|j| if j % 3 == 0 { 1.0 } else { 0.5 }).collect();
    let some = signs(&moved, 1, 1);
    assert!((0..n).all(|j| if j % 3 == 0 { some[j] } else { some[j] == all[j] }));
    for other in [signs(&old, 2, 1), signs(&old, 1, 2)] {
        assert!((share(&all, &other) - 0.5).abs() < 4.0 * 0.5 / (n as f64).sqrt());
    }
}

#[test]
fn wrong_scores_are_refused() {
    let mut rng = stream(0, 0);
    let length = upload(KEYED, &[0.0; 3], &[0.0; 4], &[4], 1, &mut rng);
    assert_eq!(length, Err(FederationError::Length { field: "old", expected: 4, found: 3 }));
    for rule in [KEYED, Rule::MaskMean, Rule::ScoreMean, Rule::StochasticSign] {
        for (old, trained, field) in [([0.0, 0.0], [0.0, f32::NAN], "trained"), ([f32::INFINITY, 0.0], [0.0; 2], "old")]
        {
            let found = upload(rule, &old, &trained, &[2], 9, &mut rng);
            assert_eq!(found, Err(FederationError::NotFinite { field, step: 9 }));
        }
    }
    // The mean of two changes that f32 cannot hold.
    let far = upload(TERNARY, &[f32::MAX; 2], &[f32::MIN; 2], &[2], 9, &mut rng);
    assert_eq!(far, Err(FederationError::NotFinite { field: "trained", step: 9 }));
    // An empty layer has scale 0.
    let empty = upload(TERNARY, &[0.0], &[1.0], &[0, 1], 9, &mut rng).unwrap();
    assert_eq!(empty, Upload::TernaryDelta { scales: vec![0.0, 1.0], symbols: vec![1] });
}
