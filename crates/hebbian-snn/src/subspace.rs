//! One layer's subspace neurons and the Hebbian rule that teaches them (section 6).
//!
//! The rows of `H` become an orthonormal basis of the space in which the layer's inputs lie.
//! Rows of finished tasks are fixed; `P = I - H_old^T H_old` removes from a weight gradient
//! whatever would change the layer's answer to old inputs.

use burn::prelude::*;
use plasticity_core::device::takes_kernels;
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::SnnError;
use crate::{composed, fused, orthonormal};

pub use crate::lateral::{CLAMP, LateralRule};

/// What becomes of the rows when a task is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consolidate {
    /// They stay as they were learned: the paper.
    None,
    /// They are replaced by an orthonormal basis of their span, so that `P` is a projector.
    #[default]
    Qr,
}

/// The subspace neurons of one layer.
#[derive(Debug, Clone)]
pub struct Subspace {
    inputs: usize,
    rule: LateralRule,
    device: Device,
    /// `[k_old, n]`: rows of finished tasks.
    fixed: Option<Tensor<2>>,
    /// Rows of the current task.
    learning: Option<Learning>,
}

/// Rows that still learn, both `[k_new, n]`.
#[derive(Debug, Clone)]
struct Learning {
    rows: Tensor<2>,
    velocity: Tensor<2>,
}

impl Subspace {
    /// No rows yet, for a layer of `inputs` inputs.
    ///
    /// # Errors
    /// [`SnnError::Setting`] when there are no inputs or [`LateralRule::check`] refuses the rule.
    pub fn new(inputs: usize, rule: LateralRule, device: &Device) -> Result<Self, SnnError> {
        if inputs == 0 {
            return Err(SnnError::setting("inputs", 0, "at least 1"));
        }
        rule.check()?;
        Ok(Self { inputs, rule, device: device.clone(), fixed: None, learning: None })
    }

    /// The layer's number of inputs, n.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of rows of finished tasks.
    pub fn fixed_rows(&self) -> usize {
        self.fixed.as_ref().map_or(0, |h| h.dims()[0])
    }

    /// Number of all rows.
    pub fn rows(&self) -> usize {
        self.fixed_rows() + self.learning.as_ref().map_or(0, |l| l.rows.dims()[0])
    }

    /// All rows `[k, n]`, the fixed ones first; `None` when there are none.
    pub fn h(&self) -> Option<Tensor<2>> {
        match (&self.fixed, &self.learning) {
            (Some(fixed), Some(new)) => Some(Tensor::cat(vec![fixed.clone(), new.rows.clone()], 0)),
            (Some(fixed), None) => Some(fixed.clone()),
            (None, Some(new)) => Some(new.rows.clone()),
            (None, None) => None,
        }
    }

    /// Rows of finished tasks, `[k_old, n]`.
    pub fn fixed(&self) -> Option<Tensor<2>> {
        self.fixed.clone()
    }

    /// The momentum of the rows that still learn, `[k_new, n]`.
    pub fn velocity(&self) -> Option<Tensor<2>> {
        self.learning.as_ref().map(|l| l.velocity.clone())
    }

    /// Fixes the rows that are there and appends `rows` new ones, orthonormal among themselves
    /// (section 6.3). `rows = 0` is legal.
    ///
    /// # Errors
    /// [`SnnError::Setting`] when there would be more rows than inputs.
    pub fn grow(&mut self, rows: usize, stream: &mut Stream) -> Result<(), SnnError> {
        self.freeze();
        if rows == 0 {
            return Ok(());
        }
        self.check_rows(rows)?;
        let drawn = orthonormal::random_rows(rows, self.inputs, stream);
        self.append(Tensor::from_data(TensorData::new(drawn, [rows, self.inputs]), &self.device))
    }

    /// Fixes the rows that are there and appends the given ones, `[k_new, n]`.
    ///
    /// # Errors
    /// [`SnnError::Shape`] for rows of another width, [`SnnError::Setting`] when there would be
    /// more rows than inputs.
    pub fn append(&mut self, rows: Tensor<2>) -> Result<(), SnnError> {
        self.check_width("rows", &rows)?;
        self.check_rows(rows.dims()[0])?;
        self.freeze();
        let velocity = rows.zeros_like();
        self.learning = Some(Learning { rows, velocity });
        Ok(())
    }

    /// More rows than inputs cannot be orthonormal.
    fn check_rows(&self, more: usize) -> Result<(), SnnError> {
        let rows = self.rows() + more;
        if rows > self.inputs {
            return Err(SnnError::setting("rows", rows, format!("at most {}, the layer's inputs", self.inputs)));
        }
        Ok(())
    }

    fn check_width(&self, field: &'static str, x: &Tensor<2>) -> Result<(), SnnError> {
        SnnError::shape(field, &x.dims(), &[x.dims()[0], self.inputs])
    }

    /// All rows belong to finished tasks from now on.
    pub fn freeze(&mut self) {
        self.fixed = self.h();
        self.learning = None;
    }

    /// `x - (x H_old^T) H_old` for rows `x` `[batch, n]`: what the finished tasks leave of them.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width.
    pub fn project(&self, x: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        self.check_width("x", &x)?;
        Ok(match &self.fixed {
            None => x,
            Some(fixed) if takes_kernels(&x) => fused::residual(x, fixed.clone()),
            Some(fixed) => composed::residual(x, fixed.clone()),
        })
    }

