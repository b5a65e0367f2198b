//! What the seeds of an arm make of a curve: one meaning of spread for all charts, which is that of the tables.

use plasticity_core::stats::mean;

use super::chart::Line;
use super::shown::{Domain, Spread, choose};

/// From so many seeds on a curve has a band. The interval of two or three is wide beyond any use, so they are drawn one
/// by one.
pub const BAND_FROM: usize = 4;

/// x and y.
pub type Points = Vec<(f64, f64)>;

/// The line of curves that share their x: the mean with the 95% t interval of the mean at every x, or with each curve
/// by itself where there are few, or where the tables would not show an interval: one that leaves what can be.
pub fn line(key: usize, seeds: Vec<Points>, bounds: Domain) -> Line {
    let length = seeds.iter().map(Vec::len).min().unwrap_or(0);
    let at = |i: usize| seeds.iter().map(|s| s[i].1).collect::<Vec<f64>>();
    let x = |i: usize| seeds[0][i].0;
    let middle = (0..length).filter_map(|i| Some((x(i), mean(&at(i)).ok()?))).collect();
    let ends = |i: usize| match choose(&at(i), bounds.anywhere())? {
        Spread::Interval(e) => Some((x(i), e.low, e.high)),
        Spread::Point(value) => Some((x(i), value, value)),
        Spread::Apart(_) => None,
    };
    if seeds.len() < 2 {
        return Line { key, mean: middle, ..Line::default() };
    }
    match (0..length).map(ends).collect::<Option<Vec<_>>>() {
        Some(band) if seeds.len() >= BAND_FROM => Line { key, mean: middle, band, ..Line::default() },
        _ => Line { key, mean: middle, seeds, ..Line::default() },
    }
}

/// What the lines of a chart are, for the note below it.
pub fn note<'a>(lines: impl Iterator<Item = &'a Line> + Clone) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let any = |is: fn(&Line) -> bool| lines.clone().any(is);
    if any(|l| !(l.mean.is_empty() || l.band.is_empty() && l.seeds.is_empty())) {
        parts.push("Line: mean over seeds.");
    }
    if any(|l| !l.band.is_empty()) {
        parts.push("Band: 95% t interval of the mean, as in the tables.");
    }
    if any(|l| !l.mean.is_empty() && !l.seeds.is_empty()) {
        parts.push("Thin: each seed, where they are two or three or an interval would leave what can be.");
    }
    if any(|l| l.mean.is_empty() && !l.seeds.is_empty()) {
        parts.push("Thin lines without a mean: seeds that were measured at different places.");
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use plasticity_core::stats::t_interval;

    use super::*;

    const ANY: Domain = Domain { low: f64::NEG_INFINITY, high: f64::INFINITY, far: 0.0 };

    /// An accuracy cannot be above 1, nor a loss below 0.
    #[test]
    fn a_band_that_would_leave_what_can_be_is_not_drawn() {
        let near_one = seeds(&[0.2, 0.3, 0.45, 0.5]);
        assert!(line(0, near_one.clone(), Domain::of([0.2, 1.0].into_iter(), false)).seeds.is_empty());
        let bounded = line(0, near_one, Domain::of([0.2, 1.0].into_iter(), true));
        assert_eq!((bounded.mean.len(), bounded.band.len(), bounded.seeds.len()), (2, 0, 4));
        assert!(note([bounded].iter()).contains("an interval would leave what can be"));
    }

    fn seeds(values: &[f64]) -> Vec<Points> {
        values.iter().map(|v| vec![(1.0, *v), (2.0, 2.0 * v)]).collect()
    }

    #[test]
    fn a_band_is_the_interval_of_the_tables() {
        let values = [0.2, 0.4, 0.5, 0.9];
        let line = line(3, seeds(&values), Domain::of([-9.0, 9.0].into_iter(), false));
        let interval = t_interval(&values, 0.95).unwrap();
        assert_eq!((line.key, line.mean[0], line.seeds.len()), (3, (1.0, 0.5), 0));
        assert_eq!(line.band[0], (1.0, interval.low, interval.high));
        assert!(line.band[0].1 < 0.1 && line.band[1].2 > 1.8, "{:?}", line.band);
        assert!(note([line].iter()).contains("95% t interval of the mean, as in the tables"));
    }

    /// Three seeds in two groups would have an interval from -1.0 to 1.7.
    #[test]
    fn two_or_three_seeds_are_drawn_one_by_one() {
        for n in [2, 3] {
            let line = line(0, seeds(&[0.0, 0.05, 1.0][..n]), ANY);
            assert_eq!((line.mean.len(), line.band.len(), line.seeds.len()), (2, 0, n));
            assert!(note([line].iter()).contains("Thin: each seed"));
        }
        let one = line(0, seeds(&[0.5]), ANY);
        assert_eq!((one.mean.len(), one.band.len(), one.seeds.len()), (2, 0, 0));
        assert_eq!(note([one].iter()), "");
    }
}
