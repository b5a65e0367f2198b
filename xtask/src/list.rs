//! `list`: the suites with what they test and cost.

use std::collections::BTreeSet;

use clap::Args;
use plasticity_core::error::{ConfigError, exit};
use plasticity_core::run::record::Profile;

use crate::cost::{self, Cost};
use crate::{registry, root, suite};

/// What `cargo xtask list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Say what the suites cost with so many runs at a time [default: one per core of this machine].
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Prints one line a suite; the exit code.
pub fn run(args: &ListArgs) -> anyhow::Result<i32> {
    if args.jobs == Some(0) {
        return Err(ConfigError::new("--jobs 0: give at least 1").into());
    }
    let root = root::workspace();
    let entries = registry::entries();
    say!("Papers:");
    for entry in &entries {
        say!("  {}: {}", entry.name, entry.about);
    }
    say!(
        "\nSuites. An arm is one setting of an experiment; it runs once with each seed, the number that all chance in a"
    );
    say!(
        "run is drawn from. `full` is the paper's protocol, `reduced` has less data or training. The time is that of all"
    );
    say!(
        "runs, {} at a time, on CPU cores like those of docs/performance.md:",
        args.jobs.unwrap_or_else(|| cost::jobs(1))
    );
    let names = suite::all(&root);
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut code = exit::DONE;
    for name in &names {
        match suite::find(&root, name).and_then(|(file, name)| suite::read(&file, name, &entries)) {
            Ok(suite) => {
                let cost = Cost::of_suite(&suite, args.jobs.unwrap_or_else(|| cost::jobs(suite.head.threads)));
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
                    "  {name:width$}  {profile:7}  {cells:22}  {:>16}  {}",
                    format!("about {}", cost.time()),
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
