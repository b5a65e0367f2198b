//! Hashes the sources that a result depends on, so that the binary itself knows which
//! code it was built from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest, Sha256};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("..");
    let mut out = String::from("/// SHA-256 of the sources of each crate.\npub const SOURCES: &[(&str, &str)] = &[\n");
    // Every crate, so that a new paper's cannot be forgotten; one that is added changes Cargo.lock.
    let crates = root.join("crates");
    let mut names: Vec<String> = fs::read_dir(&crates)
        .expect("the folder of the crates is readable")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names {
        let dir = crates.join(&name).join("src");
        println!("cargo::rerun-if-changed={}", dir.display());
        let _ = writeln!(out, "    ({name:?}, {:?}),", hash_dir(&dir));
    }
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).unwrap_or_default();
    let burn = text.split_once("name = \"burn\"\nversion = \"").and_then(|(_, rest)| rest.split('"').next());
    let burn = burn.unwrap_or("unknown");
    let lock = hex(&Sha256::digest(text.as_bytes()));
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let _ = write!(
        out,
        "];\n/// SHA-256 of Cargo.lock.\npub const LOCK: &str = {lock:?};\n/// The compiler.\npub const RUSTC: &str = {version:?};\n/// The version of Burn.\npub const BURN: &str = {burn:?};\n"
    );
    let to = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("sources.rs");
    fs::write(to, out).expect("the build directory is writable");
}

fn hash_dir(dir: &Path) -> String {
    let mut files = Vec::new();
    collect(dir, &mut files);
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(dir).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let content = fs::read(&file).unwrap_or_default();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    hex(&hash.finalize())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
