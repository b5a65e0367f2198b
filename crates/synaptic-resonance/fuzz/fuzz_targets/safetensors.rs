//! Any bytes as a folder of the transformers library: `config.json` up to the first zero byte, then `model.safetensors`. A
//! model or an error. `tests/it/load/damage.rs` has the same entry for a stable compiler.
//!
//! From `crates/synaptic-resonance`, with a nightly compiler and `cargo install cargo-fuzz`:
//!
//!     mkdir -p fuzz/corpus/safetensors
//!     (cat tests/fixtures/llama/config.json; printf '\0'; cat tests/fixtures/llama/model.safetensors) \
//!         > fuzz/corpus/safetensors/llama
//!     cargo +nightly fuzz run safetensors -- -max_len=400000 -rss_limit_mb=512

#![no_main]

use libfuzzer_sys::fuzz_target;
use synaptic_resonance::load::{Options, load};

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (config, weights) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("config.json"), config).expect("room for it");
    std::fs::write(folder.path().join("model.safetensors"), weights).expect("room for it");
    let device = plasticity_core::device::by_name("flex").expect("compiled in");
    let _ = load(folder.path(), &Options::default(), &device);
});
