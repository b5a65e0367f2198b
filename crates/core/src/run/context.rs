//! What an experiment sees of the world: its seed, device and data, and where its
//! measurements, checkpoints and artifacts go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::events::EventLog;
use super::record::{CellResult, CellSpec, Event, FORMAT, Outcome};
use crate::checkpoint::{Fault, Files, Snapshot, Store, file, from_json, publish, to_json};
use crate::data::{Images, Resolved, Split};
use crate::error::{ConfigError, DataError, RunError};
use crate::rng::Stream;

/// A checkpoint comes at least this often, beside those at boundaries.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done (`task 3 of 10`).
    pub task: String,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Steps per second since the start of the process; 0 while unknown.
    pub rate: f64,
}

/// What a process hands to its run.
pub struct Setup {
    /// The cell's directory; it exists.
    pub dir: PathBuf,
    /// Seed, device name, data and key.
    pub spec: CellSpec,
    /// The device of that name.
    pub device: Device,
    /// Set to ask the run to save its state and end, at the end of its step. A process that
    /// cannot wait for that may end at any instant: what is on disk is always whole.
    pub stop: Arc<AtomicBool>,
    /// Called a few times per second.
    pub progress: Box<dyn FnMut(&Progress)>,
    /// Faults to inject.
    pub fault: Fault,
}

/// The state of the run itself inside a checkpoint.
#[derive(Default, Serialize, Deserialize)]
struct RunState {
    events: u64,
    warnings: Vec<String>,
}

const RUN_STATE: &str = "run.json";

/// The world of one run.
pub struct RunContext {
    setup: Setup,
    store: Store,
    events: EventLog,
    warnings: Vec<String>,
    /// Names that this process has published.
    artifacts: RefCell<BTreeSet<String>>,
    task: String,
    step: u64,
    steps: u64,
    start: Instant,
    start_step: u64,
    /// The files of the newest checkpoint, until the experiment takes them.
    restored: Option<Files>,
    /// When the first step of this process ended: what came before it says nothing of the rate.
    first_done: Option<(Instant, u64)>,
    saved: Instant,
    shown: Option<Instant>,
}

impl RunContext {
    /// Opens the records in the cell's directory, at the newest checkpoint.
    ///
    /// # Errors
    /// When a checkpoint or the log cannot be used.
    pub fn new(setup: Setup) -> Result<Self, RunError> {
        let store = Store::new(setup.dir.join("checkpoints"), setup.fault.clone());
        let saved = store.latest()?;
        let (step, run) = match &saved {
            None => (0, RunState::default()),
            Some((step, files)) => (*step, from_json(Path::new(RUN_STATE), file(files, RUN_STATE)?)?),
        };
        let events = EventLog::open(&setup.dir.join("events.jsonl"), run.events)?;
        let now = Instant::now();
        Ok(Self {
            setup,
            store,
            events,
            warnings: run.warnings,
            artifacts: RefCell::default(),
            task: String::new(),
            step,
            steps: 0,
            start: now,
            start_step: step,
            restored: saved.map(|(_, files)| files),
            first_done: None,
            saved: now,
            shown: None,
        })
    }

    /// The cell's seed.
    pub fn seed(&self) -> u64 {
        self.setup.spec.seed
    }

    /// A random stream of this run.
    pub fn stream(&self, label: &str, index: u64) -> Stream {
        Stream::new(self.seed(), label, index)
    }

