//! A fifth paper, made by following "Adding a paper" of `docs/architecture.md` literally: a line
//! through points by stochastic gradient descent. A module here is a file there. The page quotes
//! this file; `pages.rs` holds the two together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{fs, io};

use plasticity_core::checkpoint::Fault;
use plasticity_core::config::{Source, Table, merge};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{CellSpec, FORMAT};
use plasticity_core::run::{Entry, Prepared, RunContext, Setup};
use plasticity_core::stats::{ClaimVerdict, Relation, judge_claim};
use plasticity_core::{device, run};
use toml::Spanned;
use toml::de::DeValue;

use experiment::FifthPaper;

/// `crates/fifth-paper/src/line.rs`: the mechanism, which knows neither runs nor configs.
mod line {
    use plasticity_core::rng::Stream;
    use serde::{Deserialize, Serialize};

    /// `y = slope x + offset`.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
    pub struct Line {
        pub slope: f64,
        pub offset: f64,
    }

    impl Line {
        /// Half the mean squared error on some points, and its gradient.
        pub fn loss(&self, points: &[[f64; 2]]) -> (f64, Line) {
            let n = points.len() as f64;
            let (mut loss, mut gradient) = (0.0, Line::default());
            for [x, y] in points {
                let error = self.slope * x + self.offset - y;
                loss += 0.5 * error * error / n;
                gradient.slope += error * x / n;
                gradient.offset += error / n;
            }
            (loss, gradient)
        }

        /// A step of gradient descent.
        pub fn step(self, gradient: Line, lr: f64) -> Line {
            Line { slope: self.slope - lr * gradient.slope, offset: self.offset - lr * gradient.offset }
        }

        /// The line of least squares, in closed form.
        pub fn least_squares(points: &[[f64; 2]]) -> Line {
            let mean = |f: &dyn Fn(&[f64; 2]) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
            let (x, y) = (mean(&|p| p[0]), mean(&|p| p[1]));
            let slope = mean(&|p| (p[0] - x) * (p[1] - y)) / mean(&|p| (p[0] - x).powi(2));
            Line { slope, offset: y - slope * x }
        }

        /// How far another line's two numbers are.
        pub fn distance(&self, other: &Line) -> f64 {
            (self.slope - other.slope).hypot(self.offset - other.offset)
        }
    }

    /// `n` noisy points about `y = 2 x - 1`.
    pub fn points(n: usize, stream: &mut Stream) -> Vec<[f64; 2]> {
        let mut point = || {
            let x = stream.uniform_in(-1.0, 1.0);
            [x, 2.0 * x - 1.0 + 0.3 * stream.normal()]
        };
        (0..n).map(|_| point()).collect()
    }
}

/// `crates/fifth-paper/src/experiment/mod.rs`: the run, and the four modules beside it.
mod experiment {
    /// `config.rs`
    mod config {
        use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one};
        use serde::{Deserialize, Serialize};

