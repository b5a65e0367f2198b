//! The eight kinds of payloads.

use serde::{Deserialize, Serialize};

/// What a payload is; the number on the wire is the variant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// A sign mask, one bit each.
    RawSigns = 1,
    /// A sign mask through the entropy coder.
    CodedSigns = 2,
    /// A sign mask as the flips of the round's broadcast signs, through the entropy coder.
    CodedXor = 3,
    /// Scores (or weights) as f32.
    Scores = 4,
    /// How many of the round's clients voted plus.
    Votes = 5,
    /// The prune mask; n is N.
    PruneBitmap = 6,
    /// Signs of the scores' changes, and one f32 scale a layer.
    SignDelta = 7,
    /// The same with zeros, through the entropy coder.
    TernaryDelta = 8,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::RawSigns,
        Self::CodedSigns,
        Self::CodedXor,
        Self::Scores,
        Self::Votes,
        Self::PruneBitmap,
        Self::SignDelta,
        Self::TernaryDelta,
    ];

    /// The kind of this number, if there is one.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}
