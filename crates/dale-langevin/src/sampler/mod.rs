//! From noise to images: the paper's two updates, the solvers of diffusion models, and their loops.
//!
//! [`sample`] runs any [`Solver`] over any [`Grid`] (section 19.2); [`sample_annealed`] is the paper's loop
//! (section 7.3). Both work on `y = log |x|`, on the host's f64 coefficients and the state's own precision,
//! without an autodiff graph. All solvers but the sign-agnostic one leave every sign alone.

mod annealed;
mod paper;
mod solver;
pub mod step;

use std::ops::ControlFlow;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::DiffusionError;
use crate::noise::Noise;
use crate::score::{Denoiser, same_precision};
use crate::state::State;

pub use annealed::{Annealed, Step, sample_annealed};
pub use paper::{PaperSet, Start, paper_labels};
pub use solver::sample;

/// What moves the state from one noise level to the next (section 19.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// DDIM, which is Euler's method on the probability flow.
    Ddim,
    /// The Gaussian bridge's exact posterior given `y_0 = D`.
    Ancestral,
    /// EDM's Heun: two calls a step, one in the last.
    Heun,
    /// DPM-Solver++(2M): second order by the call before.
    #[serde(rename = "dpm-solver-2m")]
    DpmSolver2M,
    /// Dale-Langevin in log form.
    DaleLog,
    /// Dale-Langevin as products on x.
    DaleAmbient,
    /// The sign-agnostic update.
    SignAgnostic,
}

/// The paper's updates (section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// Dale-Langevin in log form.
    DaleLog,
    /// Dale-Langevin as products on x.
    DaleAmbient,
    /// The sign-agnostic update, which may flip signs.
    SignAgnostic,
}

/// How large a corrector's step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CorrectorSize {
    /// eps itself.
    Fixed(f64),
    /// `eps = 2 (r |z| / |u|)^2` per image; r about 0.1 to 0.16.
    SignalToNoise(f64),
}

/// Steps of mirrored Langevin dynamics at each level that a step arrives at, noise 0 excepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrector {
    /// Number of steps, each one call.
    pub steps: usize,
    /// Their size.
    pub size: CorrectorSize,
}

/// Settings of [`sample`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// The solver.
    pub solver: Solver,
    /// Whether the paper's updates add noise on their last step, as the paper's code does; without it that
    /// step is the jump `y = D` to the posterior mean (to first order for the sign-agnostic one). The other
    /// solvers have no noise there.
    pub last_noise: bool,
    /// Langevin steps after each step.
    pub corrector: Option<Corrector>,
}

impl Sampler {
    /// A solver without noise on the last step and without a corrector.
    pub fn new(solver: Solver) -> Self {
        Self { solver, last_noise: false, corrector: None }
    }
}

/// A sampling at some step: where it begins, what the observer sees, what comes out, and what it can go on
/// from. With the same arguments, a sampling that goes on ends with the same bits as one that never stopped.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The state, with the drift B of its level in `y`.
    pub state: State,
    /// Steps done.
    pub step: usize,
    /// The posterior mean of the step before, `[batch, pixels]`; [`Solver::DpmSolver2M`] goes on from it.
    pub previous: Option<Tensor<2>>,
    /// Calls of the denoiser, each over the whole batch.
    pub calls: usize,
    /// Sign changes, all steps and coordinates together.
    pub flips: u64,
    /// Exponents clamped by [`Solver::DaleAmbient`]: more than 0 in a real run is a defect.
    pub clamped: u64,
}

impl From<State> for Sampled {
    fn from(state: State) -> Self {
        Self { state, step: 0, previous: None, calls: 0, flips: 0, clamped: 0 }
    }
}

impl Sampled {
    /// Number of negative coordinates: from a positive start, those whose sign ended changed.
    pub fn negative(&self) -> usize {
        match &self.state.sign {
            None => 0,
            Some(sign) => sign.clone().into_data().iter::<f64>().filter(|s| *s < 0.0).count(),
        }
    }
}

