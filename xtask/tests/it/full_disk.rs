//! A disk that fills: one clear line, nothing half-written, and the same command goes on once there is room.

use std::fs;
use std::path::Path;

use crate::support::{Bench, ONE_ARM, finish};

fn with_fault(bench: &Bench, fault: &str) -> (i32, String, String) {
    finish(bench.command(&[]).env("PLASTICITY_FAULT", fault).output().unwrap())
}

/// Names of files that are only there while something is written.
fn temporaries(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tmp") {
            found.push(name);
        } else if entry.path().is_dir() {
            found.extend(temporaries(&entry.path()));
        }
    }
    found
}

/// A first checkpoint of five files, a second, and the result.
#[test]
fn whichever_file_finds_no_room_the_cell_says_so_and_goes_on_later() {
    let whole = Bench::new(ONE_ARM);
    assert_eq!(whole.run(&[]).0, 0);
    for at in [1, 5, 6, 8, 11] {
        let bench = Bench::new(ONE_ARM);
        let (code, out, err) = with_fault(&bench, &format!("full:{at}"));
        assert_eq!(code, 4, "file {at}: {out}{err}");
        let lines: Vec<&str> = out.lines().filter(|line| line.contains("FAILED")).collect();
        assert_eq!(lines.len(), 1, "{out}");
        for part in ["No space left on device", "free some space", &*bench.cell().unwrap().to_string_lossy()] {
            assert!(lines[0].contains(part), "file {at}: {}", lines[0]);
        }
        assert_eq!(bench.record("status.json")["kind"], "io");
        assert_eq!(temporaries(&bench.runs()), Vec::<String>::new(), "file {at}");
        let (code, out, err) = bench.run(&[]);
        assert_eq!(code, 0, "file {at}: {out}{err}");
        assert!(whole.records() == bench.records(), "file {at}");
    }
}

/// A file that is always full stands for the disk.
#[cfg(target_os = "linux")]
mod always_full {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_log_that_cannot_be_written_does_not_hide_the_reason() {
        let bench = Bench::new(ONE_ARM);
        assert_eq!(with_fault(&bench, "step:12").0, 4);
        let log = bench.cell().unwrap().join("stderr.log");
        fs::remove_file(&log).unwrap();
        symlink("/dev/full", &log).unwrap();
        let mut command = bench.command(&[]);
        // The subscriber writes to it as well.
        let output = command.env("PLASTICITY_FAULT", "full:1").env("RUST_LOG", "info").output().unwrap();
        let (code, out, err) = finish(output);
        assert_eq!(code, 4, "{out}{err}");
        assert!(out.contains("No space left on device") && !out.contains("ended with code"), "{out}");
        assert_eq!(bench.record("status.json")["kind"], "io");
    }

    #[test]
    fn a_copy_of_the_program_without_room_is_removed() {
        let bench = Bench::new(ONE_ARM);
        fs::create_dir_all(bench.runs()).unwrap();
        symlink("/dev/full", bench.runs().join("runner.tmp")).unwrap();
        let (code, out, err) = bench.run(&[]);
        // It is the command's own file, and no cell has failed.
        assert_eq!(code, 2, "{out}{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        for part in ["/out/demo/runner: ", "No space left on device", "free some space"] {
            assert!(err.contains(part), "{err}");
        }
        assert_eq!(temporaries(&bench.runs()), Vec::<String>::new());
        assert_eq!(bench.run(&[]).0, 0);
    }
}
