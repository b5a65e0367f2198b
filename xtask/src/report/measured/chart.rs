//! A chart as numbers and names: which lines there are and what tells them apart. How it looks is the business of those
//! who draw it.

/// So many lines can be told apart by their colour; further ones have another stroke.
pub const COLOURS: usize = 7;

/// A chart, wherever its numbers come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// Which experiment of the suite.
    pub experiment: usize,
    /// Name of its file, without the ending.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// What its lines are, for a note below it.
    pub note: String,
    /// How much it says by itself.
    pub weight: Weight,
    /// What x is, and how it is placed.
    pub x: (String, Scale),
    /// What y is, and how it is placed.
    pub y: (String, Scale),
    /// What the legend lists.
    pub keys: Vec<Key>,
    /// The panels, which share both ranges.
    pub panels: Vec<Panel>,
    /// The same of the arms for which there is no room in it.
    pub rest: Option<Box<Chart>>,
}

/// How much a chart says by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weight {
    /// A result, which the run has recorded as one.
    #[default]
    Result,
    /// How the training went: loss and accuracy.
    Training,
    /// What else was watched.
    Detail,
}

/// An entry of a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What it says.
    pub name: String,
    /// Index of its arm.
    pub arm: usize,
    /// Index of its colour.
    pub colour: usize,
    /// Its stroke.
    pub stroke: Stroke,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Without gaps.
    Solid,
    /// In dashes.
    Dashed,
    /// In short dashes.
    Dotted,
}

/// One panel of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What it shows; may be empty.
    pub title: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line with its seeds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Which entry of the legend.
    pub key: usize,
    /// The mean over the seeds; empty where they share no x.
    pub mean: Vec<(f64, f64)>,
    /// x and the ends of the 95% t interval of the mean; empty for none.
    pub band: Vec<(f64, f64, f64)>,
    /// Each seed by itself, where there is no band; empty for none.
    pub seeds: Vec<Vec<(f64, f64)>>,
    /// Runs that failed, up to where they did; no mean or band holds them.
    pub failed: Vec<Vec<(f64, f64)>>,
}

impl Chart {
    /// The lines of all panels.
    pub fn lines(&self) -> impl Iterator<Item = &Line> + Clone {
        self.panels.iter().flat_map(|p| &p.lines)
    }

    /// Whether a run that failed is in it or in its second part.
    pub fn has_failed(&self) -> bool {
        self.lines().any(|l| !l.failed.is_empty()) || self.rest.as_ref().is_some_and(|rest| rest.has_failed())
    }
}

/// How values are placed along an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    #[default]
    Linear,
    /// Fractions in percent, between 0 and 100.
    Percent,
    /// Training steps from 0 on.
    Steps,
    /// By their logarithm.
    Log,
}

impl Scale {
    /// Where a value lies along an axis of this scale.
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear | Self::Steps => value,
            Self::Percent => 100.0 * value,
            Self::Log if value <= 0.0 => f64::NEG_INFINITY,
            Self::Log => value.log10(),
        }
    }
}

/// The stroke that tells lines of the same colour apart.
pub fn stroke(index: usize) -> Stroke {
    [Stroke::Solid, Stroke::Dashed, Stroke::Dotted][index / COLOURS % 3]
}

/// Whether two lines lie on each other: nearly everywhere within a hundredth of the `span` of all lines.
fn same(a: &Line, b: &Line, (scale, span): (Scale, f64)) -> bool {
    let close = |(p, q): (&(f64, f64), &(f64, f64))| {
        p.0 == q.0 && (p.1 == q.1 || (scale.place(p.1) - scale.place(q.1)).abs() <= 0.01 * span)
    };
    let agree = a.mean.iter().zip(&b.mean).filter(|pair| close(*pair)).count();
    a.mean.len() > 1 && a.mean.len() == b.mean.len() && 10 * agree >= 9 * a.mean.len()
}

/// The scale, and the span of all lines on it.
fn span(panels: &[Panel], scale: Scale) -> (Scale, f64) {
    let points = || panels.iter().flat_map(|p| &p.lines).flat_map(|l| &l.mean).map(|p| scale.place(p.1));
    let points = || points().filter(|place| place.is_finite());
    (scale, points().fold(f64::NEG_INFINITY, f64::max) - points().fold(f64::INFINITY, f64::min))
}

