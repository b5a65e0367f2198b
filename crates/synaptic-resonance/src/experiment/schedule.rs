//! What each step of a run does. Everything that takes long is cut into steps, not training alone: a run that is
//! stopped loses one of them.

use super::config::{Config, Study};
use super::data::Source;
use super::evaluate::{Exam, exams};
use crate::tasks::Mqar;

/// Tokens of a test that pass through the model in one step: bounds the memory of full attention too.
const TOKENS_AT_ONCE: usize = 8192;

/// What one step of a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A step of training; the first is 0.
    Train(u64),
    /// A part of a look at the model after so many steps of training.
    Look { after: u64, part: u64, last: bool },
    /// A part of a test after training.
    Test { exam: usize, part: u64, last: bool },
}

/// The steps of a run, in order: training, a look at the model now and then and after the last one, the tests.
pub(super) struct Schedule {
    /// Steps of training.
    training: u64,
    /// Steps of training between two looks.
    every: u64,
    /// Parts of a look.
    look: u64,
    /// Parts of each test.
    tests: Vec<u64>,
}

impl Schedule {
    /// The steps of a run that learns from `source`.
    pub fn new(config: &Config, source: &Source) -> Self {
        let (look, whole) = match source {
            Source::Recall(_) => (0, 0),
            Source::Text(text) => (text.part(config).len() as u64, text.validation.len() as u64),
        };
        Self::of(config, look, whole)
    }

    /// The same before there is a text: its whole is taken to be as long as the part of it that is looked at.
    pub fn expected(config: &Config) -> Self {
        Self::of(config, config.text.part as u64, config.text.part as u64)
    }

    /// With the batches of a text that a look and the tests of the whole text read.
    fn of(config: &Config, look: u64, whole: u64) -> Self {
        let parts = |exam: &Exam| match exam {
            Exam::Recall(length) => recall_parts(config, *length),
            Exam::Segments | Exam::Carried => whole,
            Exam::Noise(_) => look,
        };
        Self {
            training: config.training.steps as u64,
            // A number above all steps is one look, at the end.
            every: config.evaluation.every.min(config.training.steps) as u64,
            look: if config.study == Study::Characters { look } else { recall_parts(config, config.task.time) },
            tests: exams(config).iter().map(parts).collect(),
        }
    }

    /// Looks at the model.
    fn looks(&self) -> u64 {
        self.training.div_ceil(self.every)
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        let looks = self.looks().saturating_mul(self.look);
        self.tests.iter().fold(self.training.saturating_add(looks), |sum, parts| sum.saturating_add(*parts))
    }

    /// The step after `done` of them; none after the last.
    pub fn step(&self, done: u64) -> Option<Step> {
        // Rounds of training and a look; the last one may be shorter.
        let round = self.every + self.look;
        let (rounds, within) = (done / round, done % round);
        let before = rounds * self.every;
        if before < self.training {
            let trained = self.every.min(self.training - before);
            if within < trained {
                return Some(Step::Train(before + within));
            }
            let part = within - trained;
            if part < self.look {
                return Some(Step::Look { after: before + trained, part, last: part + 1 == self.look });
            }
        }
        let mut part = done - self.training - self.looks() * self.look;
        for (exam, parts) in self.tests.iter().enumerate() {
            if part < *parts {
                return Some(Step::Test { exam, part, last: part + 1 == *parts });
            }
            part -= parts;
        }
        None
    }
}

/// Sequences of `time` tokens that are asked in one step.
pub(super) fn rows_at_once(time: usize) -> usize {
    (TOKENS_AT_ONCE / time).max(1)
}

/// Sequences of part `part` of a test of recall.
pub(super) fn rows_of(task: &Mqar, sequences: usize, part: u64) -> usize {
    let rows = rows_at_once(task.time);
    sequences.saturating_sub(rows.saturating_mul(part as usize)).min(rows)
}

fn recall_parts(config: &Config, time: usize) -> u64 {
    config.evaluation.sequences.div_ceil(rows_at_once(time)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(training: u64, every: u64, look: u64, tests: &[u64]) -> Schedule {
        Schedule { training, every, look, tests: tests.to_vec() }
    }

    fn all(schedule: &Schedule) -> Vec<Step> {
        (0..schedule.steps()).map(|done| schedule.step(done).unwrap()).collect()
    }

    #[test]
    fn every_step_of_training_every_look_and_every_test_comes_once_and_in_order() {
        let look = |after, part| Step::Look { after, part, last: part == 1 };
        let test = |exam, part, last| Step::Test { exam, part, last };
        let short = schedule(5, 3, 2, &[1, 2]);
        let mut expected = vec![Step::Train(0), Step::Train(1), Step::Train(2), look(3, 0), look(3, 1)];
        expected.extend([Step::Train(3), Step::Train(4), look(5, 0), look(5, 1)]);
        expected.extend([test(0, 0, true), test(1, 0, false), test(1, 1, true)]);
        assert_eq!(all(&short), expected);
        assert_eq!(short.step(short.steps()), None);
        // A look after every whole round, and none is made twice where the last round is whole.
        for (training, every, look) in [(6, 3, 2), (7, 3, 1), (2, 9, 3), (1, 1, 1)] {
            let steps = all(&schedule(training, every, look, &[1]));
            let trained: Vec<Step> = steps.iter().filter(|s| matches!(s, Step::Train(_))).copied().collect();
            assert_eq!(trained, (0..training).map(Step::Train).collect::<Vec<_>>());
            let last = |s: &&Step| matches!(s, Step::Look { after, last: true, .. } if *after == training);
            assert_eq!(steps.iter().filter(last).count(), 1, "{training} {every} {look}");
            assert_eq!(steps.len() as u64, training + training.div_ceil(every) * look + 1);
        }
    }

    #[test]
    fn the_parts_of_a_test_hold_all_its_sequences() {
        for (time, sequences) in [(64, 512), (2048, 10), (100_000, 3), (24, 1)] {
            let task = Mqar { time, ..Mqar::default() };
            let mut config = Config { task: task.clone(), ..Config::default() };
            config.evaluation.sequences = sequences;
            let rows: Vec<usize> =
                (0..recall_parts(&config, time)).map(|part| rows_of(&task, sequences, part)).collect();
            assert_eq!(rows.iter().sum::<usize>(), sequences);
            assert!(rows.iter().all(|rows| (1..=(TOKENS_AT_ONCE / time).max(1)).contains(rows)), "{rows:?}");
        }
    }
}
