//! Makes up the directory of a suite that has run, for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use plasticity_core::data::{Place, Resolved};
use plasticity_core::rng::Stream;
use plasticity_core::run::picture::Grid;
use plasticity_core::run::record::*;
use serde::Serialize;
use serde_json::json;

/// Tasks of the made-up stream, and steps of each.
const TASKS: usize = 5;
const STEPS: u64 = 300;

/// What the made-up suite looks like; change a field to ask a question.
#[derive(Clone)]
pub struct Fake {
    pub profile: Profile,
    pub seeds: Vec<u64>,
    pub data: Resolved,
    pub passed_over: Vec<(String, String)>,
    /// Cells that failed: arm and seed.
    pub failed: Vec<(&'static str, u64)>,
    /// Cells that have not run.
    pub missing: Vec<(&'static str, u64)>,
    /// Cells of other sources.
    pub kept: Vec<(&'static str, u64)>,
    pub claims: Vec<Claim>,
    pub targets: Vec<Target>,
    /// Every cell has a sample grid and a chart; those of arm naive have two curves.
    pub pictures: bool,
    /// Every cell and the call that ran them have timings.
    pub timed: bool,
    /// Seeds of a second experiment of the same name, whose one arm is called `other`.
    pub second: Vec<u64>,
    /// Its file lies below `experiments/`.
    pub built_in: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            profile: Profile::Full,
            seeds: vec![0, 1, 2, 3, 4],
            data: Resolved {
                name: "mnist".into(),
                variant: "idx".into(),
                exact: true,
                place: Place::Dir("/some/where/mnist".into()),
                sha256: "a3".repeat(32),
            },
            passed_over: Vec::new(),
            failed: Vec::new(),
            missing: Vec::new(),
            kept: Vec::new(),
            pictures: false,
            timed: false,
            second: Vec::new(),
            built_in: true,
            claims: vec![
                claim("HLOP forgets less than naive training", "hlop", "bwt", ">", "naive", 0.02),
                claim("HLOP ends higher than naive training", "hlop", "acc", ">", "naive", 0.02),
                claim("QR ends higher than the paper's form", "hlop-qr", "acc", ">", "hlop", 0.0),
            ],
            targets: vec![target("hlop", "acc", 0.9110, 0.005), target("hlop", "bwt", -0.0070, 0.007)],
        }
    }
}

pub fn claim(text: &str, left: &str, metric: &str, relation: &str, right: &str, margin: f64) -> Claim {
    let side = |arm: &str| Side::Measured { arm: arm.into(), metric: metric.into() };
    Claim {
        text: text.into(),
        left: side(left),
        relation: relation.into(),
        right: side(right),
        margin,
        equal_within: None,
        speaks: None,
        front: None,
        price: Vec::new(),
        on: vec!["mnist".into()],
    }
}

pub fn target(arm: &str, metric: &str, value: f64, tolerance: f64) -> Target {
    Target {
        text: format!("Table 2, permuted MNIST, {arm}, {metric}"),
        arm: arm.into(),
        metric: metric.into(),
        value,
        tolerance,
        source: "paper, Table 2".into(),
        recalled: false,
    }
}

impl Fake {
    /// Writes the suite `quick` below `runs` and returns its directory.
    pub fn write(&self, runs: &Path) -> Result<PathBuf> {
        let dir = runs.join("quick");
        let experiment = |ids: &[&str], seeds: &[u64]| -> Result<ExperimentPlan> {
            let mut arms = Vec::new();
            for arm in ids {
                let cells = seeds.iter().map(|seed| self.cell(&dir, arm, *seed));
                let plan = Plan { metrics: metrics(), steps: STEPS * TASKS as u64, seconds: 12.0, disk: 1 << 20 };
                arms.push(ArmPlan { id: (*arm).into(), plan, cells: cells.collect::<Result<_>>()? });
            }
            Ok(ExperimentPlan {
                name: "hebbian-snn".into(),
                title: None,
                seeds: seeds.to_vec(),
                data: Some(self.data.clone()),
                passed_over: self.passed_over.clone(),
                arms,
            })
        };
        let mut experiments = vec![experiment(&["naive", "hlop", "hlop-qr"], &self.seeds)?];
        if !self.second.is_empty() {
            experiments.push(experiment(&["other"], &self.second)?);
        }
        if self.timed {
            let line = json!({"started": 1_763_998_740, "wall_s": 84.0, "jobs": 2, "cells": 15});
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("timing.jsonl"), format!("{line}\n"))?;
        }
        let plan = SuitePlan {
            format: FORMAT,
            name: "quick".into(),
            title: "Permuted MNIST in minutes".into(),
            profile: self.profile,
            seeds: self.seeds.clone(),
            threads: 1,
            device: "flex".into(),
            experiments,
            claims: self.claims.clone(),
            targets: self.targets.clone(),
        };
        write(&dir.join("plan.json"), &plan)?;
        let file = if self.built_in { "experiments/quick.toml" } else { "/some/where/quick.toml" };
        write(&dir.join("suite.json"), &json!({"format": FORMAT, "built_in": self.built_in, "file": file}))?;
        Ok(dir)
    }

