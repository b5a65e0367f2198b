//! Scores, the masks that they stand for, and the surrogate of the sign (section 3.2). Functions of tensors panic where
//! shapes, types or devices do not fit, as Burn's operations do; their pages say so.

mod layer;

use burn::prelude::*;
use burn::tensor::{FloatDType, IndexingUpdateOp};
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::{Architecture, Layer};

pub use layer::{SignConv2d, SignLinear, SignWeight};

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

    /// The entries of many scores, exact: made by comparisons, outside any graph.
    pub fn entries<const D: usize>(self, scores: Tensor<D>) -> Tensor<D> {
        let dtype = FloatDType::from(scores.dtype());
        let scores = scores.detach();
        match self {
            Self::Sign => scores.greater_equal_scalar(0.0).float().cast(dtype).mul_scalar(2.0).sub_scalar(1.0),
            Self::Binary => scores.greater_equal_scalar(0.0).float().cast(dtype),
            Self::Ternary { tau } => {
                let above = scores.clone().greater_scalar(tau).float().cast(dtype);
                above - scores.lower_scalar(-tau).float().cast(dtype)
            }
        }
    }

    /// Whether the settings are in their domain.
    ///
    /// # Errors
    /// A `tau` that is negative or not finite.
    pub fn check(self) -> Result<(), FederationError> {
        match self {
            Self::Ternary { tau } if !(tau >= 0.0 && tau.is_finite()) => {
                Err(FederationError::setting("tau", tau, "a finite number of at least 0"))
            }
            _ => Ok(()),
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

/// The weights of survivors, `[n]`, from their scores `[n]` and frozen weights `[n]`: mask times weight in the forward
/// pass, bit for bit, with the gradient of the surrogate (section 12.1):
///
/// W = detach(W0 m(s)) + W0 (g(s) - detach(g(s))).
///
/// # Panics
/// Where scores and weights differ in length, type or device.
pub fn effective(scores: Tensor<1>, frozen: Tensor<1>, kind: MaskKind, surrogate: Surrogate) -> Tensor<1> {
    let hard = frozen.clone() * kind.entries(scores.clone());
    let soft = match surrogate {
        Surrogate::Identity => scores,
        Surrogate::Tanh => scores.tanh(),
    };
    hard + frozen * (soft.clone() - soft.detach())
}

/// Values of survivors at their places among zeros: `[n]`, positions `[n]` to `[size]`. Differentiable.
///
/// # Panics
/// Where there is not one position below `size` per value.
pub fn spread(values: Tensor<1>, positions: Tensor<1, Int>, size: usize) -> Tensor<1> {
    let zeros = Tensor::zeros([size], (&values.device(), values.dtype()));
    zeros.select_assign(0, positions, values, IndexingUpdateOp::Add)
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
    /// U(-a, a) in each layer, a = sqrt(6 / (fan_in + fan_out)) (Koster et al.).
    XavierUniform,
}

impl ScoreInit {
    /// Scores of `n` survivors that count as one layer of `n` inputs and one output, which matters for
    /// [`ScoreInit::XavierUniform`] only: a network's scores come from [`ScoreInit::draw_for`].
    ///
    /// # Errors
    /// As [`ScoreInit::check`].
    pub fn draw(self, n: usize, stream: &mut Stream) -> Result<Vec<f32>, FederationError> {
        self.check()?;
        Ok(self.draw_layer(Layer::Linear { inputs: n, outputs: 1 }, n, stream))
    }

    /// Whether its magnitude is one.
    ///
    /// # Errors
    /// An `a` that is not above 0, or that f32 cannot hold.
    pub fn check(self) -> Result<(), FederationError> {
        match self {
            Self::Uniform { a } | Self::Constant { a } if !(a as f32 > 0.0 && (a as f32).is_finite()) => {
                Err(FederationError::setting("a", a, "finite and above 0"))
            }
            _ => Ok(()),
        }
    }

    /// Scores of the survivors of a network, in canonical order.
    ///
    /// # Errors
    /// When the mask is of another network; as [`ScoreInit::check`].
    pub fn draw_for(
        self,
        architecture: &Architecture,
        mask: &PruneMask,
        stream: &mut Stream,
    ) -> Result<Vec<f32>, FederationError> {
        self.check()?;
        same_network(architecture, mask)?;
        let layers = architecture.prunable().zip(mask.per_layer());
        Ok(layers.flat_map(|(layer, n)| self.draw_layer(*layer, n, stream)).collect())
    }

    fn draw_layer(self, layer: Layer, n: usize, stream: &mut Stream) -> Vec<f32> {
        match self {
            Self::Uniform { a } => stream.uniform_vec(n, -a, a),
            Self::Constant { a } => vec![a as f32; n],
            Self::XavierUniform => {
                let a = (6.0 / (layer.fan_in() + layer.fan_out()) as f64).sqrt();
                stream.uniform_vec(n, -a, a)
            }
        }
    }
}

/// Refuses a mask whose layers have other sizes than the network's.
pub(crate) fn same_network(architecture: &Architecture, mask: &PruneMask) -> Result<(), FederationError> {
    if architecture.sizes() == mask.sizes() {
        return Ok(());
    }
    let expected = format!("one of layers of {:?} weights", architecture.sizes());
    Err(FederationError::setting("mask", format!("one of layers of {:?} weights", mask.sizes()), expected))
}
