//! All clients of a federation and the pooled test set.

use super::{Partition, Synthetic, by_class};
use crate::client::ClientData;
use crate::error::FederationError;

/// The registered clients: nothing is kept for one that is not sampled but its range of images, or a key.
#[derive(Debug, Clone)]
pub struct Population {
    source: Source,
    test: ClientData,
    test_by_class: Vec<Vec<u32>>,
    inputs: usize,
}

#[derive(Debug, Clone)]
enum Source {
    Images { train: ClientData, partition: Partition },
    Synthetic(Synthetic),
}

impl Population {
    /// Clients that share the images of `train` as the partition says; `test` is the pooled test set.
    ///
    /// # Errors
    /// When the lengths do not fit, or the partition is none, or names an image that is not there.
    pub fn new(
        train: ClientData,
        test: ClientData,
        inputs: usize,
        partition: Partition,
    ) -> Result<Self, FederationError> {
        for (field, data) in [("train", &train), ("test", &test)] {
            FederationError::length(field, data.labels.len() * inputs, data.x.len())?;
        }
        let highest = match &partition {
            Partition::Disjoint { order, starts } => {
                if !starts.is_sorted() || starts.last().is_some_and(|end| *end as usize > order.len()) {
                    let expected = format!("rising, and at most {}, the number of images dealt", order.len());
                    return Err(FederationError::setting("starts", "a list that falls or goes beyond", expected));
                }
                order.iter().max().copied()
            }
            Partition::Overlap { by_class, .. } => by_class.iter().flatten().max().copied(),
        };
        let (needed, found) = (highest.map_or(0, |image| u64::from(image) + 1), train.labels.len() as u64);
        if needed > found {
            let mend = "a partition of these images";
            return Err(FederationError::NotEnough { field: "partition", needed, found, mend });
        }
        Ok(Self::with(Source::Images { train, partition }, test, inputs))
    }

    /// Synthetic clients, and a pooled test set of `shots` images of each class.
    pub fn synthetic(synthetic: Synthetic, shots: usize) -> Self {
        let (test, inputs) = (synthetic.test(shots), synthetic.inputs());
        Self::with(Source::Synthetic(synthetic), test, inputs)
    }

    fn with(source: Source, test: ClientData, inputs: usize) -> Self {
        let test_by_class = by_class(&test.labels);
        Self { source, test, test_by_class, inputs }
    }

    /// Number of registered clients, K.
    pub fn clients(&self) -> usize {
        match &self.source {
            Source::Images { partition, .. } => partition.clients(),
            Source::Synthetic(synthetic) => synthetic.clients(),
        }
    }

    /// Values of an image.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The training images of a client; none for one that is not registered.
    pub fn train(&self, client: usize) -> ClientData {
        match &self.source {
            Source::Images { train, partition } => {
                let images = partition.client(client);
                let mut x = Vec::with_capacity(images.len() * self.inputs);
                for image in &images {
                    let at = *image as usize * self.inputs;
                    x.extend_from_slice(&train.x[at..at + self.inputs]);
                }
                ClientData { x, labels: images.iter().map(|image| train.labels[*image as usize]).collect() }
            }
            Source::Synthetic(synthetic) => synthetic.train(client),
        }
    }

    /// The pooled test set.
    pub fn test(&self) -> &ClientData {
        &self.test
    }

    /// The personal test set (section 5.4): images of the pooled test set whose class is among `labels`, rising.
    pub fn personal_test(&self, labels: &[u8]) -> Vec<u32> {
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let mut images: Vec<u32> =
            classes.iter().filter_map(|c| self.test_by_class.get(usize::from(*c))).flatten().copied().collect();
        images.sort_unstable();
        images
    }
}
