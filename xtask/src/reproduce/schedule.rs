//! Runs cells, some at a time, each in a process of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::error::exit;
use plasticity_core::run::Progress;
use plasticity_core::run::record::CellSpec;
use serde_json::Value;

use super::cell::{Message, write_status};
use super::plan::{Cell, Planned};
use super::progress::Display;
use super::provenance;
use crate::root;

/// How a schedule ended.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cells that failed.
    pub failed: usize,
    /// A stop was asked for.
    pub interrupted: bool,
}

enum News {
    Progress(usize, Progress),
    Failed(usize, String),
    Ended(usize, std::io::Result<ExitStatus>),
}

struct Running {
    /// Closing it asks the cell to save and end.
    stdin: Option<std::process::ChildStdin>,
    pid: u32,
    message: Option<String>,
}

/// Runs every cell that has no result.
pub fn run_all(planned: &Planned, jobs: usize, force: bool) -> anyhow::Result<Summary> {
    let mut waiting: VecDeque<usize> = (0..planned.cells.len()).filter(|i| planned.cells[*i].to_run()).collect();
    if waiting.is_empty() {
        return Ok(Summary::default());
    }
    let interrupts = Arc::new(AtomicUsize::new(0));
    let counter = interrupts.clone();
    ctrlc::set_handler(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .context("cannot listen for Ctrl-C")?;

    let program = copy_program(&planned.dir)?;
    let machine = provenance::machine(&root::workspace());
    let mut display = Display::new(waiting.len());
    let (send, news) = channel();
    let mut running: BTreeMap<usize, Running> = BTreeMap::new();
    let mut summary = Summary::default();
    let mut asked = 0;
    loop {
        while asked == 0
            && running.len() < jobs
            && let Some(index) = waiting.pop_front()
        {
            let cell = &planned.cells[index];
            match prepare(cell, &machine, force).and_then(|()| start(&program, cell, index, &send)) {
                Ok(child) => {
                    display.started(index, &cell.name());
                    running.insert(index, child);
                }
                Err(error) => {
                    summary.failed += 1;
                    display.line(&format!("{}: could not start: {error:#}", cell.name()));
                }
            }
        }
        if running.is_empty() {
            break;
        }
        hear(&news, planned, &mut running, &mut display, &mut summary);
        let now = interrupts.load(Ordering::Relaxed);
        if now > asked {
            summary.interrupted = true;
            if asked == 0 {
                display.line("stopping: the cells save their state (Ctrl-C again kills them)");
                running.values_mut().for_each(|cell| drop(cell.stdin.take()));
            } else {
                running.values().for_each(|cell| kill(cell.pid));
            }
            asked = now;
        }
    }
    fs::remove_file(&program).ok();
    Ok(summary)
}

/// Handles what the cells say, or waits a moment.
fn hear(
    news: &Receiver<News>,
    planned: &Planned,
    running: &mut BTreeMap<usize, Running>,
    display: &mut Display,
    summary: &mut Summary,
) {
    match news.recv_timeout(Duration::from_millis(100)) {
        Ok(News::Progress(index, progress)) => display.progress(index, &progress),
        Ok(News::Failed(index, message)) => {
            if let Some(cell) = running.get_mut(&index) {
                cell.message = Some(message);
            }
        }
        Ok(News::Ended(index, status)) => {
            let cell = &planned.cells[index];
            let message = running.remove(&index).and_then(|cell| cell.message);
            match status {
                Ok(status) if status.code() == Some(exit::DONE) => display.ended(index, "done"),
                Ok(status) if status.code() == Some(exit::INTERRUPTED) => {
                    summary.interrupted = true;
                    display.ended(index, "saved");
                }
                // Whatever befell it afterwards: a published result is whole.
                _ if cell.dir.join("result.json").exists() => {
                    let _ = write_status(&cell.dir, "done", None, None);
                    display.ended(index, "done");
                }
                status => {
                    summary.failed += 1;
                    let why = message.unwrap_or_else(|| died(&cell.dir, status));
                    display
                        .ended(index, &format!("FAILED ({why}), see {}", root::display(&cell.dir.join("stderr.log"))));
                }
            }
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

/// A cell that ended without a word leaves its status to us.
fn died(dir: &Path, status: std::io::Result<ExitStatus>) -> String {
    let why = match status {
        Ok(status) => match status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("ended with code {}", status.code().unwrap_or(-1)),
        },
        Err(error) => format!("lost: {error}"),
    };
    let log = fs::read_to_string(dir.join("stderr.log")).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    let message = if last.is_empty() { why.clone() } else { format!("{why}; {last}") };
    // A killed cell goes on from its checkpoint, so it is not a failure of its own.
    let _ = write_status(dir, "failed", Some("killed"), Some(&message));
    why
}

/// Writes what the cell's process reads.
fn prepare(cell: &Cell, machine: &Value, force: bool) -> anyhow::Result<()> {
    // A directory's name holds part of the key alone: what another key left there is not this cell's.
    let other =
        fs::read(cell.dir.join("cell.json")).ok().and_then(|text| serde_json::from_slice::<CellSpec>(&text).ok());
    if cell.dir.exists() && (force || other.is_some_and(|spec| spec.key != cell.spec.key)) {
        // Under its lock, so that a cell that still runs is not pulled from under its feet.
        let lock = plasticity_core::run::Lock::take(&cell.dir, Duration::from_secs(10))?;
        fs::remove_dir_all(&cell.dir)?;
        drop(lock);
    }
    fs::create_dir_all(&cell.dir)?;
    let none = Fault::none();
    publish(&cell.dir.join("config.toml"), cell.toml.as_bytes(), &none)?;
    publish(&cell.dir.join("cell.json"), &to_json(&cell.written())?, &none)?;
    publish(&cell.dir.join("provenance.json"), &to_json(&provenance::of_cell(machine, cell))?, &none)?;
    Ok(())
}

fn start(program: &Path, cell: &Cell, index: usize, send: &Sender<News>) -> anyhow::Result<Running> {
    let log = OpenOptions::new().create(true).append(true).open(cell.dir.join("stderr.log"))?;
    let mut child = Command::new(program)
        .arg("cell")
        .arg(&cell.dir)
        // The pool of the CPU backends and the default device are set per process.
        .env("RAYON_NUM_THREADS", cell.spec.threads.to_string())
        .env("BURN_DEVICE", plasticity_core::device::kind(&cell.spec.device))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // A group of its own: Ctrl-C reaches the runner alone, which then asks the cells.
        .process_group(0)
        .spawn()
        .context("cannot start a process")?;
    let running = Running { stdin: child.stdin.take(), pid: child.id(), message: None };
    let send = send.clone();
    std::thread::spawn(move || listen(child, index, &send));
    Ok(running)
}

fn listen(mut child: Child, index: usize, send: &Sender<News>) {
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let news = match serde_json::from_str(&line) {
                Ok(Message::Progress(progress)) => News::Progress(index, progress),
                Ok(Message::Failed { message, .. }) => News::Failed(index, message),
                Err(_) => continue,
            };
            let _ = send.send(news);
        }
    }
    let _ = send.send(News::Ended(index, child.wait()));
}

fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Cells run from a copy, so that a rebuild in between cannot mix sources.
fn copy_program(dir: &Path) -> anyhow::Result<PathBuf> {
    let program = dir.join("runner");
    let temporary = dir.join("runner.tmp");
    let this = std::env::current_exe().context("cannot find this program")?;
    fs::copy(&this, &temporary).with_context(|| format!("cannot copy {}", this.display()))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &program)?;
    Ok(program)
}
