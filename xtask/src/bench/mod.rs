//! `bench`: the benches and their peers in PyTorch, in turns, and the tables of times and ratios; then the criterion
//! benches of all crates, and theirs.
//!
//! Every program prints the lines of `plasticity_core::testing::peer`, a peer once for each of its variants. A run keeps
//! all sides' output in `experiments/results/performance/bench/<program>.txt` and criterion's estimates in
//! `criterion.csv` beside them, and the tables are made of these records alone.

mod criterion;
mod lines;
mod page;
mod peer;
mod programs;
mod reasons;
mod table;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use plasticity_core::error::{ConfigError, RunError, exit};
use plasticity_core::machine;

use crate::report::save;
use crate::root;
use lines::{Output, Rounds, Side};
use peer::Variant;
use programs::{Program, chosen};

/// The largest relative difference of two losses that are to be equal.
const LOSSES: f64 = 1e-4;
/// The same where the peer rounds to bf16, which has eight bits: more than that is another network.
const ROUNDED: f64 = 5e-2;

/// Flags of `cargo xtask bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Benches that have a peer (pmnist_step, unet, client_round, conv, memory, host, decode), or criterion: the
    /// criterion benches of all crates; all of them when none is named.
    names: Vec<String>,
    /// A Python that has torch and numpy; `python3` or `python` of the path when not given.
    #[arg(long, value_name = "PATH")]
    python: Option<String>,
    /// Rounds, in each of which every program of all sides runs once with each number of threads.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often a program times a piece of work in a round; each program has its own default.
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// Threads of all sides, one number after the other; 1,2 when not given, 1 on a machine of one core. The criterion
    /// benches run with the first.
    #[arg(long, value_name = "LIST")]
    threads: Option<String>,
    /// Variants of the peers: eager, compile (torch.compile), autocast (bf16, networks only), compile+autocast; all when
    /// not given.
    #[arg(long, value_name = "LIST")]
    peers: Option<String>,
    /// Run our side only: it is printed and nothing is written.
    #[arg(long, conflicts_with = "peers")]
    no_peer: bool,
    /// Run nothing: write the tables of the page anew from the records, with the reasons that stand in the code.
    #[arg(long, conflicts_with_all = ["names", "peers", "no_peer"])]
    page: bool,
}

/// What all programs of a run share.
struct Plan {
    rounds: usize,
    repeats: Option<usize>,
    threads: Vec<usize>,
    variants: Vec<Variant>,
}

impl Plan {
    fn of(args: &BenchArgs) -> Result<Self, ConfigError> {
        for (flag, value) in [("rounds", args.rounds), ("repeats", args.repeats.unwrap_or(1))] {
            if value == 0 {
                return Err(ConfigError::new(format!("--{flag} 0: must be at least 1")));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            rounds: args.rounds,
            repeats: args.repeats,
            threads: peer::threads(args.threads.as_deref(), cores)?,
            variants: peer::variants(args.peers.as_deref())?,
        })
    }

    /// The command that does the same for one program.
    fn command(&self, program: &Program) -> String {
        let list = |words: Vec<String>| words.join(",");
        let threads = list(self.threads.iter().map(ToString::to_string).collect());
        let mut command = format!("cargo xtask bench {} --rounds {} --threads {threads}", program.name, self.rounds);
        if let Some(repeats) = self.repeats {
            command += &format!(" --repeats {repeats}");
        }
        if self.variants != peer::VARIANTS {
            command += &format!(" --peers {}", list(self.variants.iter().map(|v| v.name().to_owned()).collect()));
        }
        command
    }
}

