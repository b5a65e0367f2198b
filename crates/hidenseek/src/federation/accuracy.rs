//! Accuracies (section 3.5): of the server's model, and of every client's after training on its own.

use std::ops::Range;

use plasticity_core::rng::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Federation, Server, key};
use crate::aggregate;
use crate::client::LocalTraining;
use crate::error::FederationError;
use crate::partition::untested;

/// Accuracies over clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean over the clients.
    pub mean: f64,
    /// The 10th percentile, by nearest rank: a tenth of the clients is at or below it.
    pub tenth: f64,
    /// The least.
    pub worst: f64,
    /// Number of clients.
    pub clients: usize,
}

impl Spread {
    /// Of the accuracies of at least one client.
    ///
    /// # Errors
    /// When there is none, or one is not finite.
    pub fn of(mut accuracies: Vec<f64>) -> Result<Self, FederationError> {
        let clients = accuracies.len();
        if clients == 0 {
            let mend = "the accuracy of a client";
            return Err(FederationError::NotEnough { field: "accuracies", needed: 1, found: 0, mend });
        }
        if !accuracies.iter().all(|accuracy| accuracy.is_finite()) {
            return Err(FederationError::NotFinite { field: "accuracies", step: 0 });
        }
        let mean = accuracies.iter().sum::<f64>() / clients as f64;
        accuracies.sort_by(f64::total_cmp);
        Ok(Self { mean, tenth: accuracies[clients.div_ceil(10) - 1], worst: accuracies[0], clients })
    }
}

impl Federation {
    /// Accuracy of the server's model on the pooled test set.
    ///
    /// # Errors
    /// When the test set is empty, a logit is not finite, or the server is of another federation.
    pub fn global(&self, server: &Server) -> Result<f64, FederationError> {
        self.check(server)?;
        let hits = self.hits(&server.values, server.round)?;
        Ok(hits.iter().filter(|hit| **hit).count() as f64 / hits.len() as f64)
    }

    /// Accuracy of the server's model on the own test set of each client of the population.
    ///
    /// # Errors
    /// When a test set is empty, a logit is not finite, or the server is of another federation.
    pub fn global_on_own(&self, server: &Server) -> Result<Spread, FederationError> {
        self.check(server)?;
        let hits = self.hits(&server.values, server.round)?;
        Spread::of(self.each(0..self.population.clients(), |client| {
            let rows = self.own_test(client, &self.population.train(client).labels)?;
            Ok(rows.iter().filter(|row| hits[**row as usize]).count() as f64 / rows.len() as f64)
        })?)
    }

    /// Every client downloads the server's state, trains one local round and is measured on its own test set; none
    /// of their states is kept. The ledger does not count these downloads.
    ///
    /// # Errors
    /// When a loss is not finite, a test set is empty, or the server is of another federation.
    pub fn fine_tuned(&self, server: &Server) -> Result<Spread, FederationError> {
        Spread::of(self.fine_tuned_of(server, 0..self.population.clients())?)
    }

    /// [`Federation::fine_tuned`] of some clients: the accuracy of each.
    ///
    /// # Errors
    /// As [`Federation::fine_tuned`], and when there is no such client.
    pub fn fine_tuned_of(&self, server: &Server, clients: Range<usize>) -> Result<Vec<f64>, FederationError> {
        self.check(server)?;
        let state = aggregate::state_of(&self.downlink(server), self.settings.a);
        self.trained_alone(&state, &self.settings.training, ("hidenseek/fine-tuned", server.round), clients)
    }

    /// Every client trains for so many epochs from these initial values, and never communicates.
    ///
    /// # Errors
    /// When a loss is not finite or a test set is empty; when the number of values or epochs does not fit.
    pub fn standalone(&self, values: &[f32], epochs: usize) -> Result<Spread, FederationError> {
        Spread::of(self.standalone_of(values, epochs, 0..self.population.clients())?)
    }

    /// [`Federation::standalone`] of some clients: the accuracy of each.
    ///
    /// # Errors
    /// As [`Federation::standalone`], and when there is no such client.
    pub fn standalone_of(
        &self,
        values: &[f32],
        epochs: usize,
        clients: Range<usize>,
    ) -> Result<Vec<f64>, FederationError> {
        let training = LocalTraining { epochs, ..self.settings.training };
        training.check()?;
        self.trained_alone(values, &training, ("hidenseek/standalone", 0), clients)
    }

    fn trained_alone(
        &self,
        values: &[f32],
        training: &LocalTraining,
        (label, round): (&str, u64),
        clients: Range<usize>,
    ) -> Result<Vec<f64>, FederationError> {
        FederationError::length("values", self.survivors(), values.len())?;
        self.each(clients, |client| {
            let data = self.population.train(client);
            let mut stream = Stream::new(self.settings.seed, label, key(round, client));
            let trainable = self.settings.trainable;
            let trained = self.engine.train(trainable, values, &data, training, &mut stream, round)?;
            self.accuracy(&trained.values, &self.own_test(client, &data.labels)?, round)
        })
    }

    /// The accuracy of each of these clients. Results first, then the first error: which one it is does not depend on
    /// threads.
    fn each(
        &self,
        clients: Range<usize>,
        accuracy: impl Fn(usize) -> Result<f64, FederationError> + Sync + Send,
    ) -> Result<Vec<f64>, FederationError> {
        let registered = self.population.clients();
        if clients.end > registered {
            let expected = format!("at most {registered}, the number of clients");
            return Err(FederationError::setting("clients", clients.end, expected));
        }
        let all: Vec<_> = clients.into_par_iter().map(accuracy).collect();
        all.into_iter().collect()
    }

    /// A client's own test images (section 5.4), by the labels of its training images.
    pub(super) fn own_test(&self, client: usize, labels: &[u8]) -> Result<Vec<u32>, FederationError> {
        let rows = self.population.personal_test(labels);
        if rows.is_empty() { Err(untested(client)) } else { Ok(rows) }
    }

    /// Share of these images of the pooled test set that a model has right.
    pub(super) fn accuracy(&self, values: &[f32], rows: &[u32], round: u64) -> Result<f64, FederationError> {
        let test = self.population.test();
        let logits = self.engine.logits(self.settings.trainable, values, &test.x, Some(rows), round)?;
        let labels = rows.iter().map(|row| test.labels[*row as usize]);
        Ok(right(&logits, labels).filter(|hit| *hit).count() as f64 / rows.len() as f64)
    }

    /// Which images of the pooled test set a model has right.
    pub(super) fn hits(&self, values: &[f32], round: u64) -> Result<Vec<bool>, FederationError> {
        let test = self.population.test();
        if test.labels.is_empty() {
            let mend = "a test set";
            return Err(FederationError::NotEnough { field: "test", needed: 1, found: 0, mend });
        }
        let logits = self.engine.logits(self.settings.trainable, values, &test.x, None, round)?;
        Ok(right(&logits, test.labels.iter().copied()).collect())
    }
}

/// Whether the largest logit (the first of equal ones) is the label's, image by image.
fn right(logits: &[f32], labels: impl ExactSizeIterator<Item = u8>) -> impl Iterator<Item = bool> {
    let classes = logits.len() / labels.len().max(1);
    let first_of_largest = |row: &[f32]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    logits.chunks_exact(classes.max(1)).zip(labels).map(move |(row, label)| first_of_largest(row) == usize::from(label))
}
