//! Metrics of continual learning from the matrix of accuracies.
//!
//! `R[i][j]` is the test accuracy on task `j` after task `i` was learned, `b[j]` that
//! before any training, N the number of tasks, all counted from 0.

/// An accuracy outside the matrix or outside 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum MatrixError {
    /// A row or column beyond the number of tasks.
    #[error("task {task} does not exist: there are {tasks}")]
    Task {
        /// The row or column asked for.
        task: usize,
        /// Number of tasks.
        tasks: usize,
    },
    /// Not an accuracy.
    #[error("{0} is not an accuracy between 0 and 1")]
    Value(f64),
}

/// Accuracies of every task after every task, as far as they were measured.
///
/// Every mean below is defined only when all of its terms were measured; what is not
/// defined is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyMatrix {
    rows: Vec<Vec<Option<f64>>>,
    baseline: Vec<Option<f64>>,
}

impl AccuracyMatrix {
    /// An empty matrix for `tasks` tasks.
    pub fn new(tasks: usize) -> Self {
        Self { rows: vec![vec![None; tasks]; tasks], baseline: vec![None; tasks] }
    }

    /// A matrix from its rows, which may be shorter than the number of tasks: row `i`
    /// commonly ends at `R[i][i]`, or at `R[i][i + 1]` where the next task is tested
    /// before it is learned. `baseline` may be empty. There are as many tasks as rows.
    ///
    /// # Errors
    /// A row or a baseline longer than the number of rows, or a value that is not an
    /// accuracy.
    pub fn from_rows(rows: &[Vec<Option<f64>>], baseline: &[Option<f64>]) -> Result<Self, MatrixError> {
        let mut matrix = Self::new(rows.len());
        for (i, row) in rows.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                matrix.put(Some(i), j, *value)?;
            }
        }
        for (j, value) in baseline.iter().enumerate() {
            matrix.put(None, j, *value)?;
        }
        Ok(matrix)
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.rows.len()
    }

    /// The rows, each as long as the number of tasks: what a result file holds.
    pub fn rows(&self) -> &[Vec<Option<f64>>] {
        &self.rows
    }

    /// The accuracies before any training.
    pub fn baseline(&self) -> &[Option<f64>] {
        &self.baseline
    }

    /// Records `R[after][task]`.
    ///
    /// # Errors
    /// A task that does not exist, or a value that is not an accuracy.
    pub fn set(&mut self, after: usize, task: usize, accuracy: f64) -> Result<(), MatrixError> {
        self.put(Some(after), task, Some(accuracy))
    }

    /// Records the accuracy on `task` before any training.
    ///
    /// # Errors
    /// A task that does not exist, or a value that is not an accuracy.
    pub fn set_baseline(&mut self, task: usize, accuracy: f64) -> Result<(), MatrixError> {
        self.put(None, task, Some(accuracy))
    }

    /// `R[after][task]`, `None` where it was not measured or does not exist.
    pub fn get(&self, after: usize, task: usize) -> Option<f64> {
        *self.rows.get(after)?.get(task)?
    }

    /// Average accuracy at the end, `mean_j R[N-1][j]`.
    pub fn acc(&self) -> Option<f64> {
        let last = self.tasks().checked_sub(1)?;
        mean((0..=last).map(|j| self.get(last, j)))
    }

    /// Backward transfer, `mean_{j<N-1} (R[N-1][j] - R[j][j])`: below zero is forgetting.
    pub fn bwt(&self) -> Option<f64> {
        let last = self.tasks().checked_sub(1)?;
        mean((0..last).map(|j| Some(self.get(last, j)? - self.get(j, j)?)))
    }

    /// Forward transfer, `mean_{j>=1} (R[j-1][j] - b[j])`: what earlier tasks give a task
    /// before it is learned. Undefined where a task's head does not exist yet.
    pub fn fwt(&self) -> Option<f64> {
        mean((1..self.tasks()).map(|j| Some(self.get(j - 1, j)? - self.baseline[j]?)))
    }

    /// Forgetting, `mean_{j<N-1} (max_{j<=i<=N-2} R[i][j] - R[N-1][j])`.
    pub fn forgetting(&self) -> Option<f64> {
        let last = self.tasks().checked_sub(1)?;
        mean((0..last).map(|j| {
            let seen: Option<Vec<f64>> = (j..last).map(|i| self.get(i, j)).collect();
            let best = seen?.into_iter().fold(f64::NEG_INFINITY, f64::max);
            Some(best - self.get(last, j)?)
        }))
    }

    /// Learning accuracy, `mean_j R[j][j]`: how well each task was learned at its time.
    pub fn learning_accuracy(&self) -> Option<f64> {
        mean((0..self.tasks()).map(|j| self.get(j, j)))
    }

    /// Average incremental accuracy, `mean_i mean_{j<=i} R[i][j]`.
    pub fn average_incremental(&self) -> Option<f64> {
        mean((0..self.tasks()).map(|i| mean((0..=i).map(|j| self.get(i, j)))))
    }

    fn put(&mut self, after: Option<usize>, task: usize, value: Option<f64>) -> Result<(), MatrixError> {
        let tasks = self.tasks();
        if let Some(v) = value.filter(|v| !(0.0..=1.0).contains(v)) {
            return Err(MatrixError::Value(v));
        }
        let row = match after {
            Some(i) => self.rows.get_mut(i).ok_or(MatrixError::Task { task: i, tasks })?,
            None => &mut self.baseline,
        };
        *row.get_mut(task).ok_or(MatrixError::Task { task, tasks })? = value;
        Ok(())
    }
}

