//! Drawing tokens: against exact probabilities, and the nucleus against every subset.

use plasticity_core::rng::Stream;
use proptest::prelude::*;
use synaptic_resonance::MemoryError;
use synaptic_resonance::sampler::Sampler;

/// The softmax as its formula says, safe only for small logits.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let powers: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

fn draws(sampler: Sampler, logits: &[f32], n: usize, seed: u64) -> Vec<u32> {
    let mut stream = Stream::new(seed, "draws", 0);
    (0..n).map(|_| sampler.draw(logits, &mut stream).unwrap()).collect()
}

const LOGITS: [f32; 6] = [0.3, -1.2, 2.0, 0.0, 1.1, -0.4];

#[test]
fn frequencies_are_the_probabilities() {
    for temperature in [0.5, 1.0, 2.0] {
        let exact = softmax(&LOGITS, temperature);
        let n = 40_000;
        let mut counts = [0.0; LOGITS.len()];
        for token in draws(Sampler { temperature, top_p: 1.0 }, &LOGITS, n, 3) {
            counts[token as usize] += 1.0;
        }
        let chi: f64 = counts.iter().zip(&exact).map(|(c, p)| (c - p * n as f64).powi(2) / (p * n as f64)).sum();
        // 99.99 % of the chi-square distribution with five degrees of freedom.
        assert!(chi < 25.74, "temperature {temperature}: chi-square {chi}");
    }
}

#[test]
fn the_nucleus_is_drawn_with_its_own_shares() {
    // 2.0 and 1.1 hold 0.57 and 0.23: 0.7 needs both and no more.
    let exact = softmax(&LOGITS, 1.0);
    let share = exact[2] / (exact[2] + exact[4]);
    let (n, sampler) = (20_000, Sampler { temperature: 1.0, top_p: 0.7 });
    let tokens = draws(sampler, &LOGITS, n, 5);
    assert!(tokens.iter().all(|t| [2, 4].contains(t)));
    let found = tokens.iter().filter(|t| **t == 2).count() as f64 / n as f64;
    assert!((found - share).abs() < 4.0 * (share * (1.0 - share) / n as f64).sqrt(), "{found} for {share}");
}

#[test]
fn a_wide_nucleus_is_plain_sampling_and_equal_seeds_give_equal_tokens() {
    let plain = draws(Sampler::default(), &LOGITS, 500, 7);
    // The nucleus of 0.999 holds every token, by another path through the code.
    assert_eq!(plain, draws(Sampler { temperature: 1.0, top_p: 0.999 }, &LOGITS, 500, 7));
    assert_eq!(plain, draws(Sampler::default(), &LOGITS, 500, 7));
    assert_ne!(plain, draws(Sampler::default(), &LOGITS, 500, 8));
}

#[test]
fn no_temperature_takes_the_first_of_the_most_likely_and_no_random_number() {
    let mut stream = Stream::new(0, "greedy", 0);
    assert_eq!(Sampler::greedy().draw(&[1.0, 5.0, 5.0, -2.0], &mut stream).unwrap(), 1);
    assert_eq!(Sampler::greedy().draw(&[-0.0, 0.0], &mut stream).unwrap(), 0);
    assert_eq!(Sampler::greedy().draw(&[f32::MIN], &mut stream).unwrap(), 0);
    assert_eq!(stream.bits(), Stream::new(0, "greedy", 0).bits());
}

