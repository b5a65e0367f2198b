//! What a run writes, as types: the formats of `result.json`, `events.jsonl`,
//! `status.json` and `provenance.json`, and the plan of an experiment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::checkpoint::FORMAT;
use crate::data::Resolved;

/// Which direction of a metric is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither: a description.
    Neutral,
}

/// A metric that an experiment promises to report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricInfo {
    /// Name in records, claims and targets (`acc`).
    pub name: String,
    /// Name for people (`ACC`).
    pub title: String,
    /// Unit: `""` for a pure number, `"fraction"` for what reports show in percent,
    /// `"bytes"`, `"s"`.
    pub unit: String,
    /// Which way is better.
    pub direction: Direction,
    /// A count that has no sampling error: claims compare it as a number.
    pub exact: bool,
    /// What makes two values comparable (n, reference, feature extractor); values with
    /// different bases are never compared.
    pub basis: String,
}

/// What an experiment will do with a config, known before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Every metric that `Outcome::metrics` will hold.
    pub metrics: Vec<MetricInfo>,
    /// Steps of the longest loop, for the progress line.
    pub steps: u64,
    /// Estimated seconds on one thread of a CPU core as `docs/performance.md` (*Whole runs*) describes it; the estimates
    /// of this project's suites lie within a factor of 1.5 of what was measured there. No key and no result depends on it.
    pub seconds: f64,
    /// The most bytes that a run has on disk at one time, estimated.
    pub disk: u64,
}

/// What an experiment found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The metrics that the plan named.
    pub metrics: BTreeMap<String, f64>,
    /// Matrices by name (`accuracy`: row = after task, column = task; `None` = not measured).
    #[serde(default)]
    pub matrices: BTreeMap<String, Vec<Vec<Option<f64>>>>,
    /// What guessing reaches in a matrix of accuracies, by the matrix's name: 1 / number of classes. Reports colour
    /// such a matrix from there to 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chance: BTreeMap<String, f64>,
    /// Warnings that a reader of the report must see.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Pictures among the artifacts that the report shows, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<Picture>,
    /// Curves over anything but training steps, which are events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<Chart>,
}

/// A picture that the run has published with `RunContext::artifact`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The artifact's name, which ends in `.png` or `.svg`.
    pub file: String,
    /// What it is. Arms whose pictures have the same title are shown side by side.
    pub title: String,
    /// What a reader must know to read it; may be empty.
    #[serde(default)]
    pub caption: String,
}

/// A chart of one run. The report overlays the arms' charts that have the same title and
/// labels, each curve as the mean over the seeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit. Values are drawn as they are, but for those of `accuracy` and of any `share of …`, which
    /// are fractions: like those of the tables they are shown in percent.
    pub y_label: String,
    /// A logarithmic x axis; every x must be above 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_x: bool,
    /// A logarithmic y axis; every y must be above 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_y: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve of a [`Chart`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it is (`network`); curves of the same name belong together over seeds and arms.
    pub name: String,
    /// x and y, drawn in this order.
    pub points: Vec<[f64; 2]>,
}

impl Outcome {
    /// Whether it can be written and shown: its numbers are finite, since JSON would make of
    /// others what it makes of those that were not measured; chance is that of a matrix, and below 1; a picture's file is a plain name that
    /// ends in `.png` or `.svg`, pictures, charts and curves have names of their own, a point is
    /// finite, and above 0 on a logarithmic axis.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if let Some((name, value)) = self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(format!("the metric `{name}` is {value}"));
        }
        for (name, rows) in &self.matrices {
            if let Some(value) = rows.iter().flatten().flatten().find(|value| !value.is_finite()) {
                return Err(format!("the matrix `{name}` holds {value}"));
            }
        }
        for (name, chance) in &self.chance {
            if !self.matrices.contains_key(name) {
                return Err(format!("chance is given for `{name}`, which is no matrix"));
            }
            if !(0.0..1.0).contains(chance) {
                return Err(format!("chance in the matrix `{name}` is {chance}, which is not in 0 to 1"));
            }
        }
        for (i, picture) in self.pictures.iter().enumerate() {
            picture.check(&self.pictures[..i])?;
        }
        for (i, chart) in self.charts.iter().enumerate() {
            chart.check(&self.charts[..i])?;
        }
        Ok(())
    }

    /// Takes out the pictures and charts that cannot be shown, as [`Outcome::check`] says or
    /// because a picture was never `published`: a run's numbers are not lost for one of them.
    /// Returns what was wrong, a line for each.
    pub fn set_aside(&mut self, published: impl Fn(&str) -> bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut pictures: Vec<Picture> = Vec::new();
        for picture in std::mem::take(&mut self.pictures) {
            match picture.check(&pictures) {
                Ok(()) if published(&picture.file) => pictures.push(picture),
                Ok(()) => faults.push(format!("the run did not publish the picture `{}`", picture.file)),
                Err(fault) => faults.push(fault),
            }
        }
        let mut charts: Vec<Chart> = Vec::new();
        for chart in std::mem::take(&mut self.charts) {
            match chart.check(&charts) {
                Ok(()) => charts.push(chart),
                Err(fault) => faults.push(fault),
            }
        }
        (self.pictures, self.charts) = (pictures, charts);
        faults
    }
}

