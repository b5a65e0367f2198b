//! O23, O25 to O27: rules that count votes.

use hidenseek::aggregate::{Downlink, Form, Rule, Stamp, Upload, broadcast, flips, state_of, upload};
use plasticity_core::rng::Stream;
use plasticity_core::testing::assert_close;
use proptest::prelude::*;

use super::{A, MASK_RULES, mask, random_uploads, round};

/// The four masks of O27, with these n_k.
fn o27(samples: [u32; 4]) -> Vec<(u32, u32, Upload)> {
    let masks = ["+-++", "++--", "+--+", "+-+-"];
    masks.iter().zip(samples).zip(0..).map(|((text, n), k)| (k, n, Upload::Signs(mask(text)))).collect()
}

/// O27: the mean is s for a = 1, but for the sign that a tie keeps.
#[test]
fn o27_hand_values() {
    let tie = 2f32.powi(-20);
    let mut state = [-0.5, 0.5, 0.5, -0.5];
    let stats = round(Rule::MaskMean, 1.0, &mut state, &o27([1; 4])).unwrap();
    assert_eq!(state, [1.0, -0.5, tie, -tie]);
    assert_eq!((stats.ties, stats.agreement, stats.flips), (0.5, 1.5 / 4.0, 0.5));
    let mut state = [-0.5, 0.5, -0.0, 0.5];
    let stats = round(Rule::MaskMean, 1.0, &mut state, &o27([10, 30, 20, 40])).unwrap();
    // A score of -0.0 has the sign plus.
    assert_eq!(state, [1.0, -0.4, tie, -0.4]);
    assert_eq!(stats.ties, 0.25);
    let mut state = [-0.5, 0.5, 0.5, -0.5];
    round(Rule::MajorityVote, A, &mut state, &o27([1; 4])).unwrap();
    assert_eq!(state, [A, -A, A, -A]);
    // s <- 0.75 s + 0.25 * 2 * m_bar
    let mut state = [-0.5, 0.5, 0.5, -0.5];
    round(Rule::MaskEma { beta: 0.25 }, 2.0, &mut state, &o27([1; 4])).unwrap();
    assert_eq!(state, [0.125, 0.125, 0.375, -0.375]);
    let mut state = [9.0; 4];
    round(Rule::StochasticSign, A, &mut state, &o27([1; 4])).unwrap();
    let found = state.map(f64::from);
    // atanh(0.98) and atanh(0.5): half the logarithms of 99 and of 3.
    assert_close(&found, &[99f64.ln() / 2.0, -(3f64.ln()) / 2.0, 0.0, 0.0], 1e-7);
}

/// O27: FedPM's Beta mode with entries clipped to 0.01 and 0.99.
#[test]
fn o27_fedpm() {
    let mut state = [9.0; 4];
    round(Rule::BetaMode { clip: 0.01 }, A, &mut state, &o27([1; 4])).unwrap();
    let logits = state.map(f64::from);
    assert_close(&logits, &[4.5951, -1.0721, 0.0, 0.0], 5e-5);
    let theta = logits.map(|s| 1.0 / (1.0 + (-s).exp()));
    assert_close(&theta, &[0.99, 0.255, 0.5, 0.5], 1e-7);
    // Without clipping the mode is the mean of the masks.
    round(Rule::BetaMode { clip: 1e-9 }, A, &mut state, &o27([1; 4])).unwrap();
    assert_close(&state.map(|s| 1.0 / (1.0 + (-f64::from(s)).exp())), &[1.0, 0.25, 0.5, 0.5], 1e-6);
}

