//! Training curves: means over some steps.

use serde::{Deserialize, Serialize};

/// Steps between two points of a training curve.
pub const EVENT_EVERY: u64 = 25;

/// The mean since the last point of a curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    sum: f64,
    n: u64,
}

impl Curve {
    /// Adds the sum of `n` values.
    pub fn add(&mut self, sum: f64, n: u64) {
        self.sum += sum;
        self.n += n;
    }

    /// The mean and the number of values; starts anew. `None` where nothing was added.
    pub fn take(&mut self) -> Option<(f64, u64)> {
        let Self { sum, n } = std::mem::take(self);
        (n > 0).then(|| (sum / n as f64, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_mean_since_the_one_before() {
        let mut curve = Curve::default();
        assert_eq!(curve.take(), None);
        curve.add(6.0, 2);
        curve.add(1.5, 1);
        assert_eq!(curve.take(), Some((2.5, 3)));
        curve.add(4.0, 1);
        assert_eq!(curve.take(), Some((4.0, 1)));
    }
}
