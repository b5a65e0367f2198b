//! Curves over training steps from the events of the cells that finished or failed.

use std::collections::BTreeMap;
use std::path::Path;

use plasticity_core::run::record::{Event, SuitePlan};

use super::arms;
use super::chart::{self, Chart, Key, Line, Panel, Scale, Weight};
use super::format::slug;
use super::model::{Arm, Experiment, Report, State};
use super::shown::Domain;
use super::spread;
use crate::text::capital;

/// A curve is averaged over windows so that it has at most this many points.
const MOST_POINTS: usize = 160;

type Curve = Vec<(u64, f64)>;

/// The curves of one value of one arm.
#[derive(Default)]
struct OfArm {
    done: Vec<Curve>,
    /// With their seeds.
    failed: Vec<(u64, Curve)>,
}

/// By metric and split, and by arm.
type Gathered = BTreeMap<(String, String), BTreeMap<usize, OfArm>>;

/// An arm, a seed, and why its curves are not drawn.
type Unread = (String, u64, String);

/// Reads the events of every cell that finished or failed. One whose file cannot be read, or
/// has a line that is no event, has no curves, and the reason is returned.
pub fn read(suite_dir: &Path, plan: &SuitePlan, report: &Report) -> (Vec<Chart>, Vec<Unread>) {
    let (mut charts, mut unread) = (Vec::new(), Vec::new());
    for (number, (planned, experiment)) in plan.experiments.iter().zip(&report.experiments).enumerate() {
        let mut gathered = Gathered::new();
        for (index, (arm, read)) in planned.arms.iter().zip(&experiment.arms).enumerate() {
            for (cell, state) in arm.cells.iter().zip(read.cells.iter().map(|c| &c.state)) {
                let failed = match state {
                    State::Done => None,
                    State::Failed { .. } => Some(cell.seed),
                    State::Unfinished { .. } => continue,
                };
                let curves = events(&suite_dir.join(&cell.dir).join("events.jsonl"), failed.is_some());
                let curves = curves.unwrap_or_else(|why| {
                    unread.push((arm.id.clone(), cell.seed, format!("no curves: {why}")));
                    BTreeMap::new()
                });
                for (key, curve) in curves {
                    let of_arm = gathered.entry(key).or_default().entry(index).or_default();
                    match failed {
                        None => of_arm.done.push(curve),
                        Some(seed) => of_arm.failed.push((seed, curve)),
                    }
                }
            }
        }
        charts.extend(chart((number, experiment), &arms::ranks(report, number), gathered));
    }
    (charts, unread)
}

/// The curves in a file of events, by metric and split. `torn`: the process may have died
/// while it wrote the last line.
fn events(path: &Path, torn: bool) -> Result<BTreeMap<(String, String), Curve>, String> {
    let mut curves: BTreeMap<(String, String), Curve> = BTreeMap::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(curves),
        Err(e) => return Err(format!("events.jsonl cannot be read ({e})")),
    };
    let whole = match text.rfind('\n') {
        Some(end) if torn => &text[..end],
        None if torn => "",
        _ => &text,
    };
    for (number, line) in whole.lines().enumerate() {
        let event: Event =
            serde_json::from_str(line).map_err(|_| format!("line {} of events.jsonl is not an event", number + 1))?;
        if event.value.is_finite() {
            curves.entry((event.metric, event.split)).or_default().push((event.step, event.value));
        }
    }
    Ok(curves)
}

/// The splits of one value that were measured at one place (`test`), in a panel each.
struct Place {
    metric: String,
    name: String,
    panels: Vec<(String, Panel)>,
    /// Runs that failed: arm and seed.
    failed: Vec<(usize, u64)>,
}

