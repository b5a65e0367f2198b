//! A round that is under way: some of its clients are done, and all that the others need is known. So a round of many
//! clients can be left and taken up again at any of them.

use std::sync::Arc;

use plasticity_core::bytes::from_f32s;
use serde::{Deserialize, Serialize};

use super::bytes::{Reader, saved, seal, write_ledger};
use super::server::Server;
use super::{Done, Federation, Order};
use crate::aggregate::{Received, RoundStats, Stamp, Tally, Upload};
use crate::error::FederationError;
use crate::ledger::{Ledger, Traffic};

const MAGIC: &[u8; 8] = b"HNSroun2";

/// Why a round is refused that has the right number.
const FOREIGN: &str =
    "the round was begun with other settings, by another federation or from another state of its server";

/// What a client did in a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Its number.
    pub client: usize,
    /// n_k, its training images.
    pub images: usize,
    /// Mean cross-entropy of its last local epoch.
    pub loss: f64,
    /// Share of the survivors whose mask entry (of weights: whose sign) it changed.
    pub flips: f64,
    /// Accuracy of the model that it downloaded, before training, on its own test set; if evaluated.
    pub global_on_own: Option<f64>,
    /// Accuracy of its trained model on its own test set; if evaluated.
    pub personal: Option<f64>,
}

/// What a round did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// The round, from 1.
    pub round: u64,
    /// The sampled clients, rising.
    pub clients: Vec<ClientReport>,
    /// Mean loss, weighted by n_k.
    pub loss: f64,
    /// Mean over the clients of the share of mask entries that each changed.
    pub flips: f64,
    /// Ties, agreement, and flips of the server's signs.
    pub server: RoundStats,
    /// Bytes of the round, headers and payloads apart.
    pub traffic: Traffic,
}

impl RoundReport {
    /// No client changed any mask entry (of weights: any sign). Of masks this is the dead zone of section 3.2; weights
    /// learn without changes of sign as well.
    pub fn dead(&self) -> bool {
        self.flips == 0.0
    }

    /// Mean personal accuracy, if the round was evaluated.
    pub fn personal(&self) -> Option<f64> {
        mean(self.clients.iter().map(|c| c.personal))
    }

    /// Mean accuracy of the downloaded model on the clients' own test sets, if the round was evaluated.
    pub fn global_on_own(&self) -> Option<f64> {
        mean(self.clients.iter().map(|c| c.global_on_own))
    }
}

/// Mean of values that all exist, in their order.
fn mean(values: impl ExactSizeIterator<Item = Option<f64>>) -> Option<f64> {
    let n = values.len() as f64;
    values.sum::<Option<f64>>().map(|sum| sum / n)
}

/// A round that is under way.
#[derive(Debug, Clone)]
pub struct Round {
    /// What it is a round of: [`Federation::round_of_what`].
    of: blake3::Hash,
    round: u64,
    evaluate: bool,
    /// Rising.
    clients: Vec<usize>,
    tally: Tally,
    /// Its own messages only.
    ledger: Ledger,
    /// Of the clients that are done, the first of `clients`.
    reports: Vec<ClientReport>,
    kept: Vec<Vec<f32>>,
    /// Made when the first client needs it.
    order: Option<Arc<Order>>,
}

impl Round {
    /// The round, from 1.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Its clients, rising.
    pub fn clients(&self) -> &[usize] {
        &self.clients
    }

    /// How many of them are done.
    pub fn done(&self) -> usize {
        self.reports.len()
    }

