//! Saved states: a magic word, a body, and a CRC-32 of both; what reads a body takes piece after piece.

use crate::codec::Kind;
use crate::error::FederationError;
use crate::ledger::{Count, Direction, Ledger};

/// What is wrong with saved bytes.
pub(super) fn saved(why: &str) -> FederationError {
    FederationError::Saved(why.into())
}

fn short() -> FederationError {
    saved("it is cut short")
}

/// Ends a state that begins with its magic word.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What is left of a state's bytes.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The body of what [`seal`] made.
    pub fn open(bytes: &'a [u8], magic: &[u8; 8]) -> Result<Self, FederationError> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
        let Some(rest) = body.strip_prefix(magic) else {
            return Err(saved("it is of another format"));
        };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(saved("its checksum is wrong"));
        }
        Ok(Self(rest))
    }

    /// The next bytes; a length is compared with what is there before anything is allocated.
    pub fn take(&mut self, n: u64) -> Result<&'a [u8], FederationError> {
        let n = usize::try_from(n).ok().filter(|n| *n <= self.0.len());
        let (head, rest) = self.0.split_at(n.ok_or_else(|| saved("its length does not fit its counts"))?);
        self.0 = rest;
        Ok(head)
    }

    pub fn word(&mut self) -> Result<u64, FederationError> {
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or_else(short)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }

    pub fn number(&mut self) -> Result<f64, FederationError> {
        self.word().map(f64::from_bits)
    }

    pub fn client(&mut self) -> Result<u32, FederationError> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or_else(short)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*head))
    }

    /// `n` finite values.
    pub fn values(&mut self, n: u64) -> Result<Vec<f32>, FederationError> {
        let bytes = self.take(n.saturating_mul(4))?;
        let values = plasticity_core::bytes::to_f32s(bytes).ok_or_else(short)?;
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(saved("it has a value that is not finite"))
    }

    /// The total of what [`write_ledger`] wrote.
    pub fn ledger(&mut self) -> Result<Ledger, FederationError> {
        let mut ledger = Ledger::default();
        for direction in [&mut ledger.total.up, &mut ledger.total.down] {
            self.direction(direction)?;
        }
        Ok(ledger)
    }

    fn direction(&mut self, direction: &mut Direction) -> Result<(), FederationError> {
        for kind in Kind::ALL {
            let count = Count { messages: self.word()?, header: self.word()?, payload: self.word()? };
            if count.messages > 0 {
                direction.add(kind, count);
            }
        }
        Ok(())
    }

    /// That nothing is left.
    pub fn end(self) -> Result<(), FederationError> {
        if self.0.is_empty() { Ok(()) } else { Err(saved("its length does not fit its counts")) }
    }
}

/// The total of a ledger.
pub(super) fn write_ledger(ledger: &Ledger, out: &mut Vec<u8>) {
    for direction in [&ledger.total.up, &ledger.total.down] {
        for kind in Kind::ALL {
            let Count { messages, header, payload } = direction.of(kind);
            out.extend([messages, header, payload].into_iter().flat_map(u64::to_le_bytes));
        }
    }
}
