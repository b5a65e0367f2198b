//! `chat`: questions and answers.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use crate::failure::Failure;
use crate::generate::written;
use crate::model::{DrawingArgs, ModelArgs, WINDOW, now};
use crate::say::complain;

/// Flags of `resonance chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Go on in this session if the file is there, and save it there after every answer. It holds the text in recoverable
    /// form.
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// What the conversation begins with, in place of the model's own beginning.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// What is said, as often as it is given; the lines of standard input when it is not.
    #[arg(short, long, value_name = "TEXT")]
    message: Vec<String>,
    #[command(flatten)]
    drawing: DrawingArgs,
}

/// Answers until there is no question left.
pub fn run(args: &Args) -> Result<(), Failure> {
    let drawing = args.drawing.drawing()?;
    let mut model = args.model.open(args.session.as_deref(), Some(WINDOW), None)?;
    if args.system.is_some() && model.decoder.position() > 0 {
        return Err(Failure::Flags("--system: the session has begun already: leave it out, or take a new file".into()));
    }
    model.system = args.system.clone();
    // Before the first question, so that a model that cannot answer says so at once.
    model.turn("")?;
    let typed = args.message.is_empty();
    let seen = typed && std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    let mut given = args.message.iter();
    loop {
        if seen {
            complain("> ");
        }
        let message = match typed {
            true => lines.next().transpose().map_err(Failure::Input)?,
            false => given.next().cloned(),
        };
        let Some(message) = message else { break };
        if message.trim().is_empty() {
            continue;
        }
        let answer = written(&args.model, args.drawing.seed, &mut model, |model, stream, piece| {
            model.say(&message, &drawing, stream, piece)
        });
        let read = match answer {
            Ok(read) => read,
            // Somebody who types can say it in another way: nothing has been read.
            Err(error @ Failure::Text(_)) if seen => {
                complain(&format!("{error}\n"));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(file) = &args.session {
            model.save(file, now())?;
        }
        if read.is_break() {
            break;
        }
    }
    if seen {
        complain("\n");
    }
    Ok(())
}
