//! Flags that several commands have.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use synaptic_resonance::decode;
use synaptic_resonance::load::Options;
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::text::{Drawing, Opening, Remember, TextModel, Written};

use crate::failure::Failure;
use crate::say::{Progress, complain};

/// The window of a stream that nobody has chosen one for.
pub const WINDOW: usize = 1024;
/// First tokens that stay visible beside it.
const SINKS: usize = 4;

/// Which model, and how far it sees.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// The model, a GGUF file.
    pub model: PathBuf,
    /// Tokens that attention sees, with which a stream of any length takes as much memory; 0: all of them, up to the length
    /// that the model was made for.
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// First tokens that stay visible beside the window [default: 4].
    #[arg(long, value_name = "N")]
    sinks: Option<usize>,
    /// The memory of the model, a file that `Memories::save` has written.
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Say on standard error how long it took.
    #[arg(long)]
    pub times: bool,
}

/// How tokens are drawn.
#[derive(Debug, Clone, Args)]
pub struct DrawingArgs {
    /// Tokens at most that are written.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    tokens: usize,
    /// Logits are divided by it; 0: the most likely token always.
    #[arg(long, value_name = "T", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f64,
    /// Tokens are drawn from the most likely ones that hold this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 0.9, allow_negative_numbers = true)]
    top_p: f64,
    /// Seed of what is drawn: the same seed gives the same text.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

impl DrawingArgs {
    /// As the library has it.
    pub fn drawing(&self) -> Result<Drawing, Failure> {
        let sampler = Sampler { temperature: self.temperature, top_p: self.top_p };
        sampler.check()?;
        Ok(Drawing { tokens: self.tokens, sampler })
    }
}

impl ModelArgs {
    /// The model, in the session where there is one. Where no flag says something else, the session's window is taken, and
    /// `window` where there is no session; and `memory`.
    pub fn open(
        &self,
        session: Option<&Path>,
        window: Option<usize>,
        memory: Option<Remember<'_>>,
    ) -> Result<TextModel, Failure> {
        let session = session.filter(|file| file.exists());
        let (window, sinks) = match session.map(decode::inspect).transpose()? {
            Some(saved) => (saved.dims.window, saved.dims.sinks),
            None => (window, SINKS),
        };
        let window = self.window.map_or(window, |window| Some(window).filter(|window| *window > 0));
        let sinks = match (window, self.sinks) {
            (Some(_), given) => given.unwrap_or(sinks),
            (None, None | Some(0)) => 0,
            (None, Some(_)) => {
                return Err(Failure::Flags(
                    "--sinks: first tokens are kept beside a --window: without, all are".into(),
                ));
            }
        };
        let options = Options { window, sinks, ..Options::default() };
        let opening = Opening { options, memory: self.memory.as_deref().map(Remember::Saved).or(memory), session };
        let (start, mut progress) = (Instant::now(), Progress::new("loading"));
        let model = TextModel::open(&self.model, &opening, &mut |done, of| progress.at(done, of));
        progress.end();
        if self.times {
            complain(&format!("loaded in {:.2} s\n", start.elapsed().as_secs_f64()));
        }
        Ok(model?)
    }

    /// Says how long it took to read and write, where that was asked for: `first` seconds up to the first token that was
    /// written, `all` to the end.
    pub fn say_times(&self, written: &Written, first: f64, all: f64) {
        if self.times {
            let (read, tokens) = (written.read, written.tokens);
            let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
            let text = format!(
                "read {read} tokens at {:.1} a second, wrote {tokens} at {:.1} a second\n",
                rate(read, first),
                rate(tokens.saturating_sub(1), all - first)
            );
            complain(&text);
        }
    }
}

/// Seconds since 1970, for the label of a session.
pub fn now() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
