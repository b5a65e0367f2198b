//! Runs cells, some at a time, each in a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::error::{RunError, exit};
use plasticity_core::files::where_possible;
use plasticity_core::run::record::CellSpec;
use plasticity_core::run::{Lock, Progress};
use serde_json::Value;

use super::cell::{Message, write_status};
use super::early::{self, Early};
use super::plan::{Cell, Planned};
use super::progress::Display;
use super::provenance;
use super::stop::{Listener, PATIENCE};
use crate::{mend, records, root};

/// How a schedule ended.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cells that failed.
    pub failed: usize,
    /// Why all of them did, as an exit code: [`exit::FAILED`] where they did for different reasons.
    pub code: i32,
    /// Cells on which another process still works.
    pub locked: usize,
    /// A stop was asked for before every cell had ended.
    pub interrupted: bool,
}

impl Summary {
    /// Counts a failed cell and the code that it ended with.
    fn fail(&mut self, code: Option<i32>) {
        let known = code.filter(|code| [exit::USAGE, exit::DATA, exit::LOCKED].contains(code));
        let code = known.unwrap_or(exit::FAILED);
        self.code = if self.failed == 0 || self.code == code { code } else { exit::FAILED };
        self.failed += 1;
    }
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
    /// Where its own words begin in the log, which those before it have written to as well.
    log_from: u64,
}

/// Runs every cell that has no result.
pub fn run_all(planned: &Planned, jobs: usize, force: bool, stop: &Listener) -> anyhow::Result<Summary> {
    let mut waiting = early::order(planned);
    if waiting.is_empty() {
        return Ok(Summary::default());
    }
    let program = copy_program(&planned.dir)?;
    let machine = provenance::machine(&root::workspace());
    let mut display = Display::new(waiting.len());
    let (send, news) = channel();
    let mut running: BTreeMap<usize, Running> = BTreeMap::new();
    let mut summary = Summary::default();
    let mut claims = Early::new(planned);
    let (mut asked, mut killed) = (false, false);
    loop {
        while !stop.asked()
            && running.len() < jobs
            && let Some(index) = waiting.pop_front()
        {
            let cell = &planned.cells[index];
            match prepare(cell, force).and_then(|()| start(&program, cell, &machine, index, &send)) {
                Ok(child) => {
                    display.started(index, &cell.name());
                    running.insert(index, child);
                }
                Err(error) => {
                    if matches!(error.downcast_ref(), Some(RunError::Locked(_))) {
                        summary.locked += 1;
                    } else {
                        summary.fail(Some(crate::exit_code(&error)));
                    }
                    let (why, mend) = (crate::one_line(&error), mend::of(error.as_ref()));
                    display.line(&format!("{}: could not start: {why}{mend}", cell.name()));
                }
            }
        }
        if running.is_empty() {
            break;
        }
        if let Some(done) = hear(&news, planned, &mut running, &mut display, &mut summary, stop) {
            claims.done(done).iter().for_each(|verdict| display.line(verdict));
        }
        if stop.asked() && !asked {
            asked = true;
            display.line("stopping: the cells save their state (Ctrl-C again kills them)");
            running.values_mut().for_each(|cell| drop(cell.stdin.take()));
        }
        if stop.impatient() && !killed {
            killed = true;
            running.values().for_each(|cell| end(cell.pid));
        }
    }
    // A stop that came when every cell had ended has stopped nothing.
    summary.interrupted |= !waiting.is_empty();
    fs::remove_file(&program).ok();
    Ok(summary)
}

