//! A character model (section 8.6) and its noise (section 8.8).

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::MemoryError;
use crate::model::{Model, Pass};
use crate::state::State;
use crate::tokens::{Tokens, count};
use crate::train::Targets;

/// The symbols of a text; a token is a symbol's place among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alphabet {
    symbols: Vec<char>,
}

impl Alphabet {
    /// The distinct characters of the training text, sorted.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(text: &str) -> Result<Self, MemoryError> {
        let symbols: Vec<char> = text.chars().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        match symbols.is_empty() {
            true => Err(MemoryError::setting("text", "empty", "must hold at least one character")),
            false => Ok(Self { symbols }),
        }
    }

    /// The symbols, sorted.
    pub fn symbols(&self) -> &[char] {
        &self.symbols
    }

    /// The size of the vocabulary.
    pub fn size(&self) -> usize {
        self.symbols.len()
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// When a character is not in the alphabet.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, MemoryError> {
        let token = |(at, c): (usize, char)| match self.symbols.binary_search(&c) {
            Ok(token) => Ok(token as u32),
            Err(_) => {
                let expected = format!("must hold only the {} symbols of the training text", self.size());
                Err(MemoryError::setting("text", format!("{c:?} at character {at}"), expected))
            }
        };
        text.chars().enumerate().map(token).collect()
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// When a token is none of the alphabet's.
    pub fn decode(&self, ids: &[u32]) -> Result<String, MemoryError> {
        let symbol = |(position, id): (usize, &u32)| {
            let unknown = MemoryError::Token { token: *id, row: 0, position, vocabulary: self.size() };
            self.symbols.get(*id as usize).ok_or(unknown)
        };
        ids.iter().enumerate().map(symbol).collect()
    }
}

/// Pieces of a text, and of each of their characters the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextBatch {
    /// What is read.
    pub inputs: Tokens,
    /// What comes next, at every position.
    pub targets: Tokens,
}

impl TextBatch {
    /// The pieces of `time` tokens that begin at `starts`. Each must end before the last token.
    fn at(ids: &[u32], starts: &[usize], time: usize) -> Result<Self, MemoryError> {
        let cut = |shift: usize| starts.iter().flat_map(|s| &ids[s + shift..s + shift + time]).copied().collect();
        Ok(Self { inputs: Tokens::new(cut(0), starts.len(), time)?, targets: Tokens::new(cut(1), starts.len(), time)? })
    }

    /// The loss of a training step: the next character at every position.
    pub fn targets(&self) -> Targets {
        Targets::all(self.targets.ids().to_vec())
    }

    /// The same with each input replaced with probability `p` by a symbol that is uniform over the vocabulary (it may
    /// be the same one); the targets stay clean (section 8.8). With one stream a larger `p` replaces what a smaller
    /// one does and more: the curve over `p` is of one noise.
    ///
    /// # Errors
    /// When `p` is no probability, or the vocabulary is empty.
    pub fn noisy(&self, p: f64, vocabulary: usize, stream: &mut Stream) -> Result<Self, MemoryError> {
        if !(0.0..=1.0).contains(&p) {
            return Err(MemoryError::setting("noise", p, "must be a probability"));
        }
        if vocabulary == 0 {
            return Err(MemoryError::setting("vocabulary", 0, "must be at least 1"));
        }
        let mut draw = |id: &u32| {
            // Both are drawn for every character, so that what follows does not depend on `p`.
            let (hit, symbol) = (stream.bernoulli(p), stream.below(vocabulary as u64) as u32);
            if hit { symbol } else { *id }
        };
        let ids = self.inputs.ids().iter().map(&mut draw).collect();
        let inputs = Tokens::new(ids, self.inputs.batch(), self.inputs.time())?;
        Ok(Self { inputs, targets: self.targets.clone() })
    }
}

fn check(ids: &[u32], batch: usize, time: usize) -> Result<(), MemoryError> {
    if batch == 0 || time == 0 {
        return Err(MemoryError::setting("batch", format!("{batch} x {time}"), "must hold at least one character"));
    }
    count(1, time)?;
    if ids.len() <= time {
        let expected = format!("must be longer than one piece of {time} characters");
        return Err(MemoryError::setting("text", format!("{} characters", ids.len()), expected));
    }
    Ok(())
}

/// `batch` windows of `time` characters at uniform places, drawn from `stream`: for training.
///
/// # Errors
/// When the text is not longer than a window, or the batch is empty.
pub fn windows(ids: &[u32], batch: usize, time: usize, stream: &mut Stream) -> Result<TextBatch, MemoryError> {
    check(ids, batch, time)?;
    count(batch, time)?;
    let starts: Vec<usize> = (0..batch).map(|_| stream.below((ids.len() - time) as u64) as usize).collect();
    TextBatch::at(ids, &starts, time)
}

/// The text in consecutive segments of `time` characters, `batch` of them at a time: for validation. What is left at
/// the end, less than a segment, is not asked for; the last batch may be smaller.
///
/// # Errors
/// When the text is not longer than a segment, or `batch` is 0.
pub fn segments(ids: &[u32], batch: usize, time: usize) -> Result<Vec<TextBatch>, MemoryError> {
    check(ids, batch, time)?;
    let starts: Vec<usize> = (0..(ids.len() - 1) / time).map(|i| i * time).collect();
    starts.chunks(batch).map(|starts| TextBatch::at(ids, starts, time)).collect()
}

