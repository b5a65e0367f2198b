//! Rounds (sections 3.3 to 3.6): sample, broadcast, train, upload, aggregate; every message is encoded and decoded.
//!
//! A [`Federation`] holds what never changes, a [`Server`] all that does. A round is a pure function of both: its
//! bytes depend neither on the number of threads nor on the order of the clients. Clients train on the rayon pool
//! that the caller is in.
//!
//! FedAvg is [`Trainable::Weights`] with [`aggregate::Rule::ScoreMean`], on the pruned network or a dense mask.

mod accuracy;
mod bytes;
mod engine;
mod round;
mod server;
mod settings;

pub use accuracy::Spread;
pub use round::{ClientReport, Round, RoundReport};
pub use server::Server;
pub use settings::Settings;

use burn::prelude::Device;
use plasticity_core::bytes::from_f32s;
use plasticity_core::rng::Stream;
use rayon::prelude::*;

use crate::aggregate::{self, Downlink, Stamp};
use crate::client::{Subnetwork, Trainable};
use crate::codec::Known;
use crate::codec::exchange::encode_bitmap;
use crate::error::FederationError;
use crate::partition::{Population, some};
use crate::supermask::MaskKind;
use engine::Engine;
use server::Identity;

/// What never changes in a run.
#[derive(Debug)]
pub struct Federation {
    engine: Engine,
    population: Population,
    settings: Settings,
    /// Survivors of each layer.
    layers: Vec<usize>,
    mask_hash: u64,
    identity: Identity,
}

