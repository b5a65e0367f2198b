//! The same bytes, whatever happens on the way.

use std::time::Duration;

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

/// In training, after the covariance, while held-out images are denoised, between two chunks of images, inside a
/// chunk, after the last, and after all.
#[test]
fn a_diffusion_model_killed_at_seeded_steps_ends_in_the_same_bytes() {
    let mut steps = Stream::new(2, "steps to die at", 0);
    let training = 1 + steps.below(12);
    let inside = 42 + steps.below(13);
    killed_ends_in_the_same_bytes(DIFFUSION, [training, 13, 14 + steps.below(24), 39, inside, 55, 60]);
}

/// In the pruning, within a round, after one, in the fine-tuning, and after it.
#[test]
fn a_federation_killed_after_seeded_rounds_ends_in_the_same_bytes() {
    let mut rounds = Stream::new(3, "rounds to die after", 0);
    let after = |rounds: u64| 100 + 18 * rounds;
    let (cuts, within) = (16 * (1 + rounds.below(6)), after(rounds.below(20)) + 16);
    let late = after(21 + rounds.below(4));
    killed_ends_in_the_same_bytes(FEDERATION, [cuts, within, late, after(24) + 16, after(24) + 20]);
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
    // Five files of three points each in a checkpoint, of which there are two.
    assert!(point > 36, "only {point} points were met");
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
