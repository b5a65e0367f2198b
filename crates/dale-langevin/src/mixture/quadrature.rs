//! Integrals of smooth functions.

/// Points of a rule; it is exact for polynomials of degree 39.
const POINTS: usize = 20;

/// The integral of `f` from the first of some rising knots to the last, a rule of its own between any two.
pub(super) fn sum(knots: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let rule = legendre();
    let between = |low: f64, high: f64| {
        let (centre, half) = (0.5 * (low + high), 0.5 * (high - low));
        half * rule.iter().map(|(x, weight)| weight * f(centre + half * x)).sum::<f64>()
    };
    knots.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| between(pair[0], pair[1])).sum()
}

/// Points in (-1, 1) and weights of Gauss and Legendre: the roots of the polynomial P_n by Newton's method, and
/// 2 / ((1 - x^2) P_n'(x)^2).
fn legendre() -> [(f64, f64); POINTS] {
    let n = POINTS as f64;
    std::array::from_fn(|i| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 0.0;
        for _ in 0..8 {
            // P_k and P_{k-1} by their recursion.
            let (mut p, mut before) = (x, 1.0);
            for k in 2..=POINTS {
                let k = k as f64;
                (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
            }
            slope = n * (x * p - before) / (x * x - 1.0);
            x -= p / slope;
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_exact_for_polynomials_of_its_degree() {
        for degree in [0, 1, 2, 17, 38] {
            let found = sum(&[-1.0, 1.0], |x| x.powi(degree));
            let exact = if degree % 2 == 0 { 2.0 / f64::from(degree + 1) } else { 0.0 };
            assert!((found - exact).abs() < 1e-14, "{degree}: {found}, not {exact}");
        }
        assert!((sum(&[0.0, 0.5, 0.5, 3.0], f64::exp) - 3f64.exp_m1()).abs() < 1e-13);
        assert_eq!(sum(&[], f64::exp), 0.0);
    }
}