    /// The state of the round as bytes. Which federation, with which settings, and which state of its server it is a round
    /// of is in it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let counts = [self.round, u64::from(self.evaluate), self.clients.len() as u64, self.reports.len() as u64];
        bytes.extend(counts.into_iter().flat_map(u64::to_le_bytes));
        bytes.extend((self.kept.first().map_or(0, Vec::len) as u64).to_le_bytes());
        bytes.extend(self.of.as_bytes());
        bytes.extend(self.clients.iter().flat_map(|client| (*client as u64).to_le_bytes()));
        write_ledger(&self.ledger, &mut bytes);
        for report in &self.reports {
            let accuracies = [report.global_on_own, report.personal].map(|a| a.unwrap_or(f64::NAN));
            bytes.extend((report.images as u64).to_le_bytes());
            let numbers = [report.loss, report.flips, accuracies[0], accuracies[1]];
            bytes.extend(numbers.into_iter().flat_map(f64::to_le_bytes));
        }
        self.kept.iter().for_each(|scores| bytes.extend(from_f32s(scores)));
        self.tally.write(&mut bytes);
        seal(bytes)
    }
}

impl Federation {
    /// Begins a round with these clients, in any order; with `evaluate`, their models are measured on their own test
    /// sets.
    ///
    /// # Errors
    /// When there is no client, one twice, or one that is not registered; when the server is of another federation.
    pub fn begin_round(&self, server: &Server, clients: &[usize], evaluate: bool) -> Result<Round, FederationError> {
        self.check(server)?;
        let round = server.round + 1;
        if round > u64::from(u32::MAX) {
            return Err(FederationError::setting("round", round, "below 2^32"));
        }
        let registered = self.population().clients();
        if let Some(client) = clients.iter().find(|client| **client >= registered) {
            let expected = format!("below {registered}, the number of clients");
            return Err(FederationError::setting("client", client, expected));
        }
        let mut clients = clients.to_vec();
        clients.sort_unstable();
        if let Some(pair) = clients.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(FederationError::setting("client", pair[0], "once in a round"));
        }
        if clients.is_empty() {
            return Err(FederationError::setting("clients", "an empty list", "at least one client"));
        }
        Ok(Round {
            of: self.round_of_what(server, &clients),
            round,
            evaluate,
            clients,
            tally: Tally::new(self.settings().rule, self.layers(), round)?,
            ledger: Ledger::default(),
            reports: Vec::new(),
            kept: Vec::new(),
            order: None,
        })
    }

    /// All that decides what these clients do in the server's next round: a round that was begun with one rule, mask or
    /// state means something else under another. Settings, too, stay as they are within a round.
    fn round_of_what(&self, server: &Server, clients: &[usize]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let head = format!("{:?} {} {:?} {}\n", self.settings(), server.round, server.voters, server.values.len());
        hasher.update(self.identity.to_text().as_bytes());
        hasher.update(head.as_bytes());
        hasher.update(&from_f32s(&server.values));
        for client in clients {
            if let Some(scores) = server.local.get(&(*client as u32)) {
                hasher.update(&(*client as u32).to_le_bytes());
                hasher.update(&from_f32s(scores));
            }
        }
        hasher.finalize()
    }

    /// That a round is the server's next one, and of this federation and state.
    fn check_round(&self, server: &Server, round: &Round) -> Result<(), FederationError> {
        self.check(server)?;
        if round.round != server.round + 1 {
            return Err(saved("the round is not the next one of this server"));
        }
        if round.of != self.round_of_what(server, &round.clients) {
            return Err(saved(FOREIGN));
        }
        Ok(())
    }

    /// The round under way that [`Round::to_bytes`] wrote, of this federation and state.
    ///
    /// # Errors
    /// [`FederationError::Saved`] when the bytes are damaged or of another round, or were begun with other settings, by
    /// another federation or from another state of the server.
    pub fn resume_round(&self, server: &Server, bytes: &[u8]) -> Result<Round, FederationError> {
        let mut reader = Reader::open(bytes, MAGIC)?;
        let (round, evaluate, all, done) = (reader.word()?, reader.word()?, reader.word()?, reader.word()?);
        let kept = reader.word()?;
        if round != server.round + 1 || done > all || evaluate > 1 {
            return Err(saved("it is of another round"));
        }
        let of = reader.take(blake3::OUT_LEN as u64)?;
        let clients = reader.take(all.saturating_mul(8))?.as_chunks::<8>().0.iter();
        let clients: Vec<usize> = clients.map(|bytes| u64::from_le_bytes(*bytes) as usize).collect();
        let mut this = self.begin_round(server, &clients, evaluate == 1)?;
        if this.clients != clients {
            return Err(saved("its clients do not rise"));
        }
        if of != this.of.as_bytes() {
            return Err(saved(FOREIGN));
        }
        this.ledger = reader.ledger()?;
        for client in clients.into_iter().take(done as usize) {
            let (images, loss, flips) = (reader.word()? as usize, reader.number()?, reader.number()?);
            let mut accuracy = || reader.number().map(|accuracy| (!accuracy.is_nan()).then_some(accuracy));
            let (global_on_own, personal) = (accuracy()?, accuracy()?);
            this.reports.push(ClientReport { client, images, loss, flips, global_on_own, personal });
        }
        if self.settings().keep_local_scores && done > 0 {
            if kept != self.survivors() as u64 {
                return Err(saved("it is of another network"));
            }
            this.kept = (0..done).map(|_| reader.values(kept)).collect::<Result<_, _>>()?;
        } else if kept != 0 {
            return Err(saved("it keeps the scores of clients"));
        }
        if !this.tally.read(reader.0) {
            return Err(saved("its sums are none"));
        }
        Ok(this)
    }

    /// Lets the next `count` clients do their part, on the rayon pool that the caller is in.
    ///
    /// # Errors
    /// When a client's training or upload is not finite, its test set is empty, or the round was begun with other
    /// settings, by another federation or from another state of the server; the round is then as before.
    pub fn advance(&self, server: &Server, round: &mut Round, count: usize) -> Result<(), FederationError> {
        self.check_round(server, round)?;
        let begin = round.done();
        let clients = &round.clients[begin..round.clients.len().min(begin.saturating_add(count))];
        if clients.is_empty() {
            return Ok(());
        }
        let order = match &round.order {
            Some(order) => order.clone(),
            None => Arc::new(self.order(server, round.evaluate)?),
        };
        let mut ledger = round.ledger.clone();
        ledger.down(&order.message, clients.len() as u64)?;
        let done = self.client_rounds(server, &order, clients)?;
        let (mut tally, kind) = (round.tally.clone(), self.settings().upload_kind());
        for Done { report, message, .. } in &done {
            ledger.up(message)?;
            let client = report.client as u32;
            let upload = Upload::decode(message, kind, Stamp { client, ..order.stamp }, &order.known)?;
            tally.add(&Received { client, samples: report.images as u32, upload })?;
        }
        (round.ledger, round.tally, round.order) = (ledger, tally, Some(order));
        for Done { report, kept, .. } in done {
            round.reports.push(report);
            round.kept.extend(kept);
        }
        Ok(())
    }

    /// Ends a round: the server gets its new state.
    ///
    /// # Errors
    /// When a client is not done yet, the new state is not finite, or the round was begun with other settings, by another
    /// federation or from another state of the server; the server is then as before.
    pub fn finish_round(&self, server: &mut Server, round: Round) -> Result<RoundReport, FederationError> {
        self.check_round(server, &round)?;
        let (needed, found) = (round.clients.len() as u64, round.done() as u64);
        if found < needed {
            let mend = "let every client do its part";
            return Err(FederationError::NotEnough { field: "round", needed, found, mend });
        }
        let Round { round, tally, ledger, reports, kept, .. } = round;
        let mut values = server.values.clone();
        let stats = tally.finish(self.settings().a, &mut values)?;

        server.values = values;
        server.round = round;
        server.ledger.extend(&ledger);
        server.voters = Some(reports.len() as u32);
        for (report, scores) in reports.iter().zip(kept) {
            server.local.insert(report.client as u32, scores);
        }
        let images: usize = reports.iter().map(|r| r.images).sum();
        let loss = reports.iter().map(|r| r.loss * r.images as f64).sum::<f64>() / images as f64;
        let flips = reports.iter().map(|r| r.flips).sum::<f64>() / reports.len() as f64;
        Ok(RoundReport { round, clients: reports, loss, flips, server: stats, traffic: ledger.total })
    }
}