        /// How the size of a step goes on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Schedule {
            Constant,
            Decaying,
        }

        /// One run. The default is the paper's protocol.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            pub schedule: Schedule,
            pub points: usize,
            pub batch: usize,
            pub epochs: usize,
            pub learning_rate: f64,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { schedule: Schedule::Decaying, points: 60, batch: 5, epochs: 10, learning_rate: 0.5 }
            }
        }

        impl Validate for Config {
            fn validate(&self) -> Result<(), Invalid> {
                if self.points < 2 {
                    return Err(Invalid::new("points", "must be at least 2: one point has no line"));
                }
                at_least_one(&[("batch", self.batch), ("epochs", self.epochs)])?;
                above_zero(&[("learning_rate", self.learning_rate)])
            }
        }

        impl Config {
            pub fn batches(&self) -> u64 {
                self.points.div_ceil(self.batch) as u64
            }

            pub fn steps(&self) -> u64 {
                self.epochs as u64 * self.batches()
            }

            pub fn rate(&self, at: u64) -> f64 {
                match self.schedule {
                    Schedule::Constant => self.learning_rate,
                    Schedule::Decaying => self.learning_rate / (1.0 + at as f64 / self.batches() as f64),
                }
            }
        }
    }

    /// `evaluate.rs`
    mod evaluate {
        use plasticity_core::error::RunError;
        use plasticity_core::run::RunContext;

        use super::state::State;
        use crate::fifth_paper::line::Line;

        /// The end of an epoch: its mean loss, and how far the line is from the best one.
        pub fn after_epoch(
            at: u64,
            points: &[[f64; 2]],
            state: &mut State,
            ctx: &mut RunContext,
        ) -> Result<(), RunError> {
            if let Some((loss, n)) = state.curve.take() {
                ctx.event(at, "train", "loss", loss, n)?;
            }
            let distance = state.line.distance(&Line::least_squares(points));
            ctx.event(at, "train", "distance", distance, points.len() as u64)?;
            state.distances.push([at as f64, distance]);
            Ok(())
        }
    }

    /// `outcome.rs`
    mod outcome {
        use plasticity_core::error::RunError;
        use plasticity_core::run::record::{Chart, Direction, MetricInfo, Outcome, Series};

        use super::config::Config;
        use super::state::State;

        pub fn metrics(config: &Config) -> Vec<MetricInfo> {
            vec![MetricInfo {
                name: "distance".into(),
                title: "distance to least squares".into(),
                unit: String::new(),
                direction: Direction::Lower,
                exact: false,
                basis: format!("{} points, {} epochs", config.points, config.epochs),
            }]
        }

        pub fn outcome(state: &State) -> Result<Outcome, RunError> {
            let last = state.distances.last().ok_or_else(|| RunError::Failed("no epoch has ended".into()))?;
            let mut outcome = Outcome::default();
            outcome.metrics.insert("distance".into(), last[1]);
            outcome.charts.push(Chart {
                title: "Distance to the line of least squares".into(),
                x_label: "step".into(),
                y_label: "distance".into(),
                series: vec![Series { name: "distance".into(), points: state.distances.clone() }],
                ..Chart::default()
            });
            Ok(outcome)
        }
    }

    /// `state.rs`
    mod state {
        use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
        use plasticity_core::error::RunError;
        use plasticity_core::run::Curve;
        use serde::{Deserialize, Serialize};

        use crate::fifth_paper::line::Line;

        /// Everything that a run carries from step to step.
        #[derive(Default, Serialize, Deserialize)]
        pub struct State {
            pub line: Line,
            /// The loss since the last point of its curve.
            pub curve: Curve,
            /// Step and distance after each epoch.
            pub distances: Vec<[f64; 2]>,
        }

        impl Snapshot for State {
            fn save(&self) -> Result<Files, RunError> {
                Ok(Files::from([("state.json".into(), to_json(self)?)]))
            }

            fn load(&mut self, files: &Files) -> Result<(), RunError> {
                *self = from_json("state.json".as_ref(), file(files, "state.json")?)?;
                Ok(())
            }
        }
    }

    /// `selftest.rs`
    mod selftest {
        use burn::prelude::*;
        use plasticity_core::device::DeviceError;
        use plasticity_core::rng::Stream;
        use plasticity_core::run::selftest::{Check, Selftest, values};

        use crate::fifth_paper::line::{Line, points};

        /// Compares `device` with the CPU.
        ///
        /// # Errors
        /// When there is no CPU device to compare it with.
        pub fn selftest(device: &Device) -> Result<Vec<Check>, DeviceError> {
            let points = points(60, &mut Stream::new(0, "fifth-paper/selftest", 0));
            let column = |i: usize| points.iter().map(|point| point[i] as f32).collect::<Vec<_>>();
            let line = Line { slope: 1.0, offset: 0.5 };
            let known = line.loss(&points).0;

            let mut test = Selftest::new(device)?;
            test.expect("Loss of a line at 60 points, against f64", 1e-5, Ok(vec![known]), |device| {
                let [x, y] = [0, 1].map(|i| Tensor::<1>::from_floats(column(i).as_slice(), device));
                Ok(move || {
                    let error = x.clone() * line.slope + line.offset - y.clone();
                    Ok(values(error.powi_scalar(2).mean() * 0.5))
                })
            });
            Ok(test.finish())
        }
    }

    use plasticity_core::config::Checked;
    use plasticity_core::data::{Batches, order};
    use plasticity_core::error::RunError;
    use plasticity_core::run::record::{Outcome, Plan};
    use plasticity_core::run::{Experiment, RunContext};

    use super::line;
    use config::Config;
    pub use selftest::selftest;
    use state::State;

    /// `fifth-paper` in suites.
    pub struct FifthPaper;

    impl Experiment for FifthPaper {
        const NAME: &'static str = "fifth-paper";
        const ABOUT: &'static str = "a line through points by stochastic gradient descent";
        type Config = Config;

        fn describe(config: &Checked<Config>) -> Plan {
            Plan { metrics: outcome::metrics(config), steps: config.steps(), seconds: 1.0, disk: 100_000 }
        }

        fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
            // Arms of a seed share what the seed drives: the points and their order.
            let points = line::points(config.points, &mut ctx.stream("fifth-paper/points", 0));

            let mut state = State::default();
            let start = ctx.restore(config.steps(), &mut state)?;
            ctx.task("descending");
            for at in start..config.steps() {
                let (epoch, index) = (at / config.batches(), (at % config.batches()) as usize);
                let batches = Batches::new(order(ctx.stream("fifth-paper/order", epoch), points.len()), config.batch);
                let batch: Vec<[f64; 2]> = batches.get(index).iter().map(|i| points[*i]).collect();
                let (loss, gradient) = state.line.loss(&batch);
                state.line = state.line.step(gradient, config.rate(at));
                state.curve.add(loss * batch.len() as f64, batch.len() as u64);

                let last = (at + 1).is_multiple_of(config.batches());
                if last {
                    evaluate::after_epoch(at + 1, &points, &mut state, ctx)?;
                }
                ctx.step_done(at + 1, last, &state)?;
            }
            outcome::outcome(&state)
        }
    }
}

