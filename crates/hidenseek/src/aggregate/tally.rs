//! The uploads of a round, summed, and the server's new state.

use serde::{Deserialize, Serialize};

use super::rule::{CLIP, Rule, Zeros, flips, mean_score};
use crate::codec::Upload;
use crate::codec::payload::layer_of;
use crate::error::FederationError;

/// An upload that has arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Who sent it.
    pub client: u32,
    /// n_k, the client's training samples.
    pub samples: u32,
    /// What it sent.
    pub upload: Upload,
}

/// What a round did, of the masks that were uploaded: signs of the scores for ScoreMean, signs of the changes for
/// ScaledSignDelta (where a ternary 0 votes for neither).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundStats {
    /// Clients.
    pub clients: u32,
    /// Sum of n_k.
    pub samples: u64,
    /// Share of the survivors on which the votes are exactly even.
    pub ties: f64,
    /// Mean of |m_bar|: 1 where all clients agree.
    pub agreement: f64,
    /// Share of the survivors whose sign changed on the server.
    pub flips: f64,
}

/// The sums of a round: memory of n values, however many clients.
#[derive(Debug, Clone)]
pub struct Tally {
    rule: Rule,
    layers: Vec<usize>,
    round: u64,
    /// Sum of n_k m_kj.
    votes: Vec<i64>,
    /// Sum of n_k s_kj, or of n_k scale_k sgn; empty for rules of masks.
    sums: Vec<f64>,
    samples: u64,
    clients: u32,
    last: Option<u32>,
}

impl Tally {
    /// Nothing yet, for `layers` survivors in each layer.
    ///
    /// # Errors
    /// When the rule's numbers are outside their range, or the layers have more survivors than a message can count.
    pub fn new(rule: Rule, layers: &[usize], round: u64) -> Result<Self, FederationError> {
        rule.check()?;
        let n = FederationError::survivors(layers)?;
        let sums =
            if matches!(rule, Rule::ScoreMean | Rule::ScaledSignDelta { .. }) { vec![0.0; n] } else { Vec::new() };
        Ok(Self { rule, layers: layers.to_vec(), round, votes: vec![0; n], sums, samples: 0, clients: 0, last: None })
    }

    /// Adds an upload. Clients come in rising order: f64 sums depend on it, and none counts twice.
    ///
    /// # Errors
    /// When the client does not come after the last one, or the upload is not one of this rule and network.
    pub fn add(&mut self, received: &Received) -> Result<(), FederationError> {
        let Received { client, samples, upload } = received;
        if self.last.is_some_and(|last| *client <= last) {
            return Err(FederationError::setting("client", client, "above the one before (each client once)"));
        }
        self.check(upload)?;
        let (weight, share) = (i64::from(*samples), f64::from(*samples));
        match upload {
            Upload::Signs(signs) => self.vote(signs, weight),
            Upload::Scores(scores) => {
                for ((vote, sum), s) in self.votes.iter_mut().zip(&mut self.sums).zip(scores) {
                    *vote += if *s >= 0.0 { weight } else { -weight };
                    *sum += share * f64::from(*s);
                }
            }
            Upload::SignDelta { scales, signs } => {
                self.vote(signs, weight);
                for ((sum, plus), layer) in self.sums.iter_mut().zip(signs).zip(layer_of(&self.layers)) {
                    let step = share * f64::from(scales[layer]);
                    *sum += if *plus { step } else { -step };
                }
            }
            Upload::TernaryDelta { scales, symbols } => {
                let sums = self.votes.iter_mut().zip(&mut self.sums);
                for (((vote, sum), symbol), layer) in sums.zip(symbols).zip(layer_of(&self.layers)) {
                    let sign = symbol.signum();
                    *vote += weight * i64::from(sign);
                    *sum += share * f64::from(scales[layer]) * f64::from(sign);
                }
            }
        }
        self.last = Some(*client);
        self.samples += u64::from(*samples);
        self.clients += 1;
        Ok(())
    }

    fn vote(&mut self, signs: &[bool], weight: i64) {
        for (vote, plus) in self.votes.iter_mut().zip(signs) {
            *vote += if *plus { weight } else { -weight };
        }
    }