/// Runs them and writes records and page; the exit code.
pub fn run(args: &BenchArgs) -> Result<i32> {
    if args.page {
        say!("written to {}", page::write(&root::workspace())?);
        return Ok(exit::DONE);
    }
    let (programs, criterion) = chosen(&args.names)?;
    let plan = Plan::of(args)?;
    let unfit = |program: &&&Program| !plan.variants.iter().any(|variant| variant.fits(program));
    if let Some(program) = programs.iter().find(unfit) {
        let what = format!("--peers: `{}` is no network and has no autocast; name eager or compile too", program.name);
        return Err(ConfigError::new(what).into());
    }
    let root = root::workspace();
    let python = match args.no_peer || programs.is_empty() {
        true => None,
        false => Some(peer::find_python(args.python.as_deref())?),
    };
    // Built first, so that no round waits for the compiler.
    for program in &programs {
        status(Command::new(cargo()).args(bench_args(program)).arg("--no-run").current_dir(&root))?;
    }
    let outputs = measure(&programs, &plan, python.as_deref(), &root)?;
    if python.is_some() {
        write(&plan, &programs, &outputs, &root)?;
    }
    if criterion && !args.no_peer {
        run_criterion(plan.threads[0], &root)?;
    }
    Ok(exit::DONE)
}

/// What each program's sides print; ours alone, on the terminal, without a Python.
fn measure(programs: &[&Program], plan: &Plan, python: Option<&str>, root: &Path) -> Result<Vec<Vec<Output>>> {
    // What is compiled in the first round serves the later ones, and is removed at the end.
    let cache = tempfile::tempdir().context("a directory for what torch.compile makes")?;
    let mut outputs: Vec<Vec<Output>> = vec![Vec::new(); programs.len()];
    for round in 1..=plan.rounds {
        for &threads in &plan.threads {
            for (program, outputs) in programs.iter().zip(&mut outputs) {
                complain!("round {round} of {}, threads {threads}: {}", plan.rounds, program.name);
                let text = output(&mut ours(program, threads, plan.repeats, root))?;
                checked(&text, program, "ours")?;
                let Some(python) = python else {
                    say!("{}", text.trim_end());
                    continue;
                };
                outputs.push(Output { round, threads, variant: None, text });
                for &variant in plan.variants.iter().filter(|variant| variant.fits(program)) {
                    let with = (python, threads, plan.repeats);
                    let text = output(&mut peer::command(program, variant, with, cache.path(), root))?;
                    checked(&text, program, variant.name())?;
                    outputs.push(Output { round, threads, variant: Some(variant), text });
                }
            }
        }
    }
    Ok(outputs)
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
    let file = page::criterion_record(root);
    save(&file, run.record()?.as_bytes())?;
    let page = page::write(root)?;
    say!("{} criterion benches: written to {page} and {}", run.estimates.len(), root::display(&file));
    Ok(())
}

/// Compares the losses, then writes records and page.
fn write(plan: &Plan, programs: &[&Program], outputs: &[Vec<Output>], root: &Path) -> Result<()> {
    let mut records = Vec::new();
    for (program, outputs) in programs.iter().zip(outputs) {
        let record = lines::record(&plan.command(program), outputs);
        let apart = Rounds::parse(&record).and_then(|rounds| rounds.disagreements());
        let apart = apart.map_err(|what| RunError::Failed(format!("`{}` and its peer: {what}", program.name)))?;
        for (variant, apart) in apart {
            let (name, allowed) = (variant.name(), if variant.rounds() { ROUNDED } else { LOSSES });
            say!("{}, {name}: what the two sides compute differs by {apart:.1e}, relative", program.name);
            if apart > allowed {
                let what = format!(
                    "`{}` and its peer, {name}, do not compute the same: they differ by {apart:.1e}, \
                     relative, and {allowed:.0e} is allowed; nothing is written",
                    program.name
                );
                return Err(RunError::Failed(what).into());
            }
        }
        records.push((program.name, record));
    }
    for (name, record) in records {
        save(&page::record_of(root, name), record.as_bytes())?;
    }
    let page = page::write(root)?;
    say!("\n{}\nwritten to {page} and {}", page::peers_block(root)?, root::display(&page::records(root)));
    Ok(())
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

fn bench_args(program: &Program) -> [&'static str; 5] {
    ["bench", "--package", program.package, "--bench", program.name]
}

fn ours(program: &Program, threads: usize, repeats: Option<usize>, root: &Path) -> Command {
    let mut command = Command::new(cargo());
    command.args(bench_args(program)).arg("--quiet").current_dir(root);
    command.env("PEER", "1").env("RAYON_NUM_THREADS", threads.to_string());
    match repeats {
        Some(repeats) => command.env("REPEATS", repeats.to_string()),
        None => command.env_remove("REPEATS"),
    };
    command
}

fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(failed(command, &status.to_string())) }
}

