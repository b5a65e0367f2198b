//! `list`: the suites with what they test and cost.

use std::collections::BTreeSet;

use plasticity_core::error::exit;
use plasticity_core::run::record::Profile;

use crate::text::duration;
use crate::{registry, root, suite};

/// Prints one line a suite; the exit code.
pub fn run() -> anyhow::Result<i32> {
    let root = root::workspace();
    let entries = registry::entries();
    say!("Papers:");
    for entry in &entries {
        say!("  {}: {}", entry.name, entry.about);
    }
    say!("\nSuites (cost: all cells one after the other, on one thread of an ordinary machine):");
    let names = suite::all(&root);
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut code = exit::DONE;
    for name in &names {
        match suite::find(&root, name).and_then(|(file, name)| suite::read(&file, name, &entries)) {
            Ok(suite) => {
                let arms: usize = suite.experiments.iter().map(|e| e.arms.len()).sum();
                let counts: BTreeSet<usize> = suite.experiments.iter().map(|e| e.seeds.len()).collect();
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                let plural = if counts == ["1"] { "" } else { "s" };
                let cells = format!("{arms:>2} arms x {} seed{plural}", counts.join(" or "));
                let profile = match suite.head.profile {
                    Profile::Full => "full",
                    Profile::Reduced => "reduced",
                };
                say!(
                    "  {name:width$}  {profile:7}  {cells:22}  {:>11}  {}",
                    duration(suite.seconds()),
                    suite.head.title
                );
            }
            Err(error) => {
                say!("  {name:width$}  cannot be read: {error}");
                code = exit::USAGE;
            }
        }
    }
    Ok(code)
}
