//! Messages as bytes (section 3.7): a header of 36 bytes and a payload in one of eight kinds.
//!
//! - [`message`]: the header, and what a receiver refuses; [`WireError`] says why
//! - [`payload`]: the payload of each kind
//! - [`coder`]: an adaptive binary arithmetic coder, for masks whose signs can be foreseen
//! - [`bits`]: bits in bytes, least significant first
//! - [`exchange`]: what crosses in a round, [`exchange::Upload`] and [`exchange::Downlink`]
//!
//! ```text
//! byte   0 "HNS1"     4 version  5 kind    6 two zeros   8 round u32   12 client u32
//!       16 n u32     20 hash of P u64     28 payload length u32       32 CRC-32       36 payload
//! ```
//!
//! All integers are little-endian. The CRC-32 (IEEE) covers the header, with the CRC's own field 0, and the
//! payload. A receiver compares everything in the header with what it expects, and a length with what it could
//! be, before it allocates anything.

pub mod bits;
pub mod coder;
mod error;
pub mod exchange;
mod kind;
pub mod message;
pub mod payload;

pub use error::WireError;
pub use exchange::{Coding, Downlink, Form, Stamp, Upload};
pub use kind::Kind;
pub use message::{BROADCAST, Expect, HEADER, Message};
pub use payload::Known;
