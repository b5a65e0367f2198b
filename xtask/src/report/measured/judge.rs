//! Claims and printed values of a suite, held against what its cells measured.

use std::collections::BTreeSet;

use plasticity_core::run::record::{Claim, Direction, MetricInfo, Profile, Side, Target};
use plasticity_core::stats::{
    ClaimVerdict, Good, Judged, Relation, StatsError, TargetVerdict, judge_claim, judge_claim_number, judge_target,
};

use super::format::{count, difference_suffix, number, unit_suffix};
use super::model::{Arm, ClaimLine, Experiment, Report, TargetLine};

/// Judges every claim and every target. One that cannot be computed (its numbers are too large)
/// is not judged, for that reason.
pub fn all(report: &Report, claims: &[Claim], targets: &[Target]) -> (Vec<ClaimLine>, Vec<TargetLine>) {
    let claims = claims.iter().map(|c| claim(report, c)).collect();
    let targets = targets.iter().map(|t| target(report, t)).collect();
    (claims, targets)
}

/// One side of a claim, found in the report.
struct Found<'a> {
    experiment: &'a Experiment,
    arm: &'a Arm,
    info: &'a MetricInfo,
}

fn claim(report: &Report, claim: &Claim) -> ClaimLine {
    let sides = [find(report, &claim.left), find(report, &claim.right)];
    let unit = sides.iter().flatten().next().map_or("", |f| f.info.unit.as_str()).to_owned();
    let seeds = common_seeds(report, claim);
    let judged = match refuse(claim, &sides, &seeds) {
        Some(reason) => not_judged(reason),
        None => measure(claim, &sides, &seeds).unwrap_or_else(|e| not_judged(e.to_string())),
    };
    ClaimLine {
        claim: claim.clone(),
        formula: formula(claim, &unit),
        unit,
        verdict: judged.verdict,
        difference: judged.difference,
        agree: judged.agree,
    }
}

fn not_judged(reason: String) -> Judged {
    Judged { verdict: ClaimVerdict::NotJudged(reason), difference: None, agree: 0 }
}

/// Why a claim is not judged on these data, if so.
fn refuse(claim: &Claim, sides: &[Option<Found>; 2], common: &BTreeSet<u64>) -> Option<String> {
    for (side, found) in [&claim.left, &claim.right].into_iter().zip(sides) {
        if let (Side::Measured { arm, metric }, None) = (side, found) {
            return Some(format!("no single arm `{arm}` with `{metric}`"));
        }
    }
    let found: Vec<&Found> = sides.iter().flatten().collect();
    let Some(first) = found.first() else {
        return Some("neither side is measured".into());
    };
    for f in &found {
        let data = f.experiment.data.as_ref().map_or("no data set", |d| d.name.as_str());
        if !claim.on.is_empty() && !claim.on.iter().any(|name| name == data) {
            return Some(format!("judged on {} only, this is {data}", claim.on.join(", ")));
        }
        if f.experiment.data != first.experiment.data {
            return Some("the sides ran on different data".into());
        }
        if f.info.unit != first.info.unit || f.info.basis != first.info.basis {
            return Some(format!("unlike metrics: {} and {}", basis(first.info), basis(f.info)));
        }
        if common.is_empty() && seeds(f.arm) != seeds(first.arm) {
            return Some(format!("`{}` and `{}` have different seeds", first.arm.id, f.arm.id));
        }
        if let Some(reason) = incomplete(&if common.is_empty() { f.arm.clone() } else { f.arm.of_seeds(common) }) {
            return Some(reason);
        }
    }
    None
}

/// The seeds over which a claim is judged: those of both sides. A seed that one of them alone has run with, beside the
/// suite's own, has no partner.
pub fn common_seeds(report: &Report, claim: &Claim) -> BTreeSet<u64> {
    let arms = [&claim.left, &claim.right].into_iter().filter_map(|side| match side {
        Side::Measured { arm: id, .. } => report.arms().find(|(_, arm)| arm.id == *id),
        Side::Number(_) => None,
    });
    arms.map(|(_, arm)| seeds(arm)).reduce(|a, b| &a & &b).unwrap_or_default()
}

fn seeds(arm: &Arm) -> BTreeSet<u64> {
    arm.cells.iter().map(|c| c.seed).collect()
}

fn basis(info: &MetricInfo) -> String {
    format!("`{}` ({}; {})", info.name, info.unit, info.basis)
}

fn incomplete(arm: &Arm) -> Option<String> {
    let n = arm.unfinished();
    if arm.cells.is_empty() {
        return Some(format!("`{}` has not run", arm.id));
    }
    (n > 0).then(|| format!("{} of `{}` without a result yet", count(n, "cell"), arm.id))
}