/// Dashes every line that would hide an earlier one, so that both colours show. Where there
/// are many lines the strokes are needed to tell them apart.
pub fn uncover(keys: &mut [Key], panels: &[Panel], scale: Scale) {
    if keys.len() > 4 {
        return;
    }
    let span = span(panels, scale);
    for later in 1..keys.len() {
        let hides = |earlier: usize| {
            panels.iter().any(|panel| {
                let of = |key: usize| panel.lines.iter().find(move |l| l.key == key);
                matches!((of(earlier), of(later)), (Some(a), Some(b)) if same(a, b, span))
            })
        };
        let hidden: Vec<usize> = (0..later).filter(|earlier| hides(*earlier)).collect();
        while hidden.iter().any(|earlier| keys[*earlier].stroke == keys[later].stroke) {
            keys[later].stroke = match keys[later].stroke {
                Stroke::Solid => Stroke::Dashed,
                Stroke::Dashed => Stroke::Dotted,
                // There is no fourth.
                Stroke::Dotted => break,
            };
        }
    }
}

/// What the note says of lines that lie on each other in every panel, where an eye would look for one of them in vain.
pub fn coincide(keys: &[Key], panels: &[Panel], scale: Scale) -> Option<String> {
    let span = span(panels, scale);
    let everywhere = |a: usize, b: usize| {
        let mut both = panels.iter().map(|panel| [a, b].map(|key| panel.lines.iter().find(|l| l.key == key)));
        both.all(|pair| matches!(pair, [Some(a), Some(b)] if same(a, b, span)) || matches!(pair, [None, None]))
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for key in 0..keys.len() {
        match groups.iter_mut().find(|group| everywhere(group[0], key)) {
            Some(group) => group.push(key),
            None => groups.push(vec![key]),
        }
    }
    let names = |group: &Vec<usize>| group.iter().map(|key| keys[*key].name.as_str()).collect::<Vec<_>>().join(", ");
    let said: Vec<String> = groups.iter().filter(|group| group.len() > 1).map(names).collect();
    (!said.is_empty()).then(|| format!("On each other: {}.", said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_hides_another_is_dashed() {
        let key = |name: &str| Key { name: name.into(), arm: 0, colour: 0, stroke: Stroke::Solid };
        let line = |key: usize, y: f64| Line { key, mean: vec![(0.0, 1.0), (1.0, y)], ..Line::default() };
        let panels = [Panel { title: String::new(), lines: vec![line(0, 2.0), line(1, 9.0), line(2, 2.01)] }];
        let mut keys: Vec<Key> = ["a", "b", "c"].map(key).to_vec();
        uncover(&mut keys, &panels, Scale::Linear);
        assert_eq!(keys.iter().map(|k| k.stroke).collect::<Vec<_>>(), [Stroke::Solid, Stroke::Solid, Stroke::Dashed]);
        assert_eq!(coincide(&keys, &panels, Scale::Linear).as_deref(), Some("On each other: a, c."));
        let three = [Panel { title: String::new(), lines: vec![line(0, 2.0), line(1, 2.0), line(2, 2.0)] }];
        let mut keys: Vec<Key> = ["a", "b", "c"].map(key).to_vec();
        uncover(&mut keys, &three, Scale::Linear);
        assert_eq!(keys.iter().map(|k| k.stroke).collect::<Vec<_>>(), [Stroke::Solid, Stroke::Dashed, Stroke::Dotted]);
        // One panel in which they part is enough to see both.
        let two = [three[0].clone(), Panel { title: String::new(), lines: vec![line(0, 2.0), line(1, 9.0)] }];
        assert_eq!(coincide(&keys, &two, Scale::Linear), None);
        // What one line that runs away presses together parts by its logarithm.
        let far = [Panel { title: String::new(), lines: vec![line(0, 2.0), line(1, 5.0), line(2, 1e4)] }];
        assert_eq!(coincide(&keys, &far, Scale::Linear).as_deref(), Some("On each other: a, b."));
        assert_eq!(coincide(&keys, &far, Scale::Log), None);
    }
}
