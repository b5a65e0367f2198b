//! Pruning at initialisation (section 3.1): without data, on the server, once.
//!
//! The iterated form computes the saliency anew on what is left before each of its cuts. A cut keeps exactly the q
//! largest scores among the survivors, the lower position first where scores are equal, so that the budget is exact
//! and the mask a pure function of network, weights, density and pruner.

mod saliency;

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::Architecture;

pub use saliency::{Saliency, saliency};

/// By what weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pruner {
    /// Synaptic saliency, computed anew before each of so many cuts; 100 is the paper's lineage, 1 the literal
    /// reading of "one-shot", which collapses layers (ambiguity A1).
    SynFlow {
        /// Number of cuts.
        iterations: usize,
    },
    /// The largest |W0|.
    Magnitude,
    /// A random choice.
    Random,
    /// A random choice in each layer of as many weights as [`Pruner::SynFlow`] keeps there.
    RandomLikeSynFlow {
        /// Number of SynFlow's cuts.
        iterations: usize,
    },
}

/// Among what scores are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All layers in one list.
    #[default]
    Global,
    /// Each layer for itself, each to the same density.
    LayerWise,
}

/// The mask that keeps `density` of the weights, ranked over all layers: exactly `round(density N)` of them, halves
/// away from zero. `stream` serves the random pruners only, which draw one number per weight.
///
/// # Errors
/// A density outside (0, 1], no iterations, a network that does not fit together, weights of another length or not
/// finite; [`FederationError::EmptyLayer`] where a cut leaves nothing of a layer.
pub fn prune(
    architecture: &Architecture,
    weights: &[f32],
    density: f64,
    pruner: Pruner,
    stream: &mut Stream,
) -> Result<PruneMask, FederationError> {
    prune_within(architecture, weights, density, pruner, Scope::Global, stream)
}

/// [`prune`] with a choice of scope. Layer-wise, each layer keeps `round(density N_l)`; the scope does not matter to
/// [`Pruner::RandomLikeSynFlow`] beyond SynFlow's own cuts.
///
/// # Errors
/// As [`prune`].
pub fn prune_within(
    architecture: &Architecture,
    weights: &[f32],
    density: f64,
    pruner: Pruner,
    scope: Scope,
    stream: &mut Stream,
) -> Result<PruneMask, FederationError> {
    if !(density > 0.0 && density <= 1.0) {
        return Err(FederationError::setting("density", density, "above 0 and at most 1"));
    }
    let groups = match scope {
        Scope::Global => vec![architecture.weights()],
        Scope::LayerWise => architecture.sizes(),
    };
    let mut flow = saliency::Flow::new(architecture, weights)?;
    let mut keep = vec![true; weights.len()];
    let budgets = |density: f64| groups.iter().map(|n| (density * *n as f64).round() as usize).collect::<Vec<_>>();
    match pruner {
        Pruner::SynFlow { iterations } | Pruner::RandomLikeSynFlow { iterations } => {
            if iterations == 0 {
                return Err(FederationError::setting("iterations", 0, "at least 1"));
            }
            for k in 1..=iterations {
                flow.run(&keep);
                cut(&mut keep, &flow.scores, &groups, &budgets(density.powf(k as f64 / iterations as f64)));
                refuse_empty(architecture, &keep, density)?;
            }
        }
        Pruner::Magnitude => {
            let scores: Vec<f64> = weights.iter().map(|w| f64::from(w.abs())).collect();
            cut(&mut keep, &scores, &groups, &budgets(density));
        }
        Pruner::Random => cut(&mut keep, &random(weights.len(), stream), &groups, &budgets(density)),
    }
    if let Pruner::RandomLikeSynFlow { .. } = pruner {
        let counts = PruneMask::new(architecture, keep)?.per_layer();
        keep = vec![true; weights.len()];
        cut(&mut keep, &random(weights.len(), stream), &architecture.sizes(), &counts);
    }
    refuse_empty(architecture, &keep, density)?;
    PruneMask::new(architecture, keep)
}

fn random(n: usize, stream: &mut Stream) -> Vec<f64> {
    (0..n).map(|_| stream.uniform()).collect()
}

/// Keeps the `budgets[g]` largest scores among the survivors of each group of consecutive weights.
fn cut(keep: &mut [bool], scores: &[f64], groups: &[usize], budgets: &[usize]) {
    let mut start = 0;
    for (size, budget) in groups.iter().zip(budgets) {
        let group = start..start + size;
        start += size;
        let mut ranked: Vec<(f64, u32)> = group.clone().filter(|i| keep[*i]).map(|i| (scores[i], i as u32)).collect();
        if *budget < ranked.len() {
            // A total order, so that the cut is unique: equal scores go by position.
            ranked.select_nth_unstable_by(*budget, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            for (_, i) in &ranked[*budget..] {
                keep[*i as usize] = false;
            }
        }
    }
}

/// The typed error where nothing of a layer is left.
fn refuse_empty(architecture: &Architecture, keep: &[bool], density: f64) -> Result<(), FederationError> {
    let mut rest = keep;
    for (index, layer) in architecture.prunable().enumerate() {
        let (these, tail) = rest.split_at(layer.weights());
        rest = tail;
        if !these.contains(&true) {
            return Err(FederationError::EmptyLayer { layer: index, name: layer.to_string(), density });
        }
    }
    Ok(())
}
