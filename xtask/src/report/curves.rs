//! Curves over training steps from the events of the finished cells.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use plasticity_core::run::record::{Event, SuitePlan};

use super::{Report, State};

/// A curve is averaged over windows so that it has at most this many points.
const MOST_POINTS: usize = 160;

/// One value over steps, in one panel per place where it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The experiment.
    pub experiment: String,
    /// Name of the value (`loss`).
    pub metric: String,
    /// Where it was measured, without the index (`test`).
    pub place: String,
    /// Ids of the experiment's arms, in order.
    pub arms: Vec<String>,
    /// One panel per index.
    pub panels: Vec<Panel>,
}

/// One panel of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Where it was measured (`test/3`).
    pub split: String,
    /// The curves, one per arm that has any.
    pub series: Vec<Series>,
}

/// The curves of one arm: step and value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which arm, as an index into [`Chart::arms`].
    pub arm: usize,
    /// The mean over the seeds, at steps that all of them have.
    pub mean: Vec<(f64, f64)>,
    /// Each seed by itself.
    pub seeds: Vec<Vec<(f64, f64)>>,
}

type Curve = Vec<(u64, f64)>;
/// By metric and split: per arm its seeds' curves.
type Gathered = BTreeMap<(String, String), BTreeMap<usize, Vec<Curve>>>;

/// Reads the events of every finished cell.
///
/// # Errors
/// A file that cannot be read or a line that is no event.
pub fn read(suite_dir: &Path, plan: &SuitePlan, report: &Report) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for (planned, experiment) in plan.experiments.iter().zip(&report.experiments) {
        let mut gathered = Gathered::new();
        for (index, (arm, read)) in planned.arms.iter().zip(&experiment.arms).enumerate() {
            for (cell, state) in arm.cells.iter().zip(read.cells.iter().map(|c| &c.state)) {
                if *state == State::Done {
                    gather(&suite_dir.join(&cell.dir).join("events.jsonl"), index, &mut gathered)?;
                }
            }
        }
        let arms: Vec<String> = experiment.arms.iter().map(|a| a.id.clone()).collect();
        charts.extend(chart(&experiment.name, &arms, gathered));
    }
    Ok(charts)
}

fn gather(path: &Path, arm: usize, into: &mut Gathered) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("{}", path.display())),
    };
    let mut curves: BTreeMap<(String, String), Curve> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let event: Event =
            serde_json::from_str(line).with_context(|| format!("{}:{}: not an event", path.display(), number + 1))?;
        if event.value.is_finite() {
            curves.entry((event.metric, event.split)).or_default().push((event.step, event.value));
        }
    }
    for (key, curve) in curves {
        into.entry(key).or_default().entry(arm).or_default().push(curve);
    }
    Ok(())
}

fn chart(experiment: &str, arms: &[String], gathered: Gathered) -> Vec<Chart> {
    let mut charts: Vec<Chart> = Vec::new();
    for ((metric, split), by_arm) in gathered {
        let series: Vec<Series> = by_arm.into_iter().map(|(arm, seeds)| series(arm, &seeds)).collect();
        if series.iter().all(|s| s.seeds.iter().all(|curve| curve.len() < 2)) && !split.contains('/') {
            continue;
        }
        let place = split.split('/').next().unwrap_or_default().to_owned();
        let panel = Panel { split, series };
        match charts.iter_mut().find(|c| c.metric == metric && c.place == place) {
            Some(chart) => chart.panels.push(panel),
            None => charts.push(Chart {
                experiment: experiment.into(),
                metric,
                place,
                arms: arms.to_vec(),
                panels: vec![panel],
            }),
        }
    }
    for chart in &mut charts {
        // test/10 comes after test/9.
        chart.panels.sort_by_key(|p| index(&p.split));
    }
    // A chart whose every curve is a point shows nothing.
    charts.retain(|c| {
        let mut curves = c.panels.iter().flat_map(|p| &p.series).flat_map(|s| &s.seeds);
        curves.any(|curve| curve.len() > 1)
    });
    let rank = |c: &Chart| match (c.metric.as_str(), c.place.as_str()) {
        ("loss", _) => 0,
        ("accuracy", "train") => 1,
        ("accuracy", _) => 2,
        _ => 3,
    };
    charts.sort_by_key(rank);
    charts
}

/// The number behind the last slash of a split, if there is one.
pub fn index(split: &str) -> Option<u64> {
    split.rsplit_once('/')?.1.parse().ok()
}

fn series(arm: usize, seeds: &[Curve]) -> Series {
    let mut sums: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for (step, value) in seeds.iter().flatten() {
        let (sum, n) = sums.entry(*step).or_default();
        *sum += value;
        *n += 1;
    }
    let mean: Curve = sums
        .into_iter()
        .filter(|(_, (_, n))| *n == seeds.len())
        .map(|(step, (sum, n))| (step, sum / n as f64))
        .collect();
    Series { arm, mean: thin(&mean), seeds: seeds.iter().map(|curve| thin(curve)).collect() }
}

/// Averages windows of equal numbers of points.
fn thin(curve: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let window = curve.len().div_ceil(MOST_POINTS).max(1);
    curve
        .chunks(window)
        .map(|points| {
            let n = points.len() as f64;
            let step: f64 = points.iter().map(|p| p.0 as f64).sum();
            let value: f64 = points.iter().map(|p| p.1).sum();
            (step / n, value / n)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_averaged_and_short_ones_kept() {
        let long: Curve = (0..1000).map(|i| (i, i as f64)).collect();
        let thinned = thin(&long);
        assert!(thinned.len() <= MOST_POINTS);
        assert_eq!(thinned[0], (3.0, 3.0));
        assert_eq!(thin(&[(1, 2.0), (5, 3.0)]), vec![(1.0, 2.0), (5.0, 3.0)]);
    }

    #[test]
    fn mean_is_taken_where_every_seed_was_measured() {
        let s = series(0, &[vec![(1, 1.0), (2, 2.0)], vec![(1, 3.0)]]);
        assert_eq!(s.mean, vec![(1.0, 2.0)]);
        assert_eq!(s.seeds.len(), 2);
    }
}
