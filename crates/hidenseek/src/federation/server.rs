//! All that changes from round to round, and its bytes.

use std::collections::BTreeMap;

use plasticity_core::bytes::{from_f32s, to_f32s};

use crate::codec::Kind;
use crate::error::FederationError;
use crate::ledger::{Count, Direction, Ledger};

const MAGIC: &[u8; 8] = b"HNSserv1";

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
    mask_hash: u64,
}

impl Server {
    pub(super) fn new(values: Vec<f32>, mask_hash: u64) -> Self {
        Self { round: 0, values, voters: None, ledger: Ledger::default(), local: BTreeMap::new(), mask_hash }
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

    /// That this state is one of a federation with these survivors.
    pub(super) fn check(&self, layers: &[usize], mask_hash: u64) -> Result<(), FederationError> {
        let (expected, found) = (layers.iter().sum(), self.values.len());
        if expected != found {
            return Err(FederationError::Length { field: "the server's values", expected, found });
        }
        if self.mask_hash != mask_hash {
            return Err(FederationError::Saved("it belongs to another prune mask".into()));
        }
        Ok(())
    }

    /// The state as bytes, exactly: the same state gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.round.to_le_bytes());
        bytes.extend(self.mask_hash.to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(self.voters.map_or(u64::MAX, u64::from).to_le_bytes());
        bytes.extend((self.local.len() as u64).to_le_bytes());
        for direction in [&self.ledger.total.up, &self.ledger.total.down] {
            for kind in Kind::ALL {
                let Count { messages, header, payload } = direction.of(kind);
                bytes.extend([messages, header, payload].into_iter().flat_map(u64::to_le_bytes));
            }
        }
        bytes.extend(from_f32s(&self.values));
        for (client, scores) in &self.local {
            bytes.extend(client.to_le_bytes());
            bytes.extend(from_f32s(scores));
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The state that [`Server::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`FederationError::Saved`] when the bytes are damaged, cut or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FederationError> {
        let saved = |why: &str| FederationError::Saved(why.into());
        let short = || saved("it is cut short");
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
        if !body.starts_with(MAGIC) {
            return Err(saved("it is of another format"));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(saved("its checksum is wrong"));
        }
        let mut rest = &body[MAGIC.len()..];
        let mut word = || -> Result<u64, FederationError> {
            let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(short)?;
            rest = tail;
            Ok(u64::from_le_bytes(*head))
        };
        let (round, mask_hash, n, voters, kept) = (word()?, word()?, word()?, word()?, word()?);
        let mut ledger = Ledger::default();
        for direction in [&mut ledger.total.up, &mut ledger.total.down] {
            read_direction(direction, &mut word)?;
        }
        // Lengths are compared with what is there before anything is allocated.
        let record = n.checked_mul(4).and_then(|bytes| bytes.checked_add(4));
        let needed = record.and_then(|r| r.checked_mul(kept)).and_then(|all| all.checked_add(4 * n));
        if needed != Some(rest.len() as u64) {
            return Err(saved("its length does not fit its counts"));
        }
        let (values, records) = rest.split_at(4 * n as usize);
        let local = records.chunks_exact(4 * n as usize + 4).map(|record| {
            let (client, scores) = record.split_first_chunk::<4>().ok_or_else(short)?;
            Ok((u32::from_le_bytes(*client), to_f32s(scores).ok_or_else(short)?))
        });
        let local = local.collect::<Result<_, FederationError>>()?;
        let values = to_f32s(values).ok_or_else(short)?;
        Ok(Self { round, values, voters: u32::try_from(voters).ok(), ledger, local, mask_hash })
    }
}

fn read_direction(
    direction: &mut Direction,
    word: &mut impl FnMut() -> Result<u64, FederationError>,
) -> Result<(), FederationError> {
    for kind in Kind::ALL {
        let count = Count { messages: word()?, header: word()?, payload: word()? };
        if count.messages > 0 {
            direction.add(kind, count);
        }
    }
    Ok(())
}