#[test]
fn extreme_logits_and_temperatures_stay_numbers() {
    let wide = [f32::MAX, f32::MIN, 0.0];
    for temperature in [f64::MIN_POSITIVE, 1e-300, 1e-3, 1.0, 1e30, f64::MAX] {
        for top_p in [f64::MIN_POSITIVE, 0.5, 1.0] {
            let sampler = Sampler { temperature, top_p };
            let p = sampler.probabilities(&wide).unwrap();
            assert!(
                p.iter().all(|p| p.is_finite()) && (p.iter().sum::<f64>() - 1.0).abs() < 1e-12,
                "{sampler:?} {p:?}"
            );
            let token = sampler.draw(&wide, &mut Stream::new(1, "wide", 0)).unwrap();
            assert!(p[token as usize] > 0.0);
        }
    }
    // Shifted logits have the same probabilities.
    let shifted: Vec<f32> = LOGITS.iter().map(|l| l + 1024.0).collect();
    let (a, b) = (Sampler::default().probabilities(&LOGITS), Sampler::default().probabilities(&shifted));
    assert!(a.unwrap().iter().zip(b.unwrap()).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn wrong_settings_and_logits_are_errors() {
    let mut stream = Stream::new(0, "wrong", 0);
    for temperature in [-1.0, f64::NAN, f64::INFINITY] {
        let error = Sampler { temperature, top_p: 1.0 }.draw(&LOGITS, &mut stream).unwrap_err();
        assert!(matches!(error, MemoryError::Setting { field: "temperature", .. }), "{error}");
    }
    for top_p in [0.0, -0.1, 1.0001, f64::NAN] {
        let error = Sampler { temperature: 0.0, top_p }.draw(&LOGITS, &mut stream).unwrap_err();
        assert!(matches!(error, MemoryError::Setting { field: "top_p", .. }), "{error}");
    }
    for sampler in [Sampler::greedy(), Sampler::default()] {
        assert!(sampler.draw(&[], &mut stream).is_err());
        for wrong in [f32::NAN, f32::INFINITY] {
            let error = sampler.draw(&[0.0, 1.0, wrong], &mut stream).unwrap_err().to_string();
            assert!(error.contains("token 2"), "{error}");
        }
        assert!(sampler.draw(&[f32::NEG_INFINITY; 3], &mut stream).unwrap_err().to_string().contains("-inf"));
    }
}

#[test]
fn a_token_that_is_left_out_is_never_drawn() {
    let mut logits = LOGITS.to_vec();
    logits.extend([f32::NEG_INFINITY; 3]);
    for sampler in [Sampler::default(), Sampler { temperature: 2.0, top_p: 0.999 }, Sampler::greedy()] {
        let (with, without) = (sampler.probabilities(&logits).unwrap(), sampler.probabilities(&LOGITS).unwrap());
        assert_eq!(with[..LOGITS.len()], without);
        assert_eq!(with[LOGITS.len()..], [0.0; 3]);
    }
}

/// The nucleus of a whole vocabulary, against sorting all of it.
#[test]
fn the_nucleus_of_many_tokens_is_that_of_all_sorted() {
    let logits = Stream::new(5, "many", 0).normal_vec(5000).into_iter().map(|z| 3.0 * z).collect::<Vec<f32>>();
    for top_p in [0.01, 0.5, 0.9, 0.99, 0.9999] {
        let kept = Sampler { temperature: 1.0, top_p }.probabilities(&logits).unwrap();
        let all = Sampler::default().probabilities(&logits).unwrap();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
        let mut sum = 0.0;
        let size = order.iter().position(|i| {
            sum += all[*i];
            sum >= top_p
        });
        let (inside, outside) = order.split_at(size.unwrap() + 1);
        assert!(outside.iter().all(|i| kept[*i] == 0.0), "{top_p}");
        assert!(inside.iter().all(|i| (kept[*i] - all[*i] / sum).abs() < 1e-12), "{top_p}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Among all subsets of the tokens, none with fewer tokens holds `top_p`, and the nucleus does.
    #[test]
    fn the_nucleus_is_the_smallest_set(
        logits in prop::collection::vec(-3.0f32..3.0, 1..9), top_p in 0.01f64..1.0, temperature in 0.3f64..3.0,
    ) {
        let exact = softmax(&logits, temperature);
        let kept = Sampler { temperature, top_p }.probabilities(&logits).unwrap();
        let mass = |set: u32| (0..exact.len()).filter(|i| set >> i & 1 == 1).map(|i| exact[i]).sum::<f64>();
        let smallest = (1u32..1 << exact.len()).filter(|set| mass(*set) >= top_p - 1e-12).map(u32::count_ones).min();
        let nucleus = (0..exact.len()).filter(|i| kept[*i] > 0.0).fold(0, |set, i| set | 1u32 << i);
        prop_assert_eq!(nucleus.count_ones(), smallest.unwrap());
        prop_assert!(mass(nucleus) >= top_p - 1e-12);
        for i in (0..exact.len()).filter(|i| kept[*i] > 0.0) {
            prop_assert!((kept[i] - exact[i] / mass(nucleus)).abs() < 1e-9);
        }
    }
}
