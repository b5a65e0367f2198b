//! `bench`: the benches and their peers in PyTorch, in turns, and the table of ratios.
//!
//! Every program prints the lines of `plasticity_core::testing::peer`. A run keeps both sides' output in
//! `experiments/results/performance/bench/<program>.txt`, and the table is made of these records alone.

mod lines;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use plasticity_core::error::{ConfigError, RunError, exit};

use crate::root;
use lines::{Rounds, Side};
use table::Measured;

const RECORDS: &str = "experiments/results/performance/bench";
const PAGE: &str = "docs/performance.md";
/// The largest relative difference of two losses that are to be equal.
const LOSSES: f64 = 1e-4;

/// A bench that has a peer.
struct Program {
    name: &'static str,
    package: &'static str,
    folder: &'static str,
    about: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "pmnist_step",
        package: "hebbian-snn",
        folder: "hebbian-snn",
        about: "a training step of permuted MNIST, 784-800-800-10, batch 64, 20 time steps of DSR",
    },
    Program {
        name: "unet",
        package: "dale-langevin",
        folder: "dale-langevin",
        about: "the score network on 64 images of 14x14: a training step, a call, 20 calls of a sampler",
    },
    Program {
        name: "client_round",
        package: "hidenseek",
        folder: "hidenseek",
        about: "a client's round, 196-100-50-10, 40 images, 5 epochs in batches of 20, by the clock and of the processor",
    },
    Program {
        name: "conv",
        package: "plasticity-core",
        folder: "core",
        about: "the passes of a convolution, batch 64",
    },
];

/// Flags of `cargo xtask bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Benches that have a peer: pmnist_step, unet, client_round, conv; all when none is named.
    names: Vec<String>,
    /// A Python that has torch and numpy; `python3` or `python` of the path when not given.
    #[arg(long, value_name = "PATH")]
    python: Option<String>,
    /// Rounds, in each of which every program of both sides runs once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How often a program times a piece of work in a round; each program has its own default.
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// Threads of both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Run our side only: it is printed and nothing is written.
    #[arg(long)]
    no_peer: bool,
}

/// Runs them and writes records and page; the exit code.
pub fn run(args: &BenchArgs) -> Result<i32> {
    let programs = chosen(&args.names)?;
    for (flag, value) in [("rounds", args.rounds), ("threads", args.threads), ("repeats", args.repeats.unwrap_or(1))] {
        if value == 0 {
            return Err(ConfigError::new(format!("--{flag} 0: must be at least 1")).into());
        }
    }
    let root = root::workspace();
    let python = if args.no_peer { None } else { Some(find_python(args.python.as_deref())?) };
    // Built first, so that no round waits for the compiler.
    for program in &programs {
        status(Command::new(cargo()).args(bench_args(program)).arg("--no-run").current_dir(&root))?;
    }
    let mut outputs: Vec<Vec<(String, String)>> = vec![Vec::new(); programs.len()];
    for round in 1..=args.rounds {
        for (program, outputs) in programs.iter().zip(&mut outputs) {
            eprintln!("round {round} of {}: {}", args.rounds, program.name);
            let ours = output(&mut ours(program, args, &root))?;
            checked(&ours, program, "ours")?;
            let peer = match &python {
                None => {
                    print!("{ours}");
                    continue;
                }
                Some(python) => output(&mut peer(program, python, args, &root))?,
            };
            checked(&peer, program, "its peer")?;
            outputs.push((ours, peer));
        }
    }
    if python.is_none() {
        return Ok(exit::DONE);
    }
    write(args, &programs, &outputs, &root)
}

