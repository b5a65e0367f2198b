//! A run as phases of steps: what can be long is cut into steps that a stop is heard between, and that a resumed run
//! goes on from.

use std::ops::ControlFlow;

use plasticity_core::checkpoint::Snapshot;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::state::Work;
use crate::DiffusionError;
use crate::frechet::{Scatter, mean};
use crate::sampler::Sampled;

/// Rows of images whose covariance is taken up in a step: a second or two at 28x28.
const ROWS: usize = 8192;

/// Steps of a covariance.
pub(super) fn scatter_steps(images: usize) -> u64 {
    images.div_ceil(ROWS) as u64
}

/// Where a run stands among its phases.
pub(super) struct Phases {
    /// Steps that were done before this process began.
    start: u64,
    /// Steps of the phases so far.
    pub at: u64,
}

/// What is left of a phase.
pub(super) struct Left {
    next: u64,
    steps: u64,
    before: u64,
}

impl Phases {
    pub fn new(start: u64) -> Self {
        Self { start, at: 0 }
    }

    /// Nothing is left of the next phases, of so many steps together.
    pub fn are_done(&self, steps: u64) -> bool {
        self.at.saturating_add(steps) <= self.start
    }

    /// The steps that a phase of so many steps still has to do.
    pub fn phase(&mut self, steps: u64) -> Left {
        let before = self.at;
        self.at = before.saturating_add(steps);
        Left { next: self.start.saturating_sub(before).min(steps), steps, before }
    }
}

impl Left {
    /// Nothing is left.
    pub fn is_done(&self) -> bool {
        self.next == self.steps
    }

    /// Steps of the run after this phase.
    pub fn end(&self) -> u64 {
        self.before + self.steps
    }

    /// Steps of the run before this phase.
    pub fn before(&self) -> u64 {
        self.before
    }
}

/// Index of a step in its phase, and its number in the run, from 1.
impl Iterator for Left {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        (self.next < self.steps).then(|| {
            self.next += 1;
            (self.next - 1, self.before + self.next)
        })
    }
}

/// Takes up what is left of the covariance of `rows`, `[images, pixels]`, into [`Work::scatter`], in the place of
/// another one that was there before.
pub(super) fn covariance<S: Snapshot>(
    left: Left,
    rows: &[f32],
    pixels: usize,
    state: &mut S,
    work: fn(&mut S) -> &mut Work,
    ctx: &mut RunContext,
) -> Result<(), RunError> {
    if left.is_done() {
        return Ok(());
    }
    if left.next == 0 {
        work(state).scatter = None;
    }
    let (mean, last) = (mean(rows, pixels), left.end());
    for (_, done) in left {
        let scatter = &mut work(state).scatter;
        scatter.get_or_insert_with(|| Scatter::new(pixels)).add(rows, &mean, ROWS);
        ctx.step_done(done, done == last, state)?;
    }
    Ok(())
}

/// Runs a sampling of `steps` steps on from where [`Work::drawing`] holds it, with a step of the run after every
/// `stride` of its steps but the last, the first being `before + 1`.
#[allow(clippy::too_many_arguments)]
pub(super) fn sampling<S: Snapshot>(
    before: u64,
    steps: usize,
    stride: usize,
    state: &mut S,
    work: fn(&mut S) -> &mut Work,
    ctx: &mut RunContext,
    run: impl FnOnce(Option<Sampled>, &mut dyn FnMut(&Sampled) -> ControlFlow<()>) -> Result<Sampled, DiffusionError>,
) -> Result<Sampled, RunError> {
    let from = work(state).drawing.take();
    let mut stopped = None;
    let run = run(from, &mut |run| {
        if run.step % stride == 0 && run.step < steps {
            work(state).drawing = Some(run.clone());
            let done = ctx.step_done(before + (run.step / stride) as u64, false, state);
            work(state).drawing = None;
            if let Err(error) = done {
                stopped = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    stopped.map_or(Ok(run), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_go_on_where_the_run_was_stopped() {
        let all = |start| {
            let mut phases = Phases::new(start);
            [3, 0, 2].map(|steps| phases.phase(steps).collect::<Vec<_>>())
        };
        assert_eq!(all(0), [vec![(0, 1), (1, 2), (2, 3)], vec![], vec![(0, 4), (1, 5)]]);
        assert_eq!(all(2), [vec![(2, 3)], vec![], vec![(0, 4), (1, 5)]]);
        assert_eq!(all(4), [vec![], vec![], vec![(1, 5)]]);
        assert_eq!(all(5), [vec![], vec![], vec![]]);
    }
}
