//! Rounds (sections 3.3 to 3.6): sample, broadcast, train, upload, aggregate; every message is encoded and decoded.
//!
//! A [`Federation`] holds what never changes, a [`Server`] all that does. A round is a pure function of both: its
//! bytes depend neither on the number of threads nor on the order of the clients. Clients train on the rayon pool
//! that the caller is in.
//!
//! FedAvg is [`Trainable::Weights`] with [`aggregate::Rule::ScoreMean`], on the pruned network or a dense mask.

mod accuracy;
mod engine;
mod server;
mod settings;

pub use accuracy::Spread;
pub use server::Server;
pub use settings::Settings;

use burn::prelude::Device;
use plasticity_core::rng::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::aggregate::{self, Downlink, Received, RoundStats, Stamp, Tally, Upload};
use crate::client::{Subnetwork, Trainable};
use crate::codec::Known;
use crate::codec::exchange::encode_bitmap;
use crate::error::FederationError;
use crate::ledger::Traffic;
use crate::partition::{Population, some};
use crate::supermask::MaskKind;
use engine::Engine;

/// What never changes in a run.
#[derive(Debug)]
pub struct Federation {
    engine: Engine,
    population: Population,
    settings: Settings,
    /// Survivors of each layer.
    layers: Vec<usize>,
    mask_hash: u64,
}

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
    /// No client changed any entry: the dead zone of section 3.2.
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