/// The segments of [`segments`] in the order of `streams` readers: each reads a run of consecutive segments, so that
/// a state can be carried from one batch to the next. With one stream it is the whole text in order; with more, the
/// `segments % streams` last segments are left out.
///
/// # Errors
/// When the text has less than one segment for each stream.
pub fn streams(ids: &[u32], streams: usize, time: usize) -> Result<Vec<TextBatch>, MemoryError> {
    check(ids, streams, time)?;
    let each = (ids.len() - 1) / time / streams;
    if each == 0 {
        let expected = format!("must be at most the {} segments of the text", (ids.len() - 1) / time);
        return Err(MemoryError::setting("streams", streams, expected));
    }
    let starts = |step: usize| (0..streams).map(|s| (s * each + step) * time).collect::<Vec<_>>();
    (0..each).map(|step| TextBatch::at(ids, &starts(step), time)).collect()
}

/// Loss by position in the segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ByPosition {
    /// Sum of the losses in nats, and their number, of every position.
    positions: Vec<(f64, u64)>,
}

/// Loss over a range of positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// First position.
    pub from: usize,
    /// First position after it.
    pub to: usize,
    /// Mean loss in nats per character.
    pub nats: f64,
    /// Characters.
    pub n: u64,
}

impl ByPosition {
    /// Adds losses `[batch, time]`, row-major.
    pub fn add(&mut self, nats: &[f64], time: usize) {
        let time = time.min(nats.len());
        if self.positions.len() < time {
            self.positions.resize(time, (0.0, 0));
        }
        for row in nats.chunks(time.max(1)) {
            for ((sum, n), nats) in self.positions.iter_mut().zip(row) {
                *sum += nats;
                *n += 1;
            }
        }
    }

    /// Adds the losses of a batch from the empty state. No graph is made.
    ///
    /// # Errors
    /// As [`nats`].
    pub fn read(&mut self, model: &Model, batch: &TextBatch) -> Result<(), MemoryError> {
        self.read_after(model, batch, None).map(drop)
    }

    /// Adds the losses of a batch after the state of the one before, none at the beginning; returns the state after it.
    ///
    /// # Errors
    /// As [`nats`].
    pub fn read_after(&mut self, model: &Model, batch: &TextBatch, state: Option<State>) -> Result<State, MemoryError> {
        let model = model.valid();
        let state = state.unwrap_or_else(|| model.start(batch.inputs.batch()));
        let (nats, state) = nats(&model, batch, state, &Pass::default())?;
        self.add(&nats, batch.inputs.time());
        Ok(state)
    }

    /// Characters.
    pub fn n(&self) -> u64 {
        self.positions.iter().map(|(_, n)| n).sum()
    }

    /// Mean loss in nats per character, over all positions; none without characters.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.positions.iter().map(|(sum, _)| sum).sum();
        (self.n() > 0).then(|| sum / self.n() as f64)
    }

    /// Mean loss between neighbouring `edges` (`[0, 24, 64]`: positions 0 to 23 and 24 to 63); ranges without
    /// characters are left out.
    pub fn buckets(&self, edges: &[usize]) -> Vec<Bucket> {
        let bucket = |pair: &[usize]| {
            let (from, to) = (pair[0], pair[1]);
            let range = self.positions.get(from..to.min(self.positions.len())).unwrap_or_default();
            let (sum, n) = range.iter().fold((0.0, 0), |(sum, n), (s, m)| (sum + s, n + m));
            (n > 0).then(|| Bucket { from, to, nats: sum / n as f64, n })
        };
        edges.windows(2).filter_map(bucket).collect()
    }
}

/// The loss in nats at every position of `batch`, `[batch, time]` row-major, and the state after it.
///
/// # Errors
/// When the model does not know a token, the state or the pass do not fit, or a loss is not finite.
pub fn nats(model: &Model, batch: &TextBatch, state: State, pass: &Pass) -> Result<(Vec<f64>, State), MemoryError> {
    let (hidden, state) = model.hidden(&batch.inputs, state, pass)?;
    let [b, t, d] = hidden.dims();
    let log_p = log_softmax(model.logits(hidden.reshape([b * t, d])), 1);
    let answers = batch.targets.upload(model.config.vocabulary, &log_p.device())?.reshape([b * t, 1]);
    let nats: Vec<f64> = log_p.gather(1, answers).into_data().iter::<f64>().map(|x| -x).collect();
    match nats.iter().all(|x| x.is_finite()) {
        true => Ok((nats, state)),
        false => Err(MemoryError::NotFinite { field: "loss", step: 0 }),
    }
}

/// The loss of `batches` by position, each segment from the empty state. No graph is made.
///
/// # Errors
/// As [`nats`].
pub fn evaluate<'a>(
    model: &Model,
    batches: impl IntoIterator<Item = &'a TextBatch>,
) -> Result<ByPosition, MemoryError> {
    let mut loss = ByPosition::default();
    for batch in batches {
        loss.read(model, batch)?;
    }
    Ok(loss)
}

/// The loss of `batches` by position, the state of every row carried from batch to batch: give it batches of
/// [`streams`]. No graph is made.
///
/// # Errors
/// As [`nats`]; the batches must have one number of rows.
pub fn evaluate_carried<'a>(
    model: &Model,
    batches: impl IntoIterator<Item = &'a TextBatch>,
) -> Result<ByPosition, MemoryError> {
    let (mut loss, mut carried) = (ByPosition::default(), None);
    for batch in batches {
        carried = Some(loss.read_after(model, batch, carried)?);
    }
    Ok(loss)
}
