//! Any bytes as a GGUF file: a model or an error. `tests/it/load/damage.rs` has the same entry for a stable compiler.
//!
//! From `crates/synaptic-resonance`, with a nightly compiler and `cargo install cargo-fuzz`:
//!
//!     mkdir -p fuzz/corpus/gguf && cp tests/fixtures/*/model.gguf fuzz/corpus/gguf/
//!     cargo +nightly fuzz run gguf -- -max_len=200000 -rss_limit_mb=512

#![no_main]

use libfuzzer_sys::fuzz_target;
use synaptic_resonance::load::{Options, load};

fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("room for it");
    let device = plasticity_core::device::by_name("flex").expect("compiled in");
    let _ = load(file.path(), &Options::default(), &device);
});
