//! What is measured after a round: accuracies, changes of sign, bytes. What a round reports is measured in it already.

use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::state::Round;
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