/// The observer of a sampling that nobody watches: `sample(.., &mut unobserved)`.
pub fn unobserved(_: &Sampled) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The denoiser, its calls counted into `run`, at `y` less `drift`.
fn denoise(denoiser: &dyn Denoiser, run: &mut Sampled, w: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
    let (shape, dtype) = (w.dims(), w.dtype());
    let denoised = denoiser.denoise(w, sd)?;
    run.calls += 1;
    if denoised.dims() != shape {
        let (expected, found) = (shape.to_vec(), denoised.dims().to_vec());
        return Err(DiffusionError::Shape { field: "denoised", expected, found });
    }
    same_precision("denoised", denoised.dtype(), dtype)?;
    Ok(denoised)
}

/// Checks what a sampling begins with, and takes its tensors off an autodiff graph.
fn begin(from: Sampled, noise: &Noise, steps: usize) -> Result<Sampled, DiffusionError> {
    let mut run = from;
    let [images, pixels] = run.state.y.dims();
    if images == 0 || pixels == 0 {
        let (expected, found) = (vec![images.max(1), pixels.max(1)], vec![images, pixels]);
        return Err(DiffusionError::Shape { field: "state", expected, found });
    }
    if noise.images() != images {
        let (expected, found) = (vec![images, pixels], vec![noise.images(), pixels]);
        return Err(DiffusionError::Shape { field: "noise", expected, found });
    }
    for (field, tensor) in [("sign", &run.state.sign), ("previous", &run.previous)] {
        if let Some(tensor) = tensor.as_ref().filter(|t| t.dims() != [images, pixels]) {
            let (expected, found) = (vec![images, pixels], tensor.dims().to_vec());
            return Err(DiffusionError::Shape { field, expected, found });
        }
        if let Some(tensor) = tensor {
            same_precision(field, tensor.dtype(), run.state.y.dtype())?;
        }
    }
    if let Some(sign) = &run.state.sign
        && sign.clone().abs().not_equal_elem(1.0).any().into_scalar::<bool>()
    {
        return Err(DiffusionError::setting("sign", "a number other than +1 and -1", "+1 or -1 at each pixel"));
    }
    if run.step > steps {
        return Err(DiffusionError::setting("step", run.step, format!("at most the number of steps, {steps}")));
    }
    let plain = |t: Tensor<2>| if t.is_autodiff() { t.inner() } else { t };
    run.state = State { y: plain(run.state.y), sign: run.state.sign.map(plain) };
    run.previous = run.previous.map(plain);
    Ok(run)
}

/// Refuses a state that holds NaN or infinity. Under the sign-agnostic update `y = -inf` is an exact zero.
fn check_finite(run: &Sampled, zeros: bool) -> Result<(), DiffusionError> {
    let y = run.state.y.clone();
    let bad = match zeros {
        false => y.is_finite().bool_not(),
        true => y.clone().is_nan().bool_or(y.equal_elem(f64::INFINITY)),
    };
    match bad.any().into_scalar::<bool>() {
        false => Ok(()),
        true => Err(DiffusionError::NotFinite { field: "state", step: run.step }),
    }
}

/// `y` with exact zeros (`-inf`) at the smallest normal number, for a denoiser that needs finite input.
fn off_zero(y: Tensor<2>) -> Tensor<2> {
    let smallest = match y.dtype() {
        burn::tensor::DType::F64 => f64::MIN_POSITIVE,
        _ => f64::from(f32::MIN_POSITIVE),
    };
    y.clamp_min(smallest.ln())
}

/// One of the paper's updates, at a level and over an increment; `z` is standard normal.
fn update(update: Update, run: &mut Sampled, u: Tensor<2>, by: step::Increment, z: Option<Tensor<2>>) {
    let state = run.state.clone();
    run.state = match update {
        Update::DaleLog => State { y: step::dale_log(state.y, u, by, z), sign: state.sign },
        Update::DaleAmbient => {
            let (state, clamped) = step::dale_ambient(state, u - 1.0, by, z);
            run.clamped += clamped;
            state
        }
        Update::SignAgnostic => {
            let (state, flips) = step::sign_agnostic(state, u - 1.0, by, z);
            run.flips += flips;
            state
        }
    };
}
