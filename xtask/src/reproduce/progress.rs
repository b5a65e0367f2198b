//! Live progress: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use plasticity_core::run::Progress;

use crate::text::duration;

/// How often a cell gets a plain line.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows what the cells do.
pub struct Display {
    bars: Option<MultiProgress>,
    running: BTreeMap<usize, Running>,
    start: Instant,
    done: usize,
    total: usize,
}

struct Running {
    name: String,
    bar: ProgressBar,
    start: Instant,
    said: Instant,
    task: String,
}

impl Display {
    /// For `total` cells.
    pub fn new(total: usize) -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, running: BTreeMap::new(), start: Instant::now(), done: 0, total }
    }

    pub fn started(&mut self, cell: usize, name: &str) {
        let bar = match &self.bars {
            None => ProgressBar::hidden(),
            Some(bars) => {
                let bar = bars.add(ProgressBar::new(1));
                let style = ProgressStyle::with_template("{prefix:20} {bar:24} {percent:>3}% {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_prefix(name.to_owned());
                bar
            }
        };
        let now = Instant::now();
        let running = Running { name: name.to_owned(), bar, start: now, said: now, task: String::new() };
        self.running.insert(cell, running);
        if self.bars.is_none() {
            self.line(&format!("{name}: started"));
        }
    }

    pub fn progress(&mut self, cell: usize, progress: &Progress) {
        let plain = self.bars.is_none();
        let Some(running) = self.running.get_mut(&cell) else { return };
        let text = describe(progress);
        running.bar.set_length(progress.steps.max(1));
        running.bar.set_message(text.clone());
        running.bar.set_position(progress.step);
        if plain && (running.said.elapsed() >= PLAIN_EVERY || running.task != progress.task) && progress.step > 0 {
            running.said = Instant::now();
            running.task.clone_from(&progress.task);
            let name = running.name.clone();
            self.line(&format!("{name}: {text}"));
        }
    }

    /// Ends a cell's bar with a word about how it ended.
    pub fn ended(&mut self, cell: usize, how: &str) {
        self.done += 1;
        let Some(running) = self.running.remove(&cell) else { return };
        running.bar.finish_and_clear();
        let took = duration(running.start.elapsed().as_secs_f64());
        self.line(&format!("{}: {how} after {took} ({} of {})", running.name, self.done, self.total));
    }

    /// A line above the bars.
    pub fn line(&self, text: &str) {
        let text = format!("[{:>7}] {text}", duration(self.start.elapsed().as_secs_f64()));
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => say!("{text}"),
        }
    }
}

fn describe(progress: &Progress) -> String {
    let mut text = format!("{}, step {} of {}", progress.task, progress.step, progress.steps);
    if progress.rate > 0.0 {
        let left = (progress.steps - progress.step.min(progress.steps)) as f64 / progress.rate;
        text += &format!(", {:.1} a second, {} left", progress.rate, duration(left));
    }
    text
}