/// Handles what the cells say, or waits a moment. The cell that has come to a result, if one has.
fn hear(
    news: &Receiver<News>,
    planned: &Planned,
    running: &mut BTreeMap<usize, Running>,
    display: &mut Display,
    summary: &mut Summary,
    stop: &Listener,
) -> Option<usize> {
    match news.recv_timeout(Duration::from_millis(100)) {
        Ok(News::Progress(index, progress)) => display.progress(index, &progress),
        Ok(News::Failed(index, message)) => {
            if let Some(cell) = running.get_mut(&index) {
                cell.message = Some(message);
            }
        }
        Ok(News::Ended(index, status)) => {
            let cell = &planned.cells[index];
            let (message, from) = running.remove(&index).map_or((None, 0), |cell| (cell.message, cell.log_from));
            match status {
                Ok(status) if status.code() == Some(exit::DONE) => {
                    display.ended(index, "done");
                    return Some(index);
                }
                // Whatever befell it afterwards: a published result is whole.
                _ if records::is_whole(&cell.dir, Some(&cell.spec.key)) => {
                    let _ = write_status(&cell.dir, "done", None, None);
                    display.ended(index, "done");
                    return Some(index);
                }
                Ok(status) if status.code() == Some(exit::LOCKED) => {
                    summary.locked += 1;
                    display.ended(index, "LOCKED: another process still works on it, start again when it has ended");
                }
                Ok(status) if status.code() == Some(exit::INTERRUPTED) => {
                    summary.interrupted = true;
                    display.ended(index, "stopped");
                }
                // A signal that asks for a stop, before the cell could listen; or a kill, ours or of whoever stopped us.
                Ok(status) if status.signal().is_some_and(|signal| stop.asked() || asks(signal)) => {
                    summary.interrupted = true;
                    let message = "killed; the same command goes on from the last checkpoint";
                    let _ = write_status(&cell.dir, "interrupted", Some("interrupted"), Some(message));
                    display.ended(index, "stopped");
                }
                status => {
                    summary.fail(status.as_ref().ok().and_then(ExitStatus::code));
                    let why = message.unwrap_or_else(|| died(&cell.dir, status, from));
                    display
                        .ended(index, &format!("FAILED ({why}), see {}", root::display(&cell.dir.join("stderr.log"))));
                }
            }
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
    None
}

fn asks(signal: i32) -> bool {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().any(|s| s as i32 == signal)
}

/// A cell that ended without a word leaves its status to us. What it has written to its log begins at `from`.
fn died(dir: &Path, status: std::io::Result<ExitStatus>, from: u64) -> String {
    let why = match status {
        Ok(status) => match status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("ended with code {}", status.code().unwrap_or(-1)),
        },
        Err(error) => format!("lost: {error}"),
    };
    let log = fs::read(dir.join("stderr.log")).unwrap_or_default();
    let own = usize::try_from(from).ok().and_then(|from| log.get(from..)).unwrap_or_default();
    let message = match reason(&String::from_utf8_lossy(own)) {
        Some(reason) => format!("{why}; {reason}"),
        None => why.clone(),
    };
    // A killed cell goes on from its checkpoint, so it is not a failure of its own.
    let _ = write_status(dir, "failed", Some("killed"), Some(&message));
    why
}

/// The line of a log that says why a process ended: that of a panic, which advice and a backtrace follow, else the last.
fn reason(log: &str) -> Option<&str> {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
    match lines.clone().position(|line| line.starts_with("thread '") && line.contains("panicked at ")) {
        Some(panic) => lines.nth(panic + 1),
        None => lines.next_back(),
    }
}

/// Writes what the cell's process reads.
fn prepare(cell: &Cell, force: bool) -> anyhow::Result<()> {
    // A directory's name holds part of the key alone: what another key left there is not this cell's.
    let other = records::read::<CellSpec>(&cell.dir.join("cell.json")).ok().flatten();
    if cell.dir.exists() && (force || other.is_some_and(|spec| spec.key != cell.spec.key)) {
        // Under its lock, so that a cell that still runs is not pulled from under its feet.
        let lock = Lock::take(&cell.dir, PATIENCE)?;
        discard(&cell.dir)?;
        drop(lock);
    }
    fs::create_dir_all(&cell.dir).map_err(|e| RunError::io(&cell.dir, e))?;
    let none = Fault::none();
    publish(&cell.dir.join("config.toml"), cell.toml.as_bytes(), &none)?;
    publish(&cell.dir.join("cell.json"), &to_json(&cell.written())?, &none)?;
    Ok(())
}

/// Removes a directory of which nothing may stand when the removal is stopped half-way: a result
/// without its measurements would be taken for done.
///
/// # Errors
/// When it cannot be moved away or removed.
pub fn discard(dir: &Path) -> Result<(), RunError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let remove = |dir: &Path| fs::remove_dir_all(dir).map_err(|e| RunError::io(dir, e));
    if name.starts_with(REMOVED) {
        return remove(dir);
    }
    let away = dir.with_file_name(format!("{REMOVED}{name}"));
    if away.exists() {
        remove(&away)?;
    }
    fs::rename(dir, &away).map_err(|e| RunError::io(dir, e))?;
    remove(&away)
}

