//! What a run does in which order. Everything that takes time is a step of its own, after which the run can be stopped
//! and goes on.

use super::config::Config;

/// A step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// How well task `tested` is done before any training.
    Baseline { tested: usize },
    /// How well a task is done before it is learned, but the first.
    Before { task: usize },
    /// One batch of a task.
    Learn { task: usize, batch: usize },
    /// How well task `tested` is done after a task was learned.
    After { task: usize, tested: usize },
    /// A task ends: its rows are fixed and looked at.
    End { task: usize },
}

/// The steps of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    tasks: usize,
    /// Of one task.
    batches: usize,
}

impl Schedule {
    pub fn new(config: &Config) -> Self {
        Self { tasks: config.tasks, batches: config.batches_per_task() }
    }

    /// Number of steps.
    pub fn steps(&self) -> u64 {
        self.tasks as u64 + (0..self.tasks).map(|task| self.of(task)).sum::<u64>()
    }

    /// Step `at`, from 0, of [`Schedule::steps`]; the end of the last task for any beyond them.
    pub fn step(&self, at: u64) -> Step {
        let Some(mut at) = at.checked_sub(self.tasks as u64) else {
            return Step::Baseline { tested: at as usize };
        };
        for task in 0..self.tasks {
            let before = u64::from(task > 0);
            if at < self.of(task) {
                let Some(at) = at.checked_sub(before) else { return Step::Before { task } };
                let Some(at) = at.checked_sub(self.batches as u64) else {
                    return Step::Learn { task, batch: at as usize };
                };
                return match at as usize {
                    tested if tested <= task => Step::After { task, tested },
                    _ => Step::End { task },
                };
            }
            at -= self.of(task);
        }
        Step::End { task: self.tasks.saturating_sub(1) }
    }

    /// Batches that have been learned when `batch` of `task` is, as the records count them.
    pub fn learned(&self, task: usize, batch: usize) -> u64 {
        (task * self.batches + batch + 1) as u64
    }

    /// Batches that have been learned when `task` is.
    pub fn learned_with(&self, task: usize) -> u64 {
        ((task + 1) * self.batches) as u64
    }

    /// Steps of one task.
    fn of(&self, task: usize) -> u64 {
        u64::from(task > 0) + self.batches as u64 + (task + 1) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_once_and_in_its_order() {
        let schedule = Schedule { tasks: 2, batches: 3 };
        let learn = |task| (0..3).map(move |batch| Step::Learn { task, batch });
        let mut expected = vec![Step::Baseline { tested: 0 }, Step::Baseline { tested: 1 }];
        expected.extend(learn(0));
        expected.extend([Step::After { task: 0, tested: 0 }, Step::End { task: 0 }, Step::Before { task: 1 }]);
        expected.extend(learn(1));
        expected.extend([
            Step::After { task: 1, tested: 0 },
            Step::After { task: 1, tested: 1 },
            Step::End { task: 1 },
        ]);
        let found: Vec<Step> = (0..schedule.steps()).map(|at| schedule.step(at)).collect();
        assert_eq!(found, expected);
        assert_eq!((schedule.learned(0, 0), schedule.learned(1, 2), schedule.learned_with(1)), (1, 6, 6));
    }
}