impl Picture {
    fn check(&self, before: &[Picture]) -> Result<(), String> {
        let Picture { file, title, .. } = self;
        let plain = !file.contains(['/', '\\']) && !file.starts_with('.');
        if !plain || !(file.ends_with(".png") || file.ends_with(".svg")) {
            return Err(format!("`{file}` is not the name of a picture: use a plain name in .png or .svg"));
        }
        if before.iter().any(|other| other.file == *file) {
            return Err(format!("two pictures have the file `{file}`"));
        }
        match before.iter().any(|other| other.title == *title) {
            true => Err(format!("two pictures are called `{title}`")),
            false => Ok(()),
        }
    }
}

impl Chart {
    fn check(&self, before: &[Chart]) -> Result<(), String> {
        let title = &self.title;
        if before.iter().any(|other| other.title == *title && other.y_label == self.y_label) {
            return Err(format!("two charts are called `{title}`"));
        }
        for (j, Series { name, points }) in self.series.iter().enumerate() {
            if self.series[..j].iter().any(|other| other.name == *name) {
                return Err(format!("chart `{title}` has two curves called `{name}`"));
            }
            let fits = |v: f64, log: bool| v.is_finite() && (v > 0.0 || !log);
            let bad = points.iter().find(|[x, y]| !(fits(*x, self.log_x) && fits(*y, self.log_y)));
            if let Some([x, y]) = bad {
                return Err(format!("chart `{title}`, curve `{name}`: ({x}, {y}) cannot be drawn"));
            }
        }
        Ok(())
    }
}

/// `result.json`: published last; its presence means that the cell is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// [`FORMAT`].
    pub format: u64,
    /// The cell's key.
    pub key: String,
    /// What came out.
    pub outcome: Outcome,
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Global step at which it was measured.
    pub step: u64,
    /// Where it was measured: `train`, `test/3`, `layer/1`.
    pub split: String,
    /// Name of the value (`loss`, `accuracy`).
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Over how many samples.
    pub n: u64,
}

/// `status.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u64,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
    /// Kind of failure (`diverged`, `data`, `killed`, ...).
    #[serde(default)]
    pub kind: Option<String>,
    /// The message that the user saw.
    #[serde(default)]
    pub message: Option<String>,
}

/// `cell.json`: everything a cell's process needs beside its config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellSpec {
    /// [`FORMAT`].
    pub format: u64,
    /// Name of the experiment (`hebbian-snn`).
    pub experiment: String,
    /// The arm's id.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Device by name (`flex`).
    pub device: String,
    /// Threads of the cell's pool.
    pub threads: usize,
    /// The data set, resolved for the whole suite; `None` where none is needed.
    pub data: Option<Resolved>,
    /// The cell's key.
    pub key: String,
    /// The key without the sources: what `--keep` compares.
    pub protocol: String,
}

/// `plan.json` at the top of a suite's directory: what the report reads. It is the whole
/// suite's, also when the last call ran a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuitePlan {
    /// [`FORMAT`].
    pub format: u64,
    /// The suite's name (`quick`, `hebbian-snn/pmnist`).
    pub name: String,
    /// Its title.
    pub title: String,
    /// `full` or `reduced`.
    pub profile: Profile,
    /// Seeds of the experiments that have none of their own, in order.
    pub seeds: Vec<u64>,
    /// Threads per cell.
    pub threads: usize,
    /// Device by name.
    pub device: String,
    /// The experiments, each with its arms.
    pub experiments: Vec<ExperimentPlan>,
    /// Claims as written in the suite.
    pub claims: Vec<Claim>,
    /// Printed values as written in the suite.
    pub targets: Vec<Target>,
}

