//! Associative recall of several pairs (MQAR, sections 8.2 and 8.3).

use std::collections::HashMap;

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use super::{Batch, Question};
use crate::error::MemoryError;
use crate::tokens::{Tokens, count};

/// What stands where neither a pair nor a question does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Token 0, which is neither key nor value.
    Zero,
    /// Tokens uniform over the vocabulary without the keys of the sequence: a key would overwrite its pair.
    Random,
}

/// Pairs of key and value, then every key once more: what followed it?
///
/// A sequence is `k1 v1 k2 v2 ...`, the `repeats - 1` further showings of those pairs that will change, their updates
/// (both in random order), `pause` tokens of filler, and the questions at even offsets of what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqar {
    /// V; keys are drawn from `1..V/2`, values from `V/2..V`.
    pub vocabulary: usize,
    /// N, pairs of a sequence.
    pub pairs: usize,
    /// T, tokens of a sequence.
    pub time: usize,
    /// U, pairs that are given a new value; the answer is the latest one.
    pub updates: usize,
    /// How often the old pair of an updated key is shown before its update.
    pub repeats: usize,
    /// Tokens of filler between pairs and questions; even.
    pub pause: usize,
    /// The filler.
    pub fill: Fill,
}

impl Default for Mqar {
    /// CPU-tiny of section 8.2.
    fn default() -> Self {
        Self { vocabulary: 64, pairs: 6, time: 64, updates: 0, repeats: 1, pause: 0, fill: Fill::Zero }
    }
}

impl Mqar {
    /// # Errors
    /// When a setting is outside its domain, or the sequence does not fit into `time`.
    pub fn check(&self) -> Result<(), MemoryError> {
        if self.pairs == 0 {
            return Err(MemoryError::setting("pairs", 0, "must be at least 1"));
        }
        if self.updates > self.pairs {
            let expected = format!("at most the {} pairs can be updated", self.pairs);
            return Err(MemoryError::setting("updates", self.updates, expected));
        }
        if self.repeats == 0 {
            return Err(MemoryError::setting("repeats", 0, "must be at least 1: a pair is shown before its update"));
        }
        if !self.pause.is_multiple_of(2) {
            return Err(MemoryError::setting("pause", self.pause, "must be even: questions stand at even offsets"));
        }
        // Token ids are 32 bits; so large a number would also overflow the sums below.
        let most = u32::MAX as usize;
        for (field, value) in [("vocabulary", self.vocabulary), ("time", self.time), ("pause", self.pause)] {
            if value > most {
                return Err(MemoryError::setting(field, value, format!("must be at most {most}")));
            }
        }
        let (keys, values) = (self.keys(), self.vocabulary - self.vocabulary / 2);
        if self.pairs > keys || self.pairs + self.updates > values {
            let needed = 2 * (self.pairs + 1).max(self.pairs + self.updates);
            let expected = format!(
                "has {keys} keys and {values} values; {} pairs and {} updates need a vocabulary of {needed}",
                self.pairs, self.updates
            );
            return Err(MemoryError::setting("vocabulary", self.vocabulary, expected));
        }
        let shown = self.updates.checked_mul(self.repeats).and_then(|more| more.checked_add(self.pairs));
        let needed = shown.and_then(|shown| shown.checked_add(self.pairs)?.checked_mul(2)?.checked_add(self.pause));
        match needed {
            Some(needed) if needed <= self.time => Ok(()),
            _ => {
                let needed = needed.map_or("more".into(), |n| n.to_string());
                let expected = format!("pairs, updates, pause and questions need {needed} tokens");
                Err(MemoryError::setting("time", self.time, expected))
            }
        }
    }

    /// Number of tokens that can be keys.
    fn keys(&self) -> usize {
        (self.vocabulary / 2).saturating_sub(1)
    }

    /// Tokens before the first place of a question.
    fn prefix(&self) -> usize {
        2 * (self.pairs + self.updates * self.repeats) + self.pause
    }

    /// `rows` sequences drawn from `stream`, a pure function of it.
    ///
    /// # Errors
    /// When the settings are wrong, or `rows` is 0 or more than 2^31 - 1 tokens.
    pub fn batch(&self, rows: usize, stream: &mut Stream) -> Result<Batch, MemoryError> {
        self.check()?;
        let mut ids = Vec::with_capacity(count(rows, self.time)?);
        let mut questions = Vec::with_capacity(rows * self.pairs);
        for row in 0..rows {
            self.sequence(row, stream, &mut ids, &mut questions);
        }
        Ok(Batch { tokens: Tokens::new(ids, rows, self.time)?, questions })
    }

    /// Appends one sequence. The settings have been checked.
    fn sequence(&self, row: usize, stream: &mut Stream, ids: &mut Vec<u32>, questions: &mut Vec<Question>) {
        let (n, half, start) = (self.pairs, self.vocabulary / 2, ids.len());
        let keys: Vec<u32> = distinct(self.keys(), n, stream).into_iter().map(|k| k as u32 + 1).collect();
        let values = distinct(self.vocabulary - half, n + self.updates, stream);
        let values: Vec<u32> = values.into_iter().map(|v| (v + half) as u32).collect();
        let changing = distinct(n, self.updates, stream);

        // The latest value of each pair, and the position of its key.
        let mut latest: Vec<(u32, usize)> = vec![(0, 0); n];
        let mut show = |pair: usize, value: u32| {
            latest[pair] = (value, ids.len() - start);
            ids.extend([keys[pair], value]);
        };
        let (first, new) = values.split_at(n);
        for (pair, value) in first.iter().enumerate() {
            show(pair, *value);
        }
        let again: Vec<usize> = (1..self.repeats).flat_map(|_| changing.iter().copied()).collect();
        for i in stream.permutation(again.len()) {
            show(again[i], first[again[i]]);
        }
        for i in stream.permutation(changing.len()) {
            show(changing[i], new[i]);
        }

        let prefix = self.prefix();
        let mut places = distinct((self.time - prefix) / 2, n, stream);
        places.iter_mut().for_each(|g| *g = prefix + 2 * *g);
        let asked: HashMap<usize, usize> = places.into_iter().enumerate().map(|(pair, at)| (at, pair)).collect();
        for position in ids.len() - start..self.time {
            let Some(&pair) = asked.get(&position) else {
                ids.push(self.filler(&keys, stream));
                continue;
            };
            ids.push(keys[pair]);
            let (answer, written) = latest[pair];
            questions.push(Question { row, position, answer, written, updated: changing.contains(&pair) });
        }
    }

    fn filler(&self, keys: &[u32], stream: &mut Stream) -> u32 {
        match self.fill {
            Fill::Zero => 0,
            // Keys are less than half of the vocabulary: two draws on average at most.
            Fill::Random => loop {
                let token = stream.below(self.vocabulary as u64) as u32;
                if !keys.contains(&token) {
                    return token;
                }
            },
        }
    }
}

/// `n` distinct numbers below `among`, in random order: the first `n` of a permutation, without making all of it.
fn distinct(among: usize, n: usize, stream: &mut Stream) -> Vec<usize> {
    let mut moved = HashMap::new();
    (0..n)
        .map(|i| {
            let j = i + stream.below((among - i) as u64) as usize;
            let there = moved.get(&j).copied().unwrap_or(j);
            let here = moved.get(&i).copied().unwrap_or(i);
            moved.insert(j, here);
            there
        })
        .collect()
}
