//! Solvers on any grid of noise levels (section 19.2).

use std::ops::ControlFlow;

use burn::prelude::*;

use super::step::{self, Increment};
use super::{
    Corrector, CorrectorSize, Sampled, Sampler, Solver, Update, begin, check_finite, denoise, off_zero, update,
};
use crate::error::DiffusionError;
use crate::noise::Noise;
use crate::schedule::Grid;
use crate::score::{Denoiser, Level};
use crate::state::State;

impl Solver {
    fn update(self) -> Option<Update> {
        match self {
            Self::DaleLog => Some(Update::DaleLog),
            Self::DaleAmbient => Some(Update::DaleAmbient),
            Self::SignAgnostic => Some(Update::SignAgnostic),
            Self::Ddim | Self::Ancestral | Self::Heun | Self::DpmSolver2M => None,
        }
    }
}

impl Sampler {
    /// Calls of the denoiser over a whole grid of `levels` levels.
    pub fn calls(&self, levels: usize) -> usize {
        let between = levels.saturating_sub(1);
        let solver = if self.solver == Solver::Heun { levels.saturating_add(between) } else { levels };
        solver.saturating_add(self.corrector.map_or(0, |c| c.steps.saturating_mul(between)))
    }

    fn check(&self) -> Result<(), DiffusionError> {
        let (field, value) = match self.corrector {
            None => return Ok(()),
            Some(Corrector { size: CorrectorSize::Fixed(eps), .. }) => ("corrector.eps", eps),
            Some(Corrector { size: CorrectorSize::SignalToNoise(r), .. }) => ("corrector.r", r),
        };
        match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(DiffusionError::setting(field, value, "a step size above 0")),
        }
    }
}

/// Moves a state from the first level of `grid` over all its levels to noise 0, one step per level.
///
/// `from` is a [`State`] at the first level (`y` with that level's drift in it), or a [`Sampled`] that an
/// earlier call on the same arguments gave back or showed to its observer: then the sampling goes on from
/// there. `noise` has one stream per image, of which step k takes round k + 1. After each step `observe` sees
/// where the sampling stands; when it breaks, that is returned.
///
/// # Errors
/// When there is no image or no pixel, `noise` counts other images than the state, a tensor has another shape or
/// precision, a sign is not +1 or -1, a corrector's size is not above 0, `from.step` lies beyond the grid, or the
/// state at a step is no longer finite (named by the step, from 1).
pub fn sample(
    denoiser: &dyn Denoiser,
    from: impl Into<Sampled>,
    grid: &Grid,
    sampler: &Sampler,
    noise: &mut Noise,
    observe: &mut dyn FnMut(&Sampled) -> ControlFlow<()>,
) -> Result<Sampled, DiffusionError> {
    sampler.check()?;
    let levels = grid.levels();
    let mut run = begin(from.into(), noise, levels.len())?;
    check_finite(&run, sampler.solver == Solver::SignAgnostic)?;
    let noisy =
        sampler.corrector.is_some() || !matches!(sampler.solver, Solver::Ddim | Solver::Heun | Solver::DpmSolver2M);
    while run.step < levels.len() {
        if noisy {
            noise.seek(run.step as u64 + 1);
        }
        let before = run.step.checked_sub(1).map(|i| levels[i]);
        let from = levels[run.step];
        let to = levels.get(run.step + 1).copied().unwrap_or(Level::CLEAN);
        match sampler.solver.update() {
            Some(which) => paper_step(denoiser, &mut run, which, from, to, sampler.last_noise, noise)?,
            None => solver_step(denoiser, &mut run, sampler.solver, before, from, to, noise)?,
        }
        if let Some(corrector) = sampler.corrector.filter(|_| to.variance > 0.0) {
            correct(denoiser, &mut run, corrector, to, noise)?;
        }
        run.step += 1;
        check_finite(&run, sampler.solver == Solver::SignAgnostic)?;
        if observe(&run).is_break() {
            break;
        }
    }
    Ok(run)
}

