//! `perplexity`: how well a model foretells a text.

use std::path::PathBuf;
use std::time::Instant;

use synaptic_resonance::text::TextError;

use crate::failure::Failure;
use crate::model::ModelArgs;
use crate::say::{Progress, complain, piece};

/// Flags of `resonance perplexity`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text, UTF-8. White space at its ends counts.
    text: PathBuf,
    /// Its first tokens only.
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Pieces of this many tokens that each begin anew [default: one with a window, else the length that the model was
    /// made for].
    #[arg(long, value_name = "N")]
    segment: Option<usize>,
    /// One line for every token but the first: its nats, a tab, its text with escapes.
    #[arg(long)]
    each: bool,
}

/// Says the mean.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.text).map_err(|e| Failure::file(&args.text, e))?;
    let mut model = args.model.open(None, None, None)?;
    let mut ids = model.tokenizer.encode(&text, false).map_err(TextError::from)?;
    ids.truncate(args.tokens.unwrap_or(usize::MAX));
    if ids.len() < 2 {
        return Err(Failure::Short { file: args.text.clone(), found: ids.len() });
    }
    let host = &model.decoder.weights().host;
    let segment = args.segment.or(host.length.filter(|_| host.window.is_none()));
    let (start, mut progress) = (Instant::now(), Progress::new("reading"));
    let losses = model.losses(&ids, segment, &mut |done, of| progress.at(done as u64, of as u64));
    progress.end();
    let losses = losses?;
    if args.model.times {
        let rate = ids.len() as f64 / start.elapsed().as_secs_f64();
        complain(&format!("read {} tokens at {rate:.1} a second\n", ids.len()));
    }
    let mut lines = String::new();
    if args.each {
        let first = |i: &usize| i.is_multiple_of(segment.unwrap_or(usize::MAX));
        let scored = (0..ids.len()).filter(|i| !first(i));
        for (i, loss) in scored.zip(&losses) {
            let bytes = model.tokenizer.bytes(ids[i]).map_err(TextError::from)?;
            lines += &format!("{loss:.6}\t{}\n", String::from_utf8_lossy(bytes).escape_debug());
        }
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    lines += &format!("{} tokens: {mean:.6} nats a token, perplexity {:.3}\n", losses.len(), mean.exp());
    let _ = piece(lines.as_bytes());
    Ok(())
}
