//! What is said, to a reader who may have gone away: that is no fault.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;

/// Bytes on standard output, at once; whether somebody still reads.
pub fn piece(bytes: &[u8]) -> ControlFlow<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// Text on standard error, as far as it can be written.
pub fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A line on standard error that is written again and again, where somebody looks at it.
pub struct Progress {
    what: &'static str,
    seen: bool,
    last: u64,
}

impl Progress {
    /// Of `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, seen: std::io::stderr().is_terminal(), last: u64::MAX }
    }

    /// So far, of so many.
    pub fn at(&mut self, done: u64, of: u64) {
        let percent = done * 100 / of.max(1);
        if self.seen && percent != self.last {
            self.last = percent;
            complain(&format!("\r{} {percent}%", self.what));
        }
    }

    /// Wipes the line.
    pub fn end(self) {
        if self.seen && self.last != u64::MAX {
            complain(&format!("\r{:width$}\r", "", width = self.what.len() + 5));
        }
    }
}
