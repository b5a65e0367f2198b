//! `resonance`: an open model out of a GGUF file that writes, answers and is measured, its weights in blocks of 4 and 8
//! bits. What it does is in [`synaptic_resonance::text`].

mod chat;
mod failure;
mod generate;
mod inspect;
mod model;
mod perplexity;
mod say;

use clap::{Parser, Subcommand};
use failure::Failure;
use plasticity_core::error::exit;

/// An open model out of a GGUF file: writes, chats, is measured. Weights stay in blocks of 4 and 8 bits.
#[derive(Debug, Parser)]
#[command(name = "resonance", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads; all cores when not given. What is written does not depend on them.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Go on with a text.
    Generate(generate::Args),
    /// Talk with a model that was made for it; a session goes on tomorrow.
    Chat(chat::Args),
    /// How well a model foretells a text.
    Perplexity(perplexity::Args),
    /// What a memory makes of a text, as a page of HTML.
    Inspect(inspect::Args),
}

fn main() {
    let cli = Cli::parse();
    let run = || match &cli.command {
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Perplexity(args) => perplexity::run(args),
        Command::Inspect(args) => inspect::run(args),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cli.threads.map_or(0, usize::from)).build();
    let result = match pool {
        Ok(pool) => pool.install(run),
        Err(error) => Err(Failure::Threads(error)),
    };
    let code = match result {
        Ok(()) => exit::DONE,
        Err(error) => {
            let text = error.to_string();
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            say::complain(&format!("error: {}\n", lines.join("; ")));
            exit::USAGE
        }
    };
    std::process::exit(code);
}
