//! The constants of the published samplers (sections 4.1 and 7.4).

use serde::{Deserialize, Serialize};

use super::{Annealed, Step, Update};
use crate::error::DiffusionError;
use crate::schedule::{Grid, some};
use crate::score::Level;

/// Data sets of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaperSet {
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// Kuzushiji-MNIST.
    Kmnist,
    /// CIFAR-10.
    #[serde(rename = "cifar-10")]
    Cifar10,
}

/// What the published constants start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Independent log-normal pixels.
    Noise,
    /// The mean images of the classes, made noisy.
    ClassMeans,
}

/// Number of levels N of the paper.
const LEVELS: usize = 1000;
/// Diffusion rate of the paper; mu = sigma^2 / 2, so that y has no drift.
const SIGMA: f64 = 0.8;

/// The labels that the paper's loop visits: `t = k/N` for k = N-1 down to 1, `V = 0.64 t`, no drift.
///
/// # Errors
/// When `levels`, the paper's N (1000), is below 2 or above 1,000,000.
pub fn paper_labels(levels: usize) -> Result<Grid, DiffusionError> {
    if levels < 2 {
        return Err(DiffusionError::setting("levels", levels, "at least 2"));
    }
    some("levels", levels)?;
    let level = |k: usize| Level { variance: SIGMA * SIGMA * k as f64 / levels as f64, drift: 0.0 };
    Grid::from_levels((1..levels).rev().map(level).collect())
}

impl Annealed {
    /// The constants of the paper's code for a data set, over [`paper_labels`]`(1000)` (section 7.4).
    ///
    /// # Errors
    /// For MNIST under Dale-Langevin from class means, which has none.
    pub fn paper(set: PaperSet, update: Update, start: Start) -> Result<Self, DiffusionError> {
        use PaperSet::*;
        let agnostic = update == Update::SignAgnostic;
        let (d, inner, ratio) = match (set, agnostic, start) {
            (Mnist, true, _) => (0.000143844988828766, 4, 0.995),
            (Mnist, false, Start::Noise) => (0.0006165454545454547, 1, 0.995),
            (Mnist, false, Start::ClassMeans) => {
                let expected = "noise: the paper has no constants of Dale-Langevin for MNIST from class means";
                return Err(DiffusionError::setting("start", "class-means", expected));
            }
            (FashionMnist, true, Start::ClassMeans) => (0.000259294380, 3, 0.9995),
            (FashionMnist, true, Start::Noise) => (0.001467799267622069, 3, 0.9995),
            (FashionMnist, false, _) => (0.0005862727272727274, 1, 0.995),
            (Kmnist, true, Start::ClassMeans) => (0.0003359818286283781, 2, 0.995),
            (Kmnist, true, Start::Noise) => (0.00021131578947368424, 3, 1.0),
            (Kmnist, false, _) => (0.00021131578947368424, 3, 0.995),
            (Cifar10, true, _) => (0.000143844988828766, 5, 0.9995),
            (Cifar10, false, _) => (0.00011421052631578947, 6, 0.9995),
        };
        Ok(Self {
            inner,
            ratio,
            step: Step::Fixed(d * LEVELS as f64),
            repeat_last: true,
            clean_up: if set == Cifar10 { 25 } else { 0 },
            ..Self::faithful(update)
        })
    }
}
