//! Random numbers from explicit seeds.
//!
//! A [`Stream`] is a ChaCha8 generator whose key is `(seed, label, index)`: two
//! streams with different keys are independent, and the same key gives the same
//! numbers on every machine. Whoever needs random numbers takes a stream of its
//! own, so that the order of the calls elsewhere cannot change them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A reproducible sequence of random numbers.
#[derive(Debug, Clone)]
pub struct Stream {
    rng: ChaCha8Rng,
}

/// 64-bit FNV-1a: a fixed hash for labels and parameter paths.
pub fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The label of part `n` of what `label` names: the label itself for part 0, `"label/n"` for the others.
///
/// No two pairs of label and part have one label, whatever the labels are: one that ends like a part's is marked by a
/// slash first. So a label that a caller chooses cannot meet a part of another caller's.
pub fn part(label: &str, n: u64) -> String {
    let last = label.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_part = label.contains('/') && !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    let base = if is_part { format!("{label}/") } else { label.to_owned() };
    if n == 0 { base } else { format!("{base}/{n}") }
}

impl Stream {
    /// The stream of `(seed, label, index)`. The label says what the numbers are
    /// for (`"hebbian-snn/order"`), the index which of many (the epoch, the client). A label is a
    /// text of the program; [`part`] makes those that are numbered.
    pub fn new(seed: u64, label: &str, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(label).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        key[24..].copy_from_slice(b"plastic1");
        Self { rng: ChaCha8Rng::from_seed(key) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `[0, 1)`, with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform among `0..n`, without bias; 0 for `n = 0`, where nothing is drawn.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // Lemire's method: the high half of a product, redrawn in its short first interval.
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `p`.
    pub fn bernoulli(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box and Muller; one of the pair is used, so that the
    /// stream has no state but its position).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `n` values uniform in `[low, high)`.
    pub fn uniform_vec(&mut self, n: usize, low: f64, high: f64) -> Vec<f32> {
        (0..n).map(|_| self.uniform_in(low, high) as f32).collect()
    }

    /// `n` standard normal values.
    pub fn normal_vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal() as f32).collect()
    }

    /// A uniformly drawn permutation of `0..n` (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_key_gives_the_same_numbers_and_another_key_others() {
        let draw = |seed, label, index| Stream::new(seed, label, index).bits();
        assert_eq!(draw(1, "a", 2), draw(1, "a", 2));
        let all = [draw(1, "a", 2), draw(2, "a", 2), draw(1, "b", 2), draw(1, "a", 3)];
        for (i, x) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|y| x != y));
        }
    }

    #[test]
    fn moments_of_uniform_and_normal() {
        let mut stream = Stream::new(7, "moments", 0);
        let n = 200_000;
        let uniform: Vec<f64> = (0..n).map(|_| stream.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let mean = |v: &[f64], f: &dyn Fn(f64) -> f64| v.iter().map(|x| f(*x)).sum::<f64>() / n as f64;
        // Five standard errors of each estimate.
        assert!((mean(&uniform, &|x| x) - 0.5).abs() < 5.0 * (1.0f64 / 12.0 / n as f64).sqrt());
        assert!(mean(&normal, &|x| x).abs() < 5.0 / (n as f64).sqrt());
        assert!((mean(&normal, &|x| x * x) - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
        assert!((mean(&normal, &|x| x.powi(4)) - 3.0).abs() < 5.0 * (96.0 / n as f64).sqrt());
    }

    #[test]
    fn parts_of_labels_never_meet() {
        // As they have always been where nothing could meet.
        assert_eq!(part("dale-langevin/samples", 0), "dale-langevin/samples");
        assert_eq!(part("dale-langevin/samples", 17), "dale-langevin/samples/17");
        // A label that somebody made of an id and a number, and part 1 of the id's own.
        assert_ne!(part("a/1", 0), part("a", 1));
        let labels =
            ["a", "a/1", "a/1/", "a/1//", "a/1/1", "a/1/1/", "a/01", "a/", "a//", "1", "/1", "1/", "", "/", "a/b"];
        let mut seen = std::collections::BTreeMap::new();
        for label in labels {
            for n in [0, 1, 11, u64::MAX] {
                if let Some(other) = seen.insert(part(label, n), (label, n)) {
                    panic!("{other:?} and {:?} are both {}", (label, n), part(label, n));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn parts_of_any_labels_never_meet(a in "[a1/]{0,6}", b in "[a1/]{0,6}", i in 0u64..3, j in 0u64..3) {
            prop_assert_eq!(part(&a, i) == part(&b, j), (a, i) == (b, j));
        }

        #[test]
        fn a_permutation_holds_each_index_once(seed: u64, n in 0usize..300) {
            let mut order = Stream::new(seed, "p", 0).permutation(n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn below_stays_below(seed: u64, n in 1u64..) {
            prop_assert!(Stream::new(seed, "b", 0).below(n) < n);
            prop_assert_eq!(Stream::new(seed, "b", 0).below(0), 0);
        }

        #[test]
        fn uniform_stays_in_its_interval(seed: u64) {
            let x = Stream::new(seed, "u", 0).uniform();
            prop_assert!((0.0..1.0).contains(&x));
        }
    }
}
