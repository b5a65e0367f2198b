//! Which runs come first, and the verdicts that stand before all have ended.
//!
//! A suite takes minutes to days, and its first answer should not: the runs of the claims that cost least come first, up to
//! a share of the whole. Then the longest come first, so that no core waits at the end. A claim is judged as soon as its
//! runs have ended, over all of its seeds, so that what is said then is what the report will say.

use std::collections::{BTreeSet, VecDeque};

use plasticity_core::run::record::Claim;

use super::plan::Planned;
use crate::report;

/// The part of all work that cheap claims may take before the longest runs begin.
const SHARE: f64 = 0.1;

/// The runs of each claim, by index in the plan, that have no result yet; in the order of the claims.
fn runs(planned: &Planned) -> Vec<BTreeSet<usize>> {
    let of = |claim: &Claim| {
        let cells = planned.cells.iter().enumerate();
        cells
            .filter(|(_, cell)| cell.to_run() && report::arms_of(claim).contains(&Some(cell.spec.arm.as_str())))
            .map(|(index, _)| index)
            .collect()
    };
    planned.plan.claims.iter().map(of).collect()
}

/// The runs without a result in the order in which they start.
pub fn order(planned: &Planned) -> VecDeque<usize> {
    let seconds: Vec<f64> = planned.cells.iter().map(|cell| cell.plan.seconds).collect();
    let to_run: Vec<usize> = (0..planned.cells.len()).filter(|index| planned.cells[*index].to_run()).collect();
    ordered(&seconds, &to_run, &runs(planned)).into()
}

/// The order of `to_run` from the seconds of all runs and the runs of each claim.
fn ordered(seconds: &[f64], to_run: &[usize], claims: &[BTreeSet<usize>]) -> Vec<usize> {
    let cost = |of: &BTreeSet<usize>| of.iter().map(|index| seconds[*index]).sum::<f64>();
    let budget = SHARE * to_run.iter().map(|index| seconds[*index]).sum::<f64>();
    let mut cheap: Vec<&BTreeSet<usize>> = claims.iter().filter(|of| !of.is_empty()).collect();
    cheap.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let mut first: Vec<usize> = Vec::new();
    let mut spent = 0.0;
    for of in cheap {
        let new: Vec<usize> = of.iter().copied().filter(|index| !first.contains(index)).collect();
        spent += new.iter().map(|index| seconds[*index]).sum::<f64>();
        if spent > budget {
            break;
        }
        first.extend(new);
    }
    let mut rest: Vec<usize> = to_run.iter().copied().filter(|index| !first.contains(index)).collect();
    // Of runs that take as long, those of one arm stay together.
    rest.sort_by(|a, b| seconds[*b].total_cmp(&seconds[*a]));
    first.into_iter().chain(rest).collect()
}

/// The claims that wait for runs.
pub struct Early<'a> {
    planned: &'a Planned,
    waiting: Vec<(&'a Claim, BTreeSet<usize>)>,
}

impl<'a> Early<'a> {
    /// Of the runs that have no result yet.
    pub fn new(planned: &'a Planned) -> Self {
        let waiting = planned.plan.claims.iter().zip(runs(planned)).filter(|(_, runs)| !runs.is_empty());
        Self { planned, waiting: waiting.collect() }
    }

    /// A run has a result: the verdicts that waited for it alone, a line each. One that cannot be judged yet is left to
    /// the report, which says why.
    pub fn done(&mut self, index: usize) -> Vec<String> {
        let mut judged = Vec::new();
        self.waiting.retain_mut(|(claim, runs)| {
            if runs.remove(&index) && runs.is_empty() {
                judged.push(*claim);
            }
            !runs.is_empty()
        });
        judged.into_iter().filter_map(|claim| report::verdict(&self.planned.dir, &self.planned.plan, claim)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[usize]) -> BTreeSet<usize> {
        of.iter().copied().collect()
    }

    #[test]
    fn cheap_claims_come_first_and_then_the_longest_runs() {
        let seconds = [30.0, 30.0, 0.5, 0.5, 0.5, 8.0, 8.0, 4.0];
        let all: Vec<usize> = (0..8).collect();
        let claims = [set(&[0, 1]), set(&[2, 3]), set(&[3, 4]), set(&[5, 6]), set(&[])];
        assert_eq!(ordered(&seconds, &all, &claims), [2, 3, 4, 0, 1, 5, 6, 7]);
        // A tenth of the work at most: here no claim is as cheap.
        assert_eq!(ordered(&[1.0, 2.0], &[0, 1], &[set(&[0])]), [1, 0]);
        // What has a result takes no part.
        assert_eq!(ordered(&seconds, &[1, 3], &[set(&[3])]), [3, 1]);
        assert_eq!(ordered(&[], &[], &[]), Vec::<usize>::new());
    }
}