/// A step of the paper's updates between two levels.
fn paper_step(
    denoiser: &dyn Denoiser,
    run: &mut Sampled,
    which: Update,
    from: Level,
    to: Level,
    last_noise: bool,
    noise: &mut Noise,
) -> Result<(), DiffusionError> {
    let w = less(off_zero(run.state.y.clone()), from.drift);
    let u = (denoise(denoiser, run, w.clone(), from.sd())? - w) / from.variance;
    let variance = from.variance - to.variance;
    let quiet = to.variance == 0.0 && !last_noise;
    let by = Increment {
        variance,
        mu: from.drift - to.drift + 0.5 * variance,
        noise: if quiet { 0.0 } else { variance.sqrt() },
    };
    let by = if which == Update::SignAgnostic { by.with_ito_of_noise() } else { by };
    let z = (!quiet).then(|| normal(noise, &run.state));
    update(which, run, u, by, z);
    Ok(())
}

/// A step of the other solvers, on `w = y - B`.
fn solver_step(
    denoiser: &dyn Denoiser,
    run: &mut Sampled,
    solver: Solver,
    before: Option<Level>,
    from: Level,
    to: Level,
    noise: &mut Noise,
) -> Result<(), DiffusionError> {
    let (a, b) = (from.sd(), to.sd());
    let w = less(run.state.y.clone(), from.drift);
    let d = denoise(denoiser, run, w.clone(), a)?;
    let moved = match solver {
        _ if b == 0.0 => d.clone(),
        Solver::Ancestral => {
            let keep = to.variance / from.variance;
            let z = normal(noise, &run.state);
            w * keep + d.clone() * (1.0 - keep) + z * (b * (1.0 - keep).sqrt())
        }
        Solver::DpmSolver2M => {
            let target = match (before, run.previous.take()) {
                (Some(before), Some(previous)) => {
                    let ratio = (a / b).ln() / (2.0 * (before.sd() / a).ln());
                    d.clone() * (1.0 + ratio) - previous * ratio
                }
                _ => d.clone(),
            };
            w * (b / a) + target * (1.0 - b / a)
        }
        Solver::Heun => {
            let slope = (w.clone() - d.clone()) / a;
            let euler = w.clone() + slope.clone() * (b - a);
            let at_end = denoise(denoiser, run, euler.clone(), b)?;
            w + (slope + (euler - at_end) / b) * (0.5 * (b - a))
        }
        _ => d.clone() + (w - d.clone()) * (b / a),
    };
    run.state.y = less(moved, -to.drift);
    run.previous = (solver == Solver::DpmSolver2M).then_some(d);
    Ok(())
}

/// Langevin steps at one level.
fn correct(
    denoiser: &dyn Denoiser,
    run: &mut Sampled,
    corrector: Corrector,
    at: Level,
    noise: &mut Noise,
) -> Result<(), DiffusionError> {
    for _ in 0..corrector.steps {
        let w = less(off_zero(run.state.y.clone()), at.drift);
        let u = (denoise(denoiser, run, w.clone(), at.sd())? - w) / at.variance;
        let z = normal(noise, &run.state);
        let eps = match corrector.size {
            CorrectorSize::Fixed(eps) => z.clone().slice([0..z.dims()[0], 0..1]).full_like(eps),
            CorrectorSize::SignalToNoise(r) => step::langevin_size(&u, &z, r),
        };
        run.state.y = step::langevin(run.state.y.clone(), u, eps, z);
    }
    Ok(())
}

/// `y - b`, without the work where b is 0.
pub(super) fn less(y: Tensor<2>, b: f64) -> Tensor<2> {
    if b == 0.0 { y } else { y - b }
}

/// The next standard normal numbers of each image, in the state's shape.
pub(super) fn normal(noise: &mut Noise, state: &State) -> Tensor<2> {
    noise.normal(state.y.dims()[1], &state.y.device(), state.y.dtype())
}
