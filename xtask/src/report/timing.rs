//! How long a cell took, from the records that nothing compares.

use std::path::Path;

use serde::Deserialize;

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
    fn median_is_the_middle() {
        assert_eq!(median(vec![3.0, 9.0, 1.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
