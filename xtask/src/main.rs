//! `cargo xtask`: runs suites of experiments and writes the report.

use clap::{Parser, Subcommand};
use plasticity_core::error::{DataError, RunError, exit};

/// A line on standard output; a reader that has gone away (`| head`) is no fault.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// A line on standard error, which may be a log on a disk that is full: `eprintln!` would panic there.
macro_rules! complain {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod bench;
mod clean;
mod cost;
mod data;
mod doctor;
mod list;
mod mend;
mod owner;
mod records;
mod registry;
mod report;
mod reproduce;
mod root;
mod selftest;
mod suite;
mod text;

/// The kernels allocate and free many megabytes a step; glibc's allocator gives such
/// memory back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs suites of experiments and writes the report.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a suite and write its report; goes on where an interrupted run stopped.
    Reproduce(reproduce::Options),
    /// Write the report of a suite that has run, or publish it.
    Report(report::ReportArgs),
    /// The suites with what they test and cost.
    List(list::ListArgs),
    /// Data sets: list, fetch, verify, manifest.
    Data(data::DataArgs),
    /// What this machine and this build can do.
    Doctor(doctor::DoctorArgs),
    /// Compare a device with the CPU: every paper's training, sampling or decoding, and fixtures.
    Selftest(selftest::SelftestArgs),
    /// Run the benches and their PyTorch peers in turns, and write the table of ratios.
    Bench(bench::BenchArgs),
    /// Remove what no plan of these sources can use.
    Clean(clean::CleanArgs),
    /// The process of one cell.
    #[command(hide = true)]
    Cell(reproduce::cell::CellOptions),
}

fn main() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,xtask=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).with_target(false).init();
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Reproduce(options) => reproduce::run(options),
        Command::Report(args) => report::run(args),
        Command::List(args) => list::run(args),
        Command::Data(args) => data::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Clean(args) => clean::run(args),
        Command::Cell(options) => Ok(reproduce::cell::run(options)),
    };
    let code = result.unwrap_or_else(|error| {
        complain!("error: {}{}", one_line(&error), mend::of(error.as_ref()));
        exit_code(&error)
    });
    std::process::exit(code);
}

/// An error with its causes. One that says its cause itself, as many of other crates do, does not
/// have it said once more.
fn one_line(error: &anyhow::Error) -> String {
    line_of(error.as_ref())
}

/// The same of an error that has its type.
fn line_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    for cause in causes.map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Standard error, as far as it can be written: the subscriber would answer a fault with a panic.
struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The exit code of an error of a command. None of them is that of a cell, whose codes the
/// schedule counts.
fn exit_code(error: &anyhow::Error) -> i32 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<RunError>() {
            return match error {
                // A file or a folder that the command itself could not use, before or after the cells. In a cell the
                // same is a cell that failed.
                RunError::Io { .. } | RunError::Checkpoint { .. } => exit::USAGE,
                error => error.exit_code(),
            };
        }
        if let Some(error) = cause.downcast_ref::<DataError>() {
            return error.exit_code();
        }
    }
    exit::USAGE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use anyhow::Context;
    use plasticity_core::error::ConfigError;

    use super::*;

    #[test]
    fn a_cause_is_said_once_and_an_error_is_one_line() {
        let io = || std::io::Error::other("No space left");
        let chained = Err::<(), _>(io()).context("cannot write a").context("the report").unwrap_err();
        assert_eq!(one_line(&chained), "the report: cannot write a: No space left");
        #[derive(Debug)]
        struct SaysIt(std::io::Error);
        impl std::fmt::Display for SaysIt {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "b: {}", self.0)
            }
        }
        impl std::error::Error for SaysIt {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(one_line(&SaysIt(io()).into()), "b: No space left");
        assert_eq!(one_line(&RunError::io(Path::new("c"), io()).into()), "c: No space left");
        assert_eq!(one_line(&DataError::io(Path::new("d"), io()).into()), "d: No space left");
        assert_eq!(one_line(&anyhow::anyhow!("first:\n  second\n\n  third")), "first:; second; third");
    }

    #[test]
    fn the_code_of_an_error_is_that_of_the_table() {
        let io = || std::io::Error::other("no");
        let file = || Path::new("f");
        let codes: [(anyhow::Error, i32); 9] = [
            (ConfigError::new("x").into(), 2),
            (plasticity_core::device::by_name("gpu").unwrap_err().into(), 2),
            (RunError::io(file(), io()).into(), 2),
            (RunError::Failed("a bench and its peer differ".into()).into(), 4),
            (RunError::Checkpoint { file: file().into(), what: "not a readable record".into() }.into(), 2),
            (Err::<(), _>(io()).context("cannot write f").unwrap_err(), 2),
            (RunError::Data(DataError::io(file(), io())).into(), 3),
            (Err::<(), _>(DataError::io(file(), io())).context("planning").unwrap_err(), 3),
            (RunError::Locked(file().into()).into(), 6),
        ];
        for (error, code) in codes {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }

    fn pages_below(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
        let found = entries.flat_map(|path| if path.is_dir() { pages_below(&path) } else { vec![path] });
        found.filter(|path| path.extension().is_some_and(|ext| ext == "md")).collect()
    }

    /// The commands that a page prints: the lines of its `sh` blocks, and code between words, which may go over a
    /// line's end.
    fn commands(page: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (i, part) in page.split("```").enumerate() {
            match part.strip_prefix("sh\n") {
                Some(block) if i % 2 == 1 => found.extend(block.lines().map(str::to_owned)),
                _ if i % 2 == 0 => found.extend(part.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "))),
                _ => {}
            }
        }
        let begin = |line: &str| line.find("cargo xtask").map(|at| line[at..].to_owned());
        // What follows is a comment, or for the shell.
        found.iter().filter_map(|line| begin(line.split(" #").next()?.split(" > ").next()?)).collect()
    }

    /// Every `cargo xtask` that README and `docs/` print is one that the program takes, with its flags and values.
    #[test]
    fn the_pages_print_commands_that_there_are() {
        let root = root::workspace();
        let mut seen = BTreeSet::new();
        for path in pages_below(&root.join("docs")).into_iter().chain([root.join("README.md")]) {
            let page = std::fs::read_to_string(&path).unwrap();
            for line in commands(&page) {
                let words = line.split_whitespace().skip(2).map(|word| word.trim_matches(['"', '\'']));
                let words: Vec<&str> = words.collect();
                // `cargo xtask` alone names the program.
                let Some(command) = words.first() else { continue };
                let parsed = Cli::try_parse_from(std::iter::once("cargo xtask").chain(words.iter().copied()));
                let help = parsed.as_ref().is_err_and(|e| e.kind() == clap::error::ErrorKind::DisplayHelp);
                assert!(parsed.is_ok() || help, "{}: `{line}`: {}", path.display(), parsed.unwrap_err());
                seen.insert((*command).to_owned());
            }
        }
        assert!(seen.len() >= 8, "{seen:?}");
        assert_eq!(
            commands("a `cargo xtask\nlist` b\n```sh\ncargo xtask x # y\n```\n"),
            ["cargo xtask list", "cargo xtask x"]
        );
    }
}
