//! The server's rules (section 3.4): what a client uploads, what the server makes of it, what it broadcasts.
//!
//! Votes are integer sums of n_k m_kj, so that a tie is exactly 0 and the order of clients cannot matter. Sums of
//! scores and scales are taken in f64 in rising order of clients. {0,1} masks vote alike, a 0 as -1: a mean of at
//! least 1/2 is then a score of at least 0.
//!
//! FedAvg is [`Rule::ScoreMean`] on trained weights instead of scores.

mod rule;
mod tally;

pub use crate::codec::exchange::{Coding, Downlink, Form, Stamp, Upload};
pub use rule::{Rule, Zeros, broadcast, flips, known, state_of, upload};
pub use tally::{Received, RoundStats, Tally, aggregate};
