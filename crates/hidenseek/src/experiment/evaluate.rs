//! What is measured after a round: accuracies, changes of sign, bytes. What a round reports is measured in it already.
//! And what a reader of the result must be warned of.

use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::{Config, Method};
use super::state::Round;
use crate::aggregate::{Rule, broadcast, state_of};
use crate::federation::{Federation, RoundReport, Server};

/// A round's entry in the history, after the events of its training.
pub(super) fn after_round(
    federation: &Federation,
    server: &Server,
    report: &RoundReport,
    ctx: &mut RunContext,
) -> Result<Round, RunError> {
    let global = federation.global(server)?;
    ctx.event(report.round, "train", "loss", report.loss, report.clients.len() as u64)?;
    ctx.event(report.round, "train", "flips", report.flips, report.clients.len() as u64)?;
    ctx.event(report.round, "train", "ties", report.server.ties, 1)?;
    let total = &server.ledger().total;
    Ok(Round {
        global,
        personal: report.personal().unwrap_or(0.0),
        global_on_own: report.global_on_own().unwrap_or(0.0),
        flips: report.flips,
        ties: report.server.ties,
        up: total.up.total().bytes(),
        down: total.down.total().bytes(),
    })
}

/// What Adam cannot reach in a round, of the scores that clients begin the first round with.
pub(super) fn out_of_reach(federation: &Federation, values: &[f32]) -> Option<String> {
    let (settings, images) = (federation.settings(), federation.population().most_images());
    let reach = settings.reach(images)?;
    let begin = state_of(&broadcast(settings.rule, settings.a, values, None), settings.a);
    let share = settings.out_of_reach(&begin, images);
    if share == 0.0 {
        return None;
    }
    // Under the vote every score is +-a at the beginning of every round.
    let which = if settings.rule == Rule::MajorityVote { "any" } else { "the first" };
    Some(format!(
        "Adam moves a score by at most {reach:.3} in a client's round: {:.1}% of the mask entries cannot change in \
         {which} round (the dead zone); raise `lr` or `epochs`, or lower `a`",
        100.0 * share
    ))
}

/// Rounds in which no client changed anything.
pub(super) fn dead_rounds(config: &Config, history: &[Round]) -> Option<String> {
    let dead = history.iter().filter(|round| round.flips == 0.0).count();
    if dead == 0 || config.method != Method::Mask {
        return None;
    }
    Some(format!("no client changed a mask entry in {dead} of {} rounds", history.len()))
}
