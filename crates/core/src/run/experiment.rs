//! The trait that a paper's experiment implements, and its type-erased form.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RunContext;
use super::record::{MetricInfo, Outcome, Plan};
use crate::config::{Checked, Invalid, Places, Source, Table, Validate, canonical};
use crate::data::Facts;
use crate::data::manifest::Kind;
use crate::error::{ConfigError, RunError};

/// A family of runs: a config and a seed go in, an [`Outcome`] comes out.
pub trait Experiment {
    /// The name in suites (`hebbian-snn`).
    const NAME: &'static str;
    /// One line for `list`: the paper and what is tested.
    const ABOUT: &'static str;
    /// The config; its `Default` is the paper's protocol.
    type Config: DeserializeOwned + Serialize + Validate;

    /// What a run with this config will report and cost.
    fn describe(config: &Checked<Self::Config>) -> Plan;

    /// What a run with this config reads; `None` for nothing. A suite that names no such set is refused when it is read.
    fn reads(_config: &Checked<Self::Config>) -> Option<Kind> {
        None
    }

    /// Holds a config against the data set that its suite resolved, before anything runs:
    /// more images than there are, sizes that do not divide, constants of another set.
    ///
    /// # Errors
    /// Names the first field that this set cannot give.
    fn fits(_config: &Checked<Self::Config>, _data: &Facts) -> Result<(), Invalid> {
        Ok(())
    }

    /// Runs it. Must be a pure function of config, seed, data, device kind and threads,
    /// and go on from the state that [`RunContext::restore`] gives back.
    ///
    /// # Errors
    /// When the data cannot be used, the loss diverges, or a stop was asked for.
    fn run(config: &Checked<Self::Config>, ctx: &mut RunContext) -> Result<Outcome, RunError>;
}

/// A config that has been checked, in the forms a runner needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Sorted JSON with every default written out: part of the cell's key.
    pub canonical: String,
    /// The same as TOML, for `config.toml`.
    pub toml: String,
    /// What the run will report and cost.
    pub plan: Plan,
    /// What it will read.
    pub reads: Option<Kind>,
    /// Where its keys stand.
    pub places: Places,
}

/// An [`Experiment`] with its types erased.
#[derive(Clone, Copy)]
pub struct Entry {
    /// [`Experiment::NAME`].
    pub name: &'static str,
    /// [`Experiment::ABOUT`].
    pub about: &'static str,
    prepare: fn(&Source, Table<'_>) -> Result<Prepared, ConfigError>,
    fits: fn(&Prepared, &Facts) -> Result<(), ConfigError>,
    run: fn(&Source, &mut RunContext) -> Result<Outcome, RunError>,
}

impl Entry {
    /// Erases the types of `E`.
    pub fn of<E: Experiment>() -> Self {
        Self {
            name: E::NAME,
            about: E::ABOUT,
            prepare: |source, table| {
                let places = source.places(&table);
                let config = source.checked::<E::Config>(table)?;
                let plan = E::describe(&config);
                if !plan.seconds.is_finite() {
                    let message = format!("a run would take {} seconds: its sizes are too large", plan.seconds);
                    return Err(ConfigError::new(message).in_file(&source.file));
                }
                check_names(&plan.metrics).map_err(|e| e.in_file(&source.file))?;
                Ok(Prepared {
                    reads: E::reads(&config),
                    places,
                    canonical: canonical(&*config)?,
                    toml: toml::to_string(&*config).map_err(|e| ConfigError::new(e.to_string()))?,
                    plan,
                })
            },
            fits: |prepared, data| {
                let config = toml::from_str::<E::Config>(&prepared.toml);
                let config = Checked::new(config.map_err(|e| ConfigError::new(e.to_string()))?)?;
                E::fits(&config, data).map_err(|fault| prepared.places.explain(fault))
            },
            run: |source, ctx| {
                let config = source.checked::<E::Config>(source.table()?)?;
                let mut outcome = E::run(&config, ctx)?;
                for metric in E::describe(&config).metrics {
                    match outcome.metrics.get(&metric.name) {
                        Some(value) if value.is_finite() => {}
                        Some(value) => {
                            return Err(RunError::Diverged { metric: metric.name, value: *value, step: ctx.step() });
                        }
                        None => return Err(RunError::Failed(format!("the run did not report `{}`", metric.name))),
                    }
                }
                let faults = outcome.set_aside(|file| ctx.has_artifact(file));
                outcome.warnings.extend(faults.into_iter().map(|fault| format!("not shown: {fault}")));
                // What is left would be written as what was not measured.
                outcome.check().map_err(RunError::Failed)?;
                Ok(outcome)
            },
        }
    }

