//! The paper's argument as an experiment: a federation on one network, round after round.
//!
//! [`run`](HideNseek) reads top to bottom: prune, learn signs, vote, count (section 3.6).

mod config;
mod data;
mod evaluate;
mod outcome;
mod selftest;
mod state;

pub use config::{Config, Evaluation, Method};
pub use selftest::selftest;

use plasticity_core::config::Checked;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::FederationError;
use crate::client::Subnetwork;
use crate::federation::Federation;
use crate::init::{WeightInit, rescale_survivors};
use crate::mask::PruneMask;
use crate::network::Architecture;
use crate::prune::prune_within;
use state::State;

/// Rounds between two checkpoints.
const ROUNDS_A_CHECKPOINT: u64 = 20;

/// `hidenseek` in suites.
pub struct HideNseek;

impl From<FederationError> for RunError {
    fn from(error: FederationError) -> Self {
        match error {
            FederationError::NotFinite { field, step } => {
                RunError::Diverged { metric: field.into(), value: f64::NAN, step }
            }
            error => RunError::Failed(error.to_string()),
        }
    }
}

impl Experiment for HideNseek {
    const NAME: &'static str = "hidenseek";
    const ABOUT: &'static str =
        "arXiv 2206.04385: a federation on a network pruned at initialisation, clients train sign supermasks";
    type Config = Config;

    fn describe(config: &Checked<Config>) -> Plan {
        let (seconds, disk) = config.cost();
        Plan { metrics: outcome::metrics(config), steps: config.steps(), seconds, disk }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let (population, classes, histogram) = data::load(config, ctx)?;

        // The server prunes a random network, once, without data.
        let architecture = Architecture::mlp(&config.widths(population.inputs(), classes));
        let mut weights = WeightInit::default().draw(&architecture, &mut ctx.stream("hidenseek/weights", 0));
        let mask = if config.density < 1.0 {
            let mut stream = ctx.stream("hidenseek/prune", 0);
            prune_within(&architecture, &weights, config.density, config.pruner, config.scope, &mut stream)?
        } else {
            PruneMask::dense(&architecture)
        };
        if config.rescale_survivors {
            weights = rescale_survivors(&weights, &mask)?;
        }
        let values: Vec<f32> = match config.method {
            Method::Fedavg => mask.positions().iter().map(|at| weights[*at as usize]).collect(),
            Method::Mask | Method::Standalone => {
                config.scores.draw_for(&architecture, &mask, &mut ctx.stream("hidenseek/scores", 0))?
            }
        };
        let sub = Subnetwork { architecture, weights, mask };
        let federation = Federation::new(sub, population, config.settings(ctx.seed()), ctx.device())?;
        if federation.settings().dead_zone(federation.population().train(0).labels.len()) {
            ctx.warn("lr x steps of a round is at most a: no score can change its sign (the dead zone)");
        }
        if config.method == Method::Standalone {
            let alone = federation.standalone(&values, config.epochs_alone())?;
            return outcome::outcome_alone(alone, &histogram, ctx);
        }

        // Rounds.
        let mut state = State::new(federation.begin(values)?);
        let start = ctx.restore(config.steps(), &mut state)?;
        ctx.task("rounds");
        for at in start..config.rounds as u64 {
            let report = federation.round(&mut state.server, true)?;
            state.history.push(evaluate::after_round(&federation, &state.server, &report, ctx)?);
            ctx.step_done(at + 1, (at + 1).is_multiple_of(ROUNDS_A_CHECKPOINT), &state)?;
        }

        // What a client's own images add to the last model.
        ctx.task("fine-tuning every client");
        let tuned = federation.fine_tuned(&state.server)?;
        ctx.step_done(config.steps(), true, &state)?;
        outcome::outcome(config, &federation, &state, tuned, &histogram, ctx)
    }
}
