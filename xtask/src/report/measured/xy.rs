//! Curves over anything but training steps, from the outcomes of the finished cells.

use plasticity_core::run::record;

use super::arms;
use super::chart::{self, Chart, Key, Line, Panel, Scale, Stroke, Weight};
use super::format::slug;
use super::model::Experiment;
use super::shown::Domain;
use super::spread;

/// Charts that an arm's seeds have recorded: index of the arm, charts of one seed.
pub type Recorded = Vec<(usize, Vec<record::Chart>)>;

/// The charts of one experiment: those of the same title and labels become one, in which
/// each curve is the mean over an arm's seeds.
pub fn overlay(number: usize, experiment: &Experiment, ranks: &[usize], recorded: &Recorded) -> Vec<Chart> {
    let mut kinds: Vec<&record::Chart> = Vec::new();
    for chart in recorded.iter().flat_map(|(_, charts)| charts) {
        if !kinds.iter().any(|known| alike(known, chart)) {
            kinds.push(chart);
        }
    }
    let one = |kind| one((number, experiment), ranks, recorded, kind);
    kinds.into_iter().map(|kind| arms::few(one(kind), experiment, ranks)).collect()
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

fn one(
    (number, experiment): (usize, &Experiment),
    ranks: &[usize],
    recorded: &Recorded,
    kind: &record::Chart,
) -> Chart {
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
        // An arm has its colour in every chart; where there is one arm alone, colours tell its curves apart.
        let colour = if one_arm && names.len() > 1 { index } else { ranks.get(arm).copied().unwrap_or(arm) };
        let (name, stroke) = match (one_arm, names.len()) {
            (false, 1) => (id(arm).to_owned(), chart::stroke(colour)),
            (true, _) => (name.to_owned(), chart::stroke(colour)),
            _ => (format!("{}, {name}", id(arm)), strokes[index % strokes.len()]),
        };
        Key { name, arm, colour, stroke }
    };
    let keys: Vec<Key> = curves.iter().map(|c| key(c.arm, c.name)).collect();
    // The tables have fractions in percent, and a reader holds one against the other.
    let fraction = kind.y_label == "accuracy" || kind.y_label.starts_with("share of ");
    let all = curves.iter().flat_map(|c| &c.seeds).flat_map(|seed| seed.iter().map(|[_, y]| *y));
    let bounds = Domain::of(all, fraction);
    let lines: Vec<Line> = curves.iter().enumerate().map(|(index, c)| line(index, &c.seeds, bounds)).collect();
    let mut note = Vec::new();
    if let (true, true, Some(curve)) = (one_arm, experiment.arms.len() > 1, curves.first()) {
        note.push(format!("Arm {}.", id(curve.arm)));
    }
    note.push(spread::note(lines.iter()));
    note.retain(|part| !part.is_empty());
    let panels = vec![Panel { title: String::new(), lines }];
    let scale = |log: bool| if log { Scale::Log } else { Scale::Linear };
    let y = if fraction && !kind.log_y {
        (format!("{} (%)", kind.y_label), Scale::Percent)
    } else {
        (kind.y_label.clone(), scale(kind.log_y))
    };
    Chart {
        experiment: number,
        file: slug(&kind.title).to_ascii_lowercase(),
        title: kind.title.clone(),
        note: note.join(" "),
        weight: Weight::Result,
        x: (kind.x_label.clone(), scale(kind.log_x)),
        y,
        keys,
        panels,
        rest: None,
    }
}

