//! The paper's annealed loop, and the step that keeps its marginals right (sections 7.3 and 16).

use std::ops::ControlFlow;

use super::solver::{less, normal};
use super::step::Increment;
use super::{Sampled, Update, begin, check_finite, denoise, off_zero, update};
use crate::error::DiffusionError;
use crate::noise::Noise;
use crate::schedule::{Grid, some};
use crate::score::{Denoiser, Level};

/// Size of a step of the annealed loop, in units of the label's own increment: a step of size f moves the
/// state by `f (V(t_k) - V(t_{k-1}))`. On the paper's uniform grid of N levels f = d N.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// The same f at each level: the paper's d times N. The sign-agnostic update is then the printed one, which
    /// annealing makes drift upwards ([`Increment::with_ito_of_noise`]); the other sizes mend it.
    Fixed(f64),
    /// `f = 1 / L`: L steps make up the label's increment, the reverse SDE itself when `r` is 1.
    Faithful,
    /// `f = 1 / (L (2 - a_k^2))`, which keeps the marginals for any anneal schedule to first order (section 16).
    Consistent,
}

/// The loop of section 7.3: at each level L steps that each multiply the noise by `a_k = r^k'`, k' the
/// number of levels visited before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annealed {
    /// The update.
    pub update: Update,
    /// Steps per level, L.
    pub inner: usize,
    /// Their size.
    pub step: Step,
    /// Anneal ratio r in (0, 1].
    pub ratio: f64,
    /// Visits the lowest level twice. The paper's loop runs down to k = 0, where V = 0 and nothing is trained:
    /// this is its visit of k = 0, with `max(k, 1)` (section 20).
    pub repeat_last: bool,
    /// Whether the last noisy step adds its noise, as the paper's code does.
    pub last_noise: bool,
    /// Steps without noise at the lowest level, after the loop (the paper: 25 for CIFAR-10).
    pub clean_up: usize,
    /// Ends with one call `y = D` at the lowest level, Tweedie's formula.
    pub jump: bool,
}

impl Annealed {
    /// The reverse SDE step by step: `d = 1/N`, `r = 1`, `L = 1`.
    pub fn faithful(update: Update) -> Self {
        Self {
            update,
            inner: 1,
            step: Step::Faithful,
            ratio: 1.0,
            repeat_last: false,
            last_noise: true,
            clean_up: 0,
            jump: false,
        }
    }

    /// Annealed noise with steps that keep the marginals: `d_k = 1 / (L N (2 - a_k^2))`.
    pub fn consistent(update: Update, inner: usize, ratio: f64) -> Self {
        Self { inner, ratio, step: Step::Consistent, ..Self::faithful(update) }
    }

    /// Number of steps, each one call, over labels of `levels` levels.
    pub fn steps(&self, levels: usize) -> usize {
        self.noisy_steps(levels).saturating_add(self.clean_up).saturating_add(usize::from(self.jump))
    }

    fn noisy_steps(&self, levels: usize) -> usize {
        levels.saturating_add(usize::from(self.repeat_last)).saturating_mul(self.inner)
    }

    fn fraction(&self, anneal: f64) -> f64 {
        match self.step {
            Step::Fixed(f) => f,
            Step::Faithful => 1.0 / self.inner as f64,
            Step::Consistent => 1.0 / (self.inner as f64 * (2.0 - anneal * anneal)),
        }
    }

    /// The sign-agnostic update whose Ito term is that of the annealed noise; the paper's constants keep the printed one.
    fn follows_noise(&self) -> bool {
        self.update == Update::SignAgnostic && !matches!(self.step, Step::Fixed(_))
    }

    fn check(&self) -> Result<(), DiffusionError> {
        some("inner", self.inner)?;
        if self.clean_up > 0 {
            some("clean_up", self.clean_up)?;
        }
        if !(self.ratio > 0.0 && self.ratio <= 1.0) {
            return Err(DiffusionError::setting("ratio", self.ratio, "an anneal ratio in (0, 1]"));
        }
        match self.step {
            Step::Fixed(f) if !(f > 0.0 && f.is_finite()) => {
                Err(DiffusionError::setting("step", f, "a step size above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// Runs the annealed loop over the labels of `grid` (the paper's own: [`super::paper_labels`]).
///
/// `from`, `noise`, `observe` and the drift in `y` are as in [`super::sample`]; a step is one call. The label
/// falls by its increment per level whatever the steps' size, and with it the drift B; the state begins with the
/// drift of the first label.
///
/// # Errors
/// As [`super::sample`]; and for no inner steps, more than 1,000,000 of them, a ratio outside (0, 1], or a step not
/// above 0.
pub fn sample_annealed(
    denoiser: &dyn Denoiser,
    from: impl Into<Sampled>,
    grid: &Grid,
    annealed: &Annealed,
    noise: &mut Noise,
    observe: &mut dyn FnMut(&Sampled) -> ControlFlow<()>,
) -> Result<Sampled, DiffusionError> {
    annealed.check()?;
    let levels = grid.levels();
    let (noisy, steps) = (annealed.noisy_steps(levels.len()), annealed.steps(levels.len()));
    let mut run = begin(from.into(), noise, steps)?;
    let zeros = annealed.update == Update::SignAgnostic;
    check_finite(&run, zeros)?;
    while run.step < steps {
        let visit = run.step / annealed.inner;
        let index = if run.step < noisy { visit.min(levels.len() - 1) } else { levels.len() - 1 };
        let at = levels[index];
        let below = levels.get(index + 1).copied().unwrap_or(Level::CLEAN);
        // What of the label's drift is still in y, and what this step takes off: none after the last label.
        let share = if visit < levels.len() { 1.0 / annealed.inner as f64 } else { 0.0 };
        let fallen = (at.drift - below.drift) * share;
        let drift = if visit < levels.len() { at.drift - fallen * (run.step % annealed.inner) as f64 } else { 0.0 };

        let w = less(off_zero(run.state.y.clone()), drift);
        let d = denoise(denoiser, &mut run, w.clone(), at.sd())?;
        if annealed.jump && run.step + 1 == steps {
            run.state.y = d;
        } else {
            let quiet = run.step >= noisy || (run.step + 1 == noisy && !annealed.last_noise);
            let anneal = if quiet { 0.0 } else { annealed.ratio.powi(visit as i32) };
            let variance = annealed.fraction(anneal) * (at.variance - below.variance);
            let by = Increment { variance, mu: fallen + 0.5 * variance, noise: anneal * variance.sqrt() };
            let by = if annealed.follows_noise() { by.with_ito_of_noise() } else { by };
            let z = (!quiet).then(|| {
                noise.seek(run.step as u64 + 1);
                normal(noise, &run.state)
            });
            update(annealed.update, &mut run, (d - w) / at.variance, by, z);
        }
        run.step += 1;
        check_finite(&run, zeros)?;
        if observe(&run).is_break() {
            break;
        }
    }
    Ok(run)
}
