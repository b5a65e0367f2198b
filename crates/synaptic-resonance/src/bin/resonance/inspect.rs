//! `inspect`: what a memory makes of a text.

use std::path::PathBuf;

use synaptic_resonance::text::{Remember, TextError};

use crate::failure::Failure;
use crate::model::{ModelArgs, WINDOW};
use crate::say::piece;

/// Flags of `resonance inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text, UTF-8.
    text: PathBuf,
    /// Its first tokens only.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    tokens: usize,
    /// The page; standard output when not given.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the page.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.text).map_err(|e| Failure::file(&args.text, e))?;
    // Without a trained memory, a new one: its keys are the model's, its rates the same at every token.
    let mut model = args.model.open(None, Some(WINDOW), Some(Remember::Fresh))?;
    let mut ids = model.tokenizer.encode(&text, false).map_err(TextError::from)?;
    ids.truncate(args.tokens);
    if ids.len() < 2 {
        return Err(Failure::Short { file: args.text.clone(), found: ids.len() });
    }
    let page = model.inspect(&ids)?.html(&args.text.display().to_string());
    match &args.out {
        Some(file) => std::fs::write(file, page).map_err(|e| Failure::file(file, e)),
        None => {
            let _ = piece(page.as_bytes());
            Ok(())
        }
    }
}
