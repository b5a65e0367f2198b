//! A message: the header of section 3.7, and what a receiver refuses.

use super::bits::{bytes_for, exactly};
use super::error::WireError;
use super::kind::Kind;

/// Bytes of a header.
pub const HEADER: usize = 36;
/// The client of a message to all.
pub const BROADCAST: u32 = u32::MAX;
const MAGIC: [u8; 4] = *b"HNS1";
const VERSION: u8 = 1;
/// Where the checksum stands.
const CRC: std::ops::Range<usize> = 32..36;

impl Kind {
    /// The fewest and the most bytes of a payload of `n` entries in `layers` layers, with `voters` clients
    /// (section 4). Only the entropy-coded kinds have a choice.
    pub fn payload_bytes(self, n: u32, layers: u32, voters: u32) -> (u64, u64) {
        let (n, scales) = (u64::from(n), 4 * u64::from(layers));
        let raw = bytes_for(n, 1);
        match self {
            Self::RawSigns | Self::PruneBitmap => (raw, raw),
            Self::CodedSigns | Self::CodedXor => (1, 1 + raw),
            Self::Scores => (4 * n, 4 * n),
            Self::Votes => (bytes_for(n, vote_width(voters)), bytes_for(n, vote_width(voters))),
            Self::SignDelta => (scales + raw, scales + raw),
            Self::TernaryDelta => (scales + 1, scales + 1 + bytes_for(n, 2)),
        }
    }
}

/// `ceil(log2(voters + 1))`, the bits of a vote count.
pub fn vote_width(voters: u32) -> u32 {
    u32::BITS - voters.leading_zeros()
}

/// What a receiver knows of the message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Its kind.
    pub kind: Kind,
    /// The round.
    pub round: u32,
    /// The sender of an upload; [`BROADCAST`] for a message to all.
    pub client: u32,
    /// Entries: survivors, or all weights for a prune bitmap.
    pub n: u32,
    /// Hash of the prune mask.
    pub mask_hash: u64,
    /// Layers with weights; for kinds with scales.
    pub layers: u32,
    /// Clients that voted; for vote counts.
    pub voters: u32,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the payload is.
    pub kind: Kind,
    /// The round, from 1; 0 before the first.
    pub round: u32,
    /// The sender of an upload; [`BROADCAST`] for a message to all.
    pub client: u32,
    /// Entries.
    pub n: u32,
    /// Hash of the prune mask.
    pub mask_hash: u64,
    /// The payload's bytes, shorter than 4 GiB (no receiver accepts a longer one).
    pub payload: Vec<u8>,
}

impl Message {
    /// Header and payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.kind as u8, 0, 0]);
        bytes.extend(self.round.to_le_bytes());
        bytes.extend(self.client.to_le_bytes());
        bytes.extend(self.n.to_le_bytes());
        bytes.extend(self.mask_hash.to_le_bytes());
        bytes.extend(u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.payload);
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The message in `bytes`, if it is the one that is due. The payload's content is checked by the functions of
    /// [`super::payload`].
    ///
    /// # Errors
    /// When it is not, with the reason. Nothing is allocated before every check has passed.
    pub fn decode(bytes: &[u8], expect: &Expect) -> Result<Self, WireError> {
        let needed = HEADER as u64 + u64::from(declared_payload(bytes, expect)?);
        exactly(bytes, needed)?;
        let (found, computed) = (word(bytes, CRC.start), checksum(bytes));
        if found != computed {
            return Err(WireError::Crc { found, computed });
        }
        if bytes[6..8] != [0, 0] {
            return Err(WireError::Reserved);
        }
        let (round, client, n) = (word(bytes, 8), word(bytes, 12), word(bytes, 16));
        let mask_hash = u64::from(word(bytes, 20)) | u64::from(word(bytes, 24)) << 32;
        if n != expect.n {
            return Err(WireError::Count { expected: expect.n, found: n });
        }
        if mask_hash != expect.mask_hash {
            return Err(WireError::MaskHash { expected: expect.mask_hash, found: mask_hash });
        }
        if (round, client) != (expect.round, expect.client) {
            let (expected_round, expected_client) = (expect.round, expect.client);
            return Err(WireError::Replayed { expected_round, expected_client, round, client });
        }
        Ok(Self { kind: expect.kind, round, client, n, mask_hash, payload: bytes[HEADER..].to_vec() })
    }
}

/// The payload's length as the header at the front of `bytes` declares it, if the message that is due can have it:
/// what a transport reads before it makes room for the payload.
///
/// # Errors
/// When the header is cut, of another protocol, version or kind, or the length is impossible.
pub fn declared_payload(bytes: &[u8], expect: &Expect) -> Result<u32, WireError> {
    let kind = kind_of(bytes)?;
    if kind != expect.kind {
        return Err(WireError::WrongKind { expected: expect.kind, found: kind });
    }
    let declared = word(bytes, 28);
    let (least, most) = kind.payload_bytes(expect.n, expect.layers, expect.voters);
    if (least..=most).contains(&u64::from(declared)) {
        return Ok(declared);
    }
    Err(WireError::Length { declared: u64::from(declared), least, most })
}

/// The kind of an encoded message.
///
/// # Errors
/// When its header is cut, or of another protocol or version.
pub fn kind_of(bytes: &[u8]) -> Result<Kind, WireError> {
    if bytes.len() < HEADER {
        return Err(WireError::Truncated { needed: HEADER as u64, found: bytes.len() as u64 });
    }
    if bytes[..4] != MAGIC {
        return Err(WireError::Magic);
    }
    if bytes[4] != VERSION {
        return Err(WireError::Version(bytes[4]));
    }
    Kind::of(bytes[5]).ok_or(WireError::UnknownKind(bytes[5]))
}

/// The u32 at `at`, of a header that is known to be whole.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// CRC-32 (IEEE) of a whole message with its CRC field 0.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC.start]);
    hasher.update(&[0; 4]);
    hasher.update(&bytes[CRC.end..]);
    hasher.finalize()
}
