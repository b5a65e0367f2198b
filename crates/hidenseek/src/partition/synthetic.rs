//! Clients made of a key: Gaussian clouds around class prototypes.

use plasticity_core::rng::Stream;

use super::some;
use crate::client::ClientData;
use crate::error::FederationError;

/// A population whose images are drawn when they are asked for, from the key (seed, client).
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    clients: usize,
    ways: usize,
    shots: usize,
    noise: f32,
    seed: u64,
    /// One standard normal vector per class.
    prototypes: Vec<Vec<f32>>,
}

impl Synthetic {
    /// `clients` of `ways` classes out of `classes` with `shots` images each: an image is its class's prototype, a
    /// standard normal vector of `inputs` values, plus normal noise of this standard deviation.
    ///
    /// # Errors
    /// When there are fewer classes than ways, a size is 0, or `noise` is negative or not finite.
    pub fn new(
        (clients, ways, shots): (usize, usize, usize),
        (inputs, classes): (usize, usize),
        noise: f32,
        seed: u64,
    ) -> Result<Self, FederationError> {
        for (field, size) in [("clients", clients), ("ways", ways), ("shots", shots), ("inputs", inputs)] {
            if size == 0 {
                return Err(FederationError::setting(field, size, "at least 1"));
            }
        }
        if !(noise >= 0.0 && noise.is_finite()) {
            return Err(FederationError::setting("noise", noise, "finite and at least 0"));
        }
        if classes > 256 {
            return Err(FederationError::setting("classes", classes, "at most 256"));
        }
        if ways > classes {
            let (needed, found, mend) = (ways as u64, classes as u64, "fewer `ways`");
            return Err(FederationError::NotEnough { field: "ways", needed, found, mend });
        }
        let prototype = |c| Stream::new(seed, "hidenseek/synthetic/prototype", c).normal_vec(inputs);
        let prototypes = (0..classes as u64).map(prototype).collect();
        Ok(Self { clients, ways, shots, noise, seed, prototypes })
    }

    /// What its images follow from.
    pub(super) fn identity(&self) -> String {
        let Self { clients, ways, shots, noise, seed, .. } = self;
        let (inputs, classes) = (self.inputs(), self.classes());
        format!("{clients} clients of {ways} x {shots} of {classes} classes, {inputs} inputs, {noise:?}, {seed}")
    }

    /// Training images of each client.
    pub(super) fn images_each(&self) -> usize {
        self.ways.saturating_mul(self.shots)
    }

    /// Number of clients.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.prototypes.len()
    }

    /// Values of an image.
    pub fn inputs(&self) -> usize {
        self.prototypes[0].len()
    }

    /// The images of a client; none for one that is not registered.
    pub fn train(&self, client: usize) -> ClientData {
        if client >= self.clients {
            return ClientData::default();
        }
        let mut stream = Stream::new(self.seed, "hidenseek/synthetic/train", client as u64);
        let classes = some(self.classes(), self.ways, &mut stream);
        self.images(classes.into_iter().flat_map(|c| std::iter::repeat_n(c, self.shots)), &mut stream)
    }

    /// `shots` images of every class that no client has.
    pub fn test(&self, shots: usize) -> ClientData {
        let mut stream = Stream::new(self.seed, "hidenseek/synthetic/test", 0);
        self.images((0..self.classes()).flat_map(|c| std::iter::repeat_n(c, shots)), &mut stream)
    }

    fn images(&self, classes: impl Iterator<Item = usize>, stream: &mut Stream) -> ClientData {
        let mut data = ClientData::default();
        for class in classes {
            data.labels.push(class as u8);
            data.x.extend(self.prototypes[class].iter().map(|p| p + self.noise * stream.normal() as f32));
        }
        data
    }
}
