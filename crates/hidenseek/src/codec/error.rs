//! Why a message is refused.

use super::kind::Kind;

/// A message that is not the one expected, or none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends too early.
    #[error("the message ends after {found} bytes, {needed} are needed")]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// It goes on after its end.
    #[error("the message has {found} bytes, only {needed} belong to it")]
    OverLong {
        /// Bytes that belong to it.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Not a message of this protocol.
    #[error("the message does not begin with HNS1")]
    Magic,
    /// Another version of the protocol.
    #[error("version {0} of the wire format is not known, this is version 1")]
    Version(u8),
    /// A kind that does not exist.
    #[error("kind {0} does not exist")]
    UnknownKind(u8),
    /// A kind that is not the expected one.
    #[error("a {found:?} message where {expected:?} is expected")]
    WrongKind {
        /// The kind expected.
        expected: Kind,
        /// The kind found.
        found: Kind,
    },
    /// Reserved bytes that are not 0.
    #[error("the reserved bytes of the header are not 0")]
    Reserved,
    /// A declared length that a payload of this kind cannot have.
    #[error("the header declares {declared} bytes of payload: {least} to {most} are possible")]
    Length {
        /// The length declared.
        declared: u64,
        /// The shortest possible.
        least: u64,
        /// The longest possible.
        most: u64,
    },
    /// The checksum does not fit: damaged on the way.
    #[error("the checksum is {found:08x}, the bytes have {computed:08x}")]
    Crc {
        /// The checksum in the header.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Another number of entries.
    #[error("the message is about {found} entries, {expected} are expected")]
    Count {
        /// The number expected.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// More entries than a message can count.
    #[error("{found} entries: a message counts up to 4294967295")]
    TooMany {
        /// The number asked for.
        found: u64,
    },
    /// Another number of survivors in the layers than in the state.
    #[error("the layers have {expected} survivors, the state has {found}")]
    Survivors {
        /// The number of the layers.
        expected: usize,
        /// The number of the state.
        found: usize,
    },
    /// Made for another prune mask.
    #[error("the message belongs to the prune mask {found:016x}, not to {expected:016x}")]
    MaskHash {
        /// The hash expected.
        expected: u64,
        /// The hash found.
        found: u64,
    },
    /// A message of another round or client, such as an old one sent again.
    #[error(
        "a message of round {round}, client {client} where round {expected_round}, client {expected_client} is due"
    )]
    Replayed {
        /// The round expected.
        expected_round: u32,
        /// The client expected.
        expected_client: u32,
        /// The round found.
        round: u32,
        /// The client found.
        client: u32,
    },
    /// Bits after the last entry that are not 0.
    #[error("padding bits are not 0")]
    Padding,
    /// A score or scale that is not finite, or a negative scale.
    #[error("value {index} is no finite score, or no scale")]
    NotFinite {
        /// Index of the value in the payload.
        index: usize,
    },
    /// A way of coding that does not exist.
    #[error("coding scheme {0} does not exist")]
    Scheme(u8),
    /// A symbol or vote count outside its range.
    #[error("entry {index} is {found}, at most {most} is possible")]
    Symbol {
        /// Index of the entry.
        index: usize,
        /// Its value.
        found: u32,
        /// The largest possible.
        most: u32,
    },
    /// Bytes that the arithmetic coder does not write for the bits that they stand for.
    #[error("the entropy-coded bytes are not the ones that their bits are coded as")]
    NotCanonical,
}