/// Mean and spread where all seeds have the same x, else each seed by itself.
fn line(key: usize, seeds: &[&[[f64; 2]]], bounds: Domain) -> Line {
    let first = seeds[0];
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    let same = |s: &&[[f64; 2]]| s.len() == first.len() && s.iter().zip(first).all(|(p, q)| near(p[0], q[0]));
    if !seeds.iter().all(same) {
        let seeds = seeds.iter().map(|s| s.iter().map(|[x, y]| (*x, *y)).collect()).collect();
        return Line { key, seeds, ..Line::default() };
    }
    // The same x to the last bit.
    let points = |s: &&[[f64; 2]]| s.iter().zip(first).map(|(p, q)| (q[0], p[1])).collect();
    spread::line(key, seeds.iter().map(points).collect(), bounds)
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
    fn seeds_become_a_mean_with_their_spread() {
        let seed = |y: f64| chart("Loss", &[("network", &[[1.0, y], [2.0, 2.0 * y]])]);
        let recorded = vec![(0, vec![seed(1.0)]), (0, vec![seed(3.0)]), (1, vec![seed(5.0)])];
        let all = overlay(0, &experiment(&["a", "b"]), &[0, 1], &recorded);
        assert_eq!(all.len(), 1);
        let lines = &all[0].panels[0].lines;
        assert_eq!(lines[0].mean, [(1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(lines[0].seeds, [[(1.0, 1.0), (2.0, 2.0)], [(1.0, 3.0), (2.0, 6.0)]]);
        assert_eq!((lines[1].mean.len(), lines[1].seeds.len()), (2, 0));
        // One curve a chart: the legend names the arms.
        assert_eq!(names(&all[0]), [("a", 0, Stroke::Solid), ("b", 1, Stroke::Solid)]);
    }

    #[test]
    fn seeds_of_other_places_are_drawn_by_themselves() {
        let recorded = vec![
            (0, vec![chart("Loss", &[("s", &[[1.0, 1.0], [2.0, 1.0]])])]),
            (0, vec![chart("Loss", &[("s", &[[1.0, 1.0], [3.0, 1.0]])])]),
        ];
        let all = overlay(0, &experiment(&["a"]), &[0], &recorded);
        let line = &all[0].panels[0].lines[0];
        assert_eq!((line.mean.len(), line.band.len(), line.seeds.len()), (0, 0, 2));
        assert!(all[0].note.contains("different places"));
    }

    #[test]
    fn legends_name_what_differs() {
        let points: &[[f64; 2]] = &[[0.0, 1.0]];
        let two = || chart("Loss", &[("network", points), ("Wiener", points)]);
        let both = overlay(0, &experiment(&["a", "b"]), &[0, 1], &vec![(0, vec![two()]), (1, vec![two()])]);
        let expected = [
            ("a, network", 0, Stroke::Solid),
            ("a, Wiener", 0, Stroke::Dashed),
            ("b, network", 1, Stroke::Solid),
            ("b, Wiener", 1, Stroke::Dashed),
        ];
        assert_eq!(names(&both[0]), expected);
        let second = overlay(3, &experiment(&["a", "b"]), &[0, 1], &vec![(1, vec![two()])]);
        assert_eq!(names(&second[0]), [("network", 0, Stroke::Solid), ("Wiener", 1, Stroke::Solid)]);
        assert_eq!((second[0].note.as_str(), second[0].experiment), ("Arm b.", 3));
    }

    #[test]
    fn charts_of_other_labels_stay_apart() {
        let other = record::Chart { y_label: "bits".into(), ..chart("Loss", &[]) };
        let recorded = vec![(0, vec![chart("Loss", &[]), other, chart("Bytes used", &[])])];
        let all = overlay(0, &experiment(&["a"]), &[0], &recorded);
        assert_eq!(all.iter().map(|c| c.file.as_str()).collect::<Vec<_>>(), ["loss", "loss", "bytes-used"]);
    }

    #[test]
    fn an_arm_has_one_colour_and_five_arms_have_two_charts() {
        let ids = ["a", "b", "c", "d", "e"];
        let points: &[[f64; 2]] = &[[0.0, 1.0], [1.0, 2.0]];
        let of = |title: &str| chart(title, &[("", points)]);
        let recorded: Recorded = (0..5).map(|arm| (arm, vec![of("Loss")])).chain([(4, vec![of("Bytes")])]).collect();
        let all = overlay(0, &experiment(&ids), &[1, 2, 3, 4, 0], &recorded);
        assert_eq!(
            names(&all[0]).iter().map(|n| (n.0, n.1)).collect::<Vec<_>>(),
            [("a", 1), ("b", 2), ("c", 3), ("e", 0)]
        );
        assert_eq!(names(all[0].rest.as_deref().unwrap()), [("d", 4, Stroke::Solid)]);
        assert_eq!(names(&all[1]), [("", 0, Stroke::Solid)]);
    }
}
