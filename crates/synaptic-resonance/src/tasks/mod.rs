//! Tasks that show whether a model remembers (section 8): associative recall with and without updates ([`mqar`]),
//! retention against distance ([`retention`]), and a character model ([`text`]).
//!
//! A batch is a pure function of the task's settings and of the stream that it is drawn from.

pub mod mqar;
pub mod retention;
pub mod text;

pub use mqar::{Fill, Mqar};
pub use retention::{Point, Retention, half_distance};

use std::collections::BTreeMap;

use burn::module::Module;
use burn::prelude::*;

use crate::error::MemoryError;
use crate::model::{Model, Pass};
use crate::tokens::Tokens;
use crate::train::Targets;

/// Where a batch asks something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Row of the batch.
    pub row: usize,
    /// Position whose next token is asked for.
    pub position: usize,
    /// The right answer.
    pub answer: u32,
    /// Position of the key that the answer followed: `position - written` is the distance.
    pub written: usize,
    /// The key was given a new value, and this is the latest one.
    pub updated: bool,
}

impl Question {
    /// Tokens from the key that the answer followed to the question.
    pub fn distance(&self) -> usize {
        self.position - self.written
    }
}

/// A batch of a recall task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The sequences.
    pub tokens: Tokens,
    /// What is asked, in the order of rows and positions.
    pub questions: Vec<Question>,
}

impl Batch {
    /// The loss of a training step: the answer at every question, nothing elsewhere.
    pub fn targets(&self) -> Targets {
        let place = |q: &Question| q.row * self.tokens.time() + q.position;
        Targets::at(self.questions.iter().map(place).collect(), self.questions.iter().map(|q| q.answer).collect())
    }
}

/// Right answers among those asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Answered rightly.
    pub right: u64,
    /// Asked.
    pub asked: u64,
}

impl Count {
    /// Share of right answers; none where nothing was asked.
    pub fn accuracy(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.right as f64 / self.asked as f64)
    }

    fn add(&mut self, other: Count) {
        self.right += other.right;
        self.asked += other.asked;
    }
}

/// How well the questions of one or more batches were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recall {
    /// By distance in tokens.
    pub by_distance: BTreeMap<usize, Count>,
    /// Keys that were given a new value.
    pub updated: Count,
    /// Keys that kept their value.
    pub kept: Count,
}

impl Recall {
    /// Counts the answers: `logits` `[questions, vocabulary]`, a question is answered by the largest of its row.
    ///
    /// # Errors
    /// When there is not one row per question, there is no token, a logit is NaN, or a largest one is not finite.
    pub fn of(logits: Tensor<2>, questions: &[Question]) -> Result<Self, MemoryError> {
        let [rows, vocabulary] = logits.dims();
        MemoryError::shape("logits", &[rows, vocabulary], &[questions.len(), vocabulary.max(1)])?;
        if questions.is_empty() {
            return Ok(Self::default());
        }
        let nan = logits.clone().is_nan().any();
        let (largest, answers) = logits.max_dim_with_indices(1);
        if nan.into_scalar::<bool>() || largest.into_data().iter::<f64>().any(|x| !x.is_finite()) {
            return Err(MemoryError::NotFinite { field: "logits", step: 0 });
        }
        let mut recall = Self::default();
        for (question, answer) in questions.iter().zip(answers.into_data().iter::<i64>()) {
            let count = Count { right: u64::from(answer == i64::from(question.answer)), asked: 1 };
            recall.by_distance.entry(question.distance()).or_default().add(count);
            if question.updated { &mut recall.updated } else { &mut recall.kept }.add(count);
        }
        Ok(recall)
    }

    /// Over all questions.
    pub fn total(&self) -> Count {
        let mut total = self.updated;
        total.add(self.kept);
        total
    }

    /// Adds the counts of other questions.
    pub fn add(&mut self, other: &Self) {
        for (distance, count) in &other.by_distance {
            self.by_distance.entry(*distance).or_default().add(*count);
        }
        self.updated.add(other.updated);
        self.kept.add(other.kept);
    }
}

/// Asks `model` the questions of `batch`, each sequence from the empty state. No graph is made.
///
/// # Errors
/// When the batch has tokens that the model does not know, or the logits are not finite.
pub fn recall(model: &Model, batch: &Batch) -> Result<Recall, MemoryError> {
    let model = model.valid();
    let (hidden, _) = model.hidden(&batch.tokens, model.start(batch.tokens.batch()), &Pass::default())?;
    Recall::of(model.logits(batch.targets().select(hidden)?), &batch.questions)
}
