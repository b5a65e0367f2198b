//! What a suite says, held against what its arms will report.

use std::collections::BTreeSet;

use plasticity_core::config::{Source, Table, nearest};
use plasticity_core::data::manifest::{Kind, Manifest};
use plasticity_core::error::ConfigError;
use plasticity_core::run::Prepared;
use plasticity_core::run::record::{Claim, MetricInfo, Plan, Side, Target};

use super::SuiteArm;

/// An arm as claims and targets see it.
pub struct KnownArm<'a> {
    pub id: &'a str,
    pub seeds: &'a [u64],
    pub plan: &'a Plan,
}

/// Whether the data sets that an experiment names are what an arm of it reads; what is wrong if not.
pub fn reads(prepared: &Prepared, names: &[String], manifests: &[Manifest]) -> Result<(), String> {
    let Some(kind) = prepared.reads else { return Ok(()) };
    let (what, example) = match kind {
        Kind::Images => ("images", "mnist"),
        Kind::Text => ("a text", "tinyshakespeare"),
        Kind::Model => ("a model", "smollm2-135m"),
    };
    if names.is_empty() {
        return Err(format!("reads {what}: give its [[experiment]] `data`, for example data = [\"{example}\"]"));
    }
    // A name that nobody knows is refused where the sets are looked for.
    let known = names.iter().filter_map(|name| manifests.iter().find(|manifest| manifest.name == *name));
    match known.into_iter().find(|manifest| manifest.kind() != kind) {
        Some(other) => {
            Err(format!("reads {what}, and `{}` is {}: name another set in `data`", other.name, other.kind().name()))
        }
        None => Ok(()),
    }
}

/// A report has one column for a metric of all arms of an experiment: under one name they must report one quantity. The
/// line and what is wrong of the first arm that does not.
pub fn columns(arms: &[(usize, SuiteArm)]) -> Result<(), (usize, String)> {
    let mut known: Vec<(&str, &MetricInfo)> = Vec::new();
    for (line, arm) in arms {
        for info in &arm.prepared.plan.metrics {
            match known.iter().find(|(_, other)| other.name == info.name) {
                Some((id, other)) if (&other.title, &other.unit) != (&info.title, &info.unit) => {
                    let what = |info: &MetricInfo| match info.unit.as_str() {
                        "" => info.title.clone(),
                        unit => format!("{} in {unit}", info.title),
                    };
                    let (ours, theirs) = (what(info), what(other));
                    let name = &info.name;
                    return Err((
                        *line,
                        format!(
                            "`{name}` of arm `{}` is {ours}, and of arm `{id}` {theirs}: put the arms into experiments of \
                         their own",
                            arm.id
                        ),
                    ));
                }
                Some(_) => {}
                None => known.push((&arm.id, info)),
            }
        }
    }
    Ok(())
}

/// Letters of a claim's few words.
const FRONT: usize = 160;

/// Whether the data sets that a claim is about are ones that its suite can run on: on no other would it ever be judged.
pub fn on(claim: &Claim, sets: &[&str]) -> Result<(), ConfigError> {
    match claim.on.iter().find(|name| !sets.contains(&name.as_str())) {
        Some(name) => Err(ConfigError {
            suggestion: nearest(name, sets.iter().copied()),
            ..ConfigError::new(format!("`on`: no experiment of the suite runs on `{name}`"))
        }),
        None => Ok(()),
    }
}