/// Begins the name of a directory that is being removed.
pub const REMOVED: &str = ".removed-";

fn start(program: &Path, cell: &Cell, machine: &Value, index: usize, send: &Sender<News>) -> anyhow::Result<Running> {
    let path = cell.dir.join("stderr.log");
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| RunError::io(&path, e))?;
    let log_from = log.metadata().map_err(|e| RunError::io(&path, e))?.len();
    let mut child = Command::new(program)
        .arg("cell")
        .arg(&cell.dir)
        // The pool of the CPU backends and the default device are set per process.
        .env("RAYON_NUM_THREADS", cell.spec.threads.to_string())
        .env("BURN_DEVICE", plasticity_core::device::kind(&cell.spec.device))
        .env(provenance::FACTS, provenance::of_cell(machine, &cell.spec).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // A group of its own: Ctrl-C reaches the runner alone, which then asks the cells.
        .process_group(0)
        .spawn()
        .context("cannot start a process")?;
    let running = Running { stdin: child.stdin.take(), pid: child.id(), message: None, log_from };
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

/// As safe as any other end: what is on disk is always whole.
fn end(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Cells run from a copy, so that a rebuild in between cannot mix sources.
fn copy_program(dir: &Path) -> anyhow::Result<PathBuf> {
    let program = dir.join("runner");
    let temporary = dir.join("runner.tmp");
    let this = std::env::current_exe().context("cannot find this program")?;
    let copied = fs::copy(&this, &temporary)
        .and_then(|_| fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)))
        .and_then(|()| where_possible(File::open(&temporary)?.sync_all()))
        .and_then(|()| fs::rename(&temporary, &program));
    copied.map_err(|error| {
        // It is as large as all else together: on a full disk it would be in the way of freeing some.
        let _ = fs::remove_file(&temporary);
        RunError::io(&program, error)
    })?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_died_of_is_its_own_and_no_advice() {
        let killed = || Ok(ExitStatus::from_raw(9));
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("stderr.log");
        let said = |from: u64| {
            assert_eq!(died(dir.path(), killed(), from), "killed by signal 9");
            let status: plasticity_core::run::record::Status =
                records::read(&dir.path().join("status.json")).unwrap().unwrap();
            status.message.unwrap()
        };
        assert_eq!(said(0), "killed by signal 9");
        let before = "error: interrupted at step 20\n";
        fs::write(&log, before).unwrap();
        assert_eq!(said(before.len() as u64), "killed by signal 9", "that was another process");
        let panic = "warning: slow\n\nthread 'main' (77) panicked at src/a.rs:1:2:\nindex out of bounds\nnote: run with \
                     `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        fs::write(&log, format!("{before}{panic}")).unwrap();
        assert_eq!(said(before.len() as u64), "killed by signal 9; index out of bounds");
        assert_eq!(reason("first\nlast\n\n"), Some("last"));
        assert_eq!(reason("thread 'main' panicked at src/a.rs:1:2:\n"), None);
    }
}
