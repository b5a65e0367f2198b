//! `bench`: the benches and their peers in PyTorch, in turns, and the table of ratios; then the criterion benches of all
//! crates, and theirs.
//!
//! Every program prints the lines of `plasticity_core::testing::peer`. A run keeps both sides' output in
//! `experiments/results/performance/bench/<program>.txt` and criterion's estimates in `criterion.csv` beside them, and
//! the tables are made of these records alone.

mod criterion;
mod lines;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use plasticity_core::error::{ConfigError, RunError, exit};
use plasticity_core::machine;

use crate::report::save;
use crate::root;
use lines::{Rounds, Side};
use table::Measured;

const RECORDS: &str = "experiments/results/performance/bench";
const PAGE: &str = "docs/performance.md";
/// The name of the criterion benches, and of their record.
const CRITERION: &str = "criterion";
/// The largest relative difference of two losses that are to be equal.
const LOSSES: f64 = 1e-4;

/// A bench that has a peer.
struct Program {
    name: &'static str,
    package: &'static str,
    folder: &'static str,
    about: &'static str,
}

const PROGRAMS: [Program; 7] = [
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
    Program {
        name: "memory",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "the memory's rule, batch 8, 256 tokens, two heads, fused and in chunks of 32, forward and with backward, \
                against chunks of 32 with the faster of two inverses",
    },
    Program {
        name: "host",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "a training step of two layers with a window of 64 on 256 tokens: window alone (a0), blended keys (a11), \
                memory (sr)",
    },
    Program {
        name: "decode",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "a token after a context of 256, 1,024 and 4,096, four layers, d 256: window of 64 (a0), with memory (sr), \
                full attention (a9)",
    },
];

/// Flags of `cargo xtask bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Benches that have a peer (pmnist_step, unet, client_round, conv, memory, host, decode), or criterion: the
    /// criterion benches of all crates; all of them when none is named.
    names: Vec<String>,
    /// A Python that has torch and numpy; `python3` or `python` of the path when not given.
    #[arg(long, value_name = "PATH")]
    python: Option<String>,
    /// Rounds, in each of which every program of both sides runs once.
    #[arg(long, default_value_t = 4)]
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
    let (programs, criterion) = chosen(&args.names)?;
    for (flag, value) in [("rounds", args.rounds), ("threads", args.threads), ("repeats", args.repeats.unwrap_or(1))] {
        if value == 0 {
            return Err(ConfigError::new(format!("--{flag} 0: must be at least 1")).into());
        }
    }
    let root = root::workspace();
    let python = match args.no_peer || programs.is_empty() {
        true => None,
        false => Some(find_python(args.python.as_deref())?),
    };
    // Built first, so that no round waits for the compiler.
    for program in &programs {
        status(Command::new(cargo()).args(bench_args(program)).arg("--no-run").current_dir(&root))?;
    }
    let mut outputs: Vec<Vec<(String, String)>> = vec![Vec::new(); programs.len()];
    for round in 1..=args.rounds {
        for (program, outputs) in programs.iter().zip(&mut outputs) {
            complain!("round {round} of {}: {}", args.rounds, program.name);
            let ours = output(&mut ours(program, args, &root))?;
            checked(&ours, program, "ours")?;
            let peer = match &python {
                None => {
                    say!("{}", ours.trim_end());
                    continue;
                }
                Some(python) => output(&mut peer(program, python, args, &root))?,
            };
            checked(&peer, program, "its peer")?;
            outputs.push((ours, peer));
        }
    }
    if python.is_some() {
        write(args, &programs, &outputs, &root)?;
    }
    if criterion && !args.no_peer {
        run_criterion(args.threads, &root)?;
    }
    Ok(exit::DONE)
}

/// Runs the criterion benches of all crates and writes record and page.
fn run_criterion(threads: usize, root: &Path) -> Result<()> {
    // A place of its own holds what this run writes, and nothing of earlier ones.
    let home = tempfile::tempdir().context("a directory for criterion")?;
    let mut command = Command::new(cargo());
    // One bench compares the two CPU backends.
    command
        .args(["bench", "--workspace", "--bench", "*", "--features", "ndarray"])
        .current_dir(root)
        .env_remove("PEER");
    command.env("CRITERION_HOME", home.path()).env("RAYON_NUM_THREADS", threads.to_string());
    status(&mut command)?;
    let machine = format!("Machine: {}, rayon threads {threads}", machine::cpu_model());
    let run = criterion::Run { machine, estimates: criterion::collect(home.path())? };
    let file = criterion_record(root);
    save(&file, run.record()?.as_bytes())?;
    let page = write_page(root)?;
    say!("{} criterion benches: written to {page} and {}", run.estimates.len(), root::display(&file));
    Ok(())
}

