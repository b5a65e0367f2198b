//! Which arms a chart shows where an experiment has many, and in which colour: the same everywhere.

use plasticity_core::run::record::Side;

use super::chart::{self, Chart, Key};
use super::model::{Experiment, Report};

/// So many arms can be followed in one plot.
pub const MOST: usize = 4;

/// The rank of each arm of an experiment, which is also its colour: first those of the claims that stand on the front
/// page, then those that other claims name, each as they come in the suite, then the rest.
pub fn ranks(report: &Report, number: usize) -> Vec<usize> {
    let Some(experiment) = report.experiments.get(number) else { return Vec::new() };
    let mut claims = report.claims_of(Some(number));
    claims.sort_by_key(|line| line.claim.front.is_none());
    let named = claims.iter().flat_map(|line| [&line.claim.left, &line.claim.right]).filter_map(|side| match side {
        Side::Measured { arm, .. } => experiment.arms.iter().position(|a| a.id == *arm),
        Side::Number(_) => None,
    });
    let mut order: Vec<usize> = Vec::new();
    for arm in named.chain(0..experiment.arms.len()) {
        if !order.contains(&arm) {
            order.push(arm);
        }
    }
    let mut ranks = vec![0; order.len()];
    for (rank, arm) in order.into_iter().enumerate() {
        ranks[arm] = rank;
    }
    ranks
}

/// Of some arms, those that are shown first and the others, each in the suite's order.
pub fn divide(arms: &[usize], ranks: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut by_rank = arms.to_vec();
    by_rank.sort_by_key(|arm| ranks.get(*arm));
    by_rank.truncate(MOST);
    arms.iter().partition(|arm| by_rank.contains(arm))
}

/// A chart of at most [`MOST`] arms, with a second one of the others where there are more. No key is without a line.
pub fn few(chart: Chart, experiment: &Experiment, ranks: &[usize]) -> Chart {
    let arms: Vec<usize> = (0..experiment.arms.len())
        .filter(|arm| chart.lines().any(|line| chart.keys.get(line.key).is_some_and(|key| key.arm == *arm)))
        .collect();
    let (first, others) = divide(&arms, ranks);
    let mut main = only(&chart, |key| first.contains(&key.arm));
    if others.is_empty() {
        return main;
    }
    let names = |arms: &[usize]| arms.iter().map(|a| experiment.arms[*a].id.as_str()).collect::<Vec<_>>().join(", ");
    let mut rest = only(&chart, |key| others.contains(&key.arm));
    rest.file = format!("{}-other-arms", chart.file);
    rest.title = format!("{}: the other arms", chart.title);
    rest.note = format!("{} The axes are not those of the chart of {}.", rest.note, names(&first)).trim().to_owned();
    main.note = format!("{} Left out here: {}.", main.note, names(&others)).trim().to_owned();
    main.rest = Some(Box::new(rest));
    main
}

/// A chart with some of its keys and the lines of these.
fn only(chart: &Chart, keep: impl Fn(&Key) -> bool) -> Chart {
    let has_line = |key: usize| chart.lines().any(|line| line.key == key);
    let kept: Vec<usize> = (0..chart.keys.len()).filter(|i| keep(&chart.keys[*i]) && has_line(*i)).collect();
    let mut out = chart.clone();
    out.keys = kept.iter().map(|i| chart.keys[*i].clone()).collect();
    for panel in &mut out.panels {
        panel.lines.retain_mut(|line| match kept.iter().position(|i| *i == line.key) {
            Some(key) => {
                line.key = key;
                true
            }
            None => false,
        });
    }
    out.panels.retain(|panel| !panel.lines.is_empty());
    chart::uncover(&mut out.keys, &out.panels, out.y.1);
    if let Some(said) = chart::coincide(&out.keys, &out.panels, out.y.1) {
        out.note = format!("{} {said}", out.note).trim().to_owned();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::measured::chart::{Line, Panel, Stroke, stroke};
    use crate::report::measured::model::Arm;

    fn experiment(arms: &[&str]) -> Experiment {
        let arm = |id: &&str| Arm { id: (*id).into(), ..Arm::default() };
        Experiment { name: "paper".into(), arms: arms.iter().map(arm).collect(), ..Experiment::default() }
    }

    fn chart(experiment: &Experiment, ranks: &[usize], lines: &[usize]) -> Chart {
        let arms = experiment.arms.iter().enumerate();
        let keys = arms.map(|(arm, a)| Key { name: a.id.clone(), arm, colour: ranks[arm], stroke: stroke(ranks[arm]) });
        let line = |arm: &usize| Line { key: *arm, mean: vec![(0.0, *arm as f64), (1.0, 9.0)], ..Line::default() };
        let panels = vec![Panel { title: String::new(), lines: lines.iter().map(line).collect() }];
        Chart { file: "loss".into(), title: "Loss".into(), keys: keys.collect(), panels, ..Chart::default() }
    }

    fn names(chart: &Chart) -> Vec<(&str, usize, Stroke)> {
        chart.keys.iter().map(|k| (k.name.as_str(), k.colour, k.stroke)).collect()
    }

    #[test]
    fn a_plot_has_at_most_four_arms_and_says_which_it_leaves_out() {
        let six = experiment(&["a", "b", "c", "d", "e", "f"]);
        // Claims name f, then c.
        let ranks = [2, 3, 1, 4, 5, 0];
        let main = few(chart(&six, &ranks, &[0, 1, 2, 3, 4, 5]), &six, &ranks);
        let solid = Stroke::Solid;
        assert_eq!(names(&main), [("a", 2, solid), ("b", 3, solid), ("c", 1, solid), ("f", 0, solid)]);
        assert_eq!(main.note, "Left out here: d, e.");
        let rest = main.rest.as_deref().unwrap();
        assert_eq!(names(rest), [("d", 4, solid), ("e", 5, solid)]);
        assert_eq!((rest.file.as_str(), rest.title.as_str()), ("loss-other-arms", "Loss: the other arms"));
        // The lines are still those of their arms.
        let first = |chart: &Chart| chart.lines().map(|l| (l.key, l.mean[0].1)).collect::<Vec<_>>();
        assert_eq!(first(&main), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 5.0)]);
        assert_eq!(first(rest), [(0, 3.0), (1, 4.0)]);
    }

    #[test]
    fn arms_without_a_line_take_no_place_and_no_key() {
        let six = experiment(&["a", "b", "c", "d", "e", "f"]);
        let ranks = [0, 1, 2, 3, 4, 5];
        let all = few(chart(&six, &ranks, &[1, 3, 4, 5]), &six, &ranks);
        assert!(all.rest.is_none());
        // In every chart an arm has its own colour.
        assert_eq!(
            names(&all).iter().map(|n| (n.0, n.1)).collect::<Vec<_>>(),
            [("b", 1), ("d", 3), ("e", 4), ("f", 5)]
        );
    }
}