    fn cell(&self, suite: &Path, arm: &str, seed: u64) -> Result<CellPlan> {
        let key = format!("{:016x}", seed + 16 * arm.len() as u64);
        let name = PathBuf::from(format!("{arm}-s{seed}-{}", &key[8..]));
        let dir = suite.join(&name);
        let kept = self.kept.contains(&(arm_id(arm), seed));
        let plan = CellPlan { seed, key: key.clone(), dir: name, kept };
        if self.missing.contains(&(arm_id(arm), seed)) {
            return Ok(plan);
        }
        fs::create_dir_all(&dir)?;
        let spec = CellSpec {
            format: FORMAT,
            experiment: "hebbian-snn".into(),
            arm: arm.into(),
            seed,
            device: "flex".into(),
            threads: 1,
            data: Some(self.data.clone()),
            key: key.clone(),
            protocol: String::new(),
        };
        write(&dir.join("cell.json"), &spec)?;
        fs::write(dir.join("config.toml"), config(arm))?;
        if self.failed.contains(&(arm_id(arm), seed)) {
            let message = "diverged: loss is NaN at step 77; see /some/where/runs/quick/x/stderr.log";
            let status = Status {
                format: FORMAT,
                state: "failed".into(),
                kind: Some("diverged".into()),
                message: Some(message.into()),
            };
            write(&dir.join("status.json"), &status)?;
            fs::write(dir.join("events.jsonl"), blow_up())?;
            return Ok(plan);
        }
        let (rows, events) = train(arm, seed)?;
        let at = |i: usize, j: usize| rows[i][j].unwrap_or(f64::NAN);
        let mean = |tasks: usize, of: &dyn Fn(usize) -> f64| (0..tasks).map(of).sum::<f64>() / tasks as f64;
        let last = TASKS - 1;
        let values = [
            ("acc", mean(TASKS, &|j| at(last, j))),
            ("bwt", mean(last, &|j| at(last, j) - at(j, j))),
            ("fwt", mean(last, &|j| at(j, j + 1) - 0.1)),
            ("forgetting", mean(last, &|j| at(j, j) - at(last, j))),
            ("learning_accuracy", mean(TASKS, &|j| at(j, j))),
        ];
        let metrics = values.into_iter().map(|(name, v)| (name.to_owned(), v));
        let warnings = match arm {
            "hlop" => vec![format!("layer 2: least eigenvalue of the projector is -0.03{seed}")],
            _ => Vec::new(),
        };
        let mut outcome = Outcome {
            metrics: metrics.collect(),
            matrices: BTreeMap::from([("accuracy".to_owned(), rows)]),
            warnings,
            ..Outcome::default()
        };
        if self.pictures {
            show(&dir, arm, seed, &mut outcome)?;
        }
        if self.timed {
            // Ten seconds and one per seed, in two processes.
            // Those of seed 0 ended a day before the others.
            let end = 1_763_998_740 + 86_400 * u64::from(seed > 0);
            let line = |at: &str, first: u64, wall: u64| json!({"at": at, "first_step": first, "wall_s": wall, "unix_s": end as f64});
            let lines = [line("checkpoint", 0, 3), line("checkpoint", 0, 6), line("end", 300, 4 + seed)];
            fs::write(dir.join("timing.jsonl"), lines.map(|l| format!("{l}\n")).concat())?;
        }
        // A kept cell's result has the key of other sources.
        let key = if kept { "0".repeat(16) } else { key };
        write(&dir.join("result.json"), &CellResult { format: FORMAT, key, outcome })?;
        fs::write(dir.join("events.jsonl"), events)?;
        let provenance = json!({
            "git_revision": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": false,
            "lockfile_sha256": "5c".repeat(32),
            "sources": {"core": "77"},
            "rustc": "rustc 1.95.0",
            "burn": "0.22.1",
            "features": ["flex", "ndarray"],
            "os": "linux x86_64",
            "cpu": "A CPU of eight cores",
            "cores": 8,
            "device": "flex",
            "threads": 1,
            "first_step": 0,
            "started": "2026-01-01T00:00:00Z",
            "directory": "/some/where/runs",
        });
        write(&dir.join("provenance.json"), &json!({ "processes": [provenance] }))?;
        Ok(plan)
    }
}

