//! The normal distribution function.

use std::f64::consts::FRAC_1_SQRT_2;

/// P(Z <= z) for a standard normal Z, to about 1e-15 relative on either tail.
pub(super) fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_either_tail() {
        let known = [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.96, 0.024_997_895_148_220_435),
            (-2.828, 0.002_341_990_326_822_471_5),
            (-3.0, 0.001_349_898_031_630_094_6),
            (-5.0, 2.866_515_718_791_939e-7),
            (-10.0, 7.619_853_024_160_526e-24),
        ];
        for (z, p) in known {
            assert!((cdf(z) - p).abs() < 1e-13 * p, "{z}: {} and not {p}", cdf(z));
        }
        assert!(cdf(f64::NAN).is_nan());
        assert_eq!((cdf(f64::NEG_INFINITY), cdf(f64::INFINITY)), (0.0, 1.0));
    }
}
