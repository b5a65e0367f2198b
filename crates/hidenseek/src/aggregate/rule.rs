//! The rules, a client's upload under each, and the broadcast.

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::codec::bits::signs;
use crate::codec::payload::largest_vote;
use crate::codec::{Coding, Downlink, Kind, Known, Upload};
use crate::error::FederationError;

/// Bound of |m_bar| before atanh (StochasticSign).
pub(super) const CLIP: f64 = 0.98;

/// What becomes of a change of exactly 0 (ScaledSignDelta).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zeros {
    /// A random sign keyed by seed, round, client and position: exactly one bit, and nothing on average.
    Keyed,
    /// A third symbol, through the entropy coder.
    Ternary,
}

/// How the server's scores s follow from its old ones and the clients' uploads; m_bar is the mean of the masks
/// weighted by n_k, and a the magnitude of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// s = a m_bar; a tie keeps the old sign with magnitude a 2^-20.
    MaskMean,
    /// s = a sgn(m_bar); a tie keeps the old sign.
    MajorityVote,
    /// s = (1 - beta) s + beta a m_bar.
    MaskEma {
        /// Weight of the new mean, in (0, 1].
        beta: f64,
    },
    /// s = mean of the clients' scores.
    ScoreMean,
    /// Clients upload a Bernoulli sample with P(m = +1) = (1 + tanh s) / 2; s = atanh(clip(m_bar, +-0.98)).
    StochasticSign,
    /// s = s + mean of scale_k sgn(s_k - s), scale_k the mean of |s_k - s| in a layer.
    ScaledSignDelta {
        /// What becomes of a change of exactly 0.
        zeros: Zeros,
    },
    /// FedPM's (section 7): clients upload a Bernoulli sample of their {0,1} mask with P(m = 1) = sigmoid(s); each
    /// uploaded entry counts as `clip` or 1 - `clip`, theta is their mean (the mode of the Beta posterior) and
    /// s = logit(theta).
    BetaMode {
        /// What a 0 counts as, in (0, 1/2).
        clip: f64,
    },
}

impl Rule {
    /// Whether the rule's numbers are in their domain.
    ///
    /// # Errors
    /// When `beta` or `clip` is outside its range.
    pub fn check(self) -> Result<(), FederationError> {
        match self {
            Self::MaskEma { beta } if !(beta > 0.0 && beta <= 1.0) => {
                Err(FederationError::setting("beta", beta, "above 0 and at most 1"))
            }
            Self::BetaMode { clip } if !(clip > 0.0 && clip < 0.5) => {
                Err(FederationError::setting("clip", clip, "above 0 and below 1/2"))
            }
            _ => Ok(()),
        }
    }

    /// The kind of the messages that clients upload; `coding` matters to rules that upload masks.
    pub fn upload_kind(self, coding: Coding) -> Kind {
        match (self, coding) {
            (Self::ScoreMean, _) => Kind::Scores,
            (Self::ScaledSignDelta { zeros: Zeros::Keyed }, _) => Kind::SignDelta,
            (Self::ScaledSignDelta { zeros: Zeros::Ternary }, _) => Kind::TernaryDelta,
            (_, Coding::Raw) => Kind::RawSigns,
            (_, Coding::Coded) => Kind::CodedSigns,
            (_, Coding::Xor) => Kind::CodedXor,
        }
    }

    /// The largest |s| that the rule makes of masks: what contexts are classes of.
    fn bound(self, a: f32) -> f32 {
        match self {
            Self::StochasticSign => CLIP.atanh() as f32,
            Self::BetaMode { clip } => (1.0 / clip - 1.0).ln() as f32,
            _ => a,
        }
    }
}

/// What both ends of a round know once `state` has been broadcast; for [`Upload::encode`] and [`Upload::decode`].
///
/// # Errors
/// When the numbers of survivors differ.
pub fn known(rule: Rule, a: f32, layers: &[usize], state: &[f32]) -> Result<Known, FederationError> {
    Ok(Known::new(layers, state, rule.bound(a))?)
}

/// What a client sends that got the scores `old` and trained them to `trained` (n each, `layers` survivors in each
/// layer). `stream` is the client's own of this round, keyed by (seed, round, client); deterministic rules leave it.
///
/// # Errors
/// When the lengths differ, a score is not finite, or the mean of the changes in a layer is beyond f32.
pub fn upload(
    rule: Rule,
    old: &[f32],
    trained: &[f32],
    layers: &[usize],
    round: u64,
    stream: &mut Stream,
) -> Result<Upload, FederationError> {
    let expected = FederationError::survivors(layers)?;
    for (field, values) in [("old", old), ("trained", trained)] {
        if values.len() != expected {
            return Err(FederationError::Length { field, expected, found: values.len() });
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(FederationError::NotFinite { field, step: round });
        }
    }
    Ok(match rule {
        Rule::MaskMean | Rule::MajorityVote | Rule::MaskEma { .. } => Upload::Signs(signs(trained)),
        Rule::ScoreMean => Upload::Scores(trained.to_vec()),
        Rule::StochasticSign => Upload::Signs(sample(trained, 1.0, stream)),
        // sigmoid(s) = (1 + tanh(s / 2)) / 2
        Rule::BetaMode { .. } => Upload::Signs(sample(trained, 0.5, stream)),
        Rule::ScaledSignDelta { zeros } => delta(zeros, old, trained, layers, round, stream)?,
    })
}

