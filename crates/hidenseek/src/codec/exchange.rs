//! What crosses in a round: uploads of clients and the server's broadcast, to bytes and back.

use serde::{Deserialize, Serialize};

use super::bits::{pack, unpack};
use super::error::WireError;
use super::kind::Kind;
use super::message::{BROADCAST, Expect, Message};
use super::payload::{self, Known};

/// What a header says besides the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The round.
    pub round: u32,
    /// The sender of an upload; [`BROADCAST`] for a message to all.
    pub client: u32,
    /// Hash of the prune mask.
    pub mask_hash: u64,
}

impl Stamp {
    /// Of the server's message to all in a round.
    pub fn broadcast(round: u32, mask_hash: u64) -> Self {
        Self { round, client: BROADCAST, mask_hash }
    }

    fn message(self, kind: Kind, n: usize, payload: Vec<u8>) -> Vec<u8> {
        let Self { round, client, mask_hash } = self;
        Message { kind, round, client, n: count(n), mask_hash, payload }.encode()
    }

    fn expect(self, kind: Kind, n: usize, layers: usize, voters: u32) -> Expect {
        let Self { round, client, mask_hash } = self;
        Expect { kind, round, client, n: count(n), mask_hash, layers: count(layers), voters }
    }
}

/// A count on the wire; one that does not fit is refused by the receiver.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How sign masks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// One bit each.
    Raw,
    /// Through the entropy coder.
    Coded,
    /// Flips of the broadcast signs, through the entropy coder.
    Xor,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Upload {
    /// A mask: true is +1; false is -1 (or 0, of a {0,1} mask).
    Signs(Vec<bool>),
    /// Scores, or trained weights (FedAvg).
    Scores(Vec<f32>),
    /// Signs of the changes, and their mean size in each layer.
    SignDelta {
        /// One a layer.
        scales: Vec<f32>,
        /// One a survivor.
        signs: Vec<bool>,
    },
    /// The same where a change of exactly 0 stays 0.
    TernaryDelta {
        /// One a layer.
        scales: Vec<f32>,
        /// -1, 0 or +1; one a survivor.
        symbols: Vec<i8>,
    },
}

impl Upload {
    /// The kind of its message; `coding` matters to masks only.
    pub fn kind(&self, coding: Coding) -> Kind {
        match (self, coding) {
            (Self::Signs(_), Coding::Raw) => Kind::RawSigns,
            (Self::Signs(_), Coding::Coded) => Kind::CodedSigns,
            (Self::Signs(_), Coding::Xor) => Kind::CodedXor,
            (Self::Scores(_), _) => Kind::Scores,
            (Self::SignDelta { .. }, _) => Kind::SignDelta,
            (Self::TernaryDelta { .. }, _) => Kind::TernaryDelta,
        }
    }

    /// Number of entries.
    pub fn n(&self) -> usize {
        match self {
            Self::Signs(signs) | Self::SignDelta { signs, .. } => signs.len(),
            Self::Scores(scores) => scores.len(),
            Self::TernaryDelta { symbols, .. } => symbols.len(),
        }
    }

    /// The message. Only entropy coding uses the values of `known`.
    pub fn encode(&self, stamp: Stamp, coding: Coding, known: &Known) -> Vec<u8> {
        let payload = match (self, coding) {
            (Self::Signs(signs), Coding::Raw) => pack(signs),
            (Self::Signs(signs), Coding::Coded) => payload::write_coded(signs, &known.contexts),
            (Self::Signs(signs), Coding::Xor) => payload::write_coded(&known.xor(signs), &known.contexts),
            (Self::Scores(scores), _) => payload::write_scores(scores),
            (Self::SignDelta { scales, signs }, _) => payload::write_sign_delta(scales, signs),
            (Self::TernaryDelta { scales, symbols }, _) => payload::write_ternary(scales, symbols, &known.layers),
        };
        stamp.message(self.kind(coding), self.n(), payload)
    }