    /// That an upload is of this rule, has the right lengths, and finite numbers.
    fn check(&self, upload: &Upload) -> Result<(), FederationError> {
        let numbers: &[f32] = match (self.rule, upload) {
            (Rule::ScoreMean, Upload::Scores(scores)) => scores,
            (Rule::ScaledSignDelta { zeros: Zeros::Keyed }, Upload::SignDelta { scales, .. })
            | (Rule::ScaledSignDelta { zeros: Zeros::Ternary }, Upload::TernaryDelta { scales, .. }) => {
                if scales.len() != self.layers.len() {
                    let (expected, found) = (self.layers.len(), scales.len());
                    return Err(FederationError::Length { field: "scales", expected, found });
                }
                if let Some(scale) = scales.iter().find(|scale| **scale < 0.0) {
                    return Err(FederationError::setting("scales", scale, "at least 0"));
                }
                scales
            }
            (Rule::ScoreMean | Rule::ScaledSignDelta { .. }, _) | (_, Upload::Scores(_)) => {
                return Err(self.foreign(upload));
            }
            (_, Upload::Signs(_)) => &[],
            _ => return Err(self.foreign(upload)),
        };
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(FederationError::NotFinite { field: "upload", step: self.round });
        }
        if upload.n() != self.votes.len() {
            return Err(FederationError::Length { field: "upload", expected: self.votes.len(), found: upload.n() });
        }
        Ok(())
    }

    fn foreign(&self, upload: &Upload) -> FederationError {
        let found = match upload {
            Upload::Signs(_) => "a mask",
            Upload::Scores(_) => "scores",
            Upload::SignDelta { .. } => "signs of changes",
            Upload::TernaryDelta { .. } => "ternary changes",
        };
        FederationError::setting("upload", found, format!("an upload of {:?}", self.rule))
    }

    /// Replaces the server's scores `state`; `a` is the magnitude of a score. On an error `state` is as before.
    ///
    /// # Errors
    /// When nothing was added, all n_k are 0, `state` has another length, `a` is not above 0, or a new score is not
    /// finite.
    pub fn finish(self, a: f32, state: &mut [f32]) -> Result<RoundStats, FederationError> {
        if !(a > 0.0 && a.is_finite()) {
            return Err(FederationError::setting("a", a, "finite and above 0"));
        }
        if state.len() != self.votes.len() {
            return Err(FederationError::Length { field: "state", expected: self.votes.len(), found: state.len() });
        }
        if self.samples == 0 {
            return Err(FederationError::setting("samples", 0, "at least 1 in all the round's uploads together"));
        }
        let new: Vec<f32> = (0..state.len()).map(|j| self.score(j, a, state[j])).collect();
        if !new.iter().all(|s| s.is_finite()) {
            return Err(FederationError::NotFinite { field: "state", step: self.round });
        }
        let share = |count: f64| count / state.len().max(1) as f64;
        let stats = RoundStats {
            clients: self.clients,
            samples: self.samples,
            ties: share(self.votes.iter().filter(|vote| **vote == 0).count() as f64),
            agreement: share(
                self.votes.iter().fold(0.0, |sum, vote| sum + vote.unsigned_abs() as f64 / self.samples as f64),
            ),
            flips: flips(state, &new),
        };
        state.copy_from_slice(&new);
        Ok(stats)
    }

    /// The sums so far, for a round that is saved before its end.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.samples.to_le_bytes());
        out.extend(self.clients.to_le_bytes());
        out.extend(u64::from(self.last.unwrap_or(u32::MAX)).to_le_bytes());
        out.extend(self.votes.iter().flat_map(|vote| vote.to_le_bytes()));
        out.extend(self.sums.iter().flat_map(|sum| sum.to_le_bytes()));
    }

    /// Puts back what [`Tally::write`] wrote; false where the bytes are not those of a tally of this size.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> bool {
        let words = bytes.split_first_chunk::<20>();
        let Some((head, rest)) = words.filter(|(_, rest)| rest.len() == 8 * (self.votes.len() + self.sums.len()))
        else {
            return false;
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, last @ ..] = *head;
        self.samples = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.clients = u32::from_le_bytes([i, j, k, l]);
        self.last = u32::try_from(u64::from_le_bytes(last)).ok().filter(|last| *last != u32::MAX);
        let (votes, sums) = rest.split_at(8 * self.votes.len());
        for (vote, bytes) in self.votes.iter_mut().zip(votes.as_chunks::<8>().0) {
            *vote = i64::from_le_bytes(*bytes);
        }
        for (sum, bytes) in self.sums.iter_mut().zip(sums.as_chunks::<8>().0) {
            *sum = f64::from_le_bytes(*bytes);
        }
        self.sums.iter().all(|sum| sum.is_finite())
    }

    /// The new score at position `j`.
    fn score(&self, j: usize, a: f32, old: f32) -> f32 {
        let samples = self.samples as f64;
        let m_bar = self.votes[j] as f64 / samples;
        let (a64, old64) = (f64::from(a), f64::from(old));
        match self.rule {
            Rule::MaskMean => mean_score(self.votes[j], self.samples, a, old),
            Rule::MajorityVote => {
                let plus = if self.votes[j] == 0 { old >= 0.0 } else { self.votes[j] > 0 };
                if plus { a } else { -a }
            }
            Rule::MaskEma { beta } => ((1.0 - beta) * old64 + beta * a64 * m_bar) as f32,
            Rule::ScoreMean => (self.sums[j] / samples) as f32,
            Rule::StochasticSign => odd_atanh(m_bar.clamp(-CLIP, CLIP)) as f32,
            Rule::ScaledSignDelta { .. } => (old64 + self.sums[j] / samples) as f32,
            // theta = 1/2 + x/2, and logit(theta) = 2 atanh(x).
            Rule::BetaMode { clip } => (2.0 * odd_atanh((1.0 - 2.0 * clip) * m_bar)) as f32,
        }
    }
}

/// atanh with atanh(-x) = -atanh(x) to the last bit.
fn odd_atanh(x: f64) -> f64 {
    x.abs().atanh().copysign(x)
}

/// The server's round: replaces `state` by what `rule` makes of it and of the uploads, in whatever order they came.
///
/// # Errors
/// Those of [`Tally::add`] and [`Tally::finish`]; `state` is then as before.
pub fn aggregate(
    rule: Rule,
    a: f32,
    state: &mut [f32],
    layers: &[usize],
    uploads: &[Received],
    round: u64,
) -> Result<RoundStats, FederationError> {
    let mut tally = Tally::new(rule, layers, round)?;
    let mut order: Vec<&Received> = uploads.iter().collect();
    order.sort_by_key(|received| received.client);
    order.into_iter().try_for_each(|received| tally.add(received))?;
    tally.finish(a, state)
}