/// Compares the losses, then writes records and page.
fn write(args: &BenchArgs, programs: &[&Program], outputs: &[Vec<(String, String)>], root: &Path) -> Result<()> {
    let mut records = Vec::new();
    for (program, outputs) in programs.iter().zip(outputs) {
        let repeats = args.repeats.map(|n| format!(" --repeats {n}")).unwrap_or_default();
        let (rounds, threads) = (args.rounds, args.threads);
        let command = format!("cargo xtask bench {} --rounds {rounds} --threads {threads}{repeats}", program.name);
        let record = lines::record(&command, outputs);
        let apart = Rounds::parse(&record).and_then(|rounds| rounds.disagreement());
        let apart = apart.map_err(|what| RunError::Failed(format!("`{}` and its peer: {what}", program.name)))?;
        say!("{}: what the two sides compute differs by {apart:.1e}, relative", program.name);
        if apart > LOSSES {
            let what = format!(
                "`{}` and its peer do not compute the same: they differ by {apart:.1e}, \
                 relative, and {LOSSES:.0e} is allowed; nothing is written",
                program.name
            );
            return Err(RunError::Failed(what).into());
        }
        records.push((program.name, record));
    }
    let dir = root.join(RECORDS);
    for (name, record) in records {
        save(&record_of(root, name), record.as_bytes())?;
    }
    let page = write_page(root)?;
    say!("\n{}\nwritten to {page} and {}", peers_block(root)?, root::display(&dir));
    Ok(())
}

/// Writes the page's two tables; its name.
fn write_page(root: &Path) -> Result<String> {
    let page = root.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let text = filled(&text, root).with_context(|| format!("{}", page.display()))?;
    save(&page, text.as_bytes())?;
    Ok(root::display(&page))
}

/// The page with the tables that the committed records give.
fn filled(text: &str, root: &Path) -> Result<String> {
    let text = table::between_markers(text, "bench", &peers_block(root)?)?;
    table::between_markers(&text, CRITERION, &criterion_block(root)?)
}

/// The table of ratios.
fn peers_block(root: &Path) -> Result<String> {
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

/// The tables of the criterion benches.
fn criterion_block(root: &Path) -> Result<String> {
    let file = criterion_record(root);
    if !file.exists() {
        return Ok("No run of the criterion benches is recorded yet.".into());
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    Ok(criterion::Run::parse(&text).with_context(|| format!("{}", file.display()))?.page())
}

fn criterion_record(root: &Path) -> PathBuf {
    root.join(RECORDS).join(format!("{CRITERION}.csv"))
}

fn record_of(root: &Path, name: &str) -> PathBuf {
    root.join(RECORDS).join(format!("{name}.txt"))
}

/// The programs of these names, in their own order, and whether the criterion benches are among them.
fn chosen(names: &[String]) -> Result<(Vec<&'static Program>, bool), ConfigError> {
    let known = PROGRAMS.iter().map(|program| program.name).chain([CRITERION]).collect::<Vec<_>>();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(ConfigError::new(format!("no bench `{name}` has a peer: name some of {}", known.join(", "))));
    }
    let named = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    Ok((PROGRAMS.iter().filter(|program| named(program.name)).collect(), named(CRITERION)))
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
            let (programs, criterion) = chosen(&args(asked).names).unwrap();
            (programs.into_iter().map(|program| program.name).collect::<Vec<_>>(), criterion)
        };
        assert_eq!(names(&["conv", "unet"]), (vec!["unet", "conv"], false));
        assert_eq!(names(&["criterion"]), (Vec::new(), true));
        let (all, criterion) = names(&[]);
        assert!(all.len() == PROGRAMS.len() && criterion);
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
        let empty = "<!-- bench:begin -->\n<!-- bench:end -->\n\n<!-- criterion:begin -->\n<!-- criterion:end -->\n";
        std::fs::write(&page, empty).unwrap();
        let (programs, _) = chosen(&["unet".to_owned()]).unwrap();
        let side = |loss: &str, ms: &str| format!("machine\n16x1-2 losses {loss}\n16x1-2 ms step {ms}\n");
        let write = |loss: &str| {
            let outputs = [vec![(side("1.5", "2.0"), side(loss, "4.0"))]];
            write(&args(&["unet"]), &programs, &outputs, dir.path())
        };
        let error = write("1.6").unwrap_err();
        assert!(error.to_string().contains("do not compute the same"), "{error}");
        assert_eq!(crate::exit_code(&error), 4);
        assert_eq!(std::fs::read_to_string(&page).unwrap(), empty);
        write("1.50001").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("| unet | 16x1-2 | step | 2.00 | 4.00 | 0.50 |"), "{text}");
        assert!(text.contains("No run of the criterion benches"), "{text}");
        assert!(record_of(dir.path(), "unet").is_file());
    }

    #[test]
    fn the_page_is_what_the_records_give() {
        let root = root::workspace();
        let text = std::fs::read_to_string(root.join(PAGE)).unwrap();
        let expected = filled(&text, &root).unwrap();
        assert!(text == expected, "a table in {PAGE} is not what the records give: run `cargo xtask bench`");
    }

    #[test]
    fn ids_of_criterion_benches_are_of_one_form() {
        let Ok(record) = std::fs::read_to_string(criterion_record(&root::workspace())) else { return };
        for estimate in criterion::Run::parse(&record).unwrap().estimates {
            let parts: Vec<&str> = estimate.id.split('/').collect();
            assert!(parts.len() == 4 && !parts.contains(&""), "{} is not `crate/what/sizes/arm`", estimate.id);
            let krate = parts[0].replace('_', "-");
            assert!(root::workspace().join("crates").join(krate).is_dir(), "{}: no such crate", estimate.id);
        }
    }
}
