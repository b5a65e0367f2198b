//! What runs cost. Whatever says it, `list`, `reproduce`, the report and (held to it by a test) the pages of `docs/`,
//! has the number from here.

use std::fs;

use plasticity_core::run::record::Plan;

use crate::suite::Suite;
use crate::text::{bytes, estimate};

/// Bytes of a report with one run and with each further one, roughly: tables, curves, the values of every seed.
const REPORT: [u64; 2] = [130_000, 27_000];

/// Of some runs, from what their experiments say of each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Wall time, the longest run first on `jobs` workers.
    pub seconds: f64,
    /// The most that is on disk at one time: the runs, the report, and the copy of this program that they are run from.
    pub disk: u64,
    /// Runs at a time.
    pub jobs: usize,
}

impl Cost {
    /// Of these runs, so many at a time.
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a Plan>, jobs: usize) -> Self {
        let runs: Vec<&Plan> = runs.into_iter().collect();
        let mut seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
        seconds.sort_by(|a, b| b.total_cmp(a));
        let mut workers = vec![0.0f64; jobs.max(1)];
        for run in seconds {
            if let Some(worker) = workers.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                *worker += run;
            }
        }
        let disk = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.disk));
        let beside = if runs.is_empty() { 0 } else { program() + REPORT[0] + REPORT[1] * (runs.len() as u64 - 1) };
        Self { seconds: workers.into_iter().fold(0.0, f64::max), disk: disk.saturating_add(beside), jobs: jobs.max(1) }
    }

    /// Of a suite of which nothing has run yet.
    pub fn of_suite(suite: &Suite, jobs: usize) -> Self {
        let runs = suite.experiments.iter().flat_map(|e| {
            let arms = e.arms.iter().map(|arm| &arm.prepared.plan);
            arms.flat_map(|plan| std::iter::repeat_n(plan, e.seeds.len()))
        });
        Self::of(runs, jobs)
    }

    /// `7 min`.
    pub fn time(&self) -> String {
        estimate(self.seconds)
    }

    /// `210 MB`: up to the next number of two digits.
    pub fn space(&self) -> String {
        let step = 10u64.pow(self.disk.max(10).ilog10() - 1);
        bytes(self.disk.div_ceil(step) * step).replace(".0 ", " ")
    }
}

/// Runs at a time on this machine: one for every `threads` of its cores.
pub fn jobs(threads: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / threads.max(1)).max(1)
}

/// Bytes of this program, which a suite's directory has a copy of while its runs last.
fn program() -> u64 {
    std::env::current_exe().and_then(fs::metadata).map_or(0, |program| program.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{registry, root, suite};

    fn run(seconds: f64, disk: u64) -> Plan {
        Plan { metrics: Vec::new(), steps: 1, seconds, disk }
    }

    #[test]
    fn runs_go_side_by_side_and_bring_the_program_and_the_report() {
        let runs = [run(1.0, 10), run(5.0, 20), run(2.0, 30)];
        assert_eq!([1, 2, 3, 9].map(|jobs| Cost::of(&runs, jobs).seconds), [8.0, 5.0, 5.0, 5.0]);
        let beside = Cost::of(&runs, 1).disk - 60;
        assert!(beside >= program() + REPORT[0], "{beside} of a program of {}", program());
        assert!(program() > 1_000_000, "the copy of the program counts: it has {} bytes", program());
        let space = [12_300_000, 335_100_000, 990_100_000, 1_210_000_000]
            .map(|disk| Cost { seconds: 0.0, disk, jobs: 1 }.space());
        assert_eq!(space, ["13 MB", "340 MB", "1 GB", "1.3 GB"]);
        assert_eq!(Cost::of(&[], 2), Cost { seconds: 0.0, disk: 0, jobs: 2 });
    }

    /// What the arms of every suite say that they cost, against what they took when the committed results were made.
    #[test]
    fn estimates_are_within_a_factor_of_what_was_measured() {
        let root = root::workspace();
        let file = root.join("experiments/results/performance/runs.txt");
        let mut measured: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        for line in fs::read_to_string(file).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [suite, cell, "cpu_s", seconds, ..] = words.as_slice() else { panic!("{line}") };
            let arm = cell.rsplit_once("-s").unwrap().0;
            measured.entry((suite.to_string(), arm.into())).or_default().push(seconds.parse().unwrap());
        }
        assert!(measured.len() > 50, "{} arms", measured.len());
        let (entries, mut faults) = (registry::entries(), Vec::new());
        for ((name, arm), mut seconds) in measured {
            let (file, name) = suite::find(&root, &name).unwrap();
            let suite = suite::read(&file, name.clone(), &entries).unwrap();
            // An arm that has gone since says nothing.
            let Some(arm) = suite.experiments.iter().flat_map(|e| &e.arms).find(|a| a.id == arm) else { continue };
            seconds.sort_by(f64::total_cmp);
            let (took, said) = (seconds[seconds.len() / 2], arm.prepared.plan.seconds);
            // The start of a process is a fifth of a second, more or less.
            if said > 1.5 * took + 0.2 || took > 1.5 * said + 0.2 {
                faults.push(format!("{name}, {}: {said:.2} s are said, {took:.2} s were measured", arm.id));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
