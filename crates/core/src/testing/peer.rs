//! What benches share with their peers in Python: numbers that both can make, and the lines that both print.
//!
//! With `PEER=1` in the environment a bench makes no statistics but prints, as `benches/peers/*.py` do,
//!
//! ```text
//! machine: ...
//! NAME losses A B C
//! NAME ms WHAT X WHAT Y
//! ```
//!
//! which `cargo xtask bench` reads from both sides in turns. `REPEATS` is what `--repeats` is there: how often a piece
//! of work is timed.

use std::time::Instant;

use crate::rng::fnv1a;

/// Whether the lines for the peer are asked for.
pub fn asked() -> bool {
    std::env::var_os("PEER").is_some()
}

/// How often a piece of work is timed.
pub fn repeats(default: usize) -> usize {
    std::env::var("REPEATS").ok().and_then(|repeats| repeats.parse().ok()).filter(|n| *n > 0).unwrap_or(default)
}

/// Numbers that the peer can make too: a 64-bit linear congruential generator, of whose state the upper 24 bits are a
/// number in [0, 1).
#[derive(Debug, Clone, Copy)]
pub struct Lcg(pub u64);

impl Lcg {
    /// The next number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    /// The next number in [-1, 1).
    pub fn signed(&mut self) -> f64 {
        2.0 * self.uniform() - 1.0
    }

    /// The next `n` numbers in [-scale, scale).
    pub fn vector(&mut self, n: usize, scale: f64) -> Vec<f32> {
        (0..n).map(|_| (self.signed() * scale) as f32).collect()
    }
}

/// How far values lie from fixed numbers, as a root mean square: what both sides can print of a whole tensor.
pub fn distance(values: &[f32]) -> f64 {
    let mut probe = Lcg(fnv1a("probe"));
    let squares: f64 = values.iter().map(|x| (f64::from(*x) - probe.signed()).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

/// The median; 0 of nothing.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// The median of the milliseconds of `repeats` runs, each told its number.
pub fn median_ms(repeats: usize, mut work: impl FnMut(usize)) -> f64 {
    let once = |i| {
        let start = Instant::now();
        work(i);
        start.elapsed().as_secs_f64() * 1e3
    };
    median((0..repeats).map(once).collect())
}

/// Processor time of this process so far, in seconds; in hundredths, and 0 where the system does not tell.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Prints `NAME losses A B C`: what both sides must agree on.
pub fn losses(name: &str, losses: &[f64]) {
    let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.6}")).collect();
    println!("{name} losses {}", losses.join(" "));
}

/// Prints `NAME ms WHAT X WHAT Y`.
pub fn ms(name: &str, times: &[(&str, f64)]) {
    let times: Vec<String> = times.iter().map(|(what, ms)| format!("{what} {ms:.4}")).collect();
    println!("{name} ms {}", times.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: [f64; 3] = [0.3450005054473877, 0.752709150314331, 0.7957452535629272];

    #[test]
    fn numbers_are_those_of_the_peer() {
        // As `benches/peers/peer.py` gives them.
        let mut lcg = Lcg(1);
        let first: Vec<f64> = (0..3).map(|_| lcg.uniform()).collect();
        assert_eq!(first, PEER);
        assert_eq!(Lcg(1).signed(), 2.0 * PEER[0] - 1.0);
        assert_eq!(Lcg(1).vector(3, 2.0), PEER.map(|u| (2.0 * (2.0 * u - 1.0)) as f32));
    }

    #[test]
    fn distances_are_root_mean_squares() {
        let probe = Lcg(fnv1a("probe")).vector(4, 1.0);
        assert!(distance(&probe) < 1e-7);
        let moved: Vec<f32> = probe.iter().zip([0.0, 1.0, 0.0, -1.0]).map(|(x, by)| x + by).collect();
        assert!((distance(&moved) - 0.5f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn medians() {
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(Vec::new())), (2.0, 0.0));
        let mut runs = Vec::new();
        assert!(median_ms(3, |i| runs.push(i)) >= 0.0);
        assert_eq!(runs, [0, 1, 2]);
        assert!(cpu_seconds() >= 0.0);
    }
}