impl Federation {
    /// Checks that everything fits. The device is that of networks that the fused loop does not know.
    ///
    /// # Errors
    /// When lengths do not fit, a setting is outside its domain, or there are fewer clients than a round takes.
    pub fn new(
        sub: Subnetwork,
        population: Population,
        settings: Settings,
        device: &Device,
    ) -> Result<Self, FederationError> {
        settings.check()?;
        let (needed, found) = (settings.per_round as u64, population.clients() as u64);
        if found < needed {
            let mend = "fewer clients in a round";
            return Err(FederationError::NotEnough { field: "per_round", needed, found, mend });
        }
        if found >= u64::from(u32::MAX) {
            return Err(FederationError::setting("clients", found, "below 4,294,967,295"));
        }
        let (expected, found) = (sub.architecture.inputs(), population.inputs());
        if expected != found {
            return Err(FederationError::Length { field: "an image of the population", expected, found });
        }
        let (layers, mask_hash) = (sub.mask.per_layer(), sub.mask.hash());
        Ok(Self { engine: Engine::new(sub, device)?, population, settings, layers, mask_hash })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The clients.
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// The subnetwork.
    pub fn subnetwork(&self) -> &Subnetwork {
        self.engine.subnetwork()
    }

    /// Whether the fused loop trains the clients, not tensor operations.
    pub fn is_fused(&self) -> bool {
        self.engine.is_fused()
    }

    /// The server before the first round, with the initial scores (or weights) of the survivors. If the settings say
    /// so, the prune mask is counted as sent to every registered client; else clients compute it from the seed.
    ///
    /// # Errors
    /// When there is another number of values, or one is not finite.
    pub fn begin(&self, values: Vec<f32>) -> Result<Server, FederationError> {
        let (expected, found) = (self.layers.iter().sum(), values.len());
        if expected != found {
            return Err(FederationError::Length { field: "values", expected, found });
        }
        if !values.iter().all(|v| v.is_finite()) {
            return Err(FederationError::NotFinite { field: "values", step: 0 });
        }
        let mut server = Server::new(values, self.mask_hash);
        if self.settings.send_bitmap {
            let mask = &self.subnetwork().mask;
            let message = encode_bitmap(&mask.bitmap(), mask.keep().len(), Stamp::broadcast(0, self.mask_hash));
            server.ledger.down(&message, self.population.clients() as u64)?;
        }
        server.ledger.close_round();
        Ok(server)
    }

    /// The clients of a round, rising: drawn without replacement from the stream (seed, sampling, round).
    pub fn sample(&self, round: u64) -> Vec<usize> {
        let mut stream = Stream::new(self.settings.seed, "hidenseek/sampling", round);
        let mut clients = some(self.population.clients(), self.settings.per_round, &mut stream);
        clients.sort_unstable();
        clients
    }

    /// The stream of a client's local training in a round.
    pub fn client_stream(&self, round: u64, client: usize) -> Stream {
        Stream::new(self.settings.seed, "hidenseek/client", key(round, client))
    }

    /// One round with the sampled clients. With `evaluate`, their models are measured on their own test sets.
    ///
    /// # Errors
    /// When training or aggregation is not finite, or a test set is empty; the server is then as before.
    pub fn round(&self, server: &mut Server, evaluate: bool) -> Result<RoundReport, FederationError> {
        self.round_of(server, &self.sample(server.round + 1), evaluate)
    }

    /// One round with these clients, in any order.
    ///
    /// # Errors
    /// As [`Federation::round`]; and when there is no client, one twice, or one that is not registered.
    pub fn round_of(
        &self,
        server: &mut Server,
        clients: &[usize],
        evaluate: bool,
    ) -> Result<RoundReport, FederationError> {
        let Settings { rule, coding, a, .. } = self.settings;
        if let Some(client) = clients.iter().find(|client| **client >= self.population.clients()) {
            let expected = format!("below {}, the number of clients", self.population.clients());
            return Err(FederationError::setting("client", client, expected));
        }
        server.check(&self.layers, self.mask_hash)?;
        let round = server.round + 1;
        let Ok(stamp) = u32::try_from(round).map(|round| Stamp::broadcast(round, self.mask_hash)) else {
            return Err(FederationError::setting("round", round, "below 2^32"));
        };
        let mut ledger = server.ledger.clone();
        let downlink = self.downlink(server);
        let message = downlink.encode(stamp);
        ledger.down(&message, clients.len() as u64)?;
        // Both ends know what the broadcast said.
        let form = downlink.form();
        let state = aggregate::state_of(&downlink, a);
        let known = aggregate::known(rule, a, &self.layers, &state)?;
        let global = if evaluate { Some(self.hits(&state)?) } else { None };
        let order = Order { stamp, round, message: &message, form, known: &known, global: global.as_deref() };

        // Results first, then the first error: which one it is does not depend on threads.
        let done: Vec<_> = clients.par_iter().map(|client| self.client_round(server, &order, *client)).collect();
        let mut done: Vec<Done> = done.into_iter().collect::<Result<_, _>>()?;
        done.sort_by_key(|done| done.report.client);

        let kind = rule.upload_kind(coding);
        let mut tally = Tally::new(rule, &self.layers, round)?;
        for done in &done {
            ledger.up(&done.message)?;
            let client = done.report.client as u32;
            let upload = Upload::decode(&done.message, kind, Stamp { client, ..stamp }, &known)?;
            tally.add(&Received { client, samples: done.report.images as u32, upload })?;
        }
        let mut values = server.values.clone();
        let stats = tally.finish(a, &mut values)?;
        let traffic = ledger.close_round();

        server.values = values;
        server.round = round;
        server.ledger = ledger;
        server.voters = Some(done.len() as u32);
        let mut reports = Vec::with_capacity(done.len());
        for done in done {
            if let Some(scores) = done.kept {
                server.local.insert(done.report.client as u32, scores);
            }
            reports.push(done.report);
        }
        let images: usize = reports.iter().map(|r| r.images).sum();
        let loss = reports.iter().map(|r| r.loss * r.images as f64).sum::<f64>() / images as f64;
        let flips = reports.iter().map(|r| r.flips).sum::<f64>() / reports.len() as f64;
        let report = RoundReport { round, clients: reports, loss, flips, server: stats, traffic };
        if report.dead() {
            tracing::warn!(round, "no client changed a sign: raise the learning rate or the local steps, or lower `a`");
        }
        Ok(report)
    }

    /// What the server would send now.
    fn downlink(&self, server: &Server) -> Downlink {
        let Settings { rule, a, votes, .. } = self.settings;
        aggregate::broadcast(rule, a, &server.values, server.voters.filter(|_| votes))
    }

    /// A client's side of a round, from the bytes that it gets to those that it sends.
    fn client_round(&self, server: &Server, order: &Order<'_>, client: usize) -> Result<Done, FederationError> {
        let Settings { rule, coding, a, trainable, training, seed, keep_local_scores, .. } = self.settings;
        let downlink = Downlink::decode(order.message, order.form, order.known.n(), order.stamp)?;
        let state = aggregate::state_of(&downlink, a);
        let mut start = state.clone();
        if let Some(own) = server.local.get(&(client as u32)).filter(|_| keep_local_scores) {
            // The server decides the sign, the client remembers how sure it was.
            let agreed = start.iter_mut().zip(own).filter(|(s, own)| (**s >= 0.0) == (**own >= 0.0));
            agreed.for_each(|(s, own)| *s = *own);
        }
        let data = self.population.train(client);
        let mut stream = self.client_stream(order.round, client);
        let trained = self.engine.train(trainable, &start, &data, &training, &mut stream, order.round)?;
        let mut stream = Stream::new(seed, "hidenseek/upload", key(order.round, client));
        let upload = aggregate::upload(rule, &state, &trained.values, &self.layers, order.round, &mut stream)?;
        let (mut global_on_own, mut personal) = (None, None);
        if let Some(global) = order.global {
            let rows = self.own_test(client, &data.labels)?;
            let hits = rows.iter().filter(|row| global[**row as usize]).count();
            global_on_own = Some(hits as f64 / rows.len() as f64);
            personal = Some(self.accuracy(&trained.values, &rows)?);
        }
        let report = ClientReport {
            client,
            images: data.labels.len(),
            loss: f64::from(trained.loss),
            flips: changed(trainable, &start, &trained.values),
            global_on_own,
            personal,
        };
        let message = upload.encode(Stamp { client: client as u32, ..order.stamp }, coding, order.known);
        Ok(Done { report, message, kept: keep_local_scores.then_some(trained.values) })
    }
}

/// What the clients of a round share.
struct Order<'a> {
    stamp: Stamp,
    round: u64,
    message: &'a [u8],
    form: aggregate::Form,
    known: &'a Known,
    /// Which images of the pooled test set the downloaded model has right, if evaluated.
    global: Option<&'a [bool]>,
}

struct Done {
    report: ClientReport,
    message: Vec<u8>,
    kept: Option<Vec<f32>>,
}

/// Index of a stream that belongs to a round and a client.
fn key(round: u64, client: usize) -> u64 {
    round << 32 | client as u64
}

/// Share of the entries that differ: of masks, or of the signs of weights.
fn changed(trainable: Trainable, old: &[f32], new: &[f32]) -> f64 {
    let kind = if let Trainable::Scores { kind, .. } = trainable { kind } else { MaskKind::Sign };
    let differ = old.iter().zip(new).filter(|(old, new)| kind.entry(**old) != kind.entry(**new)).count();
    differ as f64 / old.len().max(1) as f64
}
