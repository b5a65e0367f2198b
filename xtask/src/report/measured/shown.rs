//! What is shown of the values of some seeds: their 95% interval, or the values themselves where an interval would not say
//! what the seeds found.
//!
//! The verdicts rest on the intervals in either case.

use plasticity_core::run::record::{Claim, Side};
use plasticity_core::stats::{Estimate, t_interval};

use super::judge;
use super::model::{Arm, Experiment, Report};

/// How far apart two groups of seeds are, as a part of the range of all of them.
const GAP: f64 = 0.75;
/// And at least so far: of a fraction as it stands, of anything else as a part of the greatest value.
const FAR_FRACTION: f64 = 0.2;
const FAR: f64 = 0.5;

/// The values of some seeds, as they are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// One value: of one seed, or of seeds that agree to the last digit.
    Point(f64),
    /// Mean and 95% t interval.
    Interval(Estimate),
    /// Each seed by itself, in the order of the seeds.
    Apart(Vec<f64>),
}

impl Spread {
    /// The same seen from the other side.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Point(value) => Self::Point(-value),
            Self::Interval(e) => Self::Interval(Estimate { mean: -e.mean, low: -e.high, high: -e.low, ..e }),
            Self::Apart(values) => Self::Apart(values.into_iter().map(|v| -v).collect()),
        }
    }

    /// The same, measured from another place.
    pub fn minus(self, place: f64) -> Self {
        match self {
            Self::Point(value) => Self::Point(value - place),
            Self::Interval(e) => {
                Self::Interval(Estimate { mean: e.mean - place, low: e.low - place, high: e.high - place, ..e })
            }
            Self::Apart(values) => Self::Apart(values.into_iter().map(|v| v - place).collect()),
        }
    }

    /// Everything that a drawing of it must hold.
    pub fn ends(&self) -> Vec<f64> {
        match self {
            Self::Point(value) => vec![*value],
            Self::Interval(e) => vec![e.low, e.high],
            Self::Apart(values) => values.clone(),
        }
    }
}

/// Between which values a metric lies, and which distance is large for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Domain {
    /// Nothing is below.
    pub low: f64,
    /// Nothing is above.
    pub high: f64,
    /// A gap between two groups of seeds that is large.
    pub far: f64,
}

impl Domain {
    /// A fraction none of whose values is negative lies in [0, 1] and any other in [-1, 1], unless a value says
    /// otherwise; what else is never negative does not go below 0.
    pub fn of(values: impl Iterator<Item = f64>, fraction: bool) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let floor = match low {
            low if low >= 0.0 => 0.0,
            low if fraction && low >= -1.0 => -1.0,
            _ => f64::NEG_INFINITY,
        };
        Self {
            low: floor,
            high: if fraction && high <= 1.0 { 1.0 } else { f64::INFINITY },
            far: if fraction { FAR_FRACTION } else { FAR * high.abs().max(low.abs()) },
        }
    }

    /// The same where groups of seeds are no question.
    pub fn anywhere(self) -> Self {
        Self { far: f64::INFINITY, ..self }
    }

    /// Of a number that somebody has typed.
    fn at(value: f64) -> Self {
        Self { low: value, high: value, far: 0.0 }
    }

    fn minus(self, other: Self) -> Self {
        Self { low: self.low - other.high, high: self.high - other.low, far: self.far.max(other.far) }
    }

    fn left_by(&self, e: &Estimate) -> bool {
        let rounding = 1e-12 * e.mean.abs().max(e.high - e.low).max(1e-300);
        e.low < self.low - rounding || e.high > self.high + rounding
    }
}

/// Whether three seeds or more fall in two groups: the widest gap between neighbours is most of their range, and large by
/// itself.
fn in_two_groups(values: &[f64], far: f64) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // One seed of many is no group.
    let least = if sorted.len() < 5 { 1 } else { 2 };
    let gaps = sorted.windows(2).map(|pair| pair[1] - pair[0]).enumerate();
    let (below, gap) = gaps.fold((0, 0.0), |widest, (i, gap)| if gap > widest.1 { (i + 1, gap) } else { widest });
    let range = sorted.last().zip(sorted.first()).map_or(0.0, |(last, first)| last - first);
    let groups = below >= least && sorted.len() - below >= least;
    values.len() > 2 && groups && gap >= GAP * range && gap >= far && gap > 0.0
}

/// What is shown of the values of some seeds; `None` without any.
pub fn choose(values: &[f64], domain: Domain) -> Option<Spread> {
    let first = *values.first()?;
    Some(match t_interval(values, 0.95) {
        Ok(e) if e.sd != 0.0 => {
            if domain.left_by(&e) || in_two_groups(values, domain.far) {
                Spread::Apart(values.to_vec())
            } else {
                Spread::Interval(e)
            }
        }
        _ if values.iter().all(|v| *v == first) => Spread::Point(first),
        _ => Spread::Apart(values.to_vec()),
    })
}