/// How much of the paper's protocol a suite runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The paper's protocol: may be held against a printed value.
    Full,
    /// Less of it: never "reproduced".
    Reduced,
}

/// One `[[experiment]]` of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentPlan {
    /// Name of the experiment (`hebbian-snn`).
    pub name: String,
    /// What tells it from others of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The seeds that the suite gives it. Its cells may have others, asked for by a call, and lack
    /// some that no call has run yet.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// The data set it runs on.
    pub data: Option<Resolved>,
    /// Candidates that did not resolve, with the reason.
    pub passed_over: Vec<(String, String)>,
    /// The arms, in the suite's order.
    pub arms: Vec<ArmPlan>,
}

/// One arm with its cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmPlan {
    /// The arm's id.
    pub id: String,
    /// What it will report.
    pub plan: Plan,
    /// One cell per seed: those of the suite that have run or were asked for, then others.
    pub cells: Vec<CellPlan>,
}

/// One cell of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellPlan {
    /// The seed.
    pub seed: u64,
    /// The key.
    pub key: String,
    /// The directory, relative to the suite's: `<arm>-s<seed>-<key8>`.
    pub dir: PathBuf,
    /// Kept from other sources or another build with `--keep`: the report marks it.
    pub kept: bool,
}

/// One side of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// A metric of an arm.
    Measured {
        /// The arm's id.
        arm: String,
        /// The metric's name.
        metric: String,
    },
    /// A number.
    Number(f64),
}

/// A claim as a suite writes it: `left relation right + margin`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The claim in words.
    pub text: String,
    /// A metric of an arm.
    pub left: Side,
    /// `>` or `<`.
    pub relation: String,
    /// A metric of another arm, or a number.
    pub right: Side,
    /// By how much at least, in the metric's unit.
    #[serde(default)]
    pub margin: f64,
    /// Within how much the sides count as equal, in the metric's unit: above zero. Without it no claim is answered with
    /// "no difference".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_within: Option<f64>,
    /// Whether a claim that holds speaks for its paper, against it, or for the measurement alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Speaks>,
    /// In a few words, where it is one of the claims that the front page shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<String>,
    /// What it costs, or what does as well: metrics that are shown beside it wherever it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub price: Vec<Measure>,
    /// Data sets on which it is judged; empty: on all.
    #[serde(default)]
    pub on: Vec<String>,
}

impl Claim {
    /// What its verdict depends on: all but what a suite says of it to a reader, which may change after a run.
    pub fn asked(&self) -> Self {
        Self { speaks: None, front: None, price: Vec::new(), ..self.clone() }
    }

    /// The same claim with what `other` says of it to a reader.
    pub fn told_as(self, other: &Self) -> Self {
        Self { speaks: other.speaks, front: other.front.clone(), price: other.price.clone(), ..self }
    }
}

/// A metric of an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The arm's id.
    pub arm: String,
    /// The metric's name.
    pub metric: String,
}

/// What a claim that holds says of its paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speaks {
    /// The paper is right in this.
    For,
    /// The paper is wrong in this.
    Against,
    /// The measurement does what it should: nothing of the paper.
    Control,
}

