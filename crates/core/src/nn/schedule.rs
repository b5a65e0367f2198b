//! The learning rate as a function of the step: nothing to save.

/// Linear warm-up, then half a cosine down to `floor` times the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    /// The highest rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warm_up: u64,
    /// Steps in all.
    pub steps: u64,
    /// Share of the peak that is left at the end.
    pub floor: f64,
}

impl LearningRate {
    /// The rate of step `step`, from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let done = (step - self.warm_up) as f64 / self.steps.saturating_sub(self.warm_up).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_linear_and_the_cosine_ends_at_the_floor() {
        let rate = LearningRate { peak: 3e-3, warm_up: 50, steps: 250, floor: 0.05 };
        let close = |step: u64, expected: f64| {
            let found = rate.at(step);
            assert!((found - expected).abs() < 1e-15, "step {step}: {found}, not {expected}");
        };
        close(0, 3e-3 / 50.0);
        close(24, 3e-3 / 2.0);
        close(49, 3e-3);
        close(50, 3e-3);
        // Halfway down: the mean of peak and floor.
        close(150, 3e-3 * 0.525);
        close(250, 3e-3 * 0.05);
        close(10_000, 3e-3 * 0.05);
        assert!((50..250).all(|step| rate.at(step + 1) < rate.at(step)));
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_stays_finite() {
        let rate = LearningRate { peak: 1.0, warm_up: 5, steps: 3, floor: 0.0 };
        assert_eq!(rate.at(2), 0.6);
        assert!(rate.at(5).is_finite());
        assert_eq!(LearningRate { warm_up: 0, steps: 0, ..rate }.at(0), 1.0);
    }
}
