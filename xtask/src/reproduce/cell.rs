//! The process of one cell: reads what it is to do from its directory, runs it, and
//! talks to the runner by lines of JSON on standard output.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::config::Source;
use plasticity_core::device;
use plasticity_core::error::{ConfigError, RunError, exit};
use plasticity_core::run::record::{CellSpec, FORMAT, Status};
use plasticity_core::run::{Lock, Progress, RunContext, Setup};
use serde::{Deserialize, Serialize};

use super::provenance;
use super::stop::{Ending, PATIENCE};
use crate::{mend, records, registry};

/// Flags of the child process.
#[derive(Debug, Clone, Args)]
pub struct CellOptions {
    /// The cell's directory.
    pub dir: PathBuf,
}

/// One line from a cell to its runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// How far it has come.
    Progress(Progress),
    /// It failed: kind and message.
    Failed { kind: String, message: String },
}

impl Message {
    fn send(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            // A runner that has gone away is noticed by the end of standard input.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

/// Runs the cell; the exit code.
pub fn run(options: &CellOptions) -> i32 {
    let ending = Ending::default();
    // Before the lock: who waits for it hears a stop as well.
    watch_stdin(ending.clone());
    if let Err(error) = ending.listen() {
        complain!("warning: {}", crate::one_line(&error));
    }
    // Held until the last status is written: it is the owner who writes it.
    let mut lock = None;
    match attempt(&options.dir, &ending, &mut lock) {
        Ok(()) => {
            ending.last_status("done", None, None);
            exit::DONE
        }
        Err(error) => {
            let state = if matches!(error, RunError::Interrupted { .. }) { "interrupted" } else { "failed" };
            let (kind, message) = (error.kind().to_owned(), format!("{}{}", crate::line_of(&error), mend::of(&error)));
            ending.last_status(state, Some(&kind), Some(&message));
            complain!("error: {message}");
            Message::Failed { kind, message }.send();
            error.exit_code()
        }
    }
}

fn attempt(dir: &Path, ending: &Ending, lock: &mut Option<Lock>) -> Result<(), RunError> {
    // The owner may be a cell of a runner that was just killed.
    *lock = Some(Lock::take(dir, PATIENCE)?);
    ending.own(dir.to_path_buf());
    let path = dir.join("cell.json");
    let spec: Option<CellSpec> = records::read(&path)?;
    let spec = spec.ok_or_else(|| ConfigError::new("no such file: no cell was planned here").in_file(&path))?;
    if records::is_whole(dir, Some(&spec.key)) {
        return Ok(());
    }
    records::set_aside(dir, &spec.key)?;
    let source = Source::read(&dir.join("config.toml"))?;
    let entries = registry::entries();
    let entry = entries.iter().find(|entry| entry.name == spec.experiment);
    let entry = entry.ok_or_else(|| ConfigError::new(format!("there is no experiment `{}`", spec.experiment)))?;
    let device = device::by_name(&spec.device).map_err(|e| ConfigError::new(e.to_string()))?;

    let facts = provenance::from_runner(&spec);
    let mut ctx = RunContext::new(Setup {
        dir: dir.to_path_buf(),
        spec,
        device,
        stop: ending.flag(),
        progress: Box::new(|progress| Message::Progress(progress.clone()).send()),
        fault: Fault::from_env(),
    })?;
    if ending.asked() {
        return Err(RunError::Interrupted { step: ctx.step() });
    }
    provenance::add(dir, facts, ctx.step())?;
    let outcome = entry.run(&source, &mut ctx)?;
    ctx.finish(outcome)
}

/// The runner holds the other end: when it closes it, or dies, the cell saves and ends.
fn watch_stdin(ending: Ending) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin();
        let mut buffer = [0u8; 64];
        while matches!(stdin.read(&mut buffer), Ok(n) if n > 0) {}
        ending.ask();
    });
}

/// Publishes `status.json`.
pub fn write_status(dir: &Path, state: &str, kind: Option<&str>, message: Option<&str>) -> Result<(), RunError> {
    let status = Status {
        format: FORMAT,
        state: state.to_owned(),
        kind: kind.map(str::to_owned),
        message: message.map(str::to_owned),
    };
    publish(&dir.join("status.json"), &to_json(&status)?, &Fault::none())
}