/// The config of an arm.
fn config(arm: &str) -> String {
    format!("strategy = \"{}\"\n", if arm.starts_with("hlop") { "hlop" } else { "naive" })
}

/// Writes the suite file below `root` that the plan in a directory was made of.
pub fn sign(dir: &Path, root: &Path) -> Result<PathBuf> {
    let plan: SuitePlan = serde_json::from_slice(&fs::read(dir.join("plan.json"))?)?;
    let mut text = format!(
        "schema = 1\ntitle = {:?}\nprofile = {}\nseeds = {:?}\nthreads = {}\n",
        plan.title,
        serde_json::to_string(&plan.profile)?,
        plan.seeds,
        plan.threads
    );
    for experiment in &plan.experiments {
        text += &format!("[[experiment]]\nname = {:?}\nseeds = {:?}\n", experiment.name, experiment.seeds);
        if let Some(title) = &experiment.title {
            text += &format!("title = {title:?}\n");
        }
        text += &format!("data = {:?}\n", experiment.data.iter().map(|data| &data.name).collect::<Vec<_>>());
        for arm in &experiment.arms {
            text += &format!("[[experiment.arm]]\nid = {:?}\n{}", arm.id, config(&arm.id));
        }
    }
    text += &toml::to_string(&json!({ "claim": plan.claims, "target": plan.targets }))?;
    let file = root.join(format!("experiments/{}.toml", plan.name));
    fs::create_dir_all(file.parent().unwrap_or(root))?;
    fs::write(&file, text)?;
    Ok(file)
}

/// A grid of blobs, and a loss over noise levels.
fn show(dir: &Path, arm: &str, seed: u64, outcome: &mut Outcome) -> Result<()> {
    let mut stream = Stream::new(seed, arm, 0);
    let mut images = Vec::new();
    for _ in 0..24 {
        let (x, y, r) = (4.0 + 6.0 * stream.uniform(), 4.0 + 6.0 * stream.uniform(), 2.0 + 2.0 * stream.uniform());
        let ink = |i: usize| (-(((i % 14) as f64 - x).powi(2) + ((i / 14) as f64 - y).powi(2)) / (r * r)).exp();
        images.extend((0..196).map(|i| ink(i) as f32));
    }
    let grid = Grid { group: Some(4), ..Grid::new(14, 14, 8) };
    fs::create_dir_all(dir.join("artifacts"))?;
    fs::write(dir.join("artifacts/samples.png"), grid.png(&images)?)?;
    let caption = format!("Left: noise. Right: what {arm} makes of it.");
    outcome.pictures.push(Picture { file: "samples.png".into(), title: "Samples".into(), caption });
    let level = |i: i32| 10_f64.powf(f64::from(i) / 4.0 - 2.0);
    let curve = |name: &str, scale: f64| Series {
        name: name.into(),
        points: (0..9).map(|i| [level(i), scale * level(i) / (1.0 + level(i))]).collect(),
    };
    let mut series = vec![curve("network", 10.0 + arm.len() as f64 + stream.uniform())];
    if arm == "naive" {
        series.push(curve("Wiener", 20.0));
    }
    outcome.charts.push(Chart {
        title: "Denoising loss against noise level".into(),
        x_label: "noise sd".into(),
        y_label: "loss, summed over pixels".into(),
        log_x: true,
        log_y: true,
        series,
    });
    Ok(())
}

