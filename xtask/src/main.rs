//! `cargo xtask`: runs suites of experiments and writes the report.

use clap::{Parser, Subcommand};
use plasticity_core::device::DeviceError;
use plasticity_core::error::{ConfigError, DataError, RunError, exit};

/// A line on standard output; a reader that has gone away (`| head`) is no fault.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod bench;
mod clean;
mod data;
mod doctor;
mod list;
mod owner;
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
    List,
    /// Data sets: list, fetch, verify.
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
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Reproduce(options) => reproduce::run(options),
        Command::Report(args) => report::run(args),
        Command::List => list::run(),
        Command::Data(args) => data::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Clean(args) => clean::run(args),
        Command::Cell(options) => Ok(reproduce::cell::run(options)),
    };
    let code = result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        exit_code(&error)
    });
    std::process::exit(code);
}

/// The exit code of an error that a user can mend.
fn exit_code(error: &anyhow::Error) -> i32 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<RunError>() {
            return error.exit_code();
        }
        if let Some(error) = cause.downcast_ref::<DataError>() {
            return error.exit_code();
        }
        if cause.is::<ConfigError>() || cause.is::<DeviceError>() {
            return exit::USAGE;
        }
    }
    1
}