/// One Bernoulli sample a score, with P(true) = (1 + tanh(slope s)) / 2.
fn sample(scores: &[f32], slope: f64, stream: &mut Stream) -> Vec<bool> {
    scores.iter().map(|s| stream.bernoulli((1.0 + (slope * f64::from(*s)).tanh()) / 2.0)).collect()
}

fn delta(
    zeros: Zeros,
    old: &[f32],
    trained: &[f32],
    layers: &[usize],
    round: u64,
    stream: &mut Stream,
) -> Result<Upload, FederationError> {
    let changes: Vec<f64> = trained.iter().zip(old).map(|(t, s)| f64::from(*t) - f64::from(*s)).collect();
    let mut rest = changes.as_slice();
    let mut scales = Vec::with_capacity(layers.len());
    for n in layers {
        let (layer, tail) = rest.split_at(*n);
        rest = tail;
        // An empty layer has scale 0. (The sum of nothing is -0 in floating point, which no message carries.)
        let sum = layer.iter().fold(0.0, |sum, change| sum + change.abs());
        scales.push((sum / (*n).max(1) as f64) as f32);
    }
    if !scales.iter().all(|scale| scale.is_finite()) {
        return Err(FederationError::NotFinite { field: "trained", step: round });
    }
    if zeros == Zeros::Ternary {
        let symbols = changes.iter().map(|change| i8::from(*change > 0.0) - i8::from(*change < 0.0)).collect();
        return Ok(Upload::TernaryDelta { scales, symbols });
    }
    // Bit j of the stream belongs to position j, whichever positions are zeros.
    let mut word = 0;
    let signs = changes.iter().enumerate().map(|(position, change)| {
        if position % 64 == 0 {
            word = stream.bits();
        }
        if *change == 0.0 { word >> (position % 64) & 1 == 1 } else { *change > 0.0 }
    });
    Ok(Upload::SignDelta { signs: signs.collect(), scales })
}

/// s = a m_bar for `plus` votes of `voters` equal clients, exactly as the server computes it.
fn score_of(plus: u32, voters: u32, a: f32) -> f32 {
    let votes = 2 * i64::from(plus) - i64::from(voters);
    mean_score(votes, u64::from(voters), a, 0.0)
}

/// MaskMean: s = a votes / samples; at a tie the sign of `old` with magnitude a 2^-20.
pub(super) fn mean_score(votes: i64, samples: u64, a: f32, old: f32) -> f32 {
    if votes == 0 {
        let small = a * (1.0 / f32::from(1024u16)) * (1.0 / f32::from(1024u16));
        return if old >= 0.0 { small } else { -small };
    }
    (f64::from(a) * (votes as f64 / samples as f64)) as f32
}

/// What the server sends at the start of a round. With `voters`, the number of clients of the round that made
/// `state`, MaskMean sends vote counts if they stand for exactly this state, that is if all n_k were equal.
pub fn broadcast(rule: Rule, a: f32, state: &[f32], voters: Option<u32>) -> Downlink {
    match (rule, voters) {
        (Rule::MajorityVote, _) => Downlink::Signs(signs(state)),
        (Rule::MaskMean, Some(voters)) => match votes_of(a, state, voters) {
            Some(counts) => Downlink::Votes { counts, voters },
            None => Downlink::Scores(state.to_vec()),
        },
        _ => Downlink::Scores(state.to_vec()),
    }
}

/// The vote counts that stand for `state`, if there are.
fn votes_of(a: f32, state: &[f32], voters: u32) -> Option<Vec<u32>> {
    let code = |s: &f32| {
        let plus = ((f64::from(*s) / f64::from(a) + 1.0) * f64::from(voters) / 2.0).round();
        let plus = if (0.0..=f64::from(voters)).contains(&plus) { plus as u32 } else { return None };
        let tie = 2 * u64::from(plus) == u64::from(voters);
        let code = if tie && *s < 0.0 { largest_vote(voters) } else { plus };
        (vote_score(code, voters, a).to_bits() == s.to_bits()).then_some(code)
    };
    if voters == 0 {
        return None;
    }
    state.iter().map(code).collect()
}

fn vote_score(code: u32, voters: u32, a: f32) -> f32 {
    if code > voters { -score_of(voters / 2, voters, a) } else { score_of(code, voters, a) }
}

/// The scores that a client begins with, from what it downloaded. Signs become +-a.
pub fn state_of(downlink: &Downlink, a: f32) -> Vec<f32> {
    match downlink {
        Downlink::Scores(scores) => scores.clone(),
        Downlink::Signs(signs) => signs.iter().map(|plus| if *plus { a } else { -a }).collect(),
        Downlink::Votes { counts, voters } => counts.iter().map(|code| vote_score(*code, *voters, a)).collect(),
    }
}

/// Share of the entries of two vectors of one length whose sign differs, in [0, 1]: 0 round after round is the dead
/// zone (section 3.2).
pub fn flips(old: &[f32], new: &[f32]) -> f64 {
    let flipped = old.iter().zip(new).filter(|(old, new)| (**old >= 0.0) != (**new >= 0.0)).count();
    flipped as f64 / old.len().max(1) as f64
}
