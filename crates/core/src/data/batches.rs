//! The order in which a data set is gone through. A batch is a pure function of a
//! stream and an index: a loop that starts again at step k sees what the first one saw.
//!
//! ```
//! use plasticity_core::data::{Batches, order};
//! use plasticity_core::rng::Stream;
//!
//! // One stream per epoch; which images the third batch of epoch 5 holds:
//! let epoch = Batches::new(order(Stream::new(1, "example/order", 5), 1000), 64);
//! assert_eq!((epoch.len(), epoch.get(2).len(), epoch.get(15).len()), (16, 64, 40));
//! ```

use crate::rng::Stream;

/// A uniformly drawn order of `0..n`.
pub fn order(mut stream: Stream, n: usize) -> Vec<usize> {
    stream.permutation(n)
}

/// An order cut into batches; the last one is smaller where the size does not divide
/// the number of indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    order: Vec<usize>,
    batch_size: usize,
}

impl Batches {
    /// Batches of `batch_size` (0 counts as 1) indices of `order`.
    pub fn new(order: Vec<usize>, batch_size: usize) -> Self {
        Self { order, batch_size: batch_size.max(1) }
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// There is no batch.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The indices of batch `i`. Panics if `i >= len()`, as a slice does.
    pub fn get(&self, i: usize) -> &[usize] {
        let start = i * self.batch_size;
        &self.order[start..self.order.len().min(start + self.batch_size)]
    }

    /// All batches in turn.
    pub fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.order.chunks(self.batch_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_epoch_holds_each_index_once_in_batches_of_the_size(seed: u64, epoch: u64, n in 0usize..500, size in 1usize..80) {
            let batches = Batches::new(order(Stream::new(seed, "order", epoch), n), size);
            prop_assert_eq!(batches.is_empty(), n == 0);
            let mut seen = Vec::new();
            for i in 0..batches.len() {
                let batch = batches.get(i);
                let full = i + 1 < batches.len() || n % size == 0;
                prop_assert_eq!(batch.len(), if full { size } else { n % size });
                seen.extend_from_slice(batch);
            }
            prop_assert!(batches.iter().flatten().eq(seen.iter()));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn a_batch_depends_on_stream_and_index_alone(seed: u64, epoch: u64, n in 1usize..300, size in 1usize..40, pick: prop::sample::Index) {
            let make = || Batches::new(order(Stream::new(seed, "order", epoch), n), size);
            let (one, two) = (make(), make());
            let i = pick.index(one.len());
            for j in 0..i {
                two.get(j);
            }
            prop_assert_eq!(one.get(i), two.get(i));
        }
    }

    #[test]
    fn epochs_differ() {
        let epoch = |i| order(Stream::new(1, "order", i), 100);
        assert_ne!(epoch(0), epoch(1));
    }
}
