//! The integration tests of plasticity-core, in one binary.

mod data;
mod glyphs;