/// What is shown of a metric of an arm, whose domain all arms of its experiment tell; `None` without a value.
pub fn of_arm(experiment: &Experiment, arm: &Arm, metric: &str) -> Option<Spread> {
    let values: Vec<f64> = arm.values(metric).into_iter().flatten().collect();
    choose(&values, domain(experiment, arm, metric)?)
}

fn domain(experiment: &Experiment, arm: &Arm, metric: &str) -> Option<Domain> {
    let all = experiment.arms.iter().flat_map(|a| a.values(metric)).flatten();
    Some(Domain::of(all, arm.info(metric)?.unit == "fraction"))
}

/// What is shown of the difference of a claim, left minus right; `None` where a seed has no value.
pub fn of_claim(report: &Report, claim: &Claim) -> Option<Spread> {
    let seeds = judge::common_seeds(report, claim);
    let side = |side: &Side| match side {
        Side::Number(value) => Some((vec![*value; seeds.len()], Domain::at(*value))),
        Side::Measured { arm: id, metric } => {
            let (experiment, arm) = report.arms().find(|(_, arm)| arm.id == *id)?;
            let cell = |seed: &u64| arm.cells.iter().find(|c| c.seed == *seed);
            let values =
                seeds.iter().map(|seed| cell(seed)?.metrics.get(metric).copied()).collect::<Option<Vec<_>>>()?;
            Some((values, domain(experiment, arm, metric)?))
        }
    };
    let ((left, a), (right, b)) = (side(&claim.left)?, side(&claim.right)?);
    let mut differences: Vec<f64> = left.iter().zip(&right).map(|(l, r)| l - r).collect();
    // Differences that only rounding tells apart have no spread.
    let most = left.iter().chain(&right).fold(0.0, |most: f64, v| most.max(v.abs()));
    if let Some(&first) = differences.first()
        && differences.iter().all(|d| (d - first).abs() <= 1e-14 * most)
    {
        differences.fill(first);
    }
    choose(&differences, a.minus(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRACTION: Domain = Domain { low: 0.0, high: 1.0, far: FAR_FRACTION };

    fn is_apart(values: &[f64], domain: Domain) -> bool {
        matches!(choose(values, domain).unwrap(), Spread::Apart(_))
    }

    #[test]
    fn an_interval_that_leaves_the_domain_is_not_shown() {
        assert!(is_apart(&[0.98, 0.999, 1.0], FRACTION), "its interval ends above 1");
        assert!(!is_apart(&[0.90, 0.91, 0.92], FRACTION));
        let loss = Domain::of([0.2, 5.0].into_iter(), false);
        assert!(is_apart(&[0.1, 0.3, 0.6], loss), "its interval ends below 0");
        assert!(!is_apart(&[2.0, 2.2, 2.1], loss));
        // What may be negative may.
        assert!(!is_apart(&[0.01, 0.0, 0.02], Domain::of([-0.1, 0.0, 0.02].into_iter(), true)));
        // A fraction of which more than one has been seen has no upper end.
        assert!(!is_apart(&[1.2, 1.3, 1.25], Domain::of([1.2, 1.3].into_iter(), true)));
    }

    #[test]
    fn seeds_in_two_groups_are_shown_by_themselves() {
        let wide = Domain { low: f64::NEG_INFINITY, high: f64::INFINITY, far: FAR_FRACTION };
        assert!(is_apart(&[0.12, 0.97, 0.99], wide));
        assert!(is_apart(&[0.12, 0.97, 0.14, 0.99, 0.13], wide));
        assert!(!is_apart(&[0.42, 0.47, 0.45, 0.18, 0.41], wide), "one seed of five is no group");
        assert!(!is_apart(&[0.12, 0.55, 0.99], wide), "spread evenly");
        assert!(!is_apart(&[0.901, 0.93, 0.931], wide), "a gap of three points");
        let distance = Domain::of([1.0, 10.0].into_iter(), false);
        assert!(is_apart(&[10.0, 10.1, 4.0], distance));
        assert!(!is_apart(&[10.0, 10.1, 9.0], distance));
        assert_eq!(choose(&[0.5; 3], FRACTION), Some(Spread::Point(0.5)));
        assert_eq!(choose(&[0.5], FRACTION), Some(Spread::Point(0.5)));
        assert_eq!(choose(&[], FRACTION), None);
    }

    #[test]
    fn the_domain_of_a_difference_is_that_of_its_sides() {
        let both = FRACTION.minus(FRACTION);
        assert_eq!((both.low, both.high), (-1.0, 1.0));
        let bound = FRACTION.minus(Domain::at(0.9));
        assert!((bound.low + 0.9).abs() < 1e-12 && (bound.high - 0.1).abs() < 1e-12);
        assert!(is_apart(&[-0.8, 0.1, 0.09], bound));
    }
}
