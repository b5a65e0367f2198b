//! Tasks that show whether a model remembers (section 8).

use crate::tokens::Tokens;

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

/// A batch of a recall task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The sequences.
    pub tokens: Tokens,
    /// What is asked, in the order of rows and positions.
    pub questions: Vec<Question>,
}
