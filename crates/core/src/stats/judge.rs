//! Judgement: what the values of a few seeds say about a claim, and about a value
//! that a paper prints.
//!
//! A sample holds one entry per seed; `None` is a seed that failed. Arms that are
//! compared share their seeds, so entry `i` of one belongs to entry `i` of the other.

use serde::{Deserialize, Serialize};

use super::{Estimate, Rounding, StatsError, check_target, equivalent, t_interval};

/// Fewer seeds than this are never judged, unless the metric is exact.
pub const MIN_SEEDS: usize = 3;

/// What the seeds say about a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "reason")]
pub enum ClaimVerdict {
    /// The interval lies beyond the margin and every seed agrees in direction.
    Holds,
    /// The interval lies on the other side of the margin.
    Fails,
    /// Neither of these, and the 90% interval lies inside ± what counts as equal: two one-sided tests.
    NoDifference,
    /// None of these, or a seed failed.
    Undecided,
    /// Not asked, for this reason.
    NotJudged(String),
}

/// What the seeds say about a printed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "reason")]
pub enum TargetVerdict {
    /// The 90% interval lies inside value ± tolerance.
    Reproduced,
    /// The 95% interval lies beyond value ± tolerance, on the good side.
    Better,
    /// The same on the bad side.
    Worse,
    /// The same for a metric that has no good side.
    Different,
    /// None of these, or a seed failed.
    Inconclusive,
    /// Not held against the printed value, for this reason.
    NotComparable(String),
}

impl TargetVerdict {
    /// Whether `--strict` counts the target as missed: the interval lies outside the
    /// tolerance, and not on the good side.
    pub fn is_miss(&self) -> bool {
        matches!(self, TargetVerdict::Worse | TargetVerdict::Different)
    }
}

/// A verdict on a claim with the interval that it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: ClaimVerdict,
    /// The 95% interval of left minus right; `None` where it is not defined.
    pub difference: Option<Estimate>,
    /// How many seeds agree with the direction of the claim.
    pub agree: usize,
}

/// The relation of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// `left > right + margin`.
    #[serde(rename = ">")]
    Greater,
    /// `left < right - margin`, the mirror image.
    #[serde(rename = "<")]
    Less,
}

impl Relation {
    /// Reads `>` or `<`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            ">" => Some(Relation::Greater),
            "<" => Some(Relation::Less),
            _ => None,
        }
    }
}

/// Which side of a printed value is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither.
    Neither,
}

/// Judges `left relation right`, by at least `margin`, from one pair per seed.
///
/// The claim *holds* when the two-sided 95% t interval of the paired difference lies
/// beyond the margin and every seed agrees in direction, *fails* when the interval
/// lies on the other side of the margin, and is else *undecided*. A failed seed in
/// either arm leaves it undecided. For an `exact` metric (a count) there is no
/// sampling error: it holds when it holds as a number for every seed, and fails when
/// it does for none.
///
/// Where the claim says within how much its sides count as equal, one that neither holds nor fails finds *no difference*
/// when the 90% interval of the paired difference lies inside `± equal_within` (two one-sided tests at level 5%). Without
/// it, and for an exact metric, nothing is answered so: that an interval holds zero says no more than that the seeds are few.
///
/// A margin below zero claims "not worse by more than": there a seed agrees when its
/// own difference lies beyond the margin.
///
/// A difference that misses the margin by rounding alone is the margin, and not beyond it:
/// 0.3 > 0.2 by 0.1 has the verdict of 3 > 2 by 1.
///
/// # Errors
/// Samples of unequal length, and values or a margin that are not finite.
pub fn judge_claim(
    left: &[Option<f64>],
    right: &[Option<f64>],
    relation: Relation,
    margin: f64,
    equal_within: Option<f64>,
    exact: bool,
) -> Result<Judged, StatsError> {
    if left.len() != right.len() {
        return Err(StatsError::Unpaired { left: left.len(), right: right.len() });
    }
    let pairs = left.iter().zip(right);
    let differences: Option<Vec<f64>> = pairs.map(|(l, r)| Some((*l)? - (*r)?)).collect();
    let rounding = Rounding::of(left.iter().chain(right).flatten().copied().chain([margin]));
    judge_differences(differences, rounding, relation, (margin, equal_within), exact)
}

/// Judges `left relation number`, by at least `margin`; else as [`judge_claim`].
///
/// # Errors
/// As [`judge_claim`].
pub fn judge_claim_number(
    left: &[Option<f64>],
    number: f64,
    relation: Relation,
    margin: f64,
    equal_within: Option<f64>,
    exact: bool,
) -> Result<Judged, StatsError> {
    let differences: Option<Vec<f64>> = left.iter().map(|l| Some((*l)? - number)).collect();
    let rounding = Rounding::of(left.iter().flatten().copied().chain([number, margin]));
    judge_differences(differences, rounding, relation, (margin, equal_within), exact)
}

