//! All clients of a federation and the pooled test set.

use plasticity_core::bytes::from_f32s;

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
    /// When the lengths do not fit, a value is not finite, or the partition is none: it names an image that is not
    /// there or one twice, or leaves a client without an image.
    pub fn new(
        train: ClientData,
        test: ClientData,
        inputs: usize,
        partition: Partition,
    ) -> Result<Self, FederationError> {
        if inputs == 0 {
            return Err(FederationError::setting("inputs", 0, "at least 1"));
        }
        for (field, data) in [("train", &train), ("test", &test)] {
            FederationError::length(field, data.labels.len().saturating_mul(inputs), data.x.len())?;
            FederationError::finite(field, &data.x)?;
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
        if let Some(client) = without_image(&partition) {
            let expected = "at least one image for every client";
            return Err(FederationError::setting("partition", format!("none for client {client}"), expected));
        }
        let (needed, found) = (highest.map_or(0, |image| u64::from(image) + 1), train.labels.len() as u64);
        if needed > found {
            let mend = "a partition of these images";
            return Err(FederationError::NotEnough { field: "partition", needed, found, mend });
        }
        if let Partition::Disjoint { order, .. } = &partition {
            let mut dealt = vec![false; train.labels.len()];
            if let Some(image) = order.iter().find(|image| std::mem::replace(&mut dealt[**image as usize], true)) {
                let expected = "every image at most once";
                return Err(FederationError::setting("partition", format!("image {image} twice"), expected));
            }
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

    /// Images of the client that holds the most.
    pub fn most_images(&self) -> usize {
        match &self.source {
            Source::Images { partition, .. } => partition.most_images(),
            Source::Synthetic(synthetic) => synthetic.images_each(),
        }
    }

    /// Images of each class that a client holds: a row of the histogram client x class.
    pub fn histogram(&self, client: usize, classes: usize) -> Vec<u32> {
        match &self.source {
            Source::Images { train, partition } => partition.histogram(client, &train.labels, classes),
            Source::Synthetic(_) => {
                let mut row = vec![0; classes];
                for label in self.train(client).labels {
                    if let Some(count) = row.get_mut(usize::from(label)) {
                        *count += 1;
                    }
                }
                row
            }
        }
    }

    /// What tells it from another population, but for the test set, which decides nothing but what is measured.
    pub(crate) fn identity(&self) -> String {
        match &self.source {
            Source::Synthetic(synthetic) => format!("synthetic, {}", synthetic.identity()),
            Source::Images { train, partition } => {
                let mut hasher = blake3::Hasher::new();
                for some in train.x.chunks(4096) {
                    hasher.update(&from_f32s(some));
                }
                hasher.update(&train.labels);
                hasher.update(format!("{partition:?}").as_bytes());
                format!("{} images, {:.16}", train.labels.len(), hasher.finalize().to_hex())
            }
        }
    }

    /// The labels of a client's training images; none for one that is not registered.
    fn labels(&self, client: usize) -> Vec<u8> {
        match &self.source {
            Source::Images { train, partition } => {
                partition.client(client).into_iter().map(|image| train.labels[image as usize]).collect()
            }
            Source::Synthetic(synthetic) => synthetic.train(client).labels,
        }
    }

    /// The first client that has no test image of any of its classes, if there is one: nothing could be measured for
    /// it. Clients are looked at one by one only where a class has no test image.
    pub fn untestable(&self) -> Option<usize> {
        let tested = |label: u8| self.test_by_class.get(usize::from(label)).is_some_and(|images| !images.is_empty());
        let all_tested = match &self.source {
            Source::Images { train, .. } => train.labels.iter().all(|label| tested(*label)),
            Source::Synthetic(synthetic) => (0..synthetic.classes()).all(|class| tested(class as u8)),
        };
        if all_tested {
            return None;
        }
        (0..self.clients()).find(|client| !self.labels(*client).into_iter().any(tested))
    }

    /// Whether every client has a test image of one of its classes.
    ///
    /// # Errors
    /// Names the first that has none.
    pub fn check_tests(&self) -> Result<(), FederationError> {
        self.untestable().map_or(Ok(()), |client| Err(untested(client)))
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

/// A client for which nothing can be measured.
pub(crate) fn untested(client: usize) -> FederationError {
    let found = format!("without an image of any class of client {client}");
    FederationError::setting("test", found, "an image of at least one class of each client: take more test images")
}

/// The first client whose range of images is empty.
fn without_image(partition: &Partition) -> Option<usize> {
    match partition {
        Partition::Disjoint { starts, .. } => starts.windows(2).position(|pair| pair[0] == pair[1]),
        Partition::Overlap { by_class, clients, shards, .. } => {
            let drawn = !shards.is_empty() && !by_class.is_empty();
            let drawn = drawn && !shards.contains(&0) && !by_class.iter().any(Vec::is_empty);
            (*clients > 0 && !drawn).then_some(0)
        }
    }
}
