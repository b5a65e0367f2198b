//! All that changes from round to round, its bytes, and what it is a state of.

use std::collections::BTreeMap;

use plasticity_core::bytes::from_f32s;

use super::bytes::{Reader, saved, seal, write_ledger};
use crate::error::FederationError;
use crate::ledger::Ledger;

const MAGIC: &[u8; 8] = b"HNSserv2";

/// What a state belongs to: everything of a federation without which its numbers mean something else, as names and
/// values. How clients train, how many a round takes and how masks are coded is not in it: these may change from
/// round to round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity(pub Vec<(String, String)>);

impl Identity {
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        let pairs = text.lines().map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into())));
        pairs.collect::<Option<_>>().map(Self)
    }

    /// Refuses a state of another federation, naming the first thing that differs.
    fn same(&self, other: &Self) -> Result<(), FederationError> {
        match self.0.iter().zip(&other.0).find(|(a, b)| a != b) {
            Some(((name, found), (_, expected))) => {
                Err(saved(&format!("its {name} is {found}, that of this federation is {expected}")))
            }
            None if self.0.len() != other.0.len() => Err(saved("it is of another format")),
            None => Ok(()),
        }
    }
}

/// The server's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Rounds done.
    pub(super) round: u64,
    /// Scores, or weights, of the survivors.
    pub(super) values: Vec<f32>,
    /// Clients of the last round.
    pub(super) voters: Option<u32>,
    /// Bytes so far.
    pub(super) ledger: Ledger,
    /// Scores that clients keep, if they do.
    pub(super) local: BTreeMap<u32, Vec<f32>>,
    of: Identity,
}

impl Server {
    pub(super) fn new(values: Vec<f32>, of: Identity) -> Self {
        Self { round: 0, values, voters: None, ledger: Ledger::default(), local: BTreeMap::new(), of }
    }

    /// Rounds done.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Scores (or weights) of the survivors, in canonical order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Bytes of the run so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Number of clients whose scores are kept.
    pub fn kept(&self) -> usize {
        self.local.len()
    }

    /// That this state is one of a federation with so many survivors.
    pub(super) fn check(&self, n: usize, of: &Identity) -> Result<(), FederationError> {
        self.of.same(of)?;
        FederationError::length("the server's values", n, self.values.len())
    }

    /// The state as bytes, exactly: the same state gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let of = self.of.to_text();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.round.to_le_bytes());
        bytes.extend((of.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(self.voters.map_or(u64::MAX, u64::from).to_le_bytes());
        bytes.extend((self.local.len() as u64).to_le_bytes());
        write_ledger(&self.ledger, &mut bytes);
        bytes.extend(of.as_bytes());
        bytes.extend(from_f32s(&self.values));
        for (client, scores) in &self.local {
            bytes.extend(client.to_le_bytes());
            bytes.extend(from_f32s(scores));
        }
        seal(bytes)
    }

    /// The state that [`Server::to_bytes`] wrote. Which federation it belongs to is in it: one of another rule,
    /// network, mask, population or seed refuses it.
    ///
    /// # Errors
    /// [`FederationError::Saved`] when the bytes are damaged, cut or of another format, or a value is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FederationError> {
        let mut reader = Reader::open(bytes, MAGIC)?;
        let (round, of, n) = (reader.word()?, reader.word()?, reader.word()?);
        let (voters, kept) = (reader.word()?, reader.word()?);
        let ledger = reader.ledger()?;
        let of = std::str::from_utf8(reader.take(of)?).ok().and_then(Identity::from_text);
        let of = of.ok_or_else(|| saved("it does not say what it is of"))?;
        let values = reader.values(n)?;
        let mut local = BTreeMap::new();
        for _ in 0..kept {
            let client = reader.client()?;
            if local.last_key_value().is_some_and(|(last, _)| *last >= client) {
                return Err(saved("its clients do not rise"));
            }
            local.insert(client, reader.values(n)?);
        }
        reader.end()?;
        Ok(Self { round, values, voters: u32::try_from(voters).ok(), ledger, local, of })
    }
}
