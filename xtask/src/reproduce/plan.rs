//! What a suite will do: cells with their keys, directories and states.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plasticity_core::data::manifest::Manifest;
use plasticity_core::data::{Lookup, Resolved, resolve_among};
use plasticity_core::device;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{ArmPlan, CellPlan, CellSpec, ExperimentPlan, FORMAT, Plan, Status, SuitePlan};

use super::Options;
use super::keep::newest;
use super::key::{Written, cell_dir, key, on_disk, protocol, sources};
use crate::records::{self, Standing};
use crate::suite::{Suite, SuiteArm, SuiteExperiment, check_seeds};

/// What is known of a cell before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its result stands.
    Done,
    /// A result of other sources, or of another build, stands and `--keep` accepts it.
    Kept,
    /// It will go on from a checkpoint.
    Resumable,
    /// Its result cannot be read, and why: it will run once more.
    Damaged(String),
    /// It failed before and will be tried again from its last checkpoint.
    Failed(String),
    /// It will start from nothing.
    Fresh,
}

/// One run of one arm with one seed.
#[derive(Debug, Clone)]
pub struct Cell {
    pub spec: CellSpec,
    /// Of the code that runs it.
    pub sources: String,
    pub toml: String,
    pub dir: PathBuf,
    /// The same, seen from the suite's directory.
    relative: PathBuf,
    pub plan: Plan,
    pub state: State,
}

impl Cell {
    /// The name in progress lines.
    pub fn name(&self) -> String {
        format!("{}-s{}", self.spec.arm, self.spec.seed)
    }

    pub fn to_run(&self) -> bool {
        !matches!(self.state, State::Done | State::Kept)
    }

    /// What is written to `cell.json`.
    pub fn written(&self) -> Written {
        Written { spec: self.spec.clone(), sources: self.sources.clone() }
    }
}

/// A suite with everything resolved.
pub struct Planned {
    pub dir: PathBuf,
    /// What the report shows.
    pub plan: SuitePlan,
    /// What this call asks for.
    pub cells: Vec<Cell>,
}

/// What all cells of one experiment of a call share.
struct Shared<'a> {
    dir: &'a Path,
    experiment: &'a SuiteExperiment,
    data: &'a Option<Resolved>,
    device: &'a str,
    threads: usize,
    keep: bool,
    force: bool,
    on_disk: &'a [(PathBuf, Written)],
    /// The plan of the call before.
    before: Option<&'a SuitePlan>,
    sources: String,
}

impl Shared<'_> {
    /// The cell of an arm and a seed that this call asks for (`now`), or that stands beside those.
    fn cell(&self, arm: &SuiteArm, seed: u64, now: bool) -> anyhow::Result<Cell> {
        let name = self.experiment.entry.name;
        let protocol = protocol(name, &arm.prepared.canonical, seed, self.data, self.device, self.threads)?;
        let key = key(&protocol, &self.sources);
        let mut relative = cell_dir(&arm.id, seed, &key);
        let mut state = state(&self.dir.join(&relative), &key)?;
        if now && self.force {
            state = State::Fresh;
        } else if state != State::Done
            && let Some(other) = self.kept(&arm.id, seed, &protocol, now)?
        {
            (relative, state) = (other, State::Kept);
        }
        let spec = CellSpec {
            format: FORMAT,
            experiment: name.to_owned(),
            arm: arm.id.clone(),
            seed,
            device: self.device.to_owned(),
            threads: self.threads,
            data: self.data.clone(),
            key,
            protocol,
        };
        let (toml, plan) = (arm.prepared.toml.clone(), arm.prepared.plan.clone());
        Ok(Cell { spec, sources: self.sources.clone(), toml, dir: self.dir.join(&relative), relative, plan, state })
    }

    /// The directory of a result of other sources, or of another build, that stands for a cell: the newest with `--keep`;
    /// beside what the call asks for also the one that the report has shown, which no smaller call takes away.
    fn kept(&self, arm: &str, seed: u64, protocol: &str, now: bool) -> Result<Option<PathBuf>, ConfigError> {
        let found = if self.keep { newest(self.on_disk, arm, seed, protocol) } else { Ok(None) };
        if now {
            return found;
        }
        // A tie among those that nobody asks for stops nothing.
        Ok(found.unwrap_or(None).or_else(|| self.shown_before(arm, seed, protocol)))
    }

    /// What the plan of the call before has kept, while it stands.
    fn shown_before(&self, arm: &str, seed: u64, protocol: &str) -> Option<PathBuf> {
        let experiments = self.before?.experiments.iter().filter(|e| e.name == self.experiment.entry.name);
        let mut cells = experiments.flat_map(|e| &e.arms).filter(|known| known.id == arm).flat_map(|arm| &arm.cells);
        let dir = &cells.find(|cell| cell.seed == seed && cell.kept)?.dir;
        let path = self.dir.join(dir);
        let same = |w: &Written| w.spec.arm == arm && w.spec.seed == seed && w.spec.protocol == protocol;
        let stands = self.on_disk.iter().any(|(other, written)| *other == path && same(written));
        (stands && records::is_whole(&path, None)).then(|| dir.clone())
    }

    /// One cell of every arm.
    fn seed(&self, seed: u64, now: bool) -> anyhow::Result<Vec<Cell>> {
        self.experiment.arms.iter().map(|arm| self.cell(arm, seed, now)).collect()
    }

    /// The seeds of this experiment: the suite's, those asked for, and others that it has run with.
    fn known_seeds(&self, asked: &[u64]) -> Vec<u64> {
        let arms: BTreeSet<&str> = self.experiment.arms.iter().map(|arm| arm.id.as_str()).collect();
        let found = self.on_disk.iter().filter(|(_, w)| arms.contains(w.spec.arm.as_str())).map(|(_, w)| w.spec.seed);
        let found: BTreeSet<u64> = found.collect();
        let mut seeds: Vec<u64> = Vec::new();
        for seed in self.experiment.seeds.iter().chain(asked).chain(&found) {
            if !seeds.contains(seed) {
                seeds.push(*seed);
            }
        }
        seeds
    }
}

