//! How far Adam can move a score in a round, and what cannot change its sign (section 3.2, O17).

use burn::prelude::Device;
use hidenseek::aggregate::{Rule, broadcast, state_of};
use hidenseek::client::{LocalTraining, Optimiser, Subnetwork, Trainable};
use hidenseek::federation::{Federation, Settings};
use hidenseek::fused::{self, Prepared};
use hidenseek::init::WeightInit;
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;
use hidenseek::partition::{Population, Synthetic};
use hidenseek::supermask::{MaskKind, ScoreInit, Surrogate};
use plasticity_core::rng::Stream;

/// A step of Adam for each of `images / 8` batches of each of five epochs.
fn adam(lr: f32) -> Settings {
    let training = LocalTraining { epochs: 5, batch: 8, optimiser: Optimiser::Adam { lr } };
    Settings { training, per_round: 4, rule: Rule::ScoreMean, ..Settings::default() }
}

fn population() -> Population {
    Population::synthetic(Synthetic::new((12, 2, 8), (30, 10), 0.7, 1).unwrap(), 20)
}

fn network() -> Subnetwork {
    let architecture = Architecture::mlp(&[30, 20, 10]).unwrap();
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    let mask = PruneMask::dense(&architecture);
    Subnetwork::new(architecture, weights, mask).unwrap()
}

/// m / sqrt(v) of the last of these gradients, both corrected, by Adam's recursion.
fn last_step(gradients: &[f64]) -> f64 {
    let (mut m, mut v) = (0.0, 0.0);
    for g in gradients {
        (m, v) = (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
    }
    let t = gradients.len() as i32;
    (m / (1.0 - 0.9f64.powi(t))) / (v / (1.0 - 0.999f64.powi(t))).sqrt()
}

#[test]
fn no_gradients_move_a_score_further_than_its_reach() {
    let one = LocalTraining { epochs: 1, batch: 1, optimiser: Optimiser::Adam { lr: 1.0 } };
    let reach = |steps: usize| Settings { training: one, ..Settings::default() }.reach(steps).unwrap();
    assert_eq!(reach(0), 0.0);
    assert!((reach(1) - 1.0).abs() < 2e-6, "the first step is lr");
    for t in [2usize, 10, 100, 1000] {
        // Gradients for which the bound of the last step is met: g_i = (b1 / b2)^(t - i).
        let gradients: Vec<f64> = (1..=t).map(|i| (0.9f64 / 0.999).powi((t - i) as i32)).collect();
        let (bound, found) = (reach(t) - reach(t - 1), last_step(&gradients));
        // The rest is what rounding is allowed.
        assert!(
            found <= bound && bound <= found * (1.0 + 2e-6 * t as f64) + 2e-6 * reach(t),
            "step {t}: {found} of {bound}"
        );
    }
    // Sparse, growing, falling, alternating and normal gradients: the way of a score is within its reach.
    let mut stream = Stream::new(1, "gradients", 0);
    let mut nearest = 0.0f64;
    for kind in 0..60 {
        let gradients: Vec<f64> = (0..200)
            .map(|i| match kind % 6 {
                0 => stream.normal(),
                1 => f64::from(u8::from(stream.bernoulli(0.02))) + 1e-12,
                2 => 1.05f64.powi(i),
                3 => 0.95f64.powi(i),
                4 => (1.0 - 2.0 * f64::from(i % 2)) * stream.uniform(),
                _ => 1.0,
            })
            .collect();
        let mut way = 0.0;
        for t in 1..=gradients.len() {
            way += last_step(&gradients[..t]).abs();
            assert!(way <= reach(t), "kind {kind}, step {t}: {way} of {}", reach(t));
            nearest = nearest.max(way / reach(t));
        }
    }
    assert!(nearest > 0.99, "{nearest}");
    assert!(Settings::default().reach(40).is_none(), "SGD");
    assert!(Settings { trainable: Trainable::Weights, ..adam(0.1) }.reach(40).is_none());
    // Long rounds end.
    let long = LocalTraining { epochs: usize::MAX, ..one };
    assert!(Settings { training: long, ..Settings::default() }.reach(usize::MAX).unwrap() > 1e15);
}

/// At `lr` times the steps = 0.9 a, where no uniform score was said to change its sign, some do; those that are said to
/// be out of reach do not.
#[test]
fn uniform_scores_within_reach_change_their_signs() {
    let (sub, population) = (network(), population());
    let scores = ScoreInit::Uniform { a: 0.1 }.draw(800, &mut Stream::new(0, "scores", 0)).unwrap();
    let prepared = Prepared::new(&sub).unwrap();
    for lr in [0.001, 0.003, 0.009] {
        // 16 images: ten steps.
        let settings = adam(lr);
        let (reach, share) = (settings.reach(16).unwrap(), settings.out_of_reach(&scores, 16));
        let far = |s: f32| f64::from(s.abs()) > reach;
        assert_eq!(share, scores.iter().filter(|s| far(**s)).count() as f64 / 800.0);
        assert!((10.0 * f64::from(lr)..10.5 * f64::from(lr)).contains(&reach));
        let (mut near, mut flipped) = (0, 0);
        for client in 0..12 {
            let (data, mut stream) = (population.train(client), Stream::new(0, "order", client as u64));
            let Settings { trainable, training, .. } = settings;
            let end = fused::train(&prepared, trainable, &scores, &data, &training, &mut stream).unwrap().values;
            for (s, end) in scores.iter().zip(&end) {
                assert!(f64::from((s - end).abs()) <= reach, "{s} to {end}");
                near += usize::from(!far(*s));
                flipped += usize::from((*s >= 0.0) != (*end >= 0.0));
            }
        }
        assert!(flipped > near / 20, "lr {lr}: {flipped} of {near} within reach");
    }
}

#[test]
fn under_the_vote_every_score_is_out_of_reach() {
    let dead = Settings { rule: Rule::MajorityVote, ..adam(0.003) };
    let federation = Federation::new(network(), population(), dead, &Device::flex()).unwrap();
    let scores = ScoreInit::Uniform { a: 0.1 }.draw(800, &mut Stream::new(0, "scores", 0)).unwrap();
    // What a client begins with is +-a, whatever the server holds.
    let begin = state_of(&broadcast(dead.rule, dead.a, &scores, None), dead.a);
    assert_eq!((dead.out_of_reach(&begin, 16), dead.out_of_reach(&begin, 16 * 4)), (1.0, 0.0));
    assert!((0.6..0.75).contains(&dead.out_of_reach(&scores, 16)));
    let mut server = federation.begin(scores).unwrap();
    for _ in 0..3 {
        let report = federation.round(&mut server, false).unwrap();
        assert!(report.dead() && report.clients.iter().all(|c| c.flips == 0.0));
    }
    // A ternary mask changes at +-tau, not at 0.
    let ternary = Trainable::Scores { kind: MaskKind::Ternary { tau: 0.1 }, surrogate: Surrogate::Identity };
    let ternary = Settings { trainable: ternary, ..adam(0.003) };
    assert_eq!(ternary.out_of_reach(&[0.0, 0.05, 0.09, -0.11, 0.2, -0.3], 16), 4.0 / 6.0);
    assert_eq!(ternary.out_of_reach(&[], 16), 0.0);
}