/// Compares the losses, then writes records and page.
fn write(args: &BenchArgs, programs: &[&Program], outputs: &[Vec<(String, String)>], root: &Path) -> Result<i32> {
    let mut records = Vec::new();
    for (program, outputs) in programs.iter().zip(outputs) {
        let repeats = args.repeats.map(|n| format!(" --repeats {n}")).unwrap_or_default();
        let (rounds, threads) = (args.rounds, args.threads);
        let command = format!("cargo xtask bench {} --rounds {rounds} --threads {threads}{repeats}", program.name);
        let record = lines::record(&command, outputs);
        let apart = Rounds::parse(&record).and_then(|rounds| rounds.disagreement());
        let apart = apart.map_err(|what| RunError::Failed(format!("`{}` and its peer: {what}", program.name)))?;
        say!("{}: losses of the two sides differ by {apart:.1e}, relative", program.name);
        if apart > LOSSES {
            let what = format!(
                "`{}` and its peer do not compute the same: their losses differ by {apart:.1e}, \
                 relative, and {LOSSES:.0e} is allowed; nothing is written",
                program.name
            );
            return Err(RunError::Failed(what).into());
        }
        records.push((program.name, record));
    }
    let dir = root.join(RECORDS);
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    for (name, record) in records {
        let file = record_of(root, name);
        std::fs::write(&file, record).with_context(|| format!("{}", file.display()))?;
    }
    let page = root.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let block = block(root)?;
    let text = table::between_markers(&text, &block).with_context(|| format!("{}", page.display()))?;
    std::fs::write(&page, text).with_context(|| format!("{}", page.display()))?;
    say!("\n{block}\nwritten to {} and {}", root::display(&page), root::display(&dir));
    Ok(exit::DONE)
}

/// The block of the page that the committed records give.
fn block(root: &Path) -> Result<String> {
    let mut measured = Vec::new();
    for Program { name, about, .. } in &PROGRAMS {
        let file = record_of(root, name);
        if !file.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let rounds = Rounds::parse(&text).map_err(|what| anyhow::anyhow!("{}: {what}", file.display()))?;
        measured.push(Measured { program: name, about, rounds });
    }
    Ok(match measured.is_empty() {
        true => "No run of `cargo xtask bench` is recorded yet.".into(),
        false => table::page(&measured),
    })
}

fn record_of(root: &Path, name: &str) -> PathBuf {
    root.join(RECORDS).join(format!("{name}.txt"))
}

/// The programs of these names, in their own order.
fn chosen(names: &[String]) -> Result<Vec<&'static Program>, ConfigError> {
    let known = PROGRAMS.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| PROGRAMS.iter().all(|program| program.name != **name)) {
        return Err(ConfigError::new(format!("no bench `{name}` has a peer: name some of {known}")));
    }
    Ok(PROGRAMS.iter().filter(|program| names.is_empty() || names.iter().any(|name| name == program.name)).collect())
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

fn bench_args(program: &Program) -> [&'static str; 5] {
    ["bench", "--package", program.package, "--bench", program.name]
}

fn ours(program: &Program, args: &BenchArgs, root: &Path) -> Command {
    let mut command = Command::new(cargo());
    command.args(bench_args(program)).arg("--quiet").current_dir(root);
    command.env("PEER", "1").env("RAYON_NUM_THREADS", args.threads.to_string());
    match args.repeats {
        Some(repeats) => command.env("REPEATS", repeats.to_string()),
        None => command.env_remove("REPEATS"),
    };
    command
}

fn peer(program: &Program, python: &str, args: &BenchArgs, root: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]);
    command.arg(root.join(format!("crates/{}/benches/peers/{}.py", program.folder, program.name)));
    command.args(["--threads", &args.threads.to_string()]);
    if let Some(repeats) = args.repeats {
        command.args(["--repeats", &repeats.to_string()]);
    }
    // glibc keeps freed memory, as our own allocator does.
    command.env("MALLOC_MMAP_THRESHOLD_", "4294967296").env("MALLOC_TRIM_THRESHOLD_", "4294967296");
    command.env("OMP_NUM_THREADS", args.threads.to_string()).current_dir(root);
    command
}

