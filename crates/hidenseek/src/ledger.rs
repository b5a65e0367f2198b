//! Bytes: what was sent, counted from the encoded messages, and what section 4 says it should be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Coding, Rule};
use crate::codec::message::kind_of;
use crate::codec::{HEADER, Kind, WireError};

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Bytes of headers.
    pub header: u64,
    /// Bytes of payloads.
    pub payload: u64,
}

impl Count {
    /// Headers and payloads.
    pub fn bytes(&self) -> u64 {
        self.header.saturating_add(self.payload)
    }

    fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.header = self.header.saturating_add(other.header);
        self.payload = self.payload.saturating_add(other.payload);
    }
}

/// One direction, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction(BTreeMap<Kind, Count>);

impl Direction {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> Count {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// Of all kinds.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        self.0.values().for_each(|count| total.add(*count));
        total
    }

    /// Adds all of another.
    fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, count)| self.add(*kind, *count));
    }

    /// Adds to the count of a kind, for a ledger that is read back.
    pub(crate) fn add(&mut self, kind: Kind, count: Count) {
        self.0.entry(kind).or_default().add(count);
    }
}

/// Both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Clients to server.
    pub up: Direction,
    /// Server to clients.
    pub down: Direction,
}

impl Traffic {
    /// Headers and payloads of both directions.
    pub fn bytes(&self) -> u64 {
        self.up.total().bytes().saturating_add(self.down.total().bytes())
    }
}

/// The bytes of a run, of constant size however long the run. Counts stop at 2^64 - 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Since the round began.
    pub round: Traffic,
    /// Since the beginning, this round included.
    pub total: Traffic,
}

impl Ledger {
    /// Counts an encoded upload.
    ///
    /// # Errors
    /// When it is no message.
    pub fn up(&mut self, message: &[u8]) -> Result<(), WireError> {
        let (kind, count) = measure(message, 1)?;
        self.round.up.add(kind, count);
        self.total.up.add(kind, count);
        Ok(())
    }

    /// Counts an encoded message of the server, once for each of its `receivers`.
    ///
    /// # Errors
    /// When it is no message.
    pub fn down(&mut self, message: &[u8], receivers: u64) -> Result<(), WireError> {
        let (kind, count) = measure(message, receivers)?;
        self.round.down.add(kind, count);
        self.total.down.add(kind, count);
        Ok(())
    }

    /// Ends the round (or the setup) and returns its bytes.
    pub fn close_round(&mut self) -> Traffic {
        std::mem::take(&mut self.round)
    }

    /// Adds the messages of another ledger to the total.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.total.up.extend(&other.total.up);
        self.total.down.extend(&other.total.down);
    }

    /// Of all uploads so far.
    pub fn uplink(&self, weights: u64, survivors: u64) -> Rates {
        Rates::new(self.total.up.total(), weights, survivors)
    }
}

fn measure(message: &[u8], times: u64) -> Result<(Kind, Count), WireError> {
    let kind = kind_of(message)?;
    let payload = (message.len() - HEADER) as u64;
    let of = |bytes: u64| times.saturating_mul(bytes);
    Ok((kind, Count { messages: times, header: of(HEADER as u64), payload: of(payload) }))
}

/// The uplink in the units of section 4, per message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Payload bits per weight of the dense network.
    pub bpp: f64,
    /// Payload bits per survivor.
    pub bps: f64,
    /// Payload of the dense network in f32 over this one.
    pub compression: f64,
    /// The same with a header on both.
    pub compression_with_headers: f64,
}

impl Rates {
    /// Of messages about a network of `weights` (N), of which there are `survivors` (n). Without messages, or with a
    /// count of 0, rates are not a number or infinite.
    pub fn new(count: Count, weights: u64, survivors: u64) -> Self {
        let (messages, dense) = (count.messages as f64, 4.0 * weights as f64);
        let payload = count.payload as f64 / messages;
        Self {
            bpp: 8.0 * payload / weights as f64,
            bps: 8.0 * payload / survivors as f64,
            compression: dense / payload,
            compression_with_headers: (dense + HEADER as f64) / (payload + HEADER as f64),
        }
    }
}

/// A method of section 4's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// All weights and biases as f32.
    FedAvg {
        /// Number of biases.
        biases: u64,
    },
    /// The survivors' weights as f32.
    FedAvgPruned,
    /// The weights that this client keeps, and all biases, as f32.
    LotteryFl {
        /// The client's survivors.
        kept: u64,
        /// Number of biases.
        biases: u64,
    },
    /// A {0,1} mask of some layers.
    FedMask {
        /// Weights of these layers.
        masked: u64,
        /// Whether the server's mean is thresholded before it is sent.
        thresholded: bool,
    },
    /// A {0,1} mask of all weights, uncoded.
    FedPm,
    /// A sign per weight, both ways.
    SignSgd,
    /// Ours, uncoded, f32 scores as downlink but for the majority vote.
    HideNseek(Rule),
}

/// Payload bytes of an upload and of a download, per round and client (section 4), for N `weights`, n `survivors`
/// and L `layers`. Ternary deltas are given as their longest. Counts stop at 2^64 - 1.
pub fn payload_bytes(method: Method, weights: u64, survivors: u64, layers: u64) -> (u64, u64) {
    let bits = |n: u64| n.div_ceil(8);
    let floats = |n: u64| n.saturating_mul(4);
    match method {
        Method::FedAvg { biases } => (floats(weights.saturating_add(biases)), floats(weights.saturating_add(biases))),
        Method::FedAvgPruned => (floats(survivors), floats(survivors)),
        Method::LotteryFl { kept, biases } => {
            (floats(kept.saturating_add(biases)), floats(kept.saturating_add(biases)))
        }
        Method::FedMask { masked, thresholded } => {
            (bits(masked), if thresholded { bits(masked) } else { floats(masked) })
        }
        Method::FedPm => (bits(weights), floats(weights)),
        Method::SignSgd => (bits(weights), bits(weights)),
        Method::HideNseek(rule) => {
            let down = if rule == Rule::MajorityVote { bits(survivors) } else { floats(survivors) };
            let up = match rule.upload_kind(Coding::Raw) {
                Kind::Scores => floats(survivors),
                Kind::SignDelta => floats(layers).saturating_add(bits(survivors)),
                Kind::TernaryDelta => {
                    floats(layers).saturating_add(1).saturating_add(bits(survivors.saturating_mul(2)))
                }
                _ => bits(survivors),
            };
            (up, down)
        }
    }
}

/// Evaluations that a smoothed accuracy is the mean of.
pub const SMOOTH: usize = 5;

/// The bytes spent when the mean of the last five evaluations first reached `target` (section 4, cost to target);
/// `evaluations` holds accuracy and bytes of both directions so far. None if it never did.
pub fn cost_to_target(evaluations: &[(f64, u64)], target: f64) -> Option<u64> {
    let mean = |window: &&[(f64, u64)]| window.iter().map(|(accuracy, _)| accuracy).sum::<f64>() / SMOOTH as f64;
    evaluations.windows(SMOOTH).find(|window| mean(window) >= target).map(|window| window[SMOOTH - 1].1)
}