/// Resolves data, device and keys. Nothing is written.
///
/// The call's cells are those that it asks for; the plan, which the report shows, has beside them whatever the suite has
/// run before with this device, this number of threads and these sources, and what an earlier call kept of others: a call
/// that runs less takes nothing away.
pub fn plan(suite: &Suite, out: &Path, options: &Options) -> anyhow::Result<Planned> {
    if let Some(seeds) = &options.seeds {
        check_seeds(seeds).map_err(|e| ConfigError::new(format!("--seeds: {}", e.message)))?;
    }
    let threads = options.threads.unwrap_or(suite.head.threads);
    let device_name = if options.device == "auto" { device::auto().to_owned() } else { options.device.clone() };
    device::by_name(&device_name)?;
    let lookup = Lookup::from_env(options.data_dir.clone(), options.offline);
    let dir = out.join(&suite.name);
    refuse_other_format(&dir)?;

    let asked_for =
        |experiment: &SuiteExperiment| options.only.as_deref().is_none_or(|only| only == experiment.entry.name);
    if !suite.experiments.iter().any(asked_for) {
        let mut names: Vec<&str> = suite.experiments.iter().map(|e| e.entry.name).collect();
        names.dedup();
        let only = options.only.as_deref().unwrap_or_default();
        let message = format!("--only {only}: this suite has {}", names.join(", "));
        return Err(ConfigError::new(message).into());
    }

    let on_disk = on_disk(&dir);
    let before = earlier(&dir);
    let mut cells = Vec::new();
    let mut experiments = Vec::new();
    for experiment in &suite.experiments {
        let asked: &[u64] = match &options.seeds {
            _ if !asked_for(experiment) => &[],
            Some(seeds) => seeds,
            None => &experiment.seeds,
        };
        let found = if asked.is_empty() {
            known_data(experiment, &suite.manifests, before.as_ref(), &lookup)
        } else {
            let found = resolve_data(experiment, &suite.manifests, &lookup)?;
            if let Some(data) = &found.0 {
                let facts = data.facts()?;
                for arm in &experiment.arms {
                    experiment.entry.fits(&arm.prepared, &facts)?;
                }
            }
            Some(found)
        };
        let mut arms: Vec<ArmPlan> = experiment
            .arms
            .iter()
            .map(|arm| ArmPlan { id: arm.id.clone(), plan: arm.prepared.plan.clone(), cells: Vec::new() })
            .collect();
        let (data, passed_over) = found.clone().unwrap_or_default();
        // Without its data nothing is known of a cell.
        if found.is_some() {
            let shared = Shared {
                dir: &dir,
                experiment,
                data: &data,
                device: &device_name,
                threads,
                keep: options.keep,
                force: options.force,
                on_disk: &on_disk,
                before: before.as_ref(),
                sources: sources(experiment.entry.name),
            };
            for seed in shared.known_seeds(asked) {
                let now = asked.contains(&seed);
                let of_seed = shared.seed(seed, now)?;
                if !(now || is_shown(&of_seed, experiment.seeds.contains(&seed))) {
                    continue;
                }
                for (arm, cell) in arms.iter_mut().zip(of_seed) {
                    let (key, kept) = (cell.spec.key.clone(), cell.state == State::Kept);
                    arm.cells.push(CellPlan { seed, key, dir: cell.relative.clone(), kept });
                    if now {
                        cells.push(cell);
                    }
                }
            }
        }
        experiments.push(ExperimentPlan {
            name: experiment.entry.name.to_owned(),
            title: experiment.title.clone(),
            seeds: experiment.seeds.clone(),
            data,
            passed_over,
            arms,
        });
    }
    // Arm by arm, as the suite lists them.
    let order: Vec<&str> = suite.experiments.iter().flat_map(|e| &e.arms).map(|arm| arm.id.as_str()).collect();
    cells.sort_by_key(|cell| order.iter().position(|id| *id == cell.spec.arm));
    let plan = SuitePlan {
        format: FORMAT,
        name: suite.name.clone(),
        title: suite.head.title.clone(),
        profile: suite.head.profile,
        seeds: suite.head.seeds.clone(),
        threads,
        device: device_name,
        claims: suite.claims.clone(),
        targets: suite.targets.clone(),
        experiments,
    };
    Ok(Planned { dir, plan, cells })
}

