//! Hashes what a result depends on, so that the binary itself knows which code it was built from, and how.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use sha2::{Digest, Sha256};

mod lexer;
mod sources;

fn main() {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).parent().expect("xtask has a folder").to_path_buf();
    // Every crate, so that a new paper's cannot be forgotten; one that is added changes Cargo.lock.
    let crates = sources::crates(&root).unwrap_or_else(|why| stop(&why));
    let mut all =
        String::from("/// SHA-256 of the files that each crate is made of.\npub const SOURCES: &[(&str, &str)] = &[\n");
    let mut needs = String::from(
        "/// The crates that each crate is built on, itself among them.\npub const NEEDS: &[(&str, &[&str])] = &[\n",
    );
    for one in &crates {
        let hash = sources::hash(&root, &one.files).unwrap_or_else(|why| stop(&why));
        let _ = writeln!(all, "    ({:?}, {hash:?}),", one.folder);
        let _ = writeln!(needs, "    ({:?}, &{:?}),", one.folder, one.needs.iter().collect::<Vec<_>>());
    }
    let lock = file(&root.join("Cargo.lock"));
    let burn = lock.split_once("name = \"burn\"\nversion = \"").and_then(|(_, rest)| rest.split('"').next());
    let burn = burn.unwrap_or("unknown");
    let workspace = sources::workspace(&root);
    for path in sources::watched(&crates).iter().chain(&workspace) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let (lock, workspace) = (sha256(&lock), sources::hash(&root, &workspace).unwrap_or_else(|why| stop(&why)));
    let rustc = compiler("--version");
    let out = format!(
        "{all}];\n{needs}];\n\
         /// SHA-256 of Cargo.lock.\npub const LOCK: &str = {lock:?};\n\
         /// SHA-256 of the workspace's Cargo.toml and of .cargo/config.toml: features of Burn, profiles.\npub const WORKSPACE: &str = {workspace:?};\n\
         /// How this program was built.\npub const BUILD: &[(&str, &str)] = &{:?};\n\
         /// The compiler.\npub const RUSTC: &str = {:?};\n\
         /// The version of Burn.\npub const BURN: &str = {burn:?};\n",
        build(),
        rustc.trim(),
    );
    fs::write(Path::new(&variable("OUT_DIR")).join("sources.rs"), out).expect("the build directory is writable");
}

/// The keys of a profile that may stand in a variable.
const PROFILE_KEYS: [&str; 7] =
    ["OPT_LEVEL", "DEBUG_ASSERTIONS", "OVERFLOW_CHECKS", "LTO", "PANIC", "CODEGEN_UNITS", "INCREMENTAL"];

/// How the crates are being compiled, as far as it may decide a result.
fn build() -> Vec<(&'static str, String)> {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(key, _)| Some(key.strip_prefix("CARGO_FEATURE_")?.to_ascii_lowercase()))
        .filter(|feature| feature != "default")
        .collect();
    features.sort();
    // A profile's keys in the environment; those in a manifest or in Cargo's configuration are in the hash of the files.
    for (profile, key) in ["DEV", "RELEASE"].into_iter().flat_map(|p| PROFILE_KEYS.map(|key| (p, key))) {
        println!("cargo::rerun-if-env-changed=CARGO_PROFILE_{profile}_{key}");
    }
    let mut profile: Vec<String> = env::vars()
        .filter(|(key, _)| key.starts_with("CARGO_PROFILE_"))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    profile.sort();
    profile.insert(0, format!("{}, opt-level {}", variable("PROFILE"), variable("OPT_LEVEL")));
    vec![
        ("features", features.join(" ")),
        ("profile", profile.join(" ")),
        ("rustc", compiler("-vV")),
        ("rustflags", env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ")),
        ("target", variable("TARGET")),
        ("target features", env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default()),
    ]
}

fn compiler(flag: &str) -> String {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    match std::process::Command::new(&rustc).arg(flag).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(e) => stop(&format!("cannot ask {rustc} for its version: {e}")),
    }
}

/// A file on which everything depends.
fn file(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|e| stop(&format!("{}: {e}", path.display())))
}

fn sha256(text: &str) -> String {
    sources::hex(&Sha256::digest(text.as_bytes()))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| stop(&format!("cargo does not say {name}")))
}

fn stop(why: &str) -> ! {
    println!("cargo::error={why}");
    std::process::exit(1);
}