fn arm_id(arm: &str) -> &'static str {
    match arm {
        "naive" => "naive",
        "hlop" => "hlop",
        "other" => "other",
        _ => "hlop-qr",
    }
}

fn metrics() -> Vec<MetricInfo> {
    let metric = |name: &str, title: &str, direction| MetricInfo {
        name: name.into(),
        title: title.into(),
        unit: "fraction".into(),
        direction,
        exact: false,
        basis: "2,000 test images a task".into(),
    };
    vec![
        metric("acc", "ACC", Direction::Higher),
        metric("bwt", "BWT", Direction::Higher),
        metric("fwt", "FWT", Direction::Higher),
        metric("forgetting", "forgetting", Direction::Lower),
        metric("learning_accuracy", "learning accuracy", Direction::Higher),
    ]
}

/// Events of a run whose loss grows without bound, cut off in the middle of a line.
fn blow_up() -> String {
    let loss = |step: u64| 2.0 + 10_f64.powi((step / 10) as i32 - 4);
    let event = |step| json!({"step": step, "split": "train", "metric": "loss", "value": loss(step), "n": 640});
    let lines: String = (10..=70).step_by(10).map(|step| format!("{}\n", event(step))).collect();
    lines + "{\"step\":80,\"spl"
}

/// Accuracies and events that look like the ones of a real run.
fn train(arm: &str, seed: u64) -> Result<(Vec<Vec<Option<f64>>>, String)> {
    let noise = |label: &str, index: u64, size: f64| Stream::new(seed, label, index).normal() * size;
    let forget = match arm {
        "naive" => 0.045,
        "hlop" => 0.002,
        _ => 0.001,
    };
    let mut rows = Vec::new();
    let mut events = String::new();
    let mut event = |step, split: String, metric: &str, value, n| -> Result<()> {
        let event = Event { step, split, metric: metric.into(), value, n };
        events += &serde_json::to_string(&event)?;
        events.push('\n');
        Ok(())
    };
    for task in 0..TASKS {
        for step in (10..=STEPS).step_by(10) {
            let at = task as u64 * STEPS + step;
            let level = 2.2 * (-(step as f64) / 40.0).exp() + 0.28;
            let loss = level + noise(&format!("loss {arm}"), at, 0.03);
            event(at, "train".into(), "loss", loss.max(0.01), 640)?;
            event(at, "layer/1".into(), "firing", 0.06 + noise("firing", at, 0.002), 640)?;
        }
        let mut row = vec![None; TASKS];
        for (j, measured) in row.iter_mut().enumerate().take(task + 2) {
            let entry = (task * TASKS + j) as u64;
            let accuracy = if j > task {
                0.12 + noise("ahead", entry, 0.01)
            } else {
                let age = (task - j) as f64;
                0.915 - forget * age + noise("shared", j as u64, 0.003) + noise(&format!("own {arm}"), entry, 0.002)
            };
            *measured = Some(accuracy.clamp(0.0, 1.0));
            if j <= task {
                event((task as u64 + 1) * STEPS, format!("test/{j}"), "accuracy", accuracy, 2000)?;
            }
        }
        rows.push(row);
    }
    Ok((rows, events))
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(fs::write(path, serde_json::to_vec_pretty(value)?)?)
}