/// `experiments/fifth-paper/line.toml`
const SUITE: &str = r#"
schema = 1
title = "A line by gradient descent"
profile = "full"
seeds = [0, 1, 2]

[[experiment]]
name = "fifth-paper"
[experiment.config]
learning_rate = 0.5
[[experiment.arm]]
id = "constant"
schedule = "constant"
[[experiment.arm]]
id = "decaying"
schedule = "decaying"

[[claim]]
text = "A step size that decays ends nearer to the line of least squares"
left = { arm = "decaying", metric = "distance" }
relation = "<"
right = { arm = "constant", metric = "distance" }
"#;

/// What `xtask/src/registry.rs` calls.
fn entry() -> Entry {
    Entry::of::<FifthPaper>()
}

fn source(text: &str) -> Source {
    Source { file: "experiments/fifth-paper/line.toml".into(), text: text.into() }
}

fn as_table<'a>(value: Spanned<DeValue<'a>>) -> Table<'a> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Spanned::new(span, table),
        other => panic!("not a table: {other:?}"),
    }
}

/// The tables `[[key]]` of a table, which loses them.
fn tables<'a>(table: &mut Table<'a>, key: &str) -> Vec<Table<'a>> {
    match table.get_mut().remove(key).map(Spanned::into_inner) {
        Some(DeValue::Array(items)) => items.into_iter().map(as_table).collect(),
        _ => panic!("no [[{key}]]"),
    }
}

/// An arm of a suite, laid over its experiment's config and checked, as the runner does it.
fn prepare(suite: &str, id: &str) -> Result<Prepared, String> {
    let source = source(suite);
    let mut table = source.table().unwrap();
    let mut experiment = tables(&mut table, "experiment").remove(0);
    let base = as_table(experiment.get_mut().remove("config").unwrap());
    for mut arm in tables(&mut experiment, "arm") {
        if matches!(arm.get_mut().remove("id").map(Spanned::into_inner), Some(DeValue::String(name)) if name == id) {
            return entry().prepare(&source, merge(&base, &arm)).map_err(|e| e.to_string());
        }
    }
    panic!("no arm {id}");
}

/// What the process of a cell does in its directory. With `stop` it is asked to end at once, which it
/// does after the next step.
fn run_cell(dir: &Path, prepared: &Prepared, seed: u64, stop: bool) -> Result<run::Outcome, RunError> {
    let spec = CellSpec {
        format: FORMAT,
        experiment: "fifth-paper".into(),
        arm: "arm".into(),
        seed,
        device: "flex".into(),
        threads: 1,
        data: None,
        key: "key".into(),
        protocol: "protocol".into(),
    };
    let mut ctx = RunContext::new(Setup {
        dir: dir.to_path_buf(),
        spec,
        device: device::by_name("flex").unwrap(),
        stop: Arc::new(AtomicBool::new(stop)),
        progress: Box::new(|_| ()),
        fault: Fault::none(),
    })?;
    let outcome = entry().run(&Source { file: dir.join("config.toml"), text: prepared.toml.clone() }, &mut ctx)?;
    ctx.finish(outcome.clone())?;
    Ok(outcome)
}

