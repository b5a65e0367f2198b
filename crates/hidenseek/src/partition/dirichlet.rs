//! Label skew from a Dirichlet distribution (section 5.3).

use plasticity_core::rng::Stream;

use super::{DRAWS, Partition, by_class};
use crate::error::FederationError;

pub(super) fn deal(
    labels: &[u8],
    clients: usize,
    alpha: f64,
    least: usize,
    seed: u64,
) -> Result<Partition, FederationError> {
    let (needed, found) = ((clients as u64).saturating_mul(least.max(1) as u64), labels.len() as u64);
    if needed > found {
        return Err(FederationError::NotEnough { field: "clients", needed, found, mend: "fewer `clients` or `least`" });
    }
    let classes = by_class(labels);
    for draw in 0..DRAWS {
        let mut stream = Stream::new(seed, "hidenseek/partition/dirichlet", draw);
        let mut dealt = vec![Vec::new(); clients];
        for images in &classes {
            let order = stream.permutation(images.len());
            let shares = shares(clients, alpha, &mut stream);
            let (mut start, mut sum) = (0, 0.0);
            for (client, share) in shares.into_iter().enumerate() {
                sum += share;
                let end =
                    if client + 1 == clients { images.len() } else { (sum * images.len() as f64).round() as usize };
                let end = end.clamp(start, images.len());
                dealt[client].extend(order[start..end].iter().map(|i| images[*i]));
                start = end;
            }
        }
        if dealt.iter().all(|images| images.len() >= least.max(1)) {
            return Ok(Partition::from_clients(dealt.into_iter()));
        }
    }
    let mend = "lower `least` or raise `alpha`: no draw in 1,000 gave every client its least";
    Err(FederationError::NotEnough { field: "least", needed, found, mend })
}

/// A draw from the symmetric Dirichlet distribution, by gamma variables in logarithms: a small `alpha` would
/// underflow.
fn shares(n: usize, alpha: f64, stream: &mut Stream) -> Vec<f64> {
    let logs: Vec<f64> = (0..n).map(|_| log_gamma_draw(alpha, stream)).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|l| (l - most).exp()).sum();
    logs.iter().map(|l| (l - most).exp() / sum).collect()
}

/// Logarithm of a gamma variable of this shape (Marsaglia and Tsang, 2000).
fn log_gamma_draw(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let u = 1.0 - stream.uniform();
        return log_gamma_draw(shape + 1.0, stream) + u.ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - stream.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d.ln() + v.ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_shares() {
        // Var of a share of n: (n - 1) / (n^2 (n alpha + 1)).
        for alpha in [0.1, 1.0, 5.0] {
            let n = 5;
            let mut stream = Stream::new(1, "shares", 0);
            let draws: Vec<f64> = (0..20_000).map(|_| shares(n, alpha, &mut stream)[2]).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let expected = (n as f64 - 1.0) / ((n * n) as f64 * (n as f64 * alpha + 1.0));
            assert!((mean - 0.2).abs() < 0.012, "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.06, "{alpha}: {variance} against {expected}");
        }
    }
}
