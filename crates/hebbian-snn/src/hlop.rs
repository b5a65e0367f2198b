//! Hebbian-learning-based orthogonal projection over all layers of a network (section 6).

use burn::prelude::*;
use plasticity_core::device::takes_kernels;
use plasticity_core::rng::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::SnnError;
use crate::records::{Factor, Gradients, Presynaptic, Records};
use crate::subspace::{Consolidate, LateralRule, Subspace};

/// Where the projection acts. For linear subspace neurons both give the same gradient
/// (section 6.4); with fewer samples in a batch than outputs in a layer `Input` is cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// On the presynaptic factor of the gradient, as the circuit does it.
    #[default]
    Input,
    /// On the weight gradient.
    Weight,
}

/// One [`Subspace`] per weight layer.
#[derive(Debug, Clone)]
pub struct Hlop {
    subspaces: Vec<Subspace>,
    projection: Projection,
    consolidate: Consolidate,
}

impl Hlop {
    /// No rows yet. `inputs` has the number of inputs of each layer
    /// ([`crate::network::Mlp::layer_inputs`]), `rules` one lateral rule per layer.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when there is another number of rules, and what [`Subspace::new`]
    /// refuses.
    pub fn new(
        inputs: &[usize],
        rules: &[LateralRule],
        projection: Projection,
        consolidate: Consolidate,
        device: &Device,
    ) -> Result<Self, SnnError> {
        SnnError::shape("rules", &[rules.len()], &[inputs.len()])?;
        let subspaces =
            inputs.iter().zip(rules).map(|(&n, &rule)| Subspace::new(n, rule, device)).collect::<Result<_, _>>()?;
        Ok(Self { subspaces, projection, consolidate })
    }

    /// The layers' subspaces.
    pub fn subspaces(&self) -> &[Subspace] {
        &self.subspaces
    }

    /// The layers' subspaces, to set their rows by hand.
    pub fn subspaces_mut(&mut self) -> &mut [Subspace] {
        &mut self.subspaces
    }

    /// Begins a task: appends `rows[l]` rows to layer `l` (section 6.3).
    ///
    /// # Errors
    /// [`SnnError::Shape`] for another number of layers, and what [`Subspace::grow`] refuses.
    pub fn begin_task(&mut self, rows: &[usize], stream: &mut Stream) -> Result<(), SnnError> {
        self.check_layers("rows", rows.len())?;
        self.subspaces.iter_mut().zip(rows).try_for_each(|(s, &k)| s.grow(k, stream))
    }

    /// Ends a task: its rows are fixed and, if so configured, made orthonormal.
    pub fn finish_task(&mut self) {
        for subspace in &mut self.subspaces {
            subspace.finish_task(self.consolidate);
        }
    }

    /// One batch: teaches the rows of the current task with the layers' weighted rates (unless
    /// `update` is false), and returns the presynaptic factor of every layer for
    /// [`crate::dsr::backward`], projected on what the finished tasks leave free.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when the records are those of a network of other layers.
    pub fn observe(&mut self, records: &Records, update: bool) -> Result<Vec<Tensor<2>>, SnnError> {
        self.check_layers("records", records.presynaptic.len())?;
        let input = self.projection == Projection::Input;
        let pair = |(subspace, seen)| observe_layer(subspace, seen, update, input);
        if records.presynaptic.first().is_some_and(|seen| takes_kernels(&seen.rate)) {
            // The layers do not depend on each other, and one layer's products are too small to
            // be worth splitting among a few threads.
            self.subspaces.par_iter_mut().zip(&records.presynaptic).map(pair).collect()
        } else {
            self.subspaces.iter_mut().zip(&records.presynaptic).map(pair).collect()
        }
    }

    /// The projection of type [`Projection::Weight`]; nothing for `Input`, where the factors
    /// already are projected. It must come before the optimiser and its momentum.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when the gradients are those of a network of other layers.
    pub fn project_gradients(&self, gradients: &mut Gradients) -> Result<(), SnnError> {
        self.check_layers("gradients", gradients.weights.len())?;
        if self.projection == Projection::Weight {
            for (subspace, gradient) in self.subspaces.iter().zip(&mut gradients.weights) {
                *gradient = subspace.project_gradient(gradient.clone())?;
            }
        }
        Ok(())
    }

    fn check_layers(&self, field: &'static str, found: usize) -> Result<(), SnnError> {
        SnnError::shape(field, &[found], &[self.subspaces.len()])
    }

    /// The least eigenvalue of `I - H^T H` of each layer: see [`Subspace::least_eigenvalue`].
    pub fn least_eigenvalues(&self) -> Vec<f64> {
        self.subspaces.iter().map(Subspace::least_eigenvalue).collect()
    }

    /// The state by name, for a checkpoint: `0.fixed`, `0.rows`, `0.velocity`, `1.fixed`...
    pub fn to_tensors(&self) -> Vec<(String, TensorData)> {
        let layers = self.subspaces.iter().enumerate();
        layers.flat_map(|(i, s)| s.to_tensors().into_iter().map(move |(n, t)| (format!("{i}.{n}"), t))).collect()
    }

    /// Takes the state of [`Hlop::to_tensors`] back.
    ///
    /// # Errors
    /// [`SnnError::Saved`] for a tensor that belongs to no layer, and what
    /// [`Subspace::load_tensors`] refuses. After an error the state must not be used.
    pub fn load_tensors(&mut self, tensors: Vec<(String, TensorData)>) -> Result<(), SnnError> {
        let mut left: std::collections::BTreeMap<_, _> = tensors.into_iter().collect();
        for (i, subspace) in self.subspaces.iter_mut().enumerate() {
            subspace.load_tensors(|name| left.remove(&format!("{i}.{name}")))?;
        }
        match left.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(SnnError::Saved(format!("`{name}` belongs to no layer"))),
        }
    }
}

fn observe_layer(
    subspace: &mut Subspace,
    seen: &Presynaptic,
    update: bool,
    project: bool,
) -> Result<Tensor<2>, SnnError> {
    let (projected, factor) = match &seen.factor {
        Factor::Sum(sum) if project && update => {
            // Rates and sums in one product, which reads the fixed rows once.
            let batch = sum.dims()[0];
            let both = subspace.project(Tensor::cat(vec![seen.rate.clone(), sum.clone()], 0))?;
            (both.clone().narrow(0, 0, batch), both.narrow(0, batch, batch))
        }
        Factor::Sum(sum) if project => return subspace.project(sum.clone()),
        Factor::Rate(times) if project => {
            let projected = subspace.project(seen.rate.clone())?;
            (projected.clone(), projected.mul_scalar(*times))
        }
        _ if update => (subspace.project(seen.rate.clone())?, seen.factor()),
        _ => return Ok(seen.factor()),
    };
    if update {
        subspace.update_projected(seen.rate.clone(), projected)?;
    }
    Ok(factor)
}
