//! A run that is stopped and goes on says nothing twice.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plasticity_core::checkpoint::{Fault, Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{CellResult, CellSpec, FORMAT};
use plasticity_core::run::{Outcome, RunContext, Setup};

/// Steps done.
struct Count(u64);

impl Snapshot for Count {
    fn save(&self) -> Result<Files, RunError> {
        Ok(Files::from([("count.json".into(), to_json(&self.0)?)]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.0 = from_json("count.json".as_ref(), file(files, "count.json")?)?;
        Ok(())
    }
}

const STEPS: u64 = 4;

/// Warns and measures wherever an experiment can: before it restores, before its loop, in a step, at the end.
fn run(dir: &Path, stop: bool) -> Result<(), RunError> {
    let spec = CellSpec {
        format: FORMAT,
        experiment: "test".into(),
        arm: "only".into(),
        seed: 0,
        device: "auto".into(),
        threads: 1,
        data: None,
        key: "key".into(),
        protocol: "key".into(),
    };
    let mut ctx = RunContext::new(Setup {
        dir: dir.into(),
        spec,
        device: plasticity_core::testing::cpu(),
        stop: Arc::new(AtomicBool::new(stop)),
        progress: Box::new(|_| {}),
        fault: Fault::none(),
    })?;
    ctx.warn("before the restore");
    ctx.event(0, "train", "density", 0.5, 1)?;
    let mut state = Count(0);
    let start = ctx.restore(STEPS, &mut state)?;
    ctx.warn("before the loop");
    for at in start..STEPS {
        ctx.warn(format!("in step {}", at + 1));
        ctx.event(at + 1, "train", "loss", 1.0 / (at + 1) as f64, 1)?;
        state.0 += 1;
        ctx.step_done(at + 1, false, &state)?;
    }
    ctx.warn("before the end");
    ctx.finish(Outcome { warnings: vec!["of the outcome".into()], ..Outcome::default() })
}

#[test]
fn what_was_said_before_a_stop_is_not_said_again() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(whole.path(), false).unwrap();
    let mut stops = 0;
    while let Err(error) = run(stopped.path(), true) {
        assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
        stops += 1;
    }
    assert_eq!(stops, STEPS);
    for file in ["result.json", "events.jsonl"] {
        let read = |dir: &Path| fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(read(whole.path()), read(stopped.path()), "{file}");
    }
    let path = stopped.path().join("result.json");
    let result: CellResult = from_json(&path, &fs::read(&path).unwrap()).unwrap();
    let steps = (1..=STEPS).map(|at| format!("in step {at}"));
    let expected: Vec<String> = ["before the restore".to_owned(), "before the loop".into()]
        .into_iter()
        .chain(steps)
        .chain(["before the end".into(), "of the outcome".into()])
        .collect();
    assert_eq!(result.outcome.warnings, expected);
}
