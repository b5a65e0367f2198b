//! `selftest`: does this device compute what the CPU does?

use std::sync::Mutex;

use clap::Args;
use plasticity_core::device::{self, DeviceError};
use plasticity_core::error::{ConfigError, exit};
use plasticity_core::machine;
use plasticity_core::run::selftest::{Check, reference};

use crate::registry;

/// Flags of `cargo xtask selftest`.
#[derive(Debug, Clone, Args)]
pub struct SelftestArgs {
    /// The device to test: auto, flex, ndarray, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value = "auto")]
    device: String,
}

/// What threads that panicked said, each once: a driver's own reason is said in a thread of its own, and the caller
/// gets only a message that the thread has gone.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs every paper's checks and prints them; the exit code.
pub fn run(args: &SelftestArgs) -> anyhow::Result<i32> {
    let device = device::by_name(&args.device).map_err(for_this_command)?;
    let name = if args.device == "auto" { device::auto() } else { &args.device };
    let cpu = reference(&device).map_err(for_this_command)?;
    let cpu = if Ok(&cpu) == device::by_name("flex").as_ref() { "flex" } else { "ndarray" };
    let details = details(name);
    say!("Device `{name}` ({details}) against the CPU backend `{cpu}`, on {}.", machine::cpu_model());
    say!(
        "Every line computes the same on both from the same numbers; of two ways, the first is the device's. The\n\
         difference is the largest one of any two values, absolute where the line does not say relative. Times are\n\
         medians in ms, after one run to warm up."
    );

    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let (Some(text), Ok(mut seen)) = (text, PANICS.lock()) else { return };
        if !seen.contains(&text) {
            seen.push(text);
        }
    }));
    let result = registry::PAPERS.iter().try_fold(Vec::new(), |mut all, paper| {
        let checks = (paper.selftest)(&device)?;
        say!("{}", table(paper.name, &checks, cpu, name).trim_end());
        all.extend(checks);
        Ok::<_, DeviceError>(all)
    });
    std::panic::set_hook(before);
    let all = result?;

    if let Ok(seen) = PANICS.lock()
        && !seen.is_empty()
    {
        say!("\nWhat the driver said:");
        seen.iter().for_each(|text| say!("  {}", text.replace('\n', "\n    ")));
    }
    say!("\n{}", verdict(&all));
    Ok(exit_code(&all))
}

/// The hardware behind a name.
fn details(name: &str) -> String {
    let index = name.split_once(':').map_or(Some(0), |(_, index)| index.parse().ok()).unwrap_or(0);
    let kind = device::kind(name);
    let found = device::enumerate(kind).and_then(|found| found.into_iter().nth(index));
    found.map_or_else(String::new, |found| device::details(kind, index, &found))
}

/// The message that a device is not compiled in names the command that tests it.
fn for_this_command(error: DeviceError) -> anyhow::Error {
    let (kind, index) = match error {
        // `flex` alone has nothing to be held against.
        DeviceError::NotCompiled("ndarray") => ("ndarray", ""),
        DeviceError::NotCompiled("wgpu") => ("wgpu", ":0"),
        DeviceError::NotCompiled("cuda") => ("cuda", ":0"),
        error => return error.into(),
    };
    let note = if kind == "cuda" { " (its build downloads a compiler)" } else { "" };
    let command = format!("`cargo xtask-{kind} selftest --device {kind}{index}`{note}");
    ConfigError::new(format!("the device `{kind}` is not compiled in: run {command}")).into()
}

/// The lines of a paper.
fn table(paper: &str, checks: &[Check], cpu: &str, device: &str) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).max(88);
    let mut text = format!(
        "\n{paper:width$}  {:>10}  {:>9}  {:>11}  {:>11}\n",
        "difference",
        "tolerance",
        format!("{cpu} ms"),
        format!("{device} ms")
    );
    for check in checks {
        text += &format!("  {:1$}", check.name, width - 2);
        match &check.failure {
            Some(failure) => text += &format!("  FAILED: {}\n", failure.lines().next().unwrap_or_default()),
            None => {
                text += &format!("  {:>10.1e}  {:>9.1e}  ", check.found, check.tolerance);
                text += &format!("{:>11.2}  {:>11.2}  ", check.cpu_ms, check.device_ms);
                text += if check.passed() { "ok\n" } else { "OUTSIDE\n" };
            }
        }
    }
    text
}

fn verdict(checks: &[Check]) -> String {
    let passed = checks.iter().filter(|check| check.passed()).count();
    match checks.len() - passed {
        0 => format!("All {passed} checks are within their tolerance."),
        1 => format!("1 of {} checks failed or is outside its tolerance.", checks.len()),
        failed => format!("{failed} of {} checks failed or are outside their tolerance.", checks.len()),
    }
}

fn exit_code(checks: &[Check]) -> i32 {
    if checks.iter().all(Check::passed) { exit::DONE } else { exit::FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: f64, failure: Option<&str>) -> Check {
        Check {
            name: "A product".into(),
            found,
            tolerance: 1e-5,
            cpu_ms: 1.0,
            device_ms: 0.5,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn a_check_outside_its_tolerance_is_exit_4() {
        let good = [check(1e-6, None), check(1e-5, None)];
        assert_eq!((exit_code(&good), verdict(&good).as_str()), (0, "All 2 checks are within their tolerance."));
        for bad in [check(2e-5, None), check(f64::INFINITY, None), check(0.0, Some("panicked: no adapter"))] {
            let checks = [check(0.0, None), bad];
            assert_eq!(exit_code(&checks), 4);
            assert_eq!(verdict(&checks), "1 of 2 checks failed or is outside its tolerance.");
        }
    }

    #[test]
    fn a_line_says_what_differs_by_how_much() {
        let text =
            table("a-paper", &[check(2e-5, None), check(1e-6, None), check(0.0, Some("gone"))], "flex", "wgpu:0");
        let lines: Vec<&str> = text.lines().collect();
        for (line, parts) in lines[1..].iter().zip([
            vec!["a-paper", "difference", "tolerance", "flex ms", "wgpu:0 ms"],
            vec!["A product", "2.0e-5", "1.0e-5", "1.00", "0.50", "OUTSIDE"],
            vec!["A product", "1.0e-6", "ok"],
            vec!["A product", "FAILED: gone"],
        ]) {
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
    }

    #[test]
    fn a_device_that_is_not_compiled_in_names_the_command() {
        for (kind, command) in [
            ("ndarray", "cargo xtask-ndarray selftest --device ndarray`"),
            ("wgpu", "cargo xtask-wgpu selftest --device wgpu:0"),
            ("cuda", "cargo xtask-cuda selftest --device cuda:0"),
        ] {
            let error = for_this_command(DeviceError::NotCompiled(kind));
            assert!(error.to_string().contains(command), "{error:#}");
            assert_eq!(crate::exit_code(&error), 2);
        }
    }
}
