//! No code: this crate fixes the features of dependencies that Burn shares with
//! the tests and benchmarks.
//!
//! Cargo builds a dependency once per set of features. Criterion, proptest and
//! other development dependencies switch on features of crates that lie below
//! Burn, so `cargo test` after `cargo xtask` would compile Burn a second time.
//! Switching the same features on for every build keeps one Burn. The runner is
//! built on this crate, and the tests, examples and benches of every other one
//! are, as a development dependency: who uses a crate as a library never sees
//! it. The test `one_build_of_burn` in xtask compares the trees and names an
//! offender. What no job builds, a library without its tests (`cargo build -p
//! hebbian-snn`), compiles a Burn of its own.
