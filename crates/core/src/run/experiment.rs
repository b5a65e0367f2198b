//! The trait that a paper's experiment implements, and its type-erased form.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RunContext;
use super::record::{Outcome, Plan};
use crate::config::{Checked, Invalid, Places, Source, Table, Validate, canonical};
use crate::data::Facts;
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
                Ok(Prepared {
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
                let outcome = E::run(&config, ctx)?;
                for metric in E::describe(&config).metrics {
                    match outcome.metrics.get(&metric.name) {
                        Some(value) if value.is_finite() => {}
                        Some(value) => {
                            return Err(RunError::Diverged { metric: metric.name, value: *value, step: ctx.step() });
                        }
                        None => return Err(RunError::Failed(format!("the run did not report `{}`", metric.name))),
                    }
                }
                outcome.check().map_err(RunError::Failed)?;
                match outcome.pictures.iter().find(|p| !ctx.has_artifact(&p.file)) {
                    Some(p) => Err(RunError::Failed(format!("the run did not publish the picture `{}`", p.file))),
                    None => Ok(outcome),
                }
            },
        }
    }

    /// Checks a table of a suite.
    ///
    /// # Errors
    /// For a wrong key, type or value.
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

    /// Runs the config in `source`.
    ///
    /// # Errors
    /// As [`Experiment::run`]; also when a promised metric is missing or not finite, a
    /// picture was not published, or a chart cannot be drawn.
    pub fn run(&self, source: &Source, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        (self.run)(source, ctx)
    }
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
            Ok(Outcome { pictures: vec![picture], ..Outcome::default() })
        }
    }

    fn run(publish: bool, file: &str) -> Result<Outcome, RunError> {
        let dir = tempfile::tempdir().unwrap();
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
        let mut ctx = RunContext::new(Setup {
            dir: dir.path().to_path_buf(),
            spec,
            device: crate::device::by_name("flex").unwrap(),
            stop: Default::default(),
            progress: Box::new(|_| ()),
            fault: Fault::none(),
        })?;
        let source = Source { file: PathBuf::from("x.toml"), text: format!("publish = {publish}\nfile = \"{file}\"") };
        Entry::of::<Painter>().run(&source, &mut ctx)
    }

    #[test]
    fn a_picture_must_have_been_published_under_a_name_of_a_picture() {
        assert_eq!(run(true, "a.png").unwrap().pictures.len(), 1);
        let message = |publish, file: &str| run(publish, file).unwrap_err().to_string();
        assert_eq!(message(false, "a.png"), "the run did not publish the picture `a.png`");
        assert!(message(true, "a.txt").contains("`a.txt` is not the name of a picture"));
    }
}
