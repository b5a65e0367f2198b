//! How a stop is heard. Ctrl-C, SIGTERM (as schedulers send it, to the runner alone or to all processes) and SIGHUP
//! (a terminal that closes) mean the same to the runner and to a cell; to a cell, so does the end of its standard
//! input, which the runner holds.
//!
//! Each process ends within seconds, whatever it is doing: a step of a minute, the reading of data, a lock that it waits
//! for, a disk that hangs. That needs no help of what it interrupts, since every file is published by rename or cut, on
//! resume, to the length that its checkpoint says: there is no instant at which a kill could leave half of anything.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use plasticity_core::error::exit;

use super::cell::write_status;

/// What a cell has for the step that it is in and for saving, from when a stop is asked for.
pub const GRACE: Duration = Duration::from_secs(4);

/// What the runner gives its cells, before it kills what is left of them, and a report that it is writing.
pub const CELLS: Duration = Duration::from_secs(5);

/// What the runner gives itself.
const RUNNER: Duration = Duration::from_secs(7);

/// Signals that come together are one: `timeout` and some schedulers send theirs to the process and to its group.
const TOGETHER: Duration = Duration::from_millis(500);

/// How long one waits for the lock of a process that has been asked to stop, or whose runner was killed: longer than it
/// takes to end.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Calls `heard` at each of the three signals. `nohup` is obeyed: who is told to ignore SIGHUP goes on ignoring it.
fn on_signal(heard: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
    // SAFETY: to ignore a signal is to run no code at it.
    let before = unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    ctrlc::set_handler(heard).context("cannot listen for Ctrl-C")?;
    if matches!(before, Ok(SigHandler::SigIgn)) {
        // SAFETY: as above.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }.context("cannot ignore SIGHUP")?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the runner is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding, checking and downloading data, waiting for the suite's lock: it ends at once.
    Planning,
    /// Running cells: they are asked to end, and killed by a second Ctrl-C.
    Running,
    /// Writing the report of what is finished: it is written, unless that lasts or a second Ctrl-C comes. Each of its files
    /// is whole or not there, and the next call writes them all.
    Reporting,
}

/// The runner's ear.
#[derive(Clone)]
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
    /// The call discards what it finds.
    force: bool,
}

struct Heard {
    phase: Phase,
    /// When the first stop came.
    first: Option<Instant>,
    /// A second came.
    again: bool,
}

impl Listener {
    /// Begins to listen, in a call with or without `--force`. To be called once in a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(force: bool) -> anyhow::Result<Self> {
        let heard = Arc::new(Mutex::new(Heard { phase: Phase::Planning, first: None, again: false }));
        let of_handler = heard.clone();
        on_signal(move || {
            let mut heard = lock(&of_handler);
            match heard.first {
                // The lock is kept, so that nothing else begins meanwhile.
                _ if heard.phase == Phase::Planning => leave(force),
                None => {
                    heard.first = Some(Instant::now());
                    let heard = of_handler.clone();
                    thread::spawn(move || {
                        thread::sleep(CELLS);
                        // The dead are buried and the line is said; a report was to be ready by now.
                        if lock(&heard).phase != Phase::Reporting {
                            thread::sleep(RUNNER - CELLS);
                        }
                        leave(force);
                    });
                }
                Some(first) if first.elapsed() < TOGETHER => {}
                Some(_) if heard.phase == Phase::Reporting => leave(force),
                Some(_) => heard.again = true,
            }
        })?;
        Ok(Self { heard, force })
    }

    /// Goes over to another phase.
    pub fn enter(&self, phase: Phase) {
        lock(&self.heard).phase = phase;
    }

    /// A stop was asked for.
    pub fn asked(&self) -> bool {
        lock(&self.heard).first.is_some()
    }

    /// The time that was left to the cells is over.
    pub fn impatient(&self) -> bool {
        let heard = lock(&self.heard);
        heard.again || heard.first.is_some_and(|first| first.elapsed() > CELLS)
    }

    /// Says the one line of a runner that was stopped.
    pub fn say_interrupted(&self) {
        say_interrupted(self.force);
    }
}

/// With `--force` the same command would discard what this one finished.
fn say_interrupted(force: bool) {
    let which = if force { "The same command without --force" } else { "The same command" };
    say!("\nInterrupted. {which} goes on where this one stopped.");
}

/// Ends the runner from whatever it is doing. Cells that still run see their standard input close.
fn leave(force: bool) -> ! {
    // Whoever should read the line may have stopped reading.
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(1));
        std::process::exit(exit::INTERRUPTED);
    });
    say_interrupted(force);
    std::process::exit(exit::INTERRUPTED);
}

/// A cell's ear, and the only hand that writes its status: two threads may want to.
#[derive(Clone, Default)]
pub struct Ending {
    asked: Arc<AtomicBool>,
    /// The cell's directory, from when this process holds its lock.
    dir: Arc<Mutex<Option<PathBuf>>>,
}

impl Ending {
    /// Begins to listen for signals. To be called once in a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen(&self) -> anyhow::Result<()> {
        let this = self.clone();
        on_signal(move || this.ask())
    }

    /// What the experiment's loop looks at.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }

    /// A stop was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Asks for a stop: the loop saves and ends at its next step, or the process ends without.
    pub fn ask(&self) {
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = self.clone();
        thread::spawn(move || {
            thread::sleep(GRACE);
            this.end();
        });
    }

    /// The cell is this process's own.
    pub fn own(&self, dir: PathBuf) {
        let mut own = lock(&self.dir);
        let _ = write_status(&dir, "running", None, None);
        *own = Some(dir);
    }

    /// Writes the last status of a process that is about to end, if the cell is its own, and keeps the other thread from
    /// writing any.
    pub fn last_status(&self, state: &str, kind: Option<&str>, message: Option<&str>) {
        let own = lock(&self.dir);
        if let Some(dir) = &*own {
            let _ = write_status(dir, state, kind, message);
        }
        std::mem::forget(own);
    }

    /// Ends the process, which may be anywhere. If that is within the publishing of `result.json`, the rename has happened
    /// and the cell is done, or it has not and the cell goes on from its last checkpoint.
    fn end(&self) -> ! {
        // A disk that hangs holds up whoever writes to it, and perhaps the exit as well.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(1));
            let _ = raise(Signal::SIGKILL);
        });
        let own = lock(&self.dir);
        let code = match &*own {
            Some(dir) if crate::records::is_whole(dir, None) => {
                let _ = write_status(dir, "done", None, None);
                exit::DONE
            }
            Some(dir) => {
                let message = "stopped within a step; the same command goes on from the last checkpoint";
                let _ = write_status(dir, "interrupted", Some("interrupted"), Some(message));
                exit::INTERRUPTED
            }
            None => exit::INTERRUPTED,
        };
        std::process::exit(code)
    }
}
