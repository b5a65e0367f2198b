//! The paper's argument as an experiment: a federation on one network, round after round.
//!
//! [`run`](HideNseek) reads top to bottom: prune, learn signs, vote, count (section 3.6). A step is a cut of the
//! pruning, a client's part of a round, or a client that trains for itself: each can be the last one before a stop.

mod config;
mod data;
mod evaluate;
mod outcome;
mod picture;
mod selftest;
mod state;

pub use config::{Config, Evaluation, Method};
pub use selftest::selftest;

use plasticity_core::config::{Checked, Invalid};
use plasticity_core::data::Facts;
use plasticity_core::data::manifest::Kind;
use plasticity_core::error::RunError;
use plasticity_core::rng::Stream;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::FederationError;
use crate::client::Subnetwork;
use crate::federation::{Federation, Server, Spread};
use crate::init::{WeightInit, rescale_survivors};
use crate::mask::PruneMask;
use crate::network::Architecture;
use crate::prune::Pruning;
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

    fn reads(_: &Checked<Config>) -> Option<Kind> {
        Some(Kind::Images)
    }

    fn fits(config: &Checked<Config>, data: &Facts) -> Result<(), Invalid> {
        config.fits(data)
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        let (population, classes) = data::load(config, ctx)?;
        population.check_tests()?;
        let picture = picture::publish(&population, classes, ctx)?;
        let mut state = State::default();
        ctx.restore(config.steps(), &mut state)?;

        // The server prunes a random network, once, without data.
        let architecture = Architecture::mlp(&config.widths(population.inputs(), classes))?;
        let mut weights = WeightInit::default().draw(&architecture, &mut ctx.stream("hidenseek/weights", 0));
        let mut stream = ctx.stream("hidenseek/prune", 0);
        let mask = prune(config, (&architecture, &weights), &mut stream, &mut state, ctx)?;
        if config.rescale_survivors {
            weights = rescale_survivors(&weights, &mask)?;
        }
        let values: Vec<f32> = match config.method {
            Method::Fedavg => mask.positions().iter().map(|at| weights[*at as usize]).collect(),
            Method::Mask | Method::Standalone => {
                config.scores.draw_for(&architecture, &mask, &mut ctx.stream("hidenseek/scores", 0))?
            }
        };
        let sub = Subnetwork::new(architecture, weights, mask)?;
        let federation = Federation::new(sub, population, config.settings(ctx.seed()), ctx.device())?;
        let out_of_reach = evaluate::out_of_reach(&federation, &values);
        if let Some(warning) = &out_of_reach {
            tracing::warn!("{warning}");
        }

        let mut outcome = if config.method == Method::Standalone {
            ctx.task("clients alone");
            let epochs = config.epochs_alone();
            let train = |state: &State, some| federation.standalone_of(&values, epochs, state.alone.len()..some);
            let alone = every_client(config, &federation, epochs, &mut state, ctx, train)?;
            outcome::outcome_alone(alone)
        } else {
            if state.server.is_none() {
                state.server = Some(federation.begin(values)?);
            }
            ctx.task("rounds");
            while state.history.len() < config.rounds {
                round(config, &federation, &mut state, ctx)?;
            }
            // What a client's own images add to the last model.
            ctx.task("fine-tuning every client");
            let train = |state: &State, some| federation.fine_tuned_of(begun(state)?, state.alone.len()..some);
            let tuned = every_client(config, &federation, config.epochs, &mut state, ctx, train)?;
            outcome::outcome(config, &federation, begun(&state)?, &state.history, tuned)
        };
        outcome.warnings.extend(out_of_reach);
        outcome.warnings.extend(evaluate::dead_rounds(config, &state.history));
        outcome.pictures.push(picture);
        Ok(outcome)
    }
}

/// The server, which there is from the first round on.
fn begun(state: &State) -> Result<&Server, FederationError> {
    state.server.as_ref().ok_or_else(|| FederationError::Saved("it has no server".into()))
}

/// Prunes, cut by cut, from where the state is.
fn prune(
    config: &Config,
    (architecture, weights): (&Architecture, &[f32]),
    stream: &mut Stream,
    state: &mut State,
    ctx: &mut RunContext,
) -> Result<PruneMask, RunError> {
    let cuts = config.cuts();
    if config.density == 1.0 {
        return Ok(PruneMask::dense(architecture));
    }
    ctx.task("pruning");
    let mut pruning = Pruning::new(architecture, weights, config.density, config.pruner, config.scope)?;
    if state.cuts > 0 {
        pruning.resume(state.cuts, &state.keep)?;
    }
    let some = config.cuts_a_step();
    while pruning.done() < cuts {
        for _ in 0..some.min(cuts - pruning.done()) {
            pruning.cut()?;
        }
        state.cuts = pruning.done();
        state.keep = pruning.keep().to_vec();
        let last = state.cuts == cuts;
        ctx.step_done(state.cuts as u64, last && config.heavy(), state)?;
    }
    Ok(pruning.finish(stream)?)
}

/// One round, client by client, from where the state is.
fn round(config: &Config, federation: &Federation, state: &mut State, ctx: &mut RunContext) -> Result<(), RunError> {
    let begun = config.cuts() as u64 + state.history.len() as u64 * config.per_round as u64;
    let missing = || FederationError::Saved("it has no server".into());
    let server = state.server.as_ref().ok_or_else(missing)?;
    state.round = Some(match state.saved_round.take() {
        Some(bytes) => federation.resume_round(server, &bytes)?,
        None => federation.begin_round(server, &federation.sample(server.round() + 1), true)?,
    });
    let some = config.clients_a_step(config.epochs);
    loop {
        let State { server: Some(server), round: Some(round), .. } = &mut *state else { return Err(missing().into()) };
        federation.advance(server, round, some)?;
        let done = round.done();
        if done == round.clients().len() {
            break;
        }
        ctx.step_done(begun + done as u64, false, state)?;
    }
    let (Some(server), Some(round)) = (&mut state.server, state.round.take()) else { return Err(missing().into()) };
    let report = federation.finish_round(server, round)?;
    state.history.push(evaluate::after_round(federation, server, &report, ctx)?);
    let boundary = report.round.is_multiple_of(ROUNDS_A_CHECKPOINT);
    ctx.step_done(begun + config.per_round as u64, boundary, state)
}

/// Every client trains for itself, some at a time, from where the state is.
fn every_client(
    config: &Config,
    federation: &Federation,
    epochs: usize,
    state: &mut State,
    ctx: &mut RunContext,
    train: impl Fn(&State, usize) -> Result<Vec<f64>, FederationError>,
) -> Result<Spread, RunError> {
    let clients = federation.population().clients();
    let begun = config.steps() - clients as u64;
    let some = config.clients_a_step(epochs);
    while state.alone.len() < clients {
        let accuracies = train(state, state.alone.len().saturating_add(some).min(clients))?;
        state.alone.extend(accuracies);
        let done = state.alone.len();
        ctx.step_done(begun + done as u64, done == clients, state)?;
    }
    Ok(Spread::of(state.alone.clone())?)
}
