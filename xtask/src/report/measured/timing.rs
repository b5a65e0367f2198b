//! How long a cell took, from the records that nothing compares.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is read of a line of `timing.jsonl`.
#[derive(Deserialize)]
struct Line {
    /// The step that the process started from.
    first_step: u64,
    /// Seconds since its first step.
    wall_s: f64,
}

/// Wall seconds of a cell, over every process that worked on it; `None` where they were not
/// recorded. What a killed process did after its last checkpoint is not counted.
pub fn seconds(path: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    // A line that a killed process tore is passed over.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut total = None;
    let mut before: Option<Line> = None;
    for line in lines {
        // The clock of a process counts from its start.
        let since = match &before {
            Some(b) if b.first_step == line.first_step && b.wall_s <= line.wall_s => b.wall_s,
            _ => 0.0,
        };
        total = Some(total.unwrap_or(0.0) + line.wall_s - since);
        before = Some(line);
    }
    total
}

/// When a run ended, in seconds since 1970, by the last record of its end; `None` where that was not recorded.
pub fn ended(path: &Path) -> Option<f64> {
    #[derive(Deserialize)]
    struct End {
        at: String,
        unix_s: f64,
    }
    let text = std::fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<End>(line).ok());
    lines.filter(|line| line.at == "end").map(|line| line.unix_s).next_back()
}

/// One call of the runner that ran cells of a suite: a line of the suite's own `timing.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its start, in seconds since 1970.
    pub started: u64,
    /// How long it took.
    pub wall_s: f64,
    /// Cells at a time, at most.
    pub jobs: usize,
    /// Cells that it had to run.
    pub cells: usize,
}

/// Adds a call to the suite's record.
///
/// # Errors
/// A file that cannot be written.
pub fn record(suite_dir: &Path, call: &Call) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(suite_dir.join("timing.jsonl"))?;
    writeln!(file, "{}", serde_json::to_string(call)?)
}

/// The calls of the runner on a suite, as far as they were recorded.
pub fn calls(suite_dir: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(suite_dir.join("timing.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The middle value, or the mean of the two in the middle; `None` for none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| 0.5 * (values[(n - 1) / 2] + values[n / 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_add_up_and_checkpoints_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timing.jsonl");
        assert_eq!(seconds(&path), None);
        let line =
            |first: u64, wall: f64| format!("{{\"at\":\"checkpoint\",\"first_step\":{first},\"wall_s\":{wall}}}\n");
        let one = line(0, 2.0) + &line(0, 5.0);
        std::fs::write(&path, &one).unwrap();
        assert_eq!(seconds(&path), Some(5.0));
        std::fs::write(&path, one.clone() + &line(40, 6.0) + &line(40, 9.0)).unwrap();
        assert_eq!(seconds(&path), Some(14.0));
        // Killed before it saved anything, and started again from the same step.
        std::fs::write(&path, one + "{\"first_st\n" + &line(0, 4.0)).unwrap();
        assert_eq!(seconds(&path), Some(9.0));
    }

    #[test]
    fn the_end_of_a_run_is_that_of_its_last_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timing.jsonl");
        assert_eq!(ended(&path), None);
        std::fs::write(&path, "{\"at\":\"end\",\"wall_s\":1.0}\n").unwrap();
        assert_eq!(ended(&path), None, "records had no time of day once");
        let line = |at: &str, time: f64| format!("{{\"at\":\"{at}\",\"unix_s\":{time}}}\n");
        std::fs::write(&path, line("end", 70.5) + &line("end", 80.25) + &line("checkpoint", 90.0) + "{\"at").unwrap();
        assert_eq!(ended(&path), Some(80.25));
    }

    #[test]
    fn calls_are_kept_one_a_line() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(calls(dir.path()), []);
        let call = |started| Call { started, wall_s: 1.5, jobs: 2, cells: 3 };
        record(dir.path(), &call(7)).unwrap();
        record(dir.path(), &call(9)).unwrap();
        assert_eq!(calls(dir.path()), [call(7), call(9)]);
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(vec![3.0, 9.0, 1.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