/// Whether a claim can be judged on these arms; what is wrong with it if not.
pub fn claim(claim: &Claim, arms: &[KnownArm]) -> Result<(), ConfigError> {
    if claim.relation != ">" && claim.relation != "<" {
        return Err(ConfigError::new(format!("`relation` is `{}`: it must be \">\" or \"<\"", claim.relation)));
    }
    if claim.margin.is_nan() || claim.margin < 0.0 {
        return Err(ConfigError::new("`margin` must not be negative"));
    }
    if claim.equal_within.is_some_and(|within| !(within.is_finite() && within > 0.0)) {
        return Err(ConfigError::new("`equal_within` must be above 0: within how much the two sides count as equal"));
    }
    if claim.front.as_ref().is_some_and(|words| words.trim().is_empty()) {
        return Err(ConfigError::new("`front` is empty: say the claim in a few words, or leave it out"));
    }
    if claim.front.as_ref().is_some_and(|words| words.chars().count() > FRONT || words.contains(['\n', '|'])) {
        return Err(ConfigError::new(format!(
            "`front` stands in a table: at most {FRONT} letters on one line, without `|`"
        )));
    }
    for beside in &claim.price {
        promised(&beside.arm, &beside.metric, arms).map_err(|e| of_key("price", e))?;
    }
    let mut bases = Vec::new();
    for (key, side) in [("left", &claim.left), ("right", &claim.right)] {
        if let Side::Measured { arm, metric } = side {
            bases.push((metric, promised(arm, metric, arms).map_err(|e| of_key(key, e))?));
        }
    }
    if let (Side::Measured { arm: left, .. }, Side::Measured { arm: right, .. }) = (&claim.left, &claim.right) {
        let seeds = |id: &str| arms.iter().find(|arm| arm.id == id).map_or(&[][..], |arm| arm.seeds);
        let sorted = |id: &str| seeds(id).iter().collect::<BTreeSet<_>>();
        if sorted(left) != sorted(right) {
            return Err(ConfigError::new(format!(
                "a claim compares arms seed by seed: `{left}` has seeds {:?} and `{right}` has seeds {:?}",
                seeds(left),
                seeds(right)
            )));
        }
    }
    match bases.as_slice() {
        [] => Err(ConfigError::new("a claim needs an arm and a metric on at least one side")),
        [(_, left), (_, right)] if left.basis != right.basis || left.unit != right.unit => {
            Err(ConfigError::new(format!(
                "the two sides cannot be compared: {} ({}) and {} ({})",
                left.name, left.basis, right.name, right.basis
            )))
        }
        _ => Ok(()),
    }
}

/// Whether a printed value can be compared with what an arm reports.
pub fn target(target: &Target, arms: &[KnownArm]) -> Result<(), ConfigError> {
    promised(&target.arm, &target.metric, arms)?;
    if target.tolerance.is_nan() || target.tolerance <= 0.0 {
        return Err(ConfigError::new("`tolerance` must be above 0"));
    }
    Ok(())
}

/// An error of the value behind a key.
fn of_key(key: &str, error: ConfigError) -> ConfigError {
    ConfigError { message: format!("`{key}`: {}", error.message), ..error }
}

/// The line of the key that an error's message begins with, among those of the table that it is about; that of the table
/// where it names none.
pub fn line(error: &ConfigError, source: &Source, table: &Table) -> usize {
    let named = error.message.strip_prefix('`').and_then(|rest| rest.split('`').next());
    let key = table.get_ref().keys().find(|key| Some(key.get_ref().as_ref()) == named);
    source.line(key.map_or(table.span(), |key| key.span()).start)
}

/// What an arm promises of a metric.
pub fn promised<'a>(arm: &str, metric: &str, arms: &[KnownArm<'a>]) -> Result<&'a MetricInfo, ConfigError> {
    let Some(KnownArm { plan, .. }) = arms.iter().find(|known| known.id == arm) else {
        let known: Vec<&str> = arms.iter().map(|known| known.id).collect();
        let message = format!("there is no arm `{arm}`; there are {}", known.join(", "));
        return Err(ConfigError { suggestion: nearest(arm, known), ..ConfigError::new(message) });
    };
    plan.metrics.iter().find(|info| info.name == metric).ok_or_else(|| {
        let known: Vec<&str> = plan.metrics.iter().map(|info| info.name.as_str()).collect();
        let message = format!("arm `{arm}` does not report `{metric}`; it reports {}", known.join(", "));
        ConfigError { suggestion: nearest(metric, known), ..ConfigError::new(message) }
    })
}
