//! A stop is heard by every process within seconds, whatever it is doing, and the same command goes on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, SigHandler, Signal, kill};
use nix::unistd::Pid;
use plasticity_core::run::Lock;

use crate::support::{Bench, FEDERATION, ONE_ARM, finish};

/// What a step takes that nobody waits for, in seconds: far more than the whole test may.
const AGES: u64 = 300;

/// Long enough to be stopped in the middle.
fn long() -> Bench {
    Bench::new(&ONE_ARM.replace("train_images = 640", "train_images = 12800").replace("[16, 16]", "[64, 64]"))
}

/// Starts `reproduce` and waits until the cell has published a checkpoint, of this step if one is named.
fn start(bench: &Bench, fault: &str, step: &str) -> Child {
    launch(&mut bench.command(&[]), bench, fault, step)
}

fn launch(command: &mut Command, bench: &Bench, fault: &str, step: &str) -> Child {
    command.env("PLASTICITY_FAULT", fault).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Whoever runs the tests may ignore SIGHUP, as `nohup` does, and a child inherits it.
    // SAFETY: between fork and exec only signal(2) is called, which may be called there.
    unsafe { command.pre_exec(|| Ok(signal::signal(Signal::SIGHUP, SigHandler::SigDfl).map(drop)?)) };
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        if bench.cell().is_some_and(|cell| cell.join("checkpoints").join(step).exists()) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("the cell did not reach its checkpoint {step}");
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn signal(child: &Child, signal: Signal) {
    kill(pid(child), signal).unwrap();
}

/// The processes that a process has started, where the system says so.
fn children(parent: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; state and parent come after it.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        if fields.nth(1).and_then(|field| field.parse().ok()) == Some(parent.as_raw()) {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

/// As a scheduler does it: to the cells as well, which are in groups of their own.
fn signal_all(child: &Child, signal: Signal) {
    let cells = children(pid(child));
    assert!(!cfg!(target_os = "linux") || cells.len() == 1, "{cells:?}");
    for process in cells.into_iter().chain([pid(child)]) {
        kill(process, signal).unwrap();
    }
}

fn interrupted(child: Child) -> String {
    interrupted_saying(child, "Interrupted. The same command goes on where this one stopped.")
}

fn interrupted_saying(child: Child, line: &str) -> String {
    let start = Instant::now();
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    assert_eq!(code, 75, "{out}{err}");
    assert!(start.elapsed() < Duration::from_secs(AGES / 2), "it waited for the step");
    assert_eq!(out.matches(line).count(), 1, "{out}");
    assert!(!out.contains("FAILED") && err.is_empty(), "{out}{err}");
    out
}

fn goes_on(bench: &Bench) {
    let (code, out, err) = bench.run(&[]);
    assert!(code == 0 && out.contains("1 go on from a checkpoint"), "{out}{err}");
}

/// A stop adds a checkpoint of its own in between, so of these only what comes at the end is compared.
fn last_records(bench: &Bench, last: &str) -> Vec<(String, Vec<u8>)> {
    let compared = |name: &String| !name.contains("checkpoints/") || name.contains(last);
    let records: Vec<_> = bench.records().into_iter().filter(|(name, _)| compared(name)).collect();
    assert!(records.iter().any(|(name, _)| name.contains(last) && name.ends_with("model.safetensors")));
    records
}

#[test]
fn a_stop_saves_and_the_same_command_goes_on() {
    let whole = long();
    assert_eq!(whole.run(&[]).0, 0);
    type Send = fn(&Child, Signal);
    let ways: [(Send, Signal); 3] =
        [(signal, Signal::SIGINT), (signal_all, Signal::SIGTERM), (signal_all, Signal::SIGHUP)];
    for (send, kind) in ways {
        let bench = long();
        // A step that is short enough to be waited for, and long enough not to be over before the signal is sent.
        let child = start(&bench, "slow:205:3", "step-00000204");
        send(&child, kind);
        interrupted(child);
        assert_eq!(bench.record("status.json")["state"], "interrupted");
        goes_on(&bench);
        assert!(last_records(&whole, "step-00000408") == last_records(&bench, "step-00000408"), "{kind}");
        // Both processes that worked on it are on record.
        let processes = bench.record("provenance.json")["processes"].clone();
        let first: Vec<_> = processes.as_array().unwrap().iter().map(|p| p["first_step"].as_u64().unwrap()).collect();
        assert!(first.len() == 2 && first[0] == 0 && first[1] > 0, "{processes}");
        assert_eq!(processes[0]["cpu"], processes[1]["cpu"]);
        assert_eq!(processes[0]["device"], "flex");
    }
}

/// The step after the first checkpoint lasts: what came before it is on disk.
#[test]
fn a_step_that_lasts_is_not_waited_for() {
    let whole = Bench::new(ONE_ARM);
    assert_eq!(whole.run(&[]).0, 0);
    for (all, kind) in [(true, Signal::SIGTERM), (true, Signal::SIGINT), (false, Signal::SIGINT)] {
        let bench = Bench::new(ONE_ARM);
        let child = start(&bench, &format!("slow:15:{AGES}"), "step-00000014");
        if all {
            signal_all(&child, kind)
        } else {
            signal(&child, kind)
        }
        interrupted(child);
        assert_eq!(bench.record("status.json")["state"], "interrupted");
        goes_on(&bench);
        assert!(whole.records() == bench.records(), "{kind}");
    }
}

#[test]
fn a_second_ctrl_c_kills_and_nothing_is_lost_but_the_step() {
    let whole = Bench::new(ONE_ARM);
    assert_eq!(whole.run(&[]).0, 0);
    let bench = Bench::new(ONE_ARM);
    let child = start(&bench, &format!("slow:15:{AGES}"), "step-00000014");
    signal(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(1500));
    signal(&child, Signal::SIGINT);
    interrupted(child);
    assert_eq!(bench.record("status.json")["state"], "interrupted");
    goes_on(&bench);
    assert!(whole.records() == bench.records());
}

/// A scheduler that loses patience with the cells while the runner is still waiting for them.
#[test]
fn a_cell_that_is_killed_during_a_stop_has_not_failed() {
    let bench = Bench::new(ONE_ARM);
    let child = start(&bench, &format!("slow:15:{AGES}"), "step-00000014");
    let cells = children(pid(&child));
    signal(&child, Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(1000));
    for cell in cells {
        kill(cell, Signal::SIGKILL).unwrap();
    }
    interrupted(child);
    assert_eq!(bench.record("status.json")["state"], "interrupted");
    goes_on(&bench);
}

#[test]
fn a_killed_runner_leaves_nothing_running_and_the_same_command_goes_on() {
    let (whole, bench) = (long(), long());
    assert_eq!(whole.run(&[]).0, 0);
    let mut child = start(&bench, "", "");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // At once, while the orphan may still be saving.
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(last_records(&whole, "step-00000408") == last_records(&bench, "step-00000408"));
}

#[test]
fn an_orphan_within_a_step_that_lasts_is_gone_before_the_patience_of_the_next_runner() {
    let whole = Bench::new(ONE_ARM);
    assert_eq!(whole.run(&[]).0, 0);
    let bench = Bench::new(ONE_ARM);
    let mut child = start(&bench, &format!("slow:15:{AGES}"), "step-00000014");
    let orphans = children(pid(&child));
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    goes_on(&bench);
    assert!(whole.records() == bench.records());
    for orphan in orphans {
        // Gone, or dead and not yet buried by the system's first process.
        let stat = fs::read_to_string(format!("/proc/{orphan}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn a_stop_after_the_last_step_does_not_hold_back_the_report() {
    let (whole, bench) = (Bench::new(ONE_ARM), Bench::new(ONE_ARM));
    assert_eq!(whole.run(&[]).0, 0);
    let child = start(&bench, "slow-end:2", "step-00000028");
    signal(&child, Signal::SIGINT);
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Report: ") && bench.runs().join("report/index.html").exists(), "{out}");
    assert!(whole.records() == bench.records());
}

#[test]
fn a_stop_in_the_last_step_leaves_a_result_to_the_next_call() {
    let (whole, bench) = (Bench::new(ONE_ARM), Bench::new(ONE_ARM));
    assert_eq!(whole.run(&[]).0, 0);
    let child = start(&bench, "slow:28:3", "step-00000014");
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::SIGINT);
    interrupted(child);
    goes_on(&bench);
    assert!(bench.runs().join("report/index.html").exists());
    assert!(last_records(&whole, "step-00000028") == last_records(&bench, "step-00000028"));
}

/// With `--force` the same command would discard what this one has finished.
#[test]
fn a_stop_of_a_call_that_runs_everything_anew_names_the_command_that_goes_on() {
    let line = "Interrupted. The same command without --force goes on where this one stopped.";
    let bench = Bench::new(ONE_ARM);
    let child = launch(&mut bench.command(&["--force"]), &bench, &format!("slow:15:{AGES}"), "step-00000014");
    signal(&child, Signal::SIGINT);
    interrupted_saying(child, line);
    goes_on(&bench);
    let _lock = Lock::take(&bench.runs(), Duration::ZERO).unwrap();
    let child = bench.command(&["--force"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    signal(&child, Signal::SIGTERM);
    interrupted_saying(child, line);
}

/// Before the first cell the runner has nothing to wait for. Here it waits for the suite.
#[test]
fn a_stop_is_heard_before_the_first_cell() {
    let bench = Bench::new(ONE_ARM);
    fs::create_dir_all(bench.runs()).unwrap();
    let _lock = Lock::take(&bench.runs(), Duration::ZERO).unwrap();
    let mut child = bench.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The plan is said, and then the lock waited for.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait for the lock");
    signal(&child, Signal::SIGTERM);
    interrupted(child);
    assert!(bench.cell().is_none());
}

#[test]
fn a_cell_that_another_process_works_on_has_not_failed() {
    let bench = Bench::new(ONE_ARM);
    let (code, ..) = finish(bench.command(&[]).env("PLASTICITY_FAULT", "step:12").output().unwrap());
    assert_eq!(code, 4);
    let lock = Lock::take(&bench.cell().unwrap(), Duration::ZERO).unwrap();
    let before = fs::read(bench.cell().unwrap().join("status.json")).unwrap();
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 6, "{out}{err}");
    assert!(out.contains("LOCKED: another process still works on it") && !out.contains("FAILED"), "{out}");
    assert!(fs::read(bench.cell().unwrap().join("status.json")).unwrap() == before, "its status is the owner's");
    drop(lock);
    assert_eq!(bench.run(&[]).0, 0);
}

/// `nohup` and its like: who is told to ignore that the terminal closes goes on.
#[test]
fn an_ignored_sighup_stays_ignored() {
    let bench = long();
    let plain = bench.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(bench.path());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = launch(&mut command, &bench, "", "");
    signal_all(&child, Signal::SIGHUP);
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
}

/// An arm that warns before it restores, drawn in three steps.
const PRIOR: &str = r#"
schema = 1
title = "The paper's prior"
profile = "reduced"
seeds = [3]

[[experiment]]
name = "dale-langevin"
data = ["glyphs"]
[experiment.config]
study = "prior"
train_images = 200
prior = { start = "paper", sd_max = 0.8, calls = 4, samples = 300 }
[[experiment.arm]]
id = "prior-paper"
"#;

#[test]
fn however_often_a_run_is_stopped_its_warnings_stand_once() {
    let dead = FEDERATION.replace("tail = 3", "tail = 3\noptimiser = { adam = { lr = 1e-4 } }");
    // A step is a cut, of which there are 100, or a client, of which 18 are in a round: rounds past the twentieth.
    for (suite, steps) in [(PRIOR, [1, 2, 3]), (&dead, [21, 22, 24].map(|rounds| 100 + 18 * rounds))] {
        let (whole, bench) = (Bench::new(suite), Bench::new(suite));
        let (code, out, err) = whole.run(&[]);
        assert_eq!(code, 0, "{out}{err}");
        let warnings = whole.record("result.json")["outcome"]["warnings"].clone();
        assert!(warnings.as_array().is_some_and(|all| !all.is_empty()), "{warnings}");
        for step in steps {
            let fault = format!("step:{step}");
            assert_eq!(finish(bench.command(&[]).env("PLASTICITY_FAULT", fault).output().unwrap()).0, 4);
        }
        assert_eq!(bench.run(&[]).0, 0);
        assert_eq!(bench.record("result.json")["outcome"]["warnings"], warnings);
        assert!(whole.records() == bench.records());
    }
}