    /// The device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.setup.device
    }

    /// The data set that the plan resolved.
    ///
    /// # Errors
    /// When the suite names none.
    pub fn data(&self) -> Result<&Resolved, RunError> {
        let none = || ConfigError::new("this experiment needs `data = [\"mnist\", ...]` in its suite");
        self.setup.spec.data.as_ref().ok_or_else(|| none().into())
    }

    /// The first `limit` images of a split, verified against the plan's checksums.
    ///
    /// # Errors
    /// When they cannot be read or there are fewer than `limit`.
    pub fn images(&self, split: Split, limit: usize) -> Result<Images, RunError> {
        let data = self.data()?;
        let images = crate::data::load(data, split, Some(limit))?;
        if images.len() < limit {
            let split = if split == Split::Train { "training" } else { "testing" };
            let (name, found, asked) = (data.name.clone(), images.len(), limit);
            return Err(DataError::TooFew { name, split, found, asked }.into());
        }
        Ok(images)
    }

    /// The text of a split, verified against the plan's checksums.
    ///
    /// # Errors
    /// When the suite's data set is not a text, or cannot be read.
    pub fn text(&self, split: Split) -> Result<String, RunError> {
        Ok(crate::data::load_text(self.data()?, split)?)
    }

    /// The last step that is done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Loads the newest checkpoint into `state` and tells how many of `steps` are done;
    /// 0 for a fresh run. To be called once, before the first step.
    ///
    /// # Errors
    /// When the checkpoint is not of this kind of state.
    pub fn restore(&mut self, steps: u64, state: &mut dyn Snapshot) -> Result<u64, RunError> {
        self.steps = steps;
        if let Some(files) = self.restored.take() {
            state.load(&files)?;
            tracing::info!("going on from step {}", self.step);
        }
        self.start = Instant::now();
        self.saved = self.start;
        Ok(self.step)
    }

    /// Records a measurement of `split` at the current step.
    ///
    /// What a resumed process measures before it restores, the one before it has recorded: it
    /// stands in the log that was restored and is not written a second time.
    ///
    /// # Errors
    /// [`RunError::Diverged`] when the value is not finite.
    pub fn event(&mut self, step: u64, split: &str, metric: &str, value: f64, n: u64) -> Result<(), RunError> {
        if !value.is_finite() {
            return Err(RunError::Diverged { metric: metric.to_owned(), value, step });
        }
        if self.restored.is_some() {
            return Ok(());
        }
        self.events.push(&Event { step, split: split.to_owned(), metric: metric.to_owned(), value, n })
    }

    /// Says what is being done, for the progress line.
    pub fn task(&mut self, task: impl Into<String>) {
        self.task = task.into();
        self.shown = None;
        self.show();
    }

    /// A warning that belongs into the report. It stands there once, however often it is given
    /// and however often the run was stopped: a resumed process comes by the places before its
    /// restore, and by those before its loop, again.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            self.warnings.push(warning);
        }
    }

    /// Ends a step. The state is saved at a `boundary` (a task, a round, an epoch),
    /// once a minute, and before an end that was asked for; when it is saved has no
    /// influence on the results.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] after saving, when a stop was asked for.
    pub fn step_done(&mut self, step: u64, boundary: bool, state: &dyn Snapshot) -> Result<(), RunError> {
        self.setup.fault.in_step(step);
        self.step = step;
        self.first_done.get_or_insert_with(|| (Instant::now(), step));
        self.show();
        let stop = self.setup.stop.load(Ordering::Relaxed);
        if stop || boundary || self.saved.elapsed() >= CHECKPOINT_EVERY {
            self.save(state)?;
        }
        self.setup.fault.after_step(step);
        if stop { Err(RunError::Interrupted { step }) } else { Ok(()) }
    }

    fn save(&mut self, state: &dyn Snapshot) -> Result<(), RunError> {
        let mut files: Files = state.save()?;
        let run = RunState { events: self.events.sync()?, warnings: self.warnings.clone() };
        files.insert(RUN_STATE.into(), to_json(&run)?);
        self.store.save(self.step, &files)?;
        self.saved = Instant::now();
        self.timing("checkpoint")
    }

    /// Wall time and memory go into a file of their own, which nothing compares.
    fn timing(&self, at: &str) -> Result<(), RunError> {
        let path = self.setup.dir.join("timing.jsonl");
        let peak = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
        let usage = peak.ok().map(|usage| {
            let cpu = usage.user_time() + usage.system_time();
            // Kilobytes on Linux, bytes on macOS.
            let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
            (usage.max_rss() * unit, cpu.tv_sec() as f64 + cpu.tv_usec() as f64 * 1e-6)
        });
        let line = serde_json::json!({
            "at": at,
            "step": self.step,
            "first_step": self.start_step,
            "wall_s": self.start.elapsed().as_secs_f64(),
            "unix_s": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            "cpu_s": usage.map(|u| u.1),
            "peak_memory_bytes": usage.map(|u| u.0),
        });
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
            writeln!(file, "{line}")
        };
        write().map_err(|e| RunError::io(&path, e))
    }

    /// Publishes a file below `artifacts/`.
    ///
    /// # Errors
    /// When it cannot be written, its name is not that of a file in one folder, or this process
    /// has published another one under it.
    pub fn artifact(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(RunError::Failed(format!("`{name}` is not a plain name of a file")));
        }
        if !self.artifacts.borrow_mut().insert(name.to_owned()) {
            return Err(RunError::Failed(format!("two artifacts are called `{name}`")));
        }
        let dir = self.setup.dir.join("artifacts");
        fs::create_dir_all(&dir).map_err(|e| RunError::io(&dir, e))?;
        publish(&dir.join(name), bytes, &self.setup.fault)
    }

    /// Whether a file of this name has been published below `artifacts/`.
    pub fn has_artifact(&self, name: &str) -> bool {
        self.setup.dir.join("artifacts").join(name).is_file()
    }

    /// Publishes `result.json`, the last file of a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, mut outcome: Outcome) -> Result<(), RunError> {
        self.setup.fault.before_result();
        outcome.warnings.splice(0..0, std::mem::take(&mut self.warnings));
        self.events.sync()?;
        self.timing("end")?;
        let result = CellResult { format: FORMAT, key: self.setup.spec.key.clone(), outcome };
        publish(&self.setup.dir.join("result.json"), &to_json(&result)?, &self.setup.fault)
    }

    fn show(&mut self) {
        if self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS_EVERY) && self.step < self.steps {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = match self.first_done {
            Some((at, step)) if at.elapsed() > Duration::from_millis(500) => {
                (self.step - step) as f64 / at.elapsed().as_secs_f64()
            }
            _ => 0.0,
        };
        let progress = Progress { task: self.task.clone(), step: self.step, steps: self.steps, rate };
        (self.setup.progress)(&progress);
    }
}