/// A printed value as a suite writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which cell of which table.
    pub text: String,
    /// The arm that reproduces it.
    pub arm: String,
    /// The metric.
    pub metric: String,
    /// The printed value, in the metric's unit (a fraction, not percent).
    pub value: f64,
    /// Half width of the interval of equivalence.
    pub tolerance: f64,
    /// Where it is printed.
    pub source: String,
    /// Only recalled, not verified: shown, never judged.
    #[serde(default)]
    pub recalled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_before_pictures_still_read_and_are_written_as_before() {
        let old = r#"{"metrics":{"acc":0.5},"matrices":{},"warnings":[]}"#;
        let outcome: Outcome = serde_json::from_str(old).unwrap();
        assert!(outcome.pictures.is_empty() && outcome.charts.is_empty() && outcome.chance.is_empty());
        assert_eq!(serde_json::to_string(&outcome).unwrap(), old);
    }

    #[test]
    fn pictures_and_charts_survive_a_round_trip() {
        let series = vec![Series { name: "network".into(), points: vec![[0.1, 2.0], [1.0, 3.5]] }];
        let chart = Chart { title: "Loss".into(), log_x: true, series, ..Chart::default() };
        let picture = Picture { file: "samples.png".into(), title: "Samples".into(), caption: String::new() };
        let outcome = Outcome { pictures: vec![picture], charts: vec![chart], ..Outcome::default() };
        assert_eq!(outcome.check(), Ok(()));
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        for file in ["a/b.png", "..png", "samples", "c.jpeg", "d\\e.svg", ""] {
            let picture = Picture { file: file.into(), title: String::new(), caption: String::new() };
            assert!(Outcome { pictures: vec![picture], ..Outcome::default() }.check().is_err(), "{file}");
        }
        for (point, log_x, log_y) in
            [([f64::NAN, 1.0], false, false), ([0.0, 1.0], true, false), ([1.0, -1.0], false, true)]
        {
            let series = vec![Series { name: "s".into(), points: vec![[1.0, 1.0], point] }];
            let chart = Chart { log_x, log_y, series, ..Chart::default() };
            assert!(Outcome { charts: vec![chart], ..Outcome::default() }.check().is_err(), "{point:?}");
        }
        for number in [f64::NAN, f64::INFINITY] {
            let metrics = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), number)]);
            let found = Outcome { metrics, ..Outcome::default() }.check().unwrap_err();
            assert!(found.starts_with("the metric `b` is "), "{found}");
            let matrices = BTreeMap::from([("m".to_owned(), vec![vec![None, Some(1.0)], vec![Some(number)]])]);
            let found = Outcome { matrices, ..Outcome::default() }.check().unwrap_err();
            assert!(found.starts_with("the matrix `m` holds "), "{found}");
        }
        let chance = |name: &str, chance: f64| {
            let matrices = BTreeMap::from([("accuracy".to_owned(), vec![vec![Some(1.0)]])]);
            Outcome { matrices, chance: BTreeMap::from([(name.to_owned(), chance)]), ..Outcome::default() }.check()
        };
        assert_eq!(chance("accuracy", 0.1), Ok(()));
        assert_eq!(chance("acc", 0.1), Err("chance is given for `acc`, which is no matrix".into()));
        for bad in [1.0, -0.1, f64::NAN] {
            assert!(chance("accuracy", bad).unwrap_err().starts_with("chance in the matrix `accuracy` is "));
        }
        let picture =
            |file: &str, title: &str| Picture { file: file.into(), title: title.into(), caption: String::new() };
        for (first, second) in [(("a.png", "A"), ("a.png", "B")), (("a.png", "A"), ("b.png", "A"))] {
            let pictures = vec![picture(first.0, first.1), picture(second.0, second.1)];
            assert!(Outcome { pictures, ..Outcome::default() }.check().is_err(), "{first:?} {second:?}");
        }
        let twice = Outcome { charts: vec![Chart::default(), Chart::default()], ..Outcome::default() };
        assert!(twice.check().is_err());
        let chart = Chart { series: vec![Series::default(), Series::default()], ..Chart::default() };
        assert!(Outcome { charts: vec![chart], ..Outcome::default() }.check().is_err());
    }

    #[test]
    fn what_cannot_be_shown_is_set_aside_and_the_rest_stays() {
        let picture =
            |file: &str, title: &str| Picture { file: file.into(), title: title.into(), caption: String::new() };
        let chart = |title: &str, y: f64| Chart {
            title: title.into(),
            series: vec![Series { name: "s".into(), points: vec![[1.0, y]] }],
            ..Chart::default()
        };
        let mut outcome = Outcome {
            metrics: BTreeMap::from([("acc".to_owned(), 0.5)]),
            pictures: vec![
                picture("a.png", "A"),
                picture("a.png", "B"),
                picture("lost.png", "C"),
                picture("d.png", "D"),
            ],
            charts: vec![chart("E", 1.0), chart("F", f64::INFINITY), chart("E", 2.0)],
            ..Outcome::default()
        };
        let faults = outcome.set_aside(|file| file != "lost.png");
        assert_eq!(
            faults,
            [
                "two pictures have the file `a.png`",
                "the run did not publish the picture `lost.png`",
                "chart `F`, curve `s`: (1, inf) cannot be drawn",
                "two charts are called `E`",
            ]
        );
        assert_eq!(
            (outcome.pictures, outcome.charts),
            (vec![picture("a.png", "A"), picture("d.png", "D")], vec![chart("E", 1.0)])
        );
        assert_eq!(outcome.metrics["acc"], 0.5);
    }
}
