//! `generate`: goes on with a text.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use plasticity_core::rng::Stream;
use synaptic_resonance::decode::Ended;
use synaptic_resonance::text::{TextModel, Written};

use crate::failure::Failure;
use crate::model::{DrawingArgs, ModelArgs, WINDOW, now};
use crate::say::{complain, piece};

/// Flags of `resonance generate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text to go on with; standard input when neither this nor a file is given.
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The file that holds it.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// Go on in this session if the file is there, and save it there.
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    #[command(flatten)]
    drawing: DrawingArgs,
}

/// Writes the text.
pub fn run(args: &Args) -> Result<(), Failure> {
    let drawing = args.drawing.drawing()?;
    let prompt = match (&args.prompt, &args.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| Failure::file(file, e))?,
        (None, None) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(Failure::Input)?;
            text
        }
    };
    let mut model = args.model.open(args.session.as_deref(), Some(WINDOW), None)?;
    let _ = written(&args.model, args.drawing.seed, &mut model, |model, stream, piece| {
        model.generate(&prompt, &drawing, stream, piece)
    })?;
    if let Some(file) = &args.session {
        model.save(file, now())?;
    }
    Ok(())
}

/// Writes a text as it comes and the end of its line, and gives whether somebody still reads. It is of the random numbers
/// that belong to where the stream stands: the same whether a session went on at once or the next day.
pub fn written(
    args: &ModelArgs,
    seed: u64,
    model: &mut TextModel,
    write: impl FnOnce(
        &mut TextModel,
        &mut Stream,
        &mut synaptic_resonance::text::Piece<'_>,
    ) -> Result<Written, synaptic_resonance::text::TextError>,
) -> Result<ControlFlow<()>, Failure> {
    let mut stream = Stream::new(seed, "tokens", model.decoder.position());
    let (start, mut first) = (Instant::now(), None);
    let written = write(model, &mut stream, &mut |bytes| {
        first.get_or_insert_with(|| start.elapsed().as_secs_f64());
        piece(bytes)
    })?;
    let all = start.elapsed().as_secs_f64();
    let read = piece(b"\n");
    if written.ended == Ended::Full {
        complain(
            "the model was made for no longer text: give it a --window, with which a stream may be of any length\n",
        );
    }
    args.say_times(&written, first.unwrap_or(all), all);
    Ok(read)
}