    /// The upload of `known.n()` survivors in `bytes`, if it is the one that is due.
    ///
    /// # Errors
    /// When it is not, or `kind` is none of an upload.
    pub fn decode(bytes: &[u8], kind: Kind, stamp: Stamp, known: &Known) -> Result<Self, WireError> {
        let (n, layers) = (known.n(), known.layers.len());
        let message = Message::decode(bytes, &stamp.expect(kind, n, layers, 0))?;
        let payload = message.payload.as_slice();
        Ok(match kind {
            Kind::RawSigns => Self::Signs(unpack(payload, n)?),
            Kind::CodedSigns => Self::Signs(payload::read_coded(payload, n, &known.contexts)?),
            Kind::CodedXor => Self::Signs(known.xor(&payload::read_coded(payload, n, &known.contexts)?)),
            Kind::Scores => Self::Scores(payload::read_scores(payload, n)?),
            Kind::SignDelta => {
                let (scales, signs) = payload::read_sign_delta(payload, n, layers)?;
                Self::SignDelta { scales, signs }
            }
            Kind::TernaryDelta => {
                let (scales, symbols) = payload::read_ternary(payload, &known.layers)?;
                Self::TernaryDelta { scales, symbols }
            }
            Kind::Votes | Kind::PruneBitmap => {
                return Err(WireError::WrongKind { expected: Kind::RawSigns, found: kind });
            }
        })
    }
}

/// What the server broadcasts.
#[derive(Debug, Clone, PartialEq)]
pub enum Downlink {
    /// Its state: scores, or weights (FedAvg).
    Scores(Vec<f32>),
    /// The state's signs.
    Signs(Vec<bool>),
    /// How many of `voters` clients voted plus, from which the mean follows; see
    /// [`payload::largest_vote`] for the code of a tie.
    Votes {
        /// One a survivor.
        counts: Vec<u32>,
        /// The clients.
        voters: u32,
    },
}

/// How a broadcast is written: what a client must know to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// f32 each.
    Scores,
    /// One bit each.
    Signs,
    /// `ceil(log2(voters + 1))` bits each.
    Votes {
        /// The clients of the round whose votes these are.
        voters: u32,
    },
}

impl Downlink {
    /// How it is written.
    pub fn form(&self) -> Form {
        match self {
            Self::Scores(_) => Form::Scores,
            Self::Signs(_) => Form::Signs,
            Self::Votes { voters, .. } => Form::Votes { voters: *voters },
        }
    }

    /// The message; the stamp is [`Stamp::broadcast`]'s.
    pub fn encode(&self, stamp: Stamp) -> Vec<u8> {
        let (kind, n, payload) = match self {
            Self::Scores(scores) => (Kind::Scores, scores.len(), payload::write_scores(scores)),
            Self::Signs(signs) => (Kind::RawSigns, signs.len(), pack(signs)),
            Self::Votes { counts, voters } => (Kind::Votes, counts.len(), payload::write_votes(counts, *voters)),
        };
        stamp.message(kind, n, payload)
    }

    /// The broadcast about `n` survivors in `bytes`, if it is the one that is due.
    ///
    /// # Errors
    /// When it is not.
    pub fn decode(bytes: &[u8], form: Form, n: usize, stamp: Stamp) -> Result<Self, WireError> {
        let (kind, voters) = match form {
            Form::Scores => (Kind::Scores, 0),
            Form::Signs => (Kind::RawSigns, 0),
            Form::Votes { voters } => (Kind::Votes, voters),
        };
        let message = Message::decode(bytes, &stamp.expect(kind, n, 0, voters))?;
        Ok(match form {
            Form::Scores => Self::Scores(payload::read_scores(&message.payload, n)?),
            Form::Signs => Self::Signs(unpack(&message.payload, n)?),
            Form::Votes { voters } => Self::Votes { counts: payload::read_votes(&message.payload, n, voters)?, voters },
        })
    }
}

/// The message that carries the prune mask, for clients that cannot compute it (section 3.6); `bitmap` is
/// `PruneMask::bitmap` of `n` weights.
pub fn encode_bitmap(bitmap: &[u8], n: usize, stamp: Stamp) -> Vec<u8> {
    stamp.message(Kind::PruneBitmap, n, bitmap.to_vec())
}

/// The prune mask over `n` weights in `bytes`.
///
/// # Errors
/// When it is another message, or its hash is not the stamp's.
pub fn decode_bitmap(bytes: &[u8], n: usize, stamp: Stamp) -> Result<Vec<bool>, WireError> {
    let message = Message::decode(bytes, &stamp.expect(Kind::PruneBitmap, n, 0, 0))?;
    payload::read_bitmap(&message.payload, n, stamp.mask_hash)
}
