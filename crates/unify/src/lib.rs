//! No code: this crate fixes the features of dependencies that Burn shares with
//! the tests and benchmarks.
//!
//! Cargo builds a dependency once per set of features. Criterion, proptest and
//! other development dependencies switch on features of crates that lie below
//! Burn, so `cargo test` after `cargo xtask` would compile Burn a second time.
//! Switching the same features on for every build keeps one Burn. Core depends
//! on this crate, so each `-p` build sees the same set; the test
//! `one_build_of_burn` in xtask compares the two trees and names an offender.