fn chart((number, experiment): (usize, &Experiment), ranks: &[usize], gathered: Gathered) -> Vec<Chart> {
    let mut places: Vec<Place> = Vec::new();
    for ((metric, split), by_arm) in gathered {
        let failed = by_arm.iter().flat_map(|(arm, curves)| curves.failed.iter().map(|(seed, _)| (*arm, *seed)));
        let failed: Vec<(usize, u64)> = failed.collect();
        let all = by_arm.values().flat_map(|curves| &curves.done).flatten().map(|(_, value)| *value);
        let bounds = Domain::of(all, metric == "accuracy");
        let lines: Vec<Line> = by_arm.iter().map(|(arm, curves)| line(*arm, curves, bounds)).collect();
        if lines.iter().all(|l| longest(l) < 2) && !split.contains('/') {
            continue;
        }
        let name = split.split('/').next().unwrap_or_default().to_owned();
        let panel = Panel { title: panel_title(&split), lines };
        match places.iter_mut().find(|p| p.metric == metric && p.name == name) {
            Some(place) => {
                place.panels.push((split, panel));
                place.failed.extend(failed);
            }
            None => places.push(Place { metric, name, panels: vec![(split, panel)], failed }),
        }
    }
    // A chart whose every curve is a point shows nothing.
    places.retain(|p| p.panels.iter().flat_map(|(_, panel)| &panel.lines).any(|line| longest(line) > 1));
    let rank = |p: &Place| match (p.metric.as_str(), p.name.as_str()) {
        ("loss", _) => 0,
        ("accuracy", "train") => 1,
        ("accuracy", _) => 2,
        _ => 3,
    };
    places.sort_by_key(rank);
    let key = |(arm, (colour, of)): (usize, (&usize, &Arm))| Key {
        name: of.id.clone(),
        arm,
        colour: *colour,
        stroke: chart::stroke(*colour),
    };
    let finish = |mut place: Place| {
        // test/10 comes after test/9.
        place.panels.sort_by_key(|(split, _)| index(split));
        let y = place.metric.replace('_', " ");
        let percent = place.metric == "accuracy";
        let note = note(&place, experiment);
        let title = title(&place);
        let panels: Vec<Panel> = place.panels.into_iter().map(|(_, panel)| panel).collect();
        let keys: Vec<Key> = ranks.iter().zip(&experiment.arms).enumerate().map(key).collect();
        let training = matches!(place.metric.as_str(), "loss" | "accuracy");
        let chart = Chart {
            experiment: number,
            file: format!("{}-{}", slug(&place.metric), slug(&place.name)),
            title,
            note,
            weight: if training { Weight::Training } else { Weight::Detail },
            x: ("training step".into(), Scale::Steps),
            y: if percent { (format!("{y} (%)"), Scale::Percent) } else { (y, scale(&panels)) },
            keys,
            panels,
            rest: None,
        };
        arms::few(chart, experiment, ranks)
    };
    places.into_iter().map(finish).collect()
}

/// From so many times the middle value on, the largest one presses the others together.
const PRESSED: f64 = 100.0;

/// How values that are no fractions are placed: by their logarithm where some run away from the others.
fn scale(panels: &[Panel]) -> Scale {
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let mut values: Vec<f64> = lines.flat_map(|l| l.seeds.iter().flatten().chain(&l.mean)).map(|p| p.1).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(middle), Some(most)) if *least > 0.0 && *most >= PRESSED * middle => Scale::Log,
        _ => Scale::Linear,
    }
}

/// Points of a line's longest curve.
fn longest(line: &Line) -> usize {
    let curves = line.seeds.iter().chain(&line.failed).chain([&line.mean]);
    curves.map(Vec::len).max().unwrap_or(0)
}

/// What the lines are.
fn note(place: &Place, experiment: &Experiment) -> String {
    let all = place.panels.iter().flat_map(|(_, panel)| &panel.lines);
    let mut lines: Vec<String> = vec![spread::note(all)];
    lines.retain(|line| !line.is_empty());
    let mut failed = place.failed.clone();
    failed.sort_unstable();
    failed.dedup();
    if !failed.is_empty() {
        let runs = failed
            .iter()
            .map(|(arm, seed)| format!("{}, seed {seed}", experiment.arms.get(*arm).map_or("", |a| &a.id)));
        let runs = runs.collect::<Vec<_>>().join("; ");
        lines.push(format!("Dotted, ending in ×: a run that failed ({runs}), in no mean; cut off where it leaves."));
    }
    lines.push("Long curves are averaged over windows of equal length.".into());
    lines.join(" ")
}

