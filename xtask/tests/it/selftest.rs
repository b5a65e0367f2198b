//! `selftest` on the devices of the CPU.

use std::process::Command;

use crate::support::finish;

fn selftest(args: &[&str]) -> (i32, String, String) {
    finish(Command::new(env!("CARGO_BIN_EXE_xtask")).arg("selftest").args(args).output().unwrap())
}

/// The default build has one CPU backend, which nothing there can be held against.
#[cfg(not(feature = "ndarray"))]
#[test]
fn one_backend_alone_names_the_build_that_has_two() {
    let (code, out, err) = selftest(&[]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("cargo xtask-ndarray selftest --device ndarray"), "{err}");
}

/// One run for a device: every paper is there with its lines, and all are within their tolerance.
#[cfg(feature = "ndarray")]
fn passes(device: &str, reference: &str) {
    let (code, out, err) = selftest(&["--device", device]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with(&format!("Device `{device}`")), "{out}");
    assert!(out.contains(&format!("against the CPU backend `{reference}`")), "{out}");
    for (paper, least) in [("dale-langevin", 3), ("hebbian-snn", 2), ("hidenseek", 3), ("synaptic-resonance", 4)] {
        let block =
            out.split("\n\n").find(|block| block.starts_with(paper)).unwrap_or_else(|| panic!("{paper}: {out}"));
        let checks = block.lines().filter(|line| line.ends_with("  ok")).count();
        assert!(checks >= least, "{paper} has {checks} good lines: {out}");
    }
    assert!(out.trim_end().ends_with("are within their tolerance."), "{out}");
}

#[cfg(feature = "ndarray")]
#[test]
fn flex_agrees_with_ndarray() {
    passes("flex", "ndarray");
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_agrees_with_flex() {
    passes("ndarray", "flex");
}

#[test]
fn a_wrong_device_is_one_clear_message() {
    for (device, part) in [("gpu", "`gpu` is not a device"), ("flex:4", "`flex:4` is not there")] {
        let (code, out, err) = selftest(&["--device", device]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.starts_with("error: ") && err.contains(part), "{err}");
    }
}