fn output(command: &mut Command) -> Result<String> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
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
            threads: Some("1".into()),
            peers: None,
            no_peer: false,
            page: false,
        }
    }

    #[test]
    fn what_cannot_be_run_is_said_in_a_line() {
        let given = |text: &str| Some(text.to_owned());
        for (args, parts) in [
            (args(&["cpu_backends"]), ["no bench `cpu_backends` has a peer", "name some of pmnist_step"]),
            (BenchArgs { rounds: 0, ..args(&[]) }, ["--rounds 0", "at least 1"]),
            (BenchArgs { repeats: Some(0), ..args(&[]) }, ["--repeats 0", "at least 1"]),
            (BenchArgs { threads: given("0"), ..args(&[]) }, ["--threads 0: ", "`--threads 1,2`"]),
            (BenchArgs { threads: given("x"), ..args(&[]) }, ["--threads x: `x`", "`--threads 1,2`"]),
            (BenchArgs { peers: given("eger"), ..args(&[]) }, ["--peers eger: ", "did you mean `eager`?"]),
            (BenchArgs { peers: given("autocast"), ..args(&["conv"]) }, ["--peers: `conv`", "name eager or compile"]),
        ] {
            let error = run(&args).unwrap_err();
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
            assert_eq!(crate::exit_code(&error), 2);
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
    fn a_record_names_the_command() {
        let (programs, _) = chosen(&["unet".to_owned()]).unwrap();
        let command = |args: &BenchArgs| Plan::of(args).unwrap().command(programs[0]);
        assert_eq!(command(&args(&[])), "cargo xtask bench unet --rounds 1 --threads 1");
        let (threads, peers) = (Some("1, 2".into()), Some("compile+autocast,eager".into()));
        assert_eq!(
            command(&BenchArgs { threads, peers, repeats: Some(5), ..args(&[]) }),
            "cargo xtask bench unet --rounds 1 --threads 1,2 --repeats 5 --peers eager,compile+autocast"
        );
    }

    #[test]
    fn records_and_page_are_written_when_losses_agree_only() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join(page::PAGE);
        std::fs::create_dir_all(page.parent().unwrap()).unwrap();
        let empty = "<!-- bench:begin -->\n<!-- bench:end -->\n\n<!-- criterion:begin -->\n<!-- criterion:end -->\n";
        std::fs::write(&page, empty).unwrap();
        let (programs, _) = chosen(&["unet".to_owned()]).unwrap();
        let plan = Plan::of(&args(&["unet"])).unwrap();
        let side = |variant, loss: &str, ms: &str| {
            let text = format!("machine\n16x1-2 losses {loss}\n16x1-2 ms step {ms}\n");
            Output { round: 1, threads: 1, variant, text }
        };
        let write = |eager: &str, autocast: &str| {
            let outputs = [
                side(None, "1.5", "2.0"),
                side(Some(Variant::Eager), eager, "4.0"),
                side(Some(Variant::Autocast), autocast, "5.0"),
            ];
            write(&plan, &programs, &[outputs.to_vec()], dir.path())
        };
        for (eager, autocast, what) in
            [("1.501", "1.5", "eager, do not compute the same"), ("1.5", "1.6", "autocast, do not compute the same")]
        {
            let error = write(eager, autocast).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(crate::exit_code(&error), 4);
            assert_eq!(std::fs::read_to_string(&page).unwrap(), empty);
        }
        write("1.50001", "1.501").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("| unet | 16x1-2 | step | 2.00 | **4.00** |  | 5.00 |  | 0.50 | 0.50 |"), "{text}");
        assert!(text.contains("eager to 7e-6, autocast to 7e-4"), "{text}");
        assert!(text.contains("No run of the criterion benches"), "{text}");
        assert!(page::record_of(dir.path(), "unet").is_file());
    }
}
