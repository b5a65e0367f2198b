//! Metrics that more than one paper reports.

pub mod continual;
pub mod frechet;

/// Running count of right answers, filled batch by batch.
///
/// ```
/// use plasticity_core::metric::Accuracy;
///
/// let mut test = Accuracy::default();
/// test.add(&[3, 1, 4], &[3, 1, 5]);
/// assert_eq!((test.correct, test.total), (2, 3));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Right answers so far.
    pub correct: u64,
    /// Answers so far.
    pub total: u64,
}

impl Accuracy {
    /// Adds a batch of predictions and labels of equal length. A prediction without a
    /// label, or a label without a prediction, counts as a wrong answer.
    pub fn add<T: PartialEq>(&mut self, predicted: &[T], labels: &[T]) {
        self.correct += predicted.iter().zip(labels).filter(|(p, l)| p == l).count() as u64;
        self.total += predicted.len().max(labels.len()) as u64;
    }

    /// The fraction of right answers; `None` before the first one.
    pub fn value(&self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }
}

/// The fraction of predictions that equal their label; `None` for an empty batch.
/// Counts as [`Accuracy::add`] does.
pub fn accuracy<T: PartialEq>(predicted: &[T], labels: &[T]) -> Option<f64> {
    let mut count = Accuracy::default();
    count.add(predicted, labels);
    count.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_add_up_to_the_whole() {
        let (predicted, labels) = ([1, 2, 3, 4, 5], [1, 2, 0, 4, 0]);
        let mut parts = Accuracy::default();
        parts.add(&predicted[..2], &labels[..2]);
        parts.add(&predicted[2..], &labels[2..]);
        assert_eq!(parts.value(), accuracy(&predicted, &labels));
        assert_eq!(parts.value(), Some(0.6));
    }

    #[test]
    fn nothing_seen_is_undefined_and_a_missing_answer_is_wrong() {
        assert_eq!(accuracy::<u8>(&[], &[]), None);
        assert_eq!(accuracy(&[1], &[1, 2]), Some(0.5));
    }
}