#[test]
fn a_suite_s_arm_becomes_a_checked_config_and_a_plan() {
    let prepared = prepare(SUITE, "constant").unwrap();
    assert_eq!(prepared.canonical, r#"{"batch":5,"epochs":10,"learning_rate":0.5,"points":60,"schedule":"constant"}"#);
    assert_eq!((prepared.plan.steps, prepared.plan.metrics[0].name.as_str()), (120, "distance"));
    // Every default is written out, and reads back as the same config.
    let written = source(&prepared.toml);
    let again = entry().prepare(&written, written.table().unwrap()).unwrap();
    assert_eq!((&again.canonical, &again.toml, &again.plan), (&prepared.canonical, &prepared.toml, &prepared.plan));

    let wrong = |from: &str, to: &str| prepare(&SUITE.replace(from, to), "constant").unwrap_err();
    assert_eq!(
        wrong("learning_rate = 0.5", "learningrate = 0.5"),
        "experiments/fifth-paper/line.toml:10: unknown key `learningrate`; known are schedule, points, batch, epochs, \
         learning_rate; did you mean `learning_rate`?"
    );
    assert_eq!(
        wrong("learning_rate = 0.5", "learning_rate = -1.0"),
        "experiments/fifth-paper/line.toml:10: `learning_rate`: must be above 0"
    );
}

#[test]
fn a_run_stopped_after_every_step_ends_in_the_same_bytes() {
    let prepared = prepare(SUITE, "decaying").unwrap();
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outcome = run_cell(whole.path(), &prepared, 7, false).unwrap();
    let mut steps = Vec::new();
    let resumed = loop {
        match run_cell(stopped.path(), &prepared, 7, true) {
            Ok(outcome) => break outcome,
            Err(RunError::Interrupted { step }) => steps.push(step),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(steps, (1..=prepared.plan.steps).collect::<Vec<_>>());
    assert_eq!(outcome, resumed);
    for file in ["events.jsonl", "result.json", "checkpoints/step-00000120/state.json"] {
        let read = |dir: &Path| -> io::Result<Vec<u8>> { fs::read(dir.join(file)) };
        assert!(read(whole.path()).unwrap() == read(stopped.path()).unwrap(), "{file} differs");
    }
}

#[test]
fn the_outcome_agrees_with_the_closed_form_and_the_claim_holds() {
    let values = |arm: &str| -> Vec<Option<f64>> {
        let prepared = prepare(SUITE, arm).unwrap();
        let run = |seed| run_cell(tempfile::tempdir().unwrap().path(), &prepared, seed, false).unwrap();
        (0..3).map(|seed| run(seed).metrics.get("distance").copied()).collect()
    };
    let (decaying, constant) = (values("decaying"), values("constant"));
    assert!(decaying.iter().all(|d| d.is_some_and(|d| d < 0.1)), "{decaying:?}");
    let judged = judge_claim(&decaying, &constant, Relation::Less, 0.0, None, false).unwrap();
    assert_eq!((judged.verdict, judged.agree), (ClaimVerdict::Holds, 3), "{decaying:?} {constant:?}");
}

#[test]
fn a_loss_that_is_not_finite_is_a_run_that_diverged() {
    let prepared = prepare(&SUITE.replace("learning_rate = 0.5", "learning_rate = 1e60"), "constant").unwrap();
    let error = run_cell(tempfile::tempdir().unwrap().path(), &prepared, 0, false).unwrap_err();
    assert_eq!(error.kind(), "diverged", "{error}");
}

#[test]
fn each_cpu_device_computes_what_the_other_does() {
    for device in device::cpus() {
        match experiment::selftest(&device) {
            Ok(checks) => assert!(checks.len() == 1 && checks[0].passed(), "{device:?}: {checks:?}"),
            // There is nothing that the only one could be held against.
            Err(_) => assert_eq!(device::cpus().len(), 1),
        }
    }
}