impl Federation {
    /// Checks that everything fits. The device is that of networks that the fused loop does not know.
    ///
    /// # Errors
    /// When lengths do not fit, a setting is outside its domain, or there are fewer clients than a round takes; an empty
    /// layer of a network that the fused loop does not know.
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
        FederationError::length("an image of the population", sub.architecture().inputs(), population.inputs())?;
        let (layers, mask_hash) = (sub.mask().per_layer(), sub.mask().hash());
        let Settings { trainable, rule, a, seed, .. } = settings;
        let network = sub.architecture();
        let identity = [
            ("rule", format!("{rule:?}")),
            ("trainable", format!("{trainable:?}")),
            ("magnitude of a score", format!("{a:?}")),
            ("seed", seed.to_string()),
            ("network", format!("{:?} {:?}", network.input(), network.layers())),
            ("frozen weights", format!("{:.16}", blake3::hash(&from_f32s(sub.weights())).to_hex())),
            ("prune mask", format!("{mask_hash:016x} ({} survivors)", layers.iter().sum::<usize>())),
            ("number of clients", population.clients().to_string()),
            ("training data", population.identity()),
        ];
        let identity = Identity(identity.into_iter().map(|(name, value)| (name.into(), value)).collect());
        Ok(Self { engine: Engine::new(sub, device)?, population, settings, layers, mask_hash, identity })
    }

    /// n, the number of survivors.
    fn survivors(&self) -> usize {
        self.layers.iter().sum()
    }

    /// Survivors of each layer.
    fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// That a state is one of this federation.
    fn check(&self, server: &Server) -> Result<(), FederationError> {
        server.check(self.survivors(), &self.identity)
    }

    /// Whether every client has a test image of one of its classes: without, nothing can be measured for it, in a round
    /// that is evaluated or after the last one.
    ///
    /// # Errors
    /// Names the first that has none.
    pub fn check_tests(&self) -> Result<(), FederationError> {
        self.population.check_tests()
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
        FederationError::length("values", self.survivors(), values.len())?;
        if !values.iter().all(|v| v.is_finite()) {
            return Err(FederationError::NotFinite { field: "values", step: 0 });
        }
        let mut server = Server::new(values, self.identity.clone());
        if self.settings.send_bitmap {
            let mask = self.subnetwork().mask();
            let message = encode_bitmap(&mask.bitmap(), mask.keep().len(), Stamp::broadcast(0, self.mask_hash));
            server.ledger.down(&message, self.population.clients() as u64)?;
        }
        server.ledger.close_round();
        Ok(server)
    }

    /// The clients of a round (below 2^32), rising: drawn without replacement from the stream (seed, sampling, round).
    pub fn sample(&self, round: u64) -> Vec<usize> {
        let mut stream = Stream::new(self.settings.seed, "hidenseek/sampling", round);
        let mut clients = some(self.population.clients(), self.settings.per_round, &mut stream);
        clients.sort_unstable();
        clients
    }

    /// The stream of a client's local training in a round (below 2^32).
    pub fn client_stream(&self, round: u64, client: usize) -> Stream {
        Stream::new(self.settings.seed, "hidenseek/client", key(round, client))
    }

    /// One round with the sampled clients. With `evaluate`, their models are measured on their own test sets.
    ///
    /// # Errors
    /// When training or aggregation is not finite, a test set is empty, or the server is of another federation; the
    /// server is then as before.
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
        let mut round = self.begin_round(server, clients, evaluate)?;
        self.advance(server, &mut round, clients.len())?;
        self.finish_round(server, round)
    }

    /// What the clients of the server's next round share.
    fn order(&self, server: &Server, evaluate: bool) -> Result<Order, FederationError> {
        let Settings { rule, a, .. } = self.settings;
        let round = server.round + 1;
        let stamp = Stamp::broadcast(round as u32, self.mask_hash);
        let downlink = self.downlink(server);
        // Both ends know what the broadcast said.
        let (message, form) = (downlink.encode(stamp), downlink.form());
        let state = aggregate::state_of(&downlink, a);
        let known = aggregate::known(rule, a, &self.layers, &state)?;
        let global = if evaluate { Some(self.hits(&state, round)?) } else { None };
        Ok(Order { stamp, round, message, form, known, global })
    }

    /// The part of each of these clients. Results first, then the first error: which one it is does not depend on
    /// threads.
    fn client_rounds(&self, server: &Server, order: &Order, clients: &[usize]) -> Result<Vec<Done>, FederationError> {
        let done: Vec<_> = clients.par_iter().map(|client| self.client_round(server, order, *client)).collect();
        done.into_iter().collect()
    }

    /// What the server would send now.
    fn downlink(&self, server: &Server) -> Downlink {
        let Settings { rule, a, votes, .. } = self.settings;
        aggregate::broadcast(rule, a, &server.values, server.voters.filter(|_| votes))
    }

    /// A client's side of a round, from the bytes that it gets to those that it sends.
    fn client_round(&self, server: &Server, order: &Order, client: usize) -> Result<Done, FederationError> {
        let Settings { rule, coding, a, trainable, training, seed, keep_local_scores, .. } = self.settings;
        let downlink = Downlink::decode(&order.message, order.form, order.known.n(), order.stamp)?;
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
        if let Some(global) = &order.global {
            let rows = self.own_test(client, &data.labels)?;
            let hits = rows.iter().filter(|row| global[**row as usize]).count();
            global_on_own = Some(hits as f64 / rows.len() as f64);
            personal = Some(self.accuracy(&trained.values, &rows, order.round)?);
        }
        let report = ClientReport {
            client,
            images: data.labels.len(),
            loss: f64::from(trained.loss),
            flips: changed(trainable, &start, &trained.values),
            global_on_own,
            personal,
        };
        let message = upload.encode(Stamp { client: client as u32, ..order.stamp }, coding, &order.known);
        Ok(Done { report, message, kept: keep_local_scores.then_some(trained.values) })
    }
}

/// What the clients of a round share.
#[derive(Debug)]
struct Order {
    stamp: Stamp,
    round: u64,
    message: Vec<u8>,
    form: aggregate::Form,
    known: Known,
    /// Which images of the pooled test set the downloaded model has right, if evaluated.
    global: Option<Vec<bool>>,
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
