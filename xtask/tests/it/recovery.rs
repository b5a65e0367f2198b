//! The same bytes, whatever happens on the way.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plasticity_core::rng::Stream;

use crate::support::{Bench, DIFFUSION, FEDERATION, ONE_ARM, RECALL, finish};

#[test]
fn smoke_gives_the_same_bytes_twice_and_with_two_jobs() {
    let (first, second, parallel) = (Bench::smoke(), Bench::smoke(), Bench::smoke());
    for (bench, jobs) in [(&first, "1"), (&second, "1"), (&parallel, "2")] {
        let (code, out, err) = bench.run(&["--jobs", jobs]);
        assert_eq!(code, 0, "{out}{err}");
    }
    let records = first.records();
    assert!(records.keys().any(|name| name.ends_with("events.jsonl")));
    assert!(records.keys().any(|name| name.ends_with("model.safetensors")));
    assert_eq!(records.keys().filter(|name| name.ends_with("result.json")).count(), 5);
    assert!(records == second.records(), "a second run gave other bytes");
    assert!(records == parallel.records(), "two jobs gave other bytes");
}

#[test]
fn a_finished_suite_is_skipped_and_force_runs_it_again() {
    let bench = Bench::new(ONE_ARM);
    assert_eq!(bench.run(&[]).0, 0);
    let records = bench.records();
    let times = || -> Vec<_> {
        let files = std::fs::read_dir(bench.runs()).unwrap().flatten();
        files.filter_map(|f| f.path().join("result.json").metadata().ok()?.modified().ok()).collect()
    };
    let before = times();
    assert_eq!(before.len(), 1);
    let (code, out, _) = bench.run(&[]);
    assert!(code == 0 && out.contains("0 of 1 to run; 1 done already"), "{out}");
    assert_eq!(times(), before);
    let (code, _, _) = bench.run(&["--force"]);
    assert_eq!(code, 0);
    assert_ne!(times(), before);
    assert!(records == bench.records());
}

#[test]
fn a_cell_killed_at_five_seeded_steps_ends_in_the_same_bytes() {
    let mut steps = Stream::new(1, "steps to die at", 0);
    killed_ends_in_the_same_bytes(ONE_ARM, (0..5).map(|_| 1 + steps.below(20)));
}

/// In training, in the judgement, between two chunks of images, inside a chunk, and after the last.
#[test]
fn a_diffusion_model_killed_at_seeded_steps_ends_in_the_same_bytes() {
    let mut steps = Stream::new(2, "steps to die at", 0);
    let training = 1 + steps.below(12);
    killed_ends_in_the_same_bytes(DIFFUSION, [training, 13, 14, 16 + steps.below(3), 19]);
}

#[test]
fn a_federation_killed_after_seeded_rounds_ends_in_the_same_bytes() {
    let mut rounds = Stream::new(3, "rounds to die after", 0);
    killed_ends_in_the_same_bytes(FEDERATION, [1 + rounds.below(20), 21 + rounds.below(4), 25]);
}

/// In training, before the first length, between the two, and after the last.
#[test]
fn a_memory_killed_at_seeded_steps_ends_in_the_same_bytes() {
    let mut steps = Stream::new(4, "steps to die at", 0);
    killed_ends_in_the_same_bytes(RECALL, [1 + steps.below(11), 12, 15, 16, 17]);
}

fn killed_ends_in_the_same_bytes(suite: &str, steps: impl IntoIterator<Item = u64>) {
    let whole = Bench::new(suite);
    let (code, out, err) = whole.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    for step in steps {
        let bench = Bench::new(suite);
        let (code, out, _) =
            finish(bench.command(&[]).env("PLASTICITY_FAULT", format!("step:{step}")).output().unwrap());
        assert_eq!(code, 4, "step {step}: {out}");
        assert!(out.contains("killed by signal 9"), "{out}");
        assert_eq!(bench.run(&[]).0, 0, "step {step}");
        assert!(whole.records() == bench.records(), "killed at step {step}");
    }
}

/// Every write, fsync and rename of the whole run: both checkpoints and the result.
#[test]
fn a_cell_killed_between_any_two_file_operations_ends_in_the_same_bytes() {
    let whole = Bench::new(ONE_ARM);
    assert_eq!(whole.run(&[]).0, 0);
    let records = whole.records();
    let mut point = 1;
    loop {
        let bench = Bench::new(ONE_ARM);
        let (code, out, _) =
            finish(bench.command(&[]).env("PLASTICITY_FAULT", format!("io:{point}")).output().unwrap());
        // The last point lies behind the published result: killed there, the cell is done.
        if code == 0 {
            assert!(records == bench.records(), "killed at point {point}");
            break;
        }
        assert_eq!(code, 4, "point {point}: {out}");
        assert_eq!(bench.run(&[]).0, 0, "point {point}");
        assert!(records == bench.records(), "killed at point {point}");
        point += 1;
    }
    // Six files of three points each in a checkpoint, of which there are two.
    assert!(point > 36, "only {point} points were met");
}

/// Long enough to be stopped in the middle.
fn long() -> Bench {
    Bench::new(&ONE_ARM.replace("train_images = 640", "train_images = 12800").replace("[16, 16]", "[64, 64]"))
}

fn start(bench: &Bench) -> Child {
    let mut child = bench.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Until the cell has measured something.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let cells = std::fs::read_dir(bench.runs()).into_iter().flatten().flatten();
        if cells.into_iter().any(|cell| cell.path().join("checkpoints").exists()) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("the cell did not reach its first checkpoint");
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn ctrl_c_saves_and_the_same_command_goes_on() {
    let (whole, bench) = (long(), long());
    assert_eq!(whole.run(&[]).0, 0);
    let child = start(&bench);
    signal(&child, Signal::SIGINT);
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    assert_eq!(code, 75, "{out}{err}");
    assert!(out.contains("The same command goes on where this one stopped."), "{out}");
    let (code, out, _) = bench.run(&[]);
    assert!(code == 0 && out.contains("1 go on from a checkpoint"), "{out}");
    assert!(last_records(&whole) == last_records(&bench));
}

#[test]
fn a_killed_runner_leaves_nothing_running_and_the_same_command_goes_on() {
    let (whole, bench) = (long(), long());
    assert_eq!(whole.run(&[]).0, 0);
    let mut child = start(&bench);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // At once, while the orphan may still be saving.
    let (code, out, err) = bench.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(last_records(&whole) == last_records(&bench));
}

/// A stop adds a checkpoint of its own in between, so only what comes at the end is compared.
fn last_records(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let last = |name: &String| !name.contains("checkpoints/") || name.contains("step-00000400");
    let records: Vec<_> = bench.records().into_iter().filter(|(name, _)| last(name)).collect();
    assert!(records.iter().any(|(name, _)| name.ends_with("step-00000400/model.safetensors")));
    records
}

#[test]
fn a_second_runner_is_refused() {
    let bench = Bench::new(ONE_ARM);
    std::fs::create_dir_all(bench.runs()).unwrap();
    let lock = plasticity_core::run::Lock::take(&bench.runs(), Duration::ZERO).unwrap();
    let (code, _, err) = bench.run(&[]);
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("is locked by another process"), "{err}");
    drop(lock);
}