/// What a chart shows, for a heading.
fn title(place: &Place) -> String {
    let what = capital(&place.metric.replace('_', " "));
    match place.name.as_str() {
        "train" => format!("{what} on training batches"),
        "test" if place.panels.len() > 1 => format!("{what} on test data, task by task"),
        "test" => format!("{what} on test data"),
        name => format!("{what} ({name})"),
    }
}

/// What a panel shows: `test/3` is task 4, since people count from 1 and records from 0.
fn panel_title(split: &str) -> String {
    match (split.split_once('/'), index(split)) {
        (Some(("test", _)), Some(task)) => format!("Task {}", task + 1),
        (Some(("layer", _)), Some(layer)) => format!("Layer {}", layer + 1),
        (Some((place, rest)), _) => format!("{place} {rest}"),
        (None, _) => String::new(),
    }
}

/// The number behind the last slash of a split, if there is one.
fn index(split: &str) -> Option<u64> {
    split.rsplit_once('/')?.1.parse().ok()
}

fn line(key: usize, curves: &OfArm, bounds: Domain) -> Line {
    // Where every seed was measured.
    let mut measured: BTreeMap<u64, usize> = BTreeMap::new();
    for (step, _) in curves.done.iter().flatten() {
        *measured.entry(*step).or_default() += 1;
    }
    let shared = |curve: &Curve| -> Curve {
        curve.iter().filter(|(step, _)| measured.get(step) == Some(&curves.done.len())).copied().collect()
    };
    let failed = |(_, curve): &(u64, Curve)| {
        let mut points = thin(curve);
        // Where it ended is not averaged.
        points
            .extend(curve.last().map(|(step, value)| (*step as f64, *value)).filter(|end| points.last() != Some(end)));
        points
    };
    let failed = curves.failed.iter().map(failed).collect();
    let seeds: Vec<_> = curves.done.iter().map(|curve| thin(&shared(curve))).collect();
    if seeds.iter().all(Vec::is_empty) {
        return Line { key, seeds: curves.done.iter().map(|curve| thin(curve)).collect(), failed, ..Line::default() };
    }
    Line { failed, ..spread::line(key, seeds, bounds) }
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

    fn bounds() -> Domain {
        Domain::of([-9.0, 9.0].into_iter(), false)
    }

    /// Two arms that differ must not look alike because a third one explodes.
    #[test]
    fn what_runs_away_is_placed_by_its_logarithm() {
        let line = |y: f64| Line { mean: vec![(0.0, 1.0), (1.0, y), (2.0, y)], ..Line::default() };
        let of = |ys: &[f64]| scale(&[Panel { title: String::new(), lines: ys.iter().map(|y| line(*y)).collect() }]);
        assert_eq!(of(&[0.5, 0.7, 1e6]), Scale::Log);
        assert_eq!(of(&[0.5, 0.7, 9.0]), Scale::Linear);
        assert_eq!(of(&[-0.5, 0.7, 1e6]), Scale::Linear, "it has no place for what is negative");
        assert_eq!(scale(&[]), Scale::Linear);
    }

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
        let failed = vec![(4, vec![(1, 9.0), (2, 90.0)])];
        let s = line(0, &OfArm { done: vec![vec![(1, 1.0), (2, 2.0)], vec![(1, 3.0)]], failed }, bounds());
        assert_eq!(s.mean, vec![(1.0, 2.0)]);
        assert_eq!(s.seeds.len(), 2);
        assert_eq!(s.failed, [[(1.0, 9.0), (2.0, 90.0)]]);
    }

    #[test]
    fn a_failed_run_shows_where_it_ended() {
        let long: Curve = (0..=999).map(|i| (i, i as f64)).collect();
        let s = line(0, &OfArm { done: Vec::new(), failed: vec![(0, long)] }, bounds());
        assert_eq!((s.mean.len(), s.failed[0].last()), (0, Some(&(999.0, 999.0))));
    }
}