/// A Python that has what the peers need.
fn find_python(given: Option<&str>) -> Result<String, ConfigError> {
    let candidates = given.map_or(vec!["python3", "python"], |given| vec![given]);
    let works = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import numpy, torch"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    match candidates.iter().copied().find(works) {
        Some(python) => Ok(python.to_owned()),
        None => Err(ConfigError::new(format!(
            "no Python with torch and numpy for the peers (tried {}): `pip install torch numpy`, or name one by \
             `--python PATH`, or run our side alone by `--no-peer`",
            candidates.join(", ")
        ))),
    }
}

fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(failed(command, &status.to_string())) }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("{:?}", command.get_program()))?;
    if !output.status.success() {
        return Err(failed(command, &output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn failed(command: &Command, status: &str) -> anyhow::Error {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    RunError::Failed(format!("`{}` ended with {status}", line.join(" "))).into()
}

fn checked(output: &str, program: &Program, side: &str) -> Result<()> {
    match Side::parse(output) {
        Ok(_) => Ok(()),
        Err(what) => Err(RunError::Failed(format!("`{}`, {side}: {what}", program.name)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(names: &[&str]) -> BenchArgs {
        BenchArgs {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            python: None,
            rounds: 1,
            repeats: None,
            threads: 1,
            no_peer: false,
        }
    }

    #[test]
    fn names_are_those_of_benches_that_have_a_peer() {
        let names = |asked: &[&str]| {
            let programs = chosen(&args(asked).names).unwrap();
            programs.into_iter().map(|program| program.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["conv", "unet"]), ["unet", "conv"]);
        assert_eq!(names(&[]).len(), PROGRAMS.len());
        let error = run(&args(&["cpu_backends"])).unwrap_err();
        assert!(error.to_string().contains("no bench `cpu_backends` has a peer: name some of pmnist_step"), "{error}");
        assert_eq!(crate::exit_code(&error), 2);
        for program in &PROGRAMS {
            let folder = root::workspace().join("crates").join(program.folder).join("benches");
            assert!(folder.join(format!("{}.rs", program.name)).is_file());
            assert!(folder.join(format!("peers/{}.py", program.name)).is_file());
        }
    }

    #[test]
    fn without_torch_one_message_says_what_to_do() {
        let error = run(&BenchArgs { python: Some("/no/python".into()), ..args(&[]) }).unwrap_err();
        let text = error.to_string();
        for part in ["torch", "tried /no/python", "--python PATH", "--no-peer"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(crate::exit_code(&error), 2);
    }

    #[test]
    fn records_and_page_are_written_when_losses_agree_only() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join(PAGE);
        std::fs::create_dir_all(page.parent().unwrap()).unwrap();
        let empty = "# Performance\n\n<!-- bench:begin -->\n<!-- bench:end -->\n";
        std::fs::write(&page, empty).unwrap();
        let programs = chosen(&["unet".to_owned()]).unwrap();
        let side = |loss: &str, ms: &str| format!("machine\n16x1-2 losses {loss}\n16x1-2 ms step {ms}\n");
        let write = |loss: &str| {
            let outputs = [vec![(side("1.5", "2.0"), side(loss, "4.0"))]];
            write(&args(&["unet"]), &programs, &outputs, dir.path())
        };
        let error = write("1.6").unwrap_err();
        assert!(error.to_string().contains("do not compute the same"), "{error}");
        assert_eq!(crate::exit_code(&error), 4);
        assert_eq!(std::fs::read_to_string(&page).unwrap(), empty);
        assert_eq!(write("1.50001").unwrap(), 0);
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("| unet | 16x1-2 | step | 2.00 | 4.00 | 0.50 |"), "{text}");
        assert!(record_of(dir.path(), "unet").is_file());
    }

    #[test]
    fn the_page_is_what_the_records_give() {
        let root = root::workspace();
        let text = std::fs::read_to_string(root.join(PAGE)).unwrap();
        let expected = table::between_markers(&text, &block(&root).unwrap()).unwrap();
        assert!(text == expected, "the table in {PAGE} is not what the records give: run `cargo xtask bench`");
    }
}
