//! Scores, the masks that they stand for, and the surrogate of the sign (section 3.2).

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

/// What a score becomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKind {
    /// +1 where the score is at least 0, else -1: the paper's.
    Sign,
    /// 1 where the score is at least 0, else 0.
    Binary,
    /// -1 below -tau, +1 above tau, else 0 (Koster et al.).
    Ternary {
        /// Half the width of the dead zone.
        tau: f32,
    },
}

impl MaskKind {
    /// The mask's entry for a score.
    pub fn entry(self, score: f32) -> f32 {
        match self {
            Self::Sign => {
                if score >= 0.0 {
                    1.0
                } else {
                    -1.0
                }
            }
            Self::Binary => {
                if score >= 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Ternary { tau } => {
                if score > tau {
                    1.0
                } else if score < -tau {
                    -1.0
                } else {
                    0.0
                }
            }
        }
    }
}

/// What stands for the mask's derivative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Surrogate {
    /// g(s) = s.
    Identity,
    /// g(s) = tanh(s).
    Tanh,
}

impl Surrogate {
    /// g'(s).
    pub fn derivative(self, score: f32) -> f32 {
        match self {
            Self::Identity => 1.0,
            Self::Tanh => 1.0 - score.tanh().powi(2),
        }
    }
}

/// How scores begin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreInit {
    /// U(-a, a).
    Uniform {
        /// Half width.
        a: f64,
    },
    /// All +a: the initial model is the pruned network itself.
    Constant {
        /// The score.
        a: f64,
    },
}

impl ScoreInit {
    /// Scores of `n` survivors.
    pub fn draw(self, n: usize, stream: &mut Stream) -> Vec<f32> {
        match self {
            Self::Uniform { a } => stream.uniform_vec(n, -a, a),
            Self::Constant { a } => vec![a as f32; n],
        }
    }
}
