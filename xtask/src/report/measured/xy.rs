//! Curves over anything but training steps, from the outcomes of the finished cells.

use plasticity_core::run::record;

use super::chart::{self, Chart, Key, Line, Panel, Scale, Stroke, Weight};
use super::format::slug;
use super::model::Experiment;

/// Charts that an arm's seeds have recorded: index of the arm, charts of one seed.
pub type Recorded = Vec<(usize, Vec<record::Chart>)>;

/// The charts of one experiment: those of the same title and labels become one, in which
/// each curve is the mean over an arm's seeds.
pub fn overlay(number: usize, experiment: &Experiment, recorded: &Recorded) -> Vec<Chart> {
    let mut kinds: Vec<&record::Chart> = Vec::new();
    for chart in recorded.iter().flat_map(|(_, charts)| charts) {
        if !kinds.iter().any(|known| alike(known, chart)) {
            kinds.push(chart);
        }
    }
    kinds.into_iter().map(|kind| one(number, experiment, recorded, kind)).collect()
}

fn alike(a: &record::Chart, b: &record::Chart) -> bool {
    let what = |c: &record::Chart| (c.title.clone(), c.x_label.clone(), c.y_label.clone(), c.log_x, c.log_y);
    what(a) == what(b)
}

/// One curve of one arm, with the points of each seed.
struct Curve<'a> {
    arm: usize,
    name: &'a str,
    seeds: Vec<&'a [[f64; 2]]>,
}

fn one(number: usize, experiment: &Experiment, recorded: &Recorded, kind: &record::Chart) -> Chart {
    // In the order of their first appearance, as the names are.
    let mut curves: Vec<Curve> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (arm, charts) in recorded {
        for series in charts.iter().filter(|c| alike(c, kind)).flat_map(|c| &c.series) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
            match curves.iter_mut().find(|c| c.arm == *arm && c.name == series.name) {
                Some(curve) => curve.seeds.push(&series.points),
                None => curves.push(Curve { arm: *arm, name: &series.name, seeds: vec![&series.points] }),
            }
        }
    }
    let one_arm = curves.iter().all(|c| c.arm == curves[0].arm);
    let strokes = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
    let id = |arm: usize| experiment.arms.get(arm).map_or("", |a| a.id.as_str());
    let key = |arm: usize, name: &str| {
        let index = names.iter().position(|n| *n == name).unwrap_or(0);
        match (one_arm, names.len()) {
            (false, 1) => Key { name: id(arm).into(), colour: arm, stroke: chart::stroke(arm) },
            (true, _) => Key { name: name.into(), colour: index, stroke: chart::stroke(index) },
            _ => Key { name: format!("{}, {name}", id(arm)), colour: arm, stroke: strokes[index % strokes.len()] },
        }
    };
    let mut keys: Vec<Key> = curves.iter().map(|c| key(c.arm, c.name)).collect();
    let lines: Vec<Line> = curves.iter().enumerate().map(|(index, c)| line(index, &c.seeds)).collect();
    let mut note = Vec::new();
    if let (true, true, Some(curve)) = (one_arm, experiment.arms.len() > 1, curves.first()) {
        note.push(format!("Arm {}.", id(curve.arm)));
    }
    if lines.iter().any(|l| !l.band.is_empty()) {
        note.push("Line: mean over seeds. Band: from the least to the greatest of them.".into());
    }
    if lines.iter().any(|l| !l.seeds.is_empty()) {
        note.push("Thin lines: seeds that were measured at different places.".into());
    }
    let panels = vec![Panel { title: String::new(), lines }];
    chart::uncover(&mut keys, &panels);
    let scale = |log: bool| if log { Scale::Log } else { Scale::Linear };
    Chart {
        experiment: number,
        file: slug(&kind.title).to_ascii_lowercase(),
        title: kind.title.clone(),
        note: note.join(" "),
        weight: Weight::Result,
        x: (kind.x_label.clone(), scale(kind.log_x)),
        y: (kind.y_label.clone(), scale(kind.log_y)),
        keys,
        panels,
    }
}