fn measure(claim: &Claim, sides: &[Option<Found>; 2], seeds: &BTreeSet<u64>) -> Result<Judged, StatsError> {
    let Some(relation) = Relation::parse(&claim.relation) else {
        return Ok(not_judged(format!("unknown relation `{}`", claim.relation)));
    };
    // Seed by seed, in one order for both sides.
    let values = |f: &Found| -> Vec<Option<f64>> {
        let cell = |seed: &u64| f.arm.cells.iter().find(|c| c.seed == *seed);
        seeds.iter().map(|seed| cell(seed)?.metrics.get(&f.info.name).copied()).collect()
    };
    let exact = sides.iter().flatten().all(|f| f.info.exact);
    Ok(match (sides, &claim.left, &claim.right) {
        ([Some(left), Some(right)], _, _) => judge_claim(&values(left), &values(right), relation, claim.margin, exact)?,
        ([Some(left), None], _, Side::Number(right)) => {
            judge_claim_number(&values(left), *right, relation, claim.margin, exact)?
        }
        ([None, Some(right)], Side::Number(left), _) => {
            // `1 < x` is `x > 1`; the difference shown stays left minus right.
            let mirrored = match relation {
                Relation::Greater => Relation::Less,
                Relation::Less => Relation::Greater,
            };
            let mut judged = judge_claim_number(&values(right), *left, mirrored, claim.margin, exact)?;
            if let Some(d) = &mut judged.difference {
                (d.mean, d.low, d.high) = (-d.mean, -d.high, -d.low);
            }
            judged
        }
        _ => not_judged("neither side is measured".into()),
    })
}

fn target(report: &Report, target: &Target) -> TargetLine {
    let side = Side::Measured { arm: target.arm.clone(), metric: target.metric.clone() };
    let found = find(report, &side);
    let verdict = match (&found, not_comparable(report, target, found.as_ref())) {
        (_, Some(reason)) => TargetVerdict::NotComparable(reason),
        (None, None) => TargetVerdict::NotComparable("not measured".into()),
        (Some(f), None) => judge_target(
            &f.arm.values(&target.metric),
            target.value,
            target.tolerance,
            good(f.info.direction),
            f.info.exact,
        )
        .unwrap_or_else(|e| TargetVerdict::NotComparable(e.to_string())),
    };
    let ours = found.as_ref().and_then(|f| f.arm.summary(&target.metric)?.interval);
    let unit = found.map_or_else(String::new, |f| f.info.unit.clone());
    TargetLine { target: target.clone(), unit, ours, verdict }
}

/// Why our value may not be held against the printed one, if so.
fn not_comparable(report: &Report, target: &Target, found: Option<&Found>) -> Option<String> {
    let Some(f) = found else {
        return Some(format!("no single arm `{}` with `{}`", target.arm, target.metric));
    };
    if target.recalled {
        return Some("the printed value is only recalled".into());
    }
    if report.profile == Profile::Reduced {
        return Some("reduced profile".into());
    }
    if let Some(data) = &f.experiment.data {
        if let Some((name, _)) = f.experiment.passed_over.first() {
            return Some(format!("{} in place of {name}", data.name));
        }
        if !data.exact {
            return Some(format!("variant {} is not the published data", data.variant));
        }
    }
    incomplete(f.arm)
}

fn good(direction: Direction) -> Good {
    match direction {
        Direction::Higher => Good::Higher,
        Direction::Lower => Good::Lower,
        Direction::Neutral => Good::Neither,
    }
}

/// The arm and metric of a measured side; `None` for a number, for an arm or metric that
/// is not there, and for an id that two experiments use.
fn find<'a>(report: &'a Report, side: &Side) -> Option<Found<'a>> {
    let Side::Measured { arm: id, metric } = side else {
        return None;
    };
    let mut arms = report.arms().filter(|(_, arm)| arm.id == *id);
    let (experiment, arm) = arms.next()?;
    if arms.next().is_some() {
        return None;
    }
    Some(Found { experiment, arm, info: arm.info(metric)? })
}

fn formula(claim: &Claim, unit: &str) -> String {
    let side = |side: &Side| match side {
        Side::Measured { arm, metric } => format!("{metric}({arm})"),
        Side::Number(n) => format!("{}{}", number(*n, unit), unit_suffix(unit)),
    };
    let margin = match claim.margin {
        0.0 => String::new(),
        by => format!(" by {}{}", number(by, unit), difference_suffix(unit)),
    };
    format!("{} {} {}{margin}", side(&claim.left), claim.relation, side(&claim.right))
}