    /// Checks a table of a suite.
    ///
    /// # Errors
    /// For a wrong key, type or value, and when two quantities would have one name.
    pub fn prepare(&self, source: &Source, table: Table<'_>) -> Result<Prepared, ConfigError> {
        (self.prepare)(source, table)
    }

    /// Holds a prepared config against the data set that its suite resolved.
    ///
    /// # Errors
    /// For what that set cannot give, with the key's place.
    pub fn fits(&self, prepared: &Prepared, data: &Facts) -> Result<(), ConfigError> {
        (self.fits)(prepared, data)
    }

    /// Runs the config in `source`. A picture that was not published and a chart that cannot be
    /// drawn become warnings.
    ///
    /// # Errors
    /// As [`Experiment::run`]; also when a promised metric is missing, or a number that is not finite.
    pub fn run(&self, source: &Source, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        (self.run)(source, ctx)
    }
}

/// Names and titles of metrics may be made of what a config chooses (ids, lengths): no two may meet, since the later
/// value would stand for both.
fn check_names(metrics: &[MetricInfo]) -> Result<(), ConfigError> {
    for (i, info) in metrics.iter().enumerate() {
        for other in &metrics[..i] {
            let (what, name) = match info {
                _ if info.name == other.name => ("are both called", &info.name),
                _ if (&info.title, &info.unit) == (&other.title, &other.unit) => ("both have the title", &info.title),
                _ => continue,
            };
            return Err(ConfigError::new(format!(
                "two metrics of this arm {what} `{name}` ({}; {}): change the id or the list that one of them is named \
                 after",
                other.basis, info.basis
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::checkpoint::Fault;
    use crate::config::Invalid;
    use crate::run::Setup;
    use crate::run::record::{CellSpec, FORMAT, Picture};

    #[derive(Default, serde::Deserialize, Serialize)]
    struct Config {
        publish: bool,
        file: String,
        #[serde(default)]
        cell: Option<Cell>,
    }

    /// An entry of a matrix; TOML has NaN, and the configs of papers refuse it.
    #[derive(Clone, Copy, serde::Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Cell {
        NotMeasured,
        NotANumber,
    }

    impl Validate for Config {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    /// Names one picture and publishes it if asked to.
    struct Painter;

    impl Experiment for Painter {
        const NAME: &'static str = "painter";
        const ABOUT: &'static str = "a test";
        type Config = Config;

        fn describe(_: &Checked<Config>) -> Plan {
            Plan { metrics: Vec::new(), steps: 0, seconds: 0.0, disk: 0 }
        }

        fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
            if config.publish {
                ctx.artifact(&config.file, b"picture")?;
            }
            let picture = Picture { file: config.file.clone(), title: "t".into(), caption: String::new() };
            let value = match config.cell {
                Some(Cell::NotANumber) => Some(f64::NAN),
                Some(Cell::NotMeasured) | None => None,
            };
            let matrices = [("m".to_owned(), vec![vec![Some(1.0), value]])].into();
            Ok(Outcome { pictures: vec![picture], matrices, ..Outcome::default() })
        }
    }

    fn context(dir: &std::path::Path) -> Result<RunContext, RunError> {
        let spec = CellSpec {
            format: FORMAT,
            experiment: "painter".into(),
            arm: "a".into(),
            seed: 0,
            device: "flex".into(),
            threads: 1,
            data: None,
            key: String::new(),
            protocol: String::new(),
        };
        RunContext::new(Setup {
            dir: dir.to_path_buf(),
            spec,
            device: crate::device::by_name("flex").unwrap(),
            stop: Default::default(),
            progress: Box::new(|_| ()),
            fault: Fault::none(),
        })
    }

    fn run(publish: bool, file: &str) -> Result<Outcome, RunError> {
        let dir = tempfile::tempdir().unwrap();
        let mut ctx = context(dir.path())?;
        let source = Source { file: PathBuf::from("x.toml"), text: format!("publish = {publish}\nfile = \"{file}\"") };
        Entry::of::<Painter>().run(&source, &mut ctx)
    }

    #[test]
    fn a_picture_that_cannot_be_shown_costs_a_warning_and_not_the_run() {
        let shown = run(true, "a.png").unwrap();
        assert_eq!((shown.pictures.len(), shown.warnings.len()), (1, 0));
        let warning = |publish, file: &str| {
            let outcome = run(publish, file).unwrap();
            assert!(outcome.pictures.is_empty());
            outcome.warnings.concat()
        };
        assert_eq!(warning(false, "a.png"), "not shown: the run did not publish the picture `a.png`");
        assert!(warning(true, "a.txt").contains("`a.txt` is not the name of a picture"));
    }

    #[test]
    fn a_matrix_that_is_no_number_is_not_taken_for_one_that_was_not_measured() {
        let matrix = |cell: &str| run(true, &format!("a.png\"\ncell = \"{cell}"));
        assert_eq!(matrix("not-measured").unwrap().matrices["m"], [[Some(1.0), None]]);
        let error = matrix("not-a-number").unwrap_err();
        assert!(matches!(&error, RunError::Failed(why) if why == "the matrix `m` holds NaN"), "{error}");
    }

    #[test]
    fn an_artifact_has_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path()).unwrap();
        ctx.artifact("a.png", b"one").unwrap();
        let message = |name: &str| ctx.artifact(name, b"two").unwrap_err().to_string();
        assert_eq!(message("a.png"), "two artifacts are called `a.png`");
        assert!(message("../a.png").contains("`../a.png` is not a plain name"));
        assert_eq!(std::fs::read(dir.path().join("artifacts/a.png")).unwrap(), b"one");
        // A process that goes on from before it may write it again.
        context(dir.path()).unwrap().artifact("a.png", b"one").unwrap();
    }

    /// Metrics by the names and titles in its config.
    struct Namer;

    #[derive(Default, serde::Deserialize, Serialize)]
    struct Names(Vec<(String, String)>);

    impl Validate for Names {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    #[derive(Default, serde::Deserialize, Serialize)]
    struct Named {
        names: Names,
    }

    impl Validate for Named {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    impl Experiment for Namer {
        const NAME: &'static str = "namer";
        const ABOUT: &'static str = "a test";
        type Config = Named;

        fn describe(config: &Checked<Named>) -> Plan {
            let metric = |(name, title): &(String, String)| MetricInfo {
                name: name.clone(),
                title: title.clone(),
                unit: String::new(),
                direction: crate::run::record::Direction::Neutral,
                exact: false,
                basis: format!("of {title}"),
            };
            let metrics = config.names.0.iter().map(metric).collect();
            Plan { metrics, steps: 0, seconds: 0.0, disk: 0 }
        }

        fn run(_: &Checked<Named>, _: &mut RunContext) -> Result<Outcome, RunError> {
            Ok(Outcome::default())
        }
    }

    #[test]
    fn two_metrics_under_one_name_or_title_are_refused() {
        let prepare = |names: &str| {
            let source = Source { file: PathBuf::from("x.toml"), text: format!("names = [{names}]") };
            Entry::of::<Namer>().prepare(&source, source.table().unwrap())
        };
        prepare(r#"["floor_mean", "floor"], ["real_mean", "real"]"#).unwrap();
        let message = |names: &str| prepare(names).unwrap_err().to_string();
        let same = message(r#"["real_mean", "real"], ["real_mean", "a sampler called real"]"#);
        assert!(same.starts_with("x.toml: two metrics of this arm are both called `real_mean`"), "{same}");
        assert!(same.contains("of a sampler called real"), "{same}");
        let titles = message(r#"["a", "mean intensity"], ["b", "mean intensity"]"#);
        assert!(titles.contains("both have the title `mean intensity`"), "{titles}");
    }
}
