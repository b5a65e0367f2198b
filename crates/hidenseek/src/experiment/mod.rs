//! The paper's argument as an experiment: a federation on one network, round after round.
//!
//! [`run`](HideNseek) reads top to bottom: prune, learn signs, vote, count (section 3.6).

mod config;
mod data;
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
use state::{Round, State};

/// Rounds between two checkpoints.
const CHECKPOINT_EVERY: u64 = 20;

/// `hidenseek` in suites.
pub struct HideNseek;

impl From<FederationError> for RunError {
    fn from(error: FederationError) -> Self {
        match error {
            FederationError::NotFinite { field, round } => {
                RunError::Diverged { metric: field.into(), value: f64::NAN, step: round }
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
        // A client's round costs about 45 ns for each weight that it trains and image that it sees, evaluation half
        // as much again.
        let trained = config.weights() as f64 * config.density;
        let seen = (config.rounds * config.per_round * config.epochs * 40) as f64;
        Plan {
            metrics: outcome::metrics(config),
            steps: config.rounds as u64 + 1,
            seconds: 0.5 + seen * trained * 1.5e-9 + (config.rounds * config.test_images) as f64 * trained * 1e-9,
            disk: 500_000,
        }
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let (population, classes, histogram) = data::population(config, ctx)?;

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
            return outcome::standalone(alone, &histogram, ctx);
        }

        let mut state = State { server: federation.begin(values)?, history: Vec::new() };
        let start = ctx.restore(config.rounds as u64 + 1, &mut state)?;
        ctx.task("rounds");
        for at in start..config.rounds as u64 {
            let report = federation.round(&mut state.server, true)?;
            let global = federation.global(&state.server)?;
            ctx.event(at + 1, "train", "loss", report.loss, report.clients.len() as u64)?;
            ctx.event(at + 1, "train", "flips", report.flips, report.clients.len() as u64)?;
            ctx.event(at + 1, "train", "ties", report.server.ties, 1)?;
            let total = &state.server.ledger().total;
            state.history.push(Round {
                global,
                personal: report.personal().unwrap_or(0.0),
                global_on_own: report.global_on_own().unwrap_or(0.0),
                flips: report.flips,
                ties: report.server.ties,
                up: total.up.total().bytes(),
                down: total.down.total().bytes(),
            });
            ctx.step_done(at + 1, (at + 1).is_multiple_of(CHECKPOINT_EVERY), &state)?;
        }
        ctx.task("fine-tuning every client");
        let tuned = federation.fine_tuned(&state.server)?;
        ctx.step_done(config.rounds as u64 + 1, true, &state)?;
        outcome::federated(config, &federation, &state, tuned, &histogram, ctx)
    }
}