/// Whether a seed that a call did not ask for is shown: one of the suite's as soon as something has run, another when
/// every arm has come to its end with it, so that no claim waits for a run that nobody asks for any more.
fn is_shown(cells: &[Cell], of_suite: bool) -> bool {
    let ended = |cell: &Cell| matches!(cell.state, State::Done | State::Kept | State::Failed(_));
    if of_suite { cells.iter().any(|cell| cell.state != State::Fresh) } else { cells.iter().all(ended) }
}

/// A data set, and those that were asked for first and could not be had.
type Found = (Option<Resolved>, Vec<(String, String)>);

fn resolve_data(experiment: &SuiteExperiment, manifests: &[Manifest], lookup: &Lookup) -> anyhow::Result<Found> {
    if experiment.data.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (data, passed_over) = resolve_among(manifests, &experiment.data, lookup)?;
    Ok((Some(data), passed_over))
}

/// The data of an experiment that this call does not run: those of the plan before, else what is here already; `None`
/// when there are none.
fn known_data(
    experiment: &SuiteExperiment,
    manifests: &[Manifest],
    before: Option<&SuitePlan>,
    lookup: &Lookup,
) -> Option<Found> {
    // An arm's id is in a suite once.
    let arms: BTreeSet<&str> = experiment.arms.iter().map(|arm| arm.id.as_str()).collect();
    let same = |e: &&ExperimentPlan| {
        e.name == experiment.entry.name && e.arms.iter().any(|arm| arms.contains(arm.id.as_str()))
    };
    let known = before.and_then(|plan| plan.experiments.iter().find(same));
    match known {
        Some(ExperimentPlan { data: Some(data), passed_over, .. }) if experiment.data.contains(&data.name) => {
            Some((Some(data.clone()), passed_over.clone()))
        }
        _ => resolve_data(experiment, manifests, &Lookup { offline: true, ..lookup.clone() }).ok(),
    }
}

/// The plan of the call before, if there was one.
fn earlier(dir: &Path) -> Option<SuitePlan> {
    records::read(&dir.join("plan.json")).ok().flatten()
}

fn state(dir: &Path, key: &str) -> Result<State, RunError> {
    match records::result(dir, Some(key))? {
        Standing::Whole(_) => return Ok(State::Done),
        Standing::Another => return Ok(State::Fresh),
        Standing::Damaged(why) => return Ok(State::Damaged(why)),
        Standing::Nothing => {}
    }
    // It only says what happened: a damaged one is as none.
    let status = records::read::<Status>(&dir.join("status.json")).ok().flatten();
    if let Some(Status { kind, .. }) = status.filter(|status| status.state == "failed") {
        return Ok(State::Failed(kind.unwrap_or_default()));
    }
    let saved = fs::read_dir(dir.join("checkpoints")).into_iter().flatten().flatten();
    let any = saved.into_iter().any(|entry| !entry.file_name().to_string_lossy().ends_with(".tmp"));
    Ok(if any { State::Resumable } else { State::Fresh })
}

/// A directory of another version of the format is refused before anything is written.
fn refuse_other_format(dir: &Path) -> Result<(), RunError> {
    let file = dir.join("plan.json");
    match records::read::<SuitePlan>(&file) {
        Err(error @ RunError::Format { .. }) => Err(error),
        // Nothing is lost with it: the plan is made anew from the suite.
        Err(error) => {
            complain!("warning: {error}; it will be written anew");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
