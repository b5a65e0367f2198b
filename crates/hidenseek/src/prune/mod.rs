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
    /// reading of "one-shot", which collapses layers.
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
/// A density outside (0, 1], no iterations, weights of another length or not finite; [`FederationError::EmptyLayer`]
/// where a cut leaves nothing of a layer.
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
    Pruning::new(architecture, weights, density, pruner, scope)?.finish(stream)
}

impl Pruner {
    /// How often the saliency is computed: the steps of a [`Pruning`].
    pub fn cuts(self) -> usize {
        match self {
            Self::SynFlow { iterations } | Self::RandomLikeSynFlow { iterations } => iterations,
            Self::Magnitude | Self::Random => 0,
        }
    }

    /// Whether its number of cuts is one.
    ///
    /// # Errors
    /// When there are none, or more than 4,294,967,295.
    pub fn check(self) -> Result<(), FederationError> {
        match self {
            Self::SynFlow { iterations } | Self::RandomLikeSynFlow { iterations }
                if !(1..=u32::MAX as usize).contains(&iterations) =>
            {
                Err(FederationError::setting("iterations", iterations, "at least 1 and at most 4,294,967,295"))
            }
            _ => Ok(()),
        }
    }
}

/// What [`prune_within`] does, cut by cut: the flags and the number of cuts done are all that a later one needs.
pub struct Pruning<'a> {
    architecture: &'a Architecture,
    weights: &'a [f32],
    density: f64,
    pruner: Pruner,
    /// Sizes of the lists that are ranked.
    groups: Vec<usize>,
    flow: saliency::Flow,
    keep: Vec<bool>,
    done: usize,
}

impl<'a> Pruning<'a> {
    /// Before the first cut.
    ///
    /// # Errors
    /// As [`prune`], but for layers that a cut empties.
    pub fn new(
        architecture: &'a Architecture,
        weights: &'a [f32],
        density: f64,
        pruner: Pruner,
        scope: Scope,
    ) -> Result<Self, FederationError> {
        if !(density > 0.0 && density <= 1.0) {
            return Err(FederationError::setting("density", density, "above 0 and at most 1"));
        }
        pruner.check()?;
        let groups = match scope {
            Scope::Global => vec![architecture.weights()],
            Scope::LayerWise => architecture.sizes(),
        };
        let flow = saliency::Flow::new(architecture, weights)?;
        let keep = vec![true; weights.len()];
        Ok(Self { architecture, weights, density, pruner, groups, flow, keep, done: 0 })
    }

    /// Goes on from what an earlier one had kept after so many cuts.
    ///
    /// # Errors
    /// When there are not N flags, more cuts than the pruner makes, or not exactly as many weights left as so many cuts
    /// leave. Which they are is not looked at: the flags say that.
    pub fn resume(&mut self, done: usize, keep: &[bool]) -> Result<(), FederationError> {
        FederationError::length("keep", self.keep.len(), keep.len())?;
        if done > self.pruner.cuts() {
            return Err(FederationError::setting("done", done, format!("at most {} cuts", self.pruner.cuts())));
        }
        let mut rest = keep;
        for (size, expected) in self.groups.iter().zip(self.budgets_after(done)) {
            let (these, tail) = rest.split_at(*size);
            rest = tail;
            let found = these.iter().filter(|kept| **kept).count();
            if found != expected {
                let expected = format!("{expected} of {size}, what {done} cuts leave");
                return Err(FederationError::setting("keep", found, expected));
            }
        }
        self.keep.copy_from_slice(keep);
        self.done = done;
        Ok(())
    }

    /// What so many cuts leave of each list.
    fn budgets_after(&self, done: usize) -> Vec<usize> {
        let share = if done == 0 { 0.0 } else { done as f64 / self.pruner.cuts() as f64 };
        budgets(&self.groups, self.density.powf(share))
    }

    /// One flag per weight: what is left.
    pub fn keep(&self) -> &[bool] {
        &self.keep
    }

    /// Cuts made, of [`Pruner::cuts`].
    pub fn done(&self) -> usize {
        self.done
    }

    /// Computes the saliency of what is left and makes the next cut; none after the last.
    ///
    /// # Errors
    /// [`FederationError::EmptyLayer`]: flags and count are then as before.
    pub fn cut(&mut self) -> Result<(), FederationError> {
        if self.done < self.pruner.cuts() {
            self.flow.run(&self.keep);
            let mut keep = self.keep.clone();
            cut(&mut keep, &self.flow.scores, &self.groups, &self.budgets_after(self.done + 1));
            refuse_empty(self.architecture, &keep, self.density)?;
            (self.keep, self.done) = (keep, self.done + 1);
        }
        Ok(())
    }

    /// The cuts that are left, those that need no saliency, and the mask.
    ///
    /// # Errors
    /// [`FederationError::EmptyLayer`].
    pub fn finish(mut self, stream: &mut Stream) -> Result<PruneMask, FederationError> {
        while self.done < self.pruner.cuts() {
            self.cut()?;
        }
        let Self { architecture, weights, density, pruner, groups, mut keep, .. } = self;
        match pruner {
            Pruner::SynFlow { .. } => {}
            Pruner::RandomLikeSynFlow { .. } => {
                let counts = PruneMask::new(architecture, keep)?.per_layer();
                keep = vec![true; weights.len()];
                cut(&mut keep, &random(weights.len(), stream), &architecture.sizes(), &counts);
            }
            Pruner::Magnitude => {
                let scores: Vec<f64> = weights.iter().map(|w| f64::from(w.abs())).collect();
                cut(&mut keep, &scores, &groups, &budgets(&groups, density));
            }
            Pruner::Random => cut(&mut keep, &random(weights.len(), stream), &groups, &budgets(&groups, density)),
        }
        refuse_empty(architecture, &keep, density)?;
        PruneMask::new(architecture, keep)
    }
}

/// What each list keeps, halves away from zero.
fn budgets(groups: &[usize], density: f64) -> Vec<usize> {
    groups.iter().map(|n| (density * *n as f64).round() as usize).collect()
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