/// O26: the share of even votes among 20 fair signs is C(20, 10) / 2^20; and of other numbers of clients.
#[test]
fn o26_tie_probability() {
    for (clients, n, expected) in
        [(2, 20_000, 0.5), (4, 20_000, 0.375), (10, 20_000, 0.24609), (20, 200_000, 0.17620), (50, 20_000, 0.11228)]
    {
        let binomial = (0..clients / 2).map(|i| f64::from(clients - i) / f64::from(i + 1)).product::<f64>();
        let exact = binomial / 2f64.powi(clients);
        assert!((exact - expected).abs() < 5e-6);
        let uploads: Vec<_> = (0..clients as u32)
            .map(|k| {
                let mut stream = Stream::new(26, "fair", u64::from(k));
                let words: Vec<u64> = (0..n / 32).map(|_| stream.bits()).collect();
                (k, 1, Upload::Signs((0..n).map(|j: usize| words[j / 32] >> (j % 32) & 1 == 1).collect()))
            })
            .collect();
        let ties = round(Rule::MaskMean, A, &mut vec![0.05; n], &uploads).unwrap().ties;
        let error = (exact * (1.0 - exact) / n as f64).sqrt();
        assert!((ties - exact).abs() < 4.0 * error, "{clients} clients: {ties} against {exact}");
    }
}

/// A tie is exactly 0 where the sum of p_k m_k in floating point is not (section 3.4).
#[test]
fn ties_are_integers() {
    // 0.1 + 0.2 - 0.3 is 5.6e-17 in f64.
    let uploads: Vec<_> = [("+", 10), ("+", 20), ("-", 30), ("+", 20), ("-", 20)]
        .iter()
        .zip(0..)
        .map(|((m, n), k)| (k, *n, Upload::Signs(mask(m))))
        .collect();
    let mut state = [-0.7];
    assert_eq!(round(Rule::MajorityVote, A, &mut state, &uploads).unwrap().ties, 1.0);
    assert_eq!(state, [-A]);
    // Weights whose sum leaves 32 bits.
    let huge: Vec<_> = (0..4).map(|k| (k, u32::MAX, Upload::Signs(mask(if k < 3 { "+" } else { "-" })))).collect();
    let mut state = [0.0];
    assert_eq!(round(Rule::MaskMean, 1.0, &mut state, &huge).unwrap().samples, 4 * u64::from(u32::MAX));
    assert_eq!(state, [0.5]);
}

/// A Bernoulli sample has mean tanh(s) over the signs: the upload is unbiased, and its atanh recovers s.
#[test]
fn stochastic_uploads_are_unbiased() {
    let n = 40_000;
    for (rule, slope) in [(Rule::StochasticSign, 1.0), (Rule::BetaMode { clip: 0.01 }, 0.5)] {
        for s in [-1.2f32, -0.1, 0.0, 0.5] {
            let Upload::Signs(signs) =
                upload(rule, &vec![0.0; n], &vec![s; n], &[n], 1, &mut Stream::new(5, "sample", 0)).unwrap()
            else {
                panic!("a mask")
            };
            let mean = signs.iter().map(|plus| if *plus { 1.0 } else { -1.0 }).sum::<f64>() / n as f64;
            let expected = (slope * f64::from(s)).tanh();
            assert!((mean - expected).abs() < 4.0 / (n as f64).sqrt(), "{rule:?} at {s}: {mean}");
        }
    }
    // Rules of plain masks upload the sign, and draw nothing.
    let mut stream = Stream::new(5, "sample", 1);
    let plain = upload(Rule::MaskMean, &[0.1; 4], &[-0.0, 0.0, -1e-30, 2.0], &[4], 1, &mut stream).unwrap();
    assert_eq!(plain, Upload::Signs(mask("++-+")));
    assert_eq!(stream.bits(), Stream::new(5, "sample", 1).bits());
}

#[test]
fn flips_count_changed_signs() {
    assert_eq!(flips(&[0.1, -0.1, 0.0, -0.0], &[-0.1, -0.2, 0.3, -1e-9]), 0.5);
    assert_eq!(flips(&[], &[]), 0.0);
}

