//! What a suite will do: cells with their keys, directories and states.

use std::fs;
use std::path::{Path, PathBuf};

use plasticity_core::config::{fingerprint, sha256_hex};
use plasticity_core::data::{Lookup, Resolved, resolve};
use plasticity_core::device;
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::{ArmPlan, CellPlan, CellSpec, ExperimentPlan, FORMAT, Plan, Status, SuitePlan};
use serde_json::json;

use super::Options;
use crate::records::{self, Standing};
use crate::suite::{Suite, check_seeds};

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// What is known of a cell before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its result stands.
    Done,
    /// A result of other sources stands and `--keep` accepts it.
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
    pub toml: String,
    pub dir: PathBuf,
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
}

/// A suite with everything resolved.
pub struct Planned {
    pub dir: PathBuf,
    pub plan: SuitePlan,
    pub cells: Vec<Cell>,
}

/// Resolves data, device and keys. Nothing is written.
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

    let chosen: Vec<_> = suite
        .experiments
        .iter()
        .filter(|experiment| options.only.as_deref().is_none_or(|only| only == experiment.entry.name))
        .collect();
    if chosen.is_empty() {
        let mut names: Vec<&str> = suite.experiments.iter().map(|e| e.entry.name).collect();
        names.dedup();
        let only = options.only.as_deref().unwrap_or_default();
        let message = format!("--only {only}: this suite has {}", names.join(", "));
        return Err(ConfigError::new(message).into());
    }

    let mut cells = Vec::new();
    let mut experiments = Vec::new();
    for experiment in chosen {
        let (data, passed_over) = match experiment.data.as_slice() {
            [] => (None, Vec::new()),
            names => {
                let (data, passed_over) = resolve(names, &lookup)?;
                (Some(data), passed_over)
            }
        };
        if let Some(data) = &data {
            let facts = data.facts()?;
            for arm in &experiment.arms {
                experiment.entry.fits(&arm.prepared, &facts)?;
            }
        }
        let mut arms = Vec::new();
        for arm in &experiment.arms {
            let mut arm_cells = Vec::new();
            for &seed in options.seeds.as_ref().unwrap_or(&experiment.seeds) {
                let protocol =
                    protocol(experiment.entry.name, &arm.prepared.canonical, seed, &data, &device_name, threads)?;
                let key = sha256_hex(format!("{protocol} {} {LOCK}", sources(experiment.entry.name)).as_bytes());
                let own = PathBuf::from(format!("{}-s{seed}-{}", arm.id, &key[..8]));
                let mut relative = own.clone();
                let mut state = state(&dir.join(&own), &key)?;
                if options.force {
                    state = State::Fresh;
                } else if options.keep
                    && state != State::Done
                    && let Some(other) = same_protocol(&dir, &arm.id, seed, &protocol)
                {
                    (relative, state) = (other, State::Kept);
                }
                let spec = CellSpec {
                    format: FORMAT,
                    experiment: experiment.entry.name.to_owned(),
                    arm: arm.id.clone(),
                    seed,
                    device: device_name.clone(),
                    threads,
                    data: data.clone(),
                    key: key.clone(),
                    protocol,
                };
                let kept = state == State::Kept;
                cells.push(Cell {
                    spec,
                    toml: arm.prepared.toml.clone(),
                    dir: dir.join(&relative),
                    plan: arm.prepared.plan.clone(),
                    state,
                });
                arm_cells.push(CellPlan { seed, key, dir: relative, kept });
            }
            arms.push(ArmPlan { id: arm.id.clone(), plan: arm.prepared.plan.clone(), cells: arm_cells });
        }
        experiments.push(ExperimentPlan {
            name: experiment.entry.name.to_owned(),
            title: experiment.title.clone(),
            data,
            passed_over,
            arms,
        });
    }

    let here = |arm: &str| experiments.iter().any(|e: &ExperimentPlan| e.arms.iter().any(|a| a.id == arm));
    let claim_here = |claim: &&plasticity_core::run::record::Claim| {
        [&claim.left, &claim.right].into_iter().all(|side| match side {
            plasticity_core::run::record::Side::Measured { arm, .. } => here(arm),
            plasticity_core::run::record::Side::Number(_) => true,
        })
    };
    let plan = SuitePlan {
        format: FORMAT,
        name: suite.name.clone(),
        title: suite.head.title.clone(),
        profile: suite.head.profile,
        seeds: options.seeds.clone().unwrap_or_else(|| suite.head.seeds.clone()),
        threads,
        device: device_name,
        claims: suite.claims.iter().filter(claim_here).cloned().collect(),
        targets: suite.targets.iter().filter(|target| here(&target.arm)).cloned().collect(),
        experiments,
    };
    Ok(Planned { dir, plan, cells })
}

/// Everything that a result depends on, but for the sources.
fn protocol(
    experiment: &str,
    canonical: &str,
    seed: u64,
    data: &Option<Resolved>,
    device_name: &str,
    threads: usize,
) -> Result<String, ConfigError> {
    let data = data.as_ref().map(|data| json!([data.name, data.variant, data.sha256]));
    fingerprint(&json!({
        "format": FORMAT,
        "experiment": experiment,
        "config": canonical,
        "seed": seed,
        "data": data,
        "device": device::kind(device_name),
        "threads": threads,
    }))
}

/// The hashes of the sources that an experiment is made of.
fn sources(experiment: &str) -> String {
    let of = |name: &str| SOURCES.iter().find(|(crate_name, _)| *crate_name == name).map_or("", |(_, hash)| *hash);
    format!("{} {}", of("core"), of(experiment))
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

/// A finished cell of the same protocol but of other sources, relative to `dir`.
fn same_protocol(dir: &Path, arm: &str, seed: u64, protocol: &str) -> Option<PathBuf> {
    let prefix = format!("{arm}-s{seed}-");
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .filter(|entry| records::is_whole(&entry.path(), None))
        .filter(|entry| {
            let text = fs::read(entry.path().join("cell.json")).unwrap_or_default();
            serde_json::from_slice::<CellSpec>(&text).is_ok_and(|spec| spec.protocol == protocol)
        })
        .map(|entry| PathBuf::from(entry.file_name()))
        .collect();
    found.sort();
    found.pop()
}

/// A directory of another version of the format is refused before anything is written.
fn refuse_other_format(dir: &Path) -> Result<(), RunError> {
    let file = dir.join("plan.json");
    match records::read::<SuitePlan>(&file) {
        Err(error @ RunError::Format { .. }) => Err(error),
        // Nothing is lost with it: the plan is made anew from the suite.
        Err(error) => {
            eprintln!("warning: {error}; it will be written anew");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
