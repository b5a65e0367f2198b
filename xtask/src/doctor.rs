//! `doctor`: what this machine and this build can do.

use std::path::PathBuf;

use clap::Args;
use plasticity_core::data::{Lookup, Place};
use plasticity_core::device;
use plasticity_core::error::exit;
use plasticity_core::machine;

use crate::reproduce::{LOCK, RUSTC};
use crate::root;
use crate::text::bytes;

/// Flags of `cargo xtask doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Folder that holds data sets, each in a folder of its name.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Prints the facts; the exit code.
pub fn run(args: &DoctorArgs) -> anyhow::Result<i32> {
    let root = root::workspace();
    say!("Machine");
    say!("  processor   {}", machine::cpu_model());
    say!("  threads     {}", std::thread::available_parallelism().map_or(1, usize::from));
    say!("  system      {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let runs = root.join("runs");
    let place = if runs.exists() { &runs } else { &root };
    if let Some(free) = crate::reproduce::free_disk(place) {
        say!("  free disk   {} for {}", bytes(free), root::display(&runs));
    }

    say!("Build");
    say!("  compiler    {RUSTC}");
    say!("  Cargo.lock  sha256 {}", &LOCK[..12]);

    say!("Devices (the default is `{}`)", device::auto());
    for kind in device::KINDS {
        match device::enumerate(kind) {
            None => say!("  {kind:10}  {}", device::DeviceError::NotCompiled(kind)),
            Some(found) if found.is_empty() => say!("  {kind:10}  compiled in, no such hardware or driver found"),
            Some(found) => {
                for (index, found) in found.iter().enumerate() {
                    let name = if found_is_cpu(kind) { kind.to_owned() } else { format!("{kind}:{index}") };
                    say!("  {name:10}  ready: {}", device::details(kind, index, found));
                }
            }
        }
    }

    say!("Data");
    let lookup = Lookup::from_env(args.data_dir.clone(), true);
    for (what, dir) in
        [("--data-dir", &lookup.data_dir), ("PLASTICITY_DATA", &lookup.env_dir), ("cache", &lookup.cache_dir)]
    {
        match dir {
            None => say!("  {what:15} not set"),
            Some(dir) if dir.is_dir() => say!("  {what:15} {}", root::display(dir)),
            Some(dir) => say!("  {what:15} {} (does not exist)", root::display(dir)),
        }
    }
    for manifest in plasticity_core::data::manifest::built_in()? {
        let text = match plasticity_core::data::locate(&manifest.name, &lookup) {
            Ok(Some(Place::BuiltIn)) => "built in".to_owned(),
            Ok(Some(Place::Dir(dir))) => root::display(&dir),
            Ok(None) => format!("not on this machine; `cargo xtask data fetch {}` gets it", manifest.name),
            Err(error) => error.to_string(),
        };
        say!("  {:15} {text}", manifest.name);
    }
    Ok(exit::DONE)
}

fn found_is_cpu(kind: &str) -> bool {
    kind == "flex" || kind == "ndarray"
}