proptest! {
    /// O23: identical masks give m_bar = m exactly.
    #[test]
    fn o23_idempotence(seed: u64, clients in 1u32..12, n in 1usize..60) {
        let m: Vec<bool> = Stream::new(seed, "mask", 0).uniform_vec(n, -1.0, 1.0).iter().map(|v| *v >= 0.0).collect();
        let uploads: Vec<_> = (0..clients).map(|k| (k, 3 * k + 1, Upload::Signs(m.clone()))).collect();
        let start = Stream::new(seed, "state", 0).uniform_vec(n, -1.0, 1.0);
        for rule in [Rule::MaskMean, Rule::MajorityVote] {
            let mut state = start.clone();
            let stats = round(rule, A, &mut state, &uploads).unwrap();
            let expected: Vec<f32> = m.iter().map(|plus| if *plus { A } else { -A }).collect();
            prop_assert_eq!(&state, &expected);
            prop_assert_eq!((stats.ties, stats.agreement), (0.0, 1.0));
        }
        for rule in MASK_RULES {
            let mut state: Vec<f32> = m.iter().map(|plus| if *plus { 0.01 } else { -0.01 }).collect();
            prop_assert_eq!(round(rule, A, &mut state, &uploads).unwrap().flips, 0.0);
        }
    }

    /// O25: with equal weights K m_bar is an integer of K's parity in [-K, K], and an odd K has no ties.
    #[test]
    fn o25_range_and_parity(seed: u64, clients in 1u32..12, n in 1usize..60, samples in 1u32..9) {
        let mut uploads = random_uploads(Rule::MaskMean, clients, n, seed);
        uploads.iter_mut().for_each(|(_, n_k, _)| *n_k = samples);
        let mut state = vec![0.5; n];
        let stats = round(Rule::MaskMean, 1.0, &mut state, &uploads).unwrap();
        let k = f64::from(clients);
        for s in &state {
            let votes = if *s == 2f32.powi(-20) { 0.0 } else { (f64::from(*s) * k).round() };
            prop_assert!(votes.abs() <= k && (votes - k).rem_euclid(2.0) == 0.0);
            prop_assert!(*s == (votes / k) as f32 || votes == 0.0);
        }
        prop_assert!(clients % 2 == 0 || stats.ties == 0.0);
    }

    /// Vote counts as downlink give the client the server's state bit for bit, ties with their old sign included.
    #[test]
    fn votes_carry_the_state(seed: u64, clients in 1u32..12, n in 1usize..60) {
        let mut uploads = random_uploads(Rule::MaskMean, clients, n, seed);
        uploads.iter_mut().for_each(|(_, n_k, _)| *n_k = 20);
        let mut state = Stream::new(seed, "state", 0).uniform_vec(n, -1.0, 1.0);
        round(Rule::MaskMean, A, &mut state, &uploads).unwrap();
        let down = broadcast(Rule::MaskMean, A, &state, Some(clients));
        let form = Form::Votes { voters: clients };
        prop_assert_eq!(down.form(), form);
        let stamp = Stamp::broadcast(2, 7);
        let bytes = down.encode(stamp);
        let width = (clients + 1).next_power_of_two().ilog2() as usize;
        prop_assert_eq!(bytes.len(), 36 + (n * width).div_ceil(8));
        let arrived = state_of(&Downlink::decode(&bytes, form, n, stamp).unwrap(), A);
        let bits = |state: &[f32]| state.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&arrived), bits(&state));
    }
}

/// A state that no vote counts stand for, such as the first one or one of unequal n_k, travels as it is.
#[test]
fn other_states_travel_as_scores() {
    let state = [0.03, -0.07, 0.1];
    for rule in MASK_RULES.into_iter().chain([Rule::ScoreMean]) {
        let down = broadcast(rule, A, &state, Some(3));
        let expected = if rule == Rule::MajorityVote { vec![A, -A, A] } else { state.to_vec() };
        assert_eq!(state_of(&down, A), expected, "{rule:?}");
    }
    assert_eq!(broadcast(Rule::MaskMean, A, &state, Some(0)).form(), Form::Scores);
    assert_eq!(broadcast(Rule::MaskMean, A, &[A, -A], None).form(), Form::Scores);
    assert_eq!(broadcast(Rule::MaskMean, A, &[A, -A], Some(4)).form(), Form::Votes { voters: 4 });
}