/// The mean of terms that must all be there; `None` if one is not, or if there are none.
fn mean(terms: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let terms: Vec<f64> = terms.collect::<Option<_>>()?;
    (!terms.is_empty()).then(|| terms.iter().sum::<f64>() / terms.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plasticity_core::rng::Stream;

    fn full(rows: &[[f64; 4]; 4]) -> Vec<Vec<Option<f64>>> {
        rows.iter().map(|row| row.iter().copied().map(Some).collect()).collect()
    }

    const ORACLE: [[f64; 4]; 4] =
        [[0.95, 0.15, 0.12, 0.08], [0.96, 0.94, 0.13, 0.10], [0.90, 0.92, 0.96, 0.09], [0.88, 0.91, 0.95, 0.97]];
    const BEFORE: [Option<f64>; 4] = [Some(0.10), Some(0.11), Some(0.10), Some(0.09)];

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|f| (f - expected).abs() < 1e-8), "{found:?}, not {expected}");
    }

    #[test]
    fn o17_metrics_of_the_four_task_matrix() {
        let r = AccuracyMatrix::from_rows(&full(&ORACLE), &BEFORE).unwrap();
        near(r.acc(), 0.9275);
        near(r.bwt(), -0.036666667);
        near(r.forgetting(), 0.04);
        near(r.fwt(), 0.023333333);
        near(r.learning_accuracy(), 0.955);
        near(r.average_incremental(), 0.938541667);
    }

    #[test]
    fn o17_needs_no_more_than_one_task_ahead() {
        let rows: Vec<Vec<Option<f64>>> =
            full(&ORACLE).into_iter().enumerate().map(|(i, r)| r[..(i + 2).min(4)].to_vec()).collect();
        let r = AccuracyMatrix::from_rows(&rows, &BEFORE).unwrap();
        near(r.fwt(), 0.023333333);
        near(r.forgetting(), 0.04);
        assert_eq!(r.get(0, 3), None);
    }

    #[test]
    fn what_was_not_measured_is_undefined() {
        let one = AccuracyMatrix::from_rows(&[vec![Some(0.9)]], &[]).unwrap();
        assert_eq!((one.acc(), one.learning_accuracy()), (Some(0.9), Some(0.9)));
        assert_eq!((one.bwt(), one.fwt(), one.forgetting()), (None, None, None));
        let r = AccuracyMatrix::from_rows(&full(&ORACLE), &[]).unwrap();
        assert_eq!(r.fwt(), None);
        assert!(r.acc().is_some());
        let none = AccuracyMatrix::new(0);
        assert_eq!((none.acc(), none.average_incremental()), (None, None));
    }

    #[test]
    fn wrong_places_and_values_are_refused() {
        let mut r = AccuracyMatrix::new(2);
        assert_eq!(r.set(2, 0, 0.5), Err(MatrixError::Task { task: 2, tasks: 2 }));
        assert_eq!(r.set(0, 5, 0.5), Err(MatrixError::Task { task: 5, tasks: 2 }));
        assert_eq!(r.set_baseline(0, 95.0), Err(MatrixError::Value(95.0)));
        assert!(r.set(0, 0, f64::NAN).is_err());
        assert!(AccuracyMatrix::from_rows(&[vec![Some(0.1), Some(0.2)]], &[]).is_err());
    }

    #[test]
    fn forgetting_is_never_less_than_minus_bwt() {
        let mut stream = Stream::new(1, "matrix", 0);
        for _ in 0..300 {
            // The best accuracy is at least the one right after learning.
            let rows: Vec<Vec<Option<f64>>> =
                (0..5).map(|_| (0..5).map(|_| Some(stream.uniform())).collect()).collect();
            let r = AccuracyMatrix::from_rows(&rows, &[]).unwrap();
            assert!(r.forgetting().unwrap() >= -r.bwt().unwrap() - 1e-12);
        }
    }
}