fn judge_differences(
    differences: Option<Vec<f64>>,
    rounding: Rounding,
    relation: Relation,
    (margin, equal_within): (f64, Option<f64>),
    exact: bool,
) -> Result<Judged, StatsError> {
    if !margin.is_finite() {
        let range = "finite";
        return Err(StatsError::Parameter { name: "margin", value: margin, range });
    }
    if let Some(within) = equal_within.filter(|within| !(*within > 0.0 && within.is_finite())) {
        return Err(StatsError::Parameter { name: "equal_within", value: within, range: "finite and above zero" });
    }
    let undecided = Judged { verdict: ClaimVerdict::Undecided, difference: None, agree: 0 };
    let Some(mut differences) = differences else {
        return Ok(undecided);
    };
    super::check(&differences, 0)?;
    // Differences that only rounding tells apart have no spread.
    if let Some((&first, rest)) = differences.split_first()
        && !rest.iter().any(|d| rounding.above(*d, first) || rounding.below(*d, first))
    {
        differences.fill(first);
    }

    // "Less" is "greater" seen in a mirror.
    let sign = if relation == Relation::Greater { 1.0 } else { -1.0 };
    let gains: Vec<f64> = differences.iter().map(|d| sign * d).collect();
    let agree = gains.iter().filter(|g| rounding.above(**g, margin.min(0.0))).count();
    let all_agree = agree == gains.len();
    let difference = t_interval(&differences, 0.95).ok();

    let verdict = if exact && !gains.is_empty() {
        match gains.iter().filter(|g| rounding.above(**g, margin)).count() {
            0 => ClaimVerdict::Fails,
            beyond if beyond == gains.len() => ClaimVerdict::Holds,
            _ => ClaimVerdict::Undecided,
        }
    } else if gains.len() < MIN_SEEDS {
        ClaimVerdict::NotJudged(too_few(gains.len()))
    } else {
        let gain = t_interval(&gains, 0.95)?;
        if rounding.above(gain.low, margin) && all_agree {
            ClaimVerdict::Holds
        } else if rounding.below(gain.high, margin) {
            ClaimVerdict::Fails
        } else if equal_within.is_some_and(|within| equal(&gains, within, rounding)) {
            ClaimVerdict::NoDifference
        } else {
            ClaimVerdict::Undecided
        }
    };
    Ok(Judged { verdict, difference, agree })
}

/// Whether the differences are none within `within` at level 5%. An end that differs from an edge by rounding alone lies
/// on it, which is inside.
fn equal(differences: &[f64], within: f64, rounding: Rounding) -> bool {
    let inner = t_interval(differences, 0.90);
    inner.is_ok_and(|inner| !rounding.below(inner.low, -within) && !rounding.above(inner.high, within))
}

/// Judges our values of one seed each against a printed `value`.
///
/// *Reproduced* when the 90% interval lies inside `value ± tolerance` (two one-sided
/// tests), *better* or *worse* when the 95% interval lies beyond it, else
/// *inconclusive*; so is a sample with a failed seed or fewer than [`MIN_SEEDS`].
/// An `exact` metric is compared as a number, seed by seed. What differs from an edge of the
/// interval by rounding alone lies on it, which is inside: 0.7 is within 0.8 ± 0.1. Whether the run may be
/// held against the printed value at all is for the caller to say, with
/// [`TargetVerdict::NotComparable`].
///
/// # Errors
/// Values, a printed value or a tolerance that are not finite; a negative tolerance.
pub fn judge_target(
    ours: &[Option<f64>],
    value: f64,
    tolerance: f64,
    good: Good,
    exact: bool,
) -> Result<TargetVerdict, StatsError> {
    check_target(value, tolerance)?;
    let Some(ours) = ours.iter().copied().collect::<Option<Vec<f64>>>() else {
        return Ok(TargetVerdict::Inconclusive);
    };
    super::check(&ours, 0)?;
    let rounding = Rounding::of(ours.iter().copied().chain([value, tolerance]));
    let (floor, ceiling) = (value - tolerance, value + tolerance);
    let (low, high, inside) = if exact && !ours.is_empty() {
        let low = ours.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ours.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high, !rounding.below(low, floor) && !rounding.above(high, ceiling))
    } else if ours.len() < MIN_SEEDS {
        return Ok(TargetVerdict::Inconclusive);
    } else {
        let outer = t_interval(&ours, 0.95)?;
        (outer.low, outer.high, equivalent(&ours, value, tolerance)?)
    };
    Ok(if inside {
        TargetVerdict::Reproduced
    } else if rounding.above(low, ceiling) {
        beyond(good, Good::Higher)
    } else if rounding.below(high, floor) {
        beyond(good, Good::Lower)
    } else {
        TargetVerdict::Inconclusive
    })
}

fn beyond(good: Good, side: Good) -> TargetVerdict {
    match good {
        Good::Neither => TargetVerdict::Different,
        good if good == side => TargetVerdict::Better,
        _ => TargetVerdict::Worse,
    }
}

fn too_few(seeds: usize) -> String {
    match seeds {
        1 => format!("1 seed, {MIN_SEEDS} are needed"),
        n => format!("{n} seeds, {MIN_SEEDS} are needed"),
    }
}
