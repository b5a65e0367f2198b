//! Retention against distance (section 8.4 a): recall after more tokens than training had.

use serde::{Deserialize, Serialize};

use super::mqar::Mqar;
use super::{Count, Recall};
use crate::error::MemoryError;

/// Training on one length, questions at longer ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// The task of training.
    pub train: Mqar,
    /// Tokens of the test sequences: what they have more than training stands as filler between pairs and questions.
    pub lengths: Vec<usize>,
}

impl Default for Retention {
    /// Section 8.4: 8 pairs in 256 tokens, asked for at 512, 1024 and 2048.
    fn default() -> Self {
        Self { train: Mqar { pairs: 8, time: 256, ..Mqar::default() }, lengths: vec![512, 1024, 2048] }
    }
}

impl Retention {
    /// # Errors
    /// When the task of training is wrong, or a length does not fit.
    pub fn check(&self) -> Result<(), MemoryError> {
        self.lengths.iter().try_for_each(|length| self.test(*length).map(drop))?;
        self.train.check()
    }

    /// The task with `length` tokens.
    ///
    /// # Errors
    /// When `length` is shorter than training, or longer by an odd number of tokens, or the task is wrong.
    pub fn test(&self, length: usize) -> Result<Mqar, MemoryError> {
        let Some(more) = length.checked_sub(self.train.time) else {
            let expected = format!("must be at least the {} tokens of training", self.train.time);
            return Err(MemoryError::setting("lengths", length, expected));
        };
        if !more.is_multiple_of(2) {
            let expected = format!("must be the {} tokens of training and an even number more", self.train.time);
            return Err(MemoryError::setting("lengths", length, expected));
        }
        let task = Mqar { time: length, pause: self.train.pause.saturating_add(more), ..self.train.clone() };
        task.check()?;
        Ok(task)
    }
}

/// Accuracy over a range of distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Mean distance of the questions in tokens.
    pub distance: f64,
    /// Their answers.
    pub count: Count,
}

impl Point {
    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.count.accuracy().unwrap_or(0.0)
    }
}

/// Accuracy against distance, by ranges of `width` tokens; ranges in which nothing was asked are left out. None for a
/// width of 0.
pub fn curve(recall: &Recall, width: usize) -> Vec<Point> {
    let mut points: Vec<(usize, f64, Count)> = Vec::new();
    for (distance, count) in &recall.by_distance {
        let Some(range) = distance.checked_div(width) else { return Vec::new() };
        if points.last().is_none_or(|(last, ..)| *last != range) {
            points.push((range, 0.0, Count::default()));
        }
        if let Some((_, sum, total)) = points.last_mut() {
            *sum += *distance as f64 * count.asked as f64;
            total.add(*count);
        }
    }
    let asked = points.into_iter().filter(|(.., count)| count.asked > 0);
    asked.map(|(_, sum, count)| Point { distance: sum / count.asked as f64, count }).collect()
}

/// The memory's half-distance: where accuracy first falls through 50 %, on the line between two neighbouring points
/// of a [`curve`]. None where it never does, because it stays on one side.
pub fn half_distance(points: &[Point]) -> Option<f64> {
    points.windows(2).find_map(|pair| {
        let (from, to) = (pair[0].accuracy() - 0.5, pair[1].accuracy() - 0.5);
        let falls = from >= 0.0 && to < 0.0;
        falls.then(|| pair[0].distance + (pair[1].distance - pair[0].distance) * from / (from - to))
    })
}