    /// The same on a weight gradient `[n, out]`: `G - H_old^T (H_old G)`.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when the gradient is one of another number of inputs.
    pub fn project_gradient(&self, gradient: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        let [n, out] = gradient.dims();
        SnnError::shape("gradient", &[n, out], &[self.inputs, out])?;
        Ok(match &self.fixed {
            None => gradient,
            Some(h) => {
                let inside = h.clone().matmul(gradient.clone());
                gradient - h.clone().transpose().matmul(inside)
            }
        })
    }

    /// One batch of presynaptic rows `x` `[batch, n]` teaches the new rows (section 6.2).
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width.
    pub fn update(&mut self, x: Tensor<2>) -> Result<(), SnnError> {
        let projected = if self.learning.is_some() { self.project(x.clone())? } else { x.clone() };
        self.update_projected(x, projected)
    }

    /// The same when [`Subspace::project`] of `x` is at hand. Fixed rows do not move, so their
    /// feedback is removed once instead of in every iteration. An empty batch teaches nothing.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width, or `projected` another shape than `x`.
    pub fn update_projected(&mut self, x: Tensor<2>, projected: Tensor<2>) -> Result<(), SnnError> {
        self.check_width("x", &x)?;
        SnnError::shape("projected", &projected.dims(), &x.dims())?;
        if x.dims()[0] == 0 {
            return Ok(());
        }
        if let Some(Learning { rows, velocity }) = self.learning.take() {
            let update = if takes_kernels(&rows) { fused::lateral_update } else { composed::lateral_update };
            let (rows, velocity) = update(rows, velocity, x, projected, &self.rule);
            self.learning = Some(Learning { rows, velocity });
        }
        Ok(())
    }

    /// Ends a task: all rows are fixed, and under [`Consolidate::Qr`] made orthonormal; a row
    /// that adds less than 1e-6 to the span of those before it is dropped.
    pub fn finish_task(&mut self, how: Consolidate) {
        self.freeze();
        if how == Consolidate::None {
            return;
        }
        if let Some(h) = self.fixed.take() {
            let rows = orthonormal::basis(&values(h), self.inputs);
            let k = rows.len() / self.inputs;
            if k > 0 {
                let data = TensorData::new(rows, [k, self.inputs]);
                self.fixed = Some(Tensor::from_data(data, &self.device));
            }
        }
    }

    /// The least eigenvalue of `I - H^T H`, over all rows. 0 for orthonormal rows; below 0 the
    /// gradient of an old task is reversed in some direction instead of removed (section 6.5).
    pub fn least_eigenvalue(&self) -> f64 {
        let largest = self.h().map_or(0.0, |h| orthonormal::largest_gram_eigenvalue(&values(h), self.inputs));
        1.0 - largest
    }

    /// The share of the energy of the rows `x` `[batch, n]` that lies in the span of all rows of
    /// the subspace, orthonormal or not: what a task leaves unprotected is the rest.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width.
    pub fn captured_energy(&self, x: Tensor<2>) -> Result<f64, SnnError> {
        self.check_width("x", &x)?;
        let Some(h) = self.h() else { return Ok(0.0) };
        let basis = orthonormal::basis(&values(h), self.inputs);
        Ok(orthonormal::energy_inside(&values(x), &basis, self.inputs))
    }

    /// The state by name: `fixed`, `rows`, `velocity`, those that are there.
    pub fn to_tensors(&self) -> Vec<(&'static str, TensorData)> {
        let fixed = self.fixed.iter().map(|h| ("fixed", h.to_data()));
        let learning =
            self.learning.iter().flat_map(|l| [("rows", l.rows.to_data()), ("velocity", l.velocity.to_data())]);
        fixed.chain(learning).collect()
    }

    /// Takes the state of [`Subspace::to_tensors`] back. `take` hands out a tensor by name.
    ///
    /// # Errors
    /// [`SnnError::Shape`] for a tensor of another width, [`SnnError::Saved`] when rows and
    /// velocity do not belong together. The subspace is then as it was.
    pub fn load_tensors(&mut self, mut take: impl FnMut(&str) -> Option<TensorData>) -> Result<(), SnnError> {
        let mut tensor = |name: &'static str| -> Result<Option<Tensor<2>>, SnnError> {
            let Some(data) = take(name) else {
                return Ok(None);
            };
            let shape = data.shape().to_vec();
            let rows = shape.first().copied().unwrap_or(1).max(1);
            SnnError::shape(name, &shape, &[rows, self.inputs])?;
            Ok(Some(Tensor::from_data(data, &self.device)))
        };
        let (fixed, rows, velocity) = (tensor("fixed")?, tensor("rows")?, tensor("velocity")?);
        let learning = match (rows, velocity) {
            (Some(rows), Some(velocity)) if rows.dims() == velocity.dims() => Some(Learning { rows, velocity }),
            (None, None) => None,
            _ => return Err(SnnError::Saved("`rows` and `velocity` do not belong together".into())),
        };
        (self.fixed, self.learning) = (fixed, learning);
        Ok(())
    }
}

/// The tensor's values, row-major.
fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}
