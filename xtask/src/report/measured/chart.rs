//! A chart as numbers and names: which lines there are and what tells them apart. How it looks is the business of those
//! who draw it.

/// So many lines can be told apart by their colour; further ones have another stroke.
pub const COLOURS: usize = 7;

/// A chart, wherever its numbers come from.
#[derive(Debug, Clone, PartialEq)]
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
}

/// How much a chart says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A result, which the run has recorded as one.
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
    /// x, least and greatest y over the seeds; empty for none.
    pub band: Vec<(f64, f64, f64)>,
    /// Each seed by itself; empty for none.
    pub seeds: Vec<Vec<(f64, f64)>>,
    /// Runs that failed, up to where they did; no mean or band holds them.
    pub failed: Vec<Vec<(f64, f64)>>,
}

impl Chart {
    /// Whether a run that failed is in it.
    pub fn has_failed(&self) -> bool {
        self.panels.iter().flat_map(|p| &p.lines).any(|l| !l.failed.is_empty())
    }
}

/// How values are placed along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    Linear,
    /// Fractions in percent, between 0 and 100.
    Percent,
    /// Training steps from 0 on.
    Steps,
    /// By their logarithm.
    Log,
}

/// The stroke that tells lines of the same colour apart.
pub fn stroke(index: usize) -> Stroke {
    [Stroke::Solid, Stroke::Dashed, Stroke::Dotted][index / COLOURS % 3]
}

/// Dashes every line that would hide an earlier one, so that both colours show. Where there
/// are many lines the strokes are needed to tell them apart.
pub fn uncover(keys: &mut [Key], panels: &[Panel]) {
    if keys.len() > 4 {
        return;
    }
    let points = || panels.iter().flat_map(|p| &p.lines).flat_map(|l| &l.mean).map(|p| p.1);
    let (low, high) = (points().fold(f64::INFINITY, f64::min), points().fold(f64::NEG_INFINITY, f64::max));
    let near = 0.01 * (high - low);
    let same = |a: &Line, b: &Line| {
        let close = |(p, q): (&(f64, f64), &(f64, f64))| p.0 == q.0 && (p.1 - q.1).abs() <= near;
        let agree = a.mean.iter().zip(&b.mean).filter(|pair| close(*pair)).count();
        a.mean.len() > 1 && a.mean.len() == b.mean.len() && 10 * agree >= 9 * a.mean.len()
    };
    for later in 1..keys.len() {
        let hides = |earlier: usize| {
            panels.iter().any(|panel| {
                let of = |key: usize| panel.lines.iter().find(move |l| l.key == key);
                matches!((of(earlier), of(later)), (Some(a), Some(b)) if same(a, b))
            })
        };
        if (0..later).any(|earlier| keys[earlier].stroke == keys[later].stroke && hides(earlier)) {
            keys[later].stroke = match keys[later].stroke {
                Stroke::Solid => Stroke::Dashed,
                _ => Stroke::Dotted,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_hides_another_is_dashed() {
        let key = |name: &str| Key { name: name.into(), colour: 0, stroke: Stroke::Solid };
        let line = |key: usize, y: f64| Line { key, mean: vec![(0.0, 1.0), (1.0, y)], ..Line::default() };
        let panels = [Panel { title: String::new(), lines: vec![line(0, 2.0), line(1, 9.0), line(2, 2.01)] }];
        let mut keys: Vec<Key> = ["a", "b", "c"].map(key).to_vec();
        uncover(&mut keys, &panels);
        assert_eq!(keys.iter().map(|k| k.stroke).collect::<Vec<_>>(), [Stroke::Solid, Stroke::Solid, Stroke::Dashed]);
    }
}
