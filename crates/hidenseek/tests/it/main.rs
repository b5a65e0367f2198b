//! Oracles of the specification, one file per room.

mod aggregate;
mod codec;
mod federation;
mod fused;
mod partition;
mod prune;
mod supermask;
