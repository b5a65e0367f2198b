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

/// What [`Hlop::project`] leaves of a batch, one tensor `[batch, in]` per weight layer.
#[derive(Debug, Clone)]
pub struct Projected {
    /// The presynaptic factors for [`crate::dsr::backward`]: projected under [`Projection::Input`], else as they are.
    pub factors: Vec<Tensor<2>>,
    /// The weighted rates, projected: what the rows that learn have to explain.
    rates: Vec<Tensor<2>>,
}

/// One [`Subspace`] per weight layer. A [`Learner`](crate::learner::Learner) begins and ends its tasks.
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

    /// Of subspaces with rows of one's own. What of them still learns is fixed when a
    /// [`Learner`](crate::learner::Learner) takes them, and under [`Consolidate::Qr`] all rows are made orthonormal.
    pub fn from_subspaces(subspaces: Vec<Subspace>, projection: Projection, consolidate: Consolidate) -> Self {
        Self { subspaces, projection, consolidate }
    }

    /// A task begins with `rows[l]` new rows in layer `l` (section 6.3). All or none are drawn.
    pub(crate) fn grown(&self, rows: &[usize], stream: &mut Stream) -> Result<Self, SnnError> {
        self.check_layers("rows", rows.len())?;
        self.subspaces.iter().zip(rows).try_for_each(|(s, &k)| s.can_grow(k))?;
        let mut grown = self.clone();
        grown.subspaces.iter_mut().zip(rows).try_for_each(|(s, &k)| s.grow(k, stream))?;
        Ok(grown)
    }

    /// The same with rows that are given.
    pub(crate) fn appended(&self, rows: Vec<Tensor<2>>) -> Result<Self, SnnError> {
        self.check_layers("rows", rows.len())?;
        let mut grown = self.clone();
        grown.subspaces.iter_mut().zip(rows).try_for_each(|(s, rows)| s.append(rows))?;
        Ok(grown)
    }

    /// A task ends: its rows are fixed and, if so configured, made orthonormal. How many that dropped, by layer.
    pub(crate) fn finish_task(&mut self) -> Vec<usize> {
        self.subspaces.iter_mut().map(|subspace| subspace.finish_task(self.consolidate)).collect()
    }

    /// The rows of finished tasks alone.
    pub(crate) fn without_new_rows(&self) -> Self {
        Self { subspaces: self.subspaces.iter().map(Subspace::without_new_rows).collect(), ..*self }
    }

    /// What the finished tasks leave of one batch.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when the records are those of a network of other layers, [`SnnError::Setting`] when they
    /// are not of F32.
    pub fn project(&self, records: &Records) -> Result<Projected, SnnError> {
        self.check_layers("records", records.presynaptic.len())?;
        let input = self.projection == Projection::Input;
        let pair = |(subspace, seen)| project_layer(subspace, seen, input);
        let layers: Vec<(Tensor<2>, Tensor<2>)> = if on_kernels(records) {
            // The layers do not depend on each other, and one layer's products are too small to
            // be worth splitting among a few threads.
            self.subspaces.par_iter().zip(&records.presynaptic).map(pair).collect::<Result<_, _>>()?
        } else {
            self.subspaces.iter().zip(&records.presynaptic).map(pair).collect::<Result<_, _>>()?
        };
        let (rates, factors) = layers.into_iter().unzip();
        Ok(Projected { rates, factors })
    }

    /// The batch teaches the rows of the current task, by the layers' weighted rates (section 6.2). Nothing happens
    /// where none learn.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when records or projection are those of other layers, [`SnnError::NotFinite`] when they
    /// or the new rows are not finite. All rows are then as they were.
    pub fn teach(&mut self, records: &Records, projected: &Projected) -> Result<(), SnnError> {
        self.check_layers("records", records.presynaptic.len())?;
        self.check_layers("projected", projected.rates.len())?;
        let batch = |layer: usize| (records.presynaptic[layer].rate.clone(), projected.rates[layer].clone());
        let mut safe = true;
        for (layer, subspace) in self.subspaces.iter().enumerate() {
            let (x, projected) = batch(layer);
            safe &= subspace.is_safe(&x, &projected)?;
        }
        if safe {
            // On kernels, where layers are worth a thread each.
            self.subspaces.par_iter_mut().enumerate().for_each(|(layer, subspace)| {
                let (x, projected) = batch(layer);
                subspace.teach(x, projected);
            });
            return Ok(());
        }
        let taught = self.subspaces.iter().enumerate().map(|(layer, subspace)| {
            let (x, projected) = batch(layer);
            subspace.taught(x, projected).map_err(|error| in_layer(error, layer))
        });
        self.subspaces = taught.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The projection of type [`Projection::Weight`]; nothing for `Input`, where the factors
    /// already are projected. It comes before the optimiser and its momentum, see [`crate::subspace`].
    ///
    /// # Errors
    /// [`SnnError::Shape`] when the gradients are those of a network of other layers.
    pub fn project_gradients(&self, gradients: &mut Gradients) -> Result<(), SnnError> {
        self.check_layers("gradients", gradients.weights.len())?;
        if self.projection == Projection::Weight {
            for (subspace, gradient) in self.subspaces.iter().zip(&mut gradients.weights) {
                *gradient = subspace.left_of_gradient(gradient.clone())?;
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
    /// [`SnnError::Saved`] for a tensor that belongs to no layer, and under [`Consolidate::Qr`] for rows of finished
    /// tasks that are not orthonormal; what [`Subspace::load_tensors`] refuses. The lateral connections are then as
    /// they were.
    pub fn load_tensors(&mut self, tensors: Vec<(String, TensorData)>) -> Result<(), SnnError> {
        let mut left: std::collections::BTreeMap<_, _> = tensors.into_iter().collect();
        let mut loaded = self.clone();
        for (i, subspace) in loaded.subspaces.iter_mut().enumerate() {
            subspace.load_tensors(|name| left.remove(&format!("{i}.{name}")))?;
            if self.consolidate == Consolidate::Qr && !subspace.is_orthonormal() {
                return Err(SnnError::Saved(format!("the rows of `{i}.fixed` are not orthonormal, as `Qr` left them")));
            }
        }
        match left.into_keys().next() {
            None => *self = loaded,
            Some(name) => return Err(SnnError::Saved(format!("`{name}` belongs to no layer"))),
        }
        Ok(())
    }

    /// What decides what the rows become, by name.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let rule = |(i, s): (usize, &Subspace)| (format!("lateral rule of layer {}", i + 1), format!("{:?}", s.rule()));
        let mut all: Vec<_> = self.subspaces.iter().enumerate().map(rule).collect();
        all.push(("projection".into(), format!("{:?}", self.projection)));
        all.push(("consolidate".into(), format!("{:?}", self.consolidate)));
        all
    }
}

/// Whether a batch was computed by the kernels.
fn on_kernels(records: &Records) -> bool {
    records.presynaptic.first().is_some_and(|seen| takes_kernels(&seen.rate))
}

fn in_layer(error: SnnError, layer: usize) -> SnnError {
    match error {
        SnnError::NotFinite { what, value } => {
            SnnError::NotFinite { what: format!("{what} of layer {}", layer + 1), value }
        }
        other => other,
    }
}

/// The projected rate of a layer's inputs, and its presynaptic factor.
fn project_layer(subspace: &Subspace, seen: &Presynaptic, input: bool) -> Result<(Tensor<2>, Tensor<2>), SnnError> {
    Ok(match &seen.factor {
        Factor::Sum(sum) if input => {
            // Rates and sums in one product, which reads the fixed rows once.
            SnnError::shape("records", &sum.dims(), &seen.rate.dims())?;
            let batch = sum.dims()[0];
            let both = subspace.left(Tensor::cat(vec![seen.rate.clone(), sum.clone()], 0))?;
            (both.clone().narrow(0, 0, batch), both.narrow(0, batch, batch))
        }
        Factor::Rate(times) if input => {
            let projected = subspace.left(seen.rate.clone())?;
            (projected.clone(), projected.mul_scalar(*times))
        }
        _ => (subspace.left(seen.rate.clone())?, seen.factor()),
    })
}