/// Mean and band where all seeds have the same x, else each seed by itself.
fn line(key: usize, seeds: &[&[[f64; 2]]]) -> Line {
    let first = seeds[0];
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    let same = |s: &&[[f64; 2]]| s.len() == first.len() && s.iter().zip(first).all(|(p, q)| near(p[0], q[0]));
    if !seeds.iter().all(same) {
        let seeds = seeds.iter().map(|s| s.iter().map(|[x, y]| (*x, *y)).collect()).collect();
        return Line { key, seeds, ..Line::default() };
    }
    let at = |i: usize| seeds.iter().map(move |s| s[i][1]);
    let mean = (0..first.len()).map(|i| (first[i][0], at(i).sum::<f64>() / seeds.len() as f64)).collect();
    let ends = |i: usize| (first[i][0], at(i).fold(f64::INFINITY, f64::min), at(i).fold(f64::NEG_INFINITY, f64::max));
    let band = if seeds.len() > 1 { (0..first.len()).map(ends).collect() } else { Vec::new() };
    Line { key, mean, band, ..Line::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::measured::model::Arm;

    fn experiment(arms: &[&str]) -> Experiment {
        let arm = |id: &&str| Arm { id: (*id).into(), ..Arm::default() };
        Experiment { name: "paper".into(), arms: arms.iter().map(arm).collect(), ..Experiment::default() }
    }

    fn chart(title: &str, series: &[(&str, &[[f64; 2]])]) -> record::Chart {
        let series =
            series.iter().map(|(name, points)| record::Series { name: (*name).into(), points: points.to_vec() });
        record::Chart { title: title.into(), series: series.collect(), ..record::Chart::default() }
    }

    fn names(chart: &Chart) -> Vec<(&str, usize, Stroke)> {
        chart.keys.iter().map(|k| (k.name.as_str(), k.colour, k.stroke)).collect()
    }

    #[test]
    fn seeds_become_a_mean_with_a_band() {
        let seed = |y: f64| chart("Loss", &[("network", &[[1.0, y], [2.0, 2.0 * y]])]);
        let recorded = vec![(0, vec![seed(1.0)]), (0, vec![seed(3.0)]), (1, vec![seed(5.0)])];
        let all = overlay(0, &experiment(&["a", "b"]), &recorded);
        assert_eq!(all.len(), 1);
        let lines = &all[0].panels[0].lines;
        assert_eq!(lines[0].mean, [(1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(lines[0].band, [(1.0, 1.0, 3.0), (2.0, 2.0, 6.0)]);
        assert_eq!((lines[1].mean.len(), lines[1].band.len()), (2, 0));
        // One curve a chart: the legend names the arms.
        assert_eq!(names(&all[0]), [("a", 0, Stroke::Solid), ("b", 1, Stroke::Solid)]);
    }

    #[test]
    fn seeds_of_other_places_are_drawn_by_themselves() {
        let recorded = vec![
            (0, vec![chart("Loss", &[("s", &[[1.0, 1.0], [2.0, 1.0]])])]),
            (0, vec![chart("Loss", &[("s", &[[1.0, 1.0], [3.0, 1.0]])])]),
        ];
        let all = overlay(0, &experiment(&["a"]), &recorded);
        let line = &all[0].panels[0].lines[0];
        assert_eq!((line.mean.len(), line.band.len(), line.seeds.len()), (0, 0, 2));
        assert!(all[0].note.contains("different places"));
    }

    #[test]
    fn legends_name_what_differs() {
        let points: &[[f64; 2]] = &[[0.0, 1.0]];
        let two = || chart("Loss", &[("network", points), ("Wiener", points)]);
        let both = overlay(0, &experiment(&["a", "b"]), &vec![(0, vec![two()]), (1, vec![two()])]);
        let expected = [
            ("a, network", 0, Stroke::Solid),
            ("a, Wiener", 0, Stroke::Dashed),
            ("b, network", 1, Stroke::Solid),
            ("b, Wiener", 1, Stroke::Dashed),
        ];
        assert_eq!(names(&both[0]), expected);
        let second = overlay(3, &experiment(&["a", "b"]), &vec![(1, vec![two()])]);
        assert_eq!(names(&second[0]), [("network", 0, Stroke::Solid), ("Wiener", 1, Stroke::Solid)]);
        assert_eq!((second[0].note.as_str(), second[0].experiment), ("Arm b.", 3));
    }

    #[test]
    fn charts_of_other_labels_stay_apart() {
        let other = record::Chart { y_label: "bits".into(), ..chart("Loss", &[]) };
        let recorded = vec![(0, vec![chart("Loss", &[]), other, chart("Bytes used", &[])])];
        let all = overlay(0, &experiment(&["a"]), &recorded);
        assert_eq!(all.iter().map(|c| c.file.as_str()).collect::<Vec<_>>(), ["loss", "loss", "bytes-used"]);
    }
}
