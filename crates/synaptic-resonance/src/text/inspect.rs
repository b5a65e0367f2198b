//! A text as a memory sees it.

use super::{TextError, TextModel};
use crate::decode::Trace;

/// A text, token by token, with what the model and its memory make of it. Signals are means over layers and groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The text of each token; a character may be spread over several.
    pub tokens: Vec<String>,
    /// `-log p` of each token, in nats; none of the first.
    pub losses: Vec<Option<f64>>,
    /// |e|, how far a value is from what the memory has foretold.
    pub surprise: Vec<f64>,
    /// rho, how well the query is covered by stored keys.
    pub familiarity: Vec<f64>,
    /// beta, how much of a token is written.
    pub write_rate: Vec<f64>,
}

impl TextModel {
    /// Reads the tokens as a new stream and looks at the memory while they pass; the stream is as new then.
    ///
    /// # Errors
    /// When the model has no memory, there is no room for the tokens, or one is outside the vocabulary.
    pub fn inspect(&mut self, tokens: &[u32]) -> Result<Inspected, TextError> {
        self.decoder.reset();
        let (losses, trace) = self.decoder.traced(tokens)?;
        self.decoder.reset();
        let texts: Result<Vec<String>, TextError> = tokens
            .iter()
            .map(|token| Ok(String::from_utf8_lossy(self.tokenizer.bytes(*token)?).into_owned()))
            .collect();
        let Trace { layers, groups, write_rate, surprise, familiarity } = trace;
        let mean = |all: Vec<f32>| {
            let each = all.chunks_exact(layers * groups);
            each.map(|all| all.iter().map(|x| f64::from(*x)).sum::<f64>() / all.len() as f64).collect()
        };
        Ok(Inspected {
            tokens: texts?,
            losses: std::iter::once(None).chain(losses.into_iter().map(Some)).collect(),
            surprise: mean(surprise),
            familiarity: mean(familiarity),
            write_rate: mean(write_rate),
        })
    }
}

impl Inspected {
    /// A page that needs nothing else: the text four times, darker where a signal is larger, with its numbers under the
    /// pointer.
    pub fn html(&self, title: &str) -> String {
        let losses: Vec<f64> = self.losses.iter().map(|loss| loss.unwrap_or(0.0)).collect();
        let signals = [
            (
                "Surprise",
                "How far a token's value is from what the memory has foretold under its key: |e|.",
                &self.surprise,
            ),
            (
                "Familiarity",
                "How well the query is covered by stored keys: rho, 1 for one that was stored.",
                &self.familiarity,
            ),
            ("Write rate", "How much of a token is written: beta.", &self.write_rate),
            ("Loss", "-log p of a token after all before it, in nats.", &losses),
        ];
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n",
            escaped(title)
        );
        page += "<style>body{font:16px/1.7 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
                 p.text{white-space:pre-wrap;border:1px solid #ccc;padding:1rem}p.text span{border-radius:2px}</style>\n";
        page += &format!(
            "<h1>{}</h1>\n<p>{} tokens; means over layers and groups.</p>\n",
            escaped(title),
            self.tokens.len()
        );
        for (name, about, values) in signals {
            let (low, high) = range(values);
            page += &format!(
                "<h2>{name}</h2>\n<p>{about} From {low:.3} (light) to {high:.3} (dark).</p>\n<p class=\"text\">"
            );
            for (i, (token, value)) in self.tokens.iter().zip(values).enumerate() {
                let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
                page += &format!(
                    "<span style=\"background:rgb(214 96 40/{share:.2})\" title=\"{} {value:.3}\">{}</span>",
                    i + 1,
                    escaped(token)
                );
            }
            page += "</p>\n";
        }
        page + "</html>\n"
    }
}

/// What most of the values lie between: a hundredth at either end is left out, so that one token does not take all shades.
fn range(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((sorted.len().saturating_sub(1) as f64 * share).round() as usize).copied();
    (at(0.01).unwrap_or(0.0), at(0.99).unwrap_or(0.0))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
