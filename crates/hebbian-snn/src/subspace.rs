//! One layer's subspace neurons and the Hebbian rule that teaches them (section 6).
//!
//! The rows of `H` become an orthonormal basis of the space in which the layer's inputs lie.
//! Rows of finished tasks are fixed; `P = I - H_old^T H_old` removes from a weight gradient
//! whatever would change the layer's answer to old inputs.
//!
//! [`crate::learner`] does all of this for a whole network and keeps its order. With a single subspace, which goes into
//! any layer, three things are the caller's:
//!
//! - An optimiser whose step is a linear recursion of the gradients since the task began (SGD, with a momentum that is
//!   empty when the task begins) moves nothing that is protected. Weight decay, Adam, or momentum left from the task
//!   before do: hand what they make of the weights to [`Subspace::project_step`]. Either way the rows must be
//!   orthonormal ([`Consolidate::Qr`]).
//! - A bias is no input, so that nothing here protects it. It is the weight of one more input that is always 1: give
//!   the subspace `n + 1` inputs, that one among them, and project weights and bias as one matrix `[n + 1, out]`; or
//!   leave the bias where it is after the first task.
//! - [`Subspace::finish_task`] before the next task's first step: rows protect once they are fixed.

use burn::module::Param;
use burn::optim::GradientsParams;
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

/// Rows that still learn, both `[k_new, n]`. No entry of the velocity is larger than [`CLAMP`], being a mean of steps.
#[derive(Debug, Clone)]
struct Learning {
    rows: Tensor<2>,
    velocity: Tensor<2>,
    /// No entry of the rows is larger.
    bound: f64,
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

    /// The rule that teaches new rows.
    pub fn rule(&self) -> LateralRule {
        self.rule
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

    /// Begins a task: appends `rows` rows that will learn, orthonormal among themselves
    /// (section 6.3). `rows = 0` is legal.
    ///
    /// # Errors
    /// [`SnnError::Unfinished`] when the rows of a task still learn, [`SnnError::Setting`] when there would be more
    /// rows than inputs. Nothing is drawn then.
    pub fn grow(&mut self, rows: usize, stream: &mut Stream) -> Result<(), SnnError> {
        self.can_grow(rows)?;
        if rows == 0 {
            return Ok(());
        }
        let drawn = orthonormal::random_rows(rows, self.inputs, stream);
        self.append(Tensor::from_data(TensorData::new(drawn, [rows, self.inputs]), &self.device))
    }

    /// The same with rows that are given, `[k_new, n]`.
    ///
    /// # Errors
    /// [`SnnError::Shape`] for rows of another width, [`SnnError::Setting`] for rows that are not of F32,
    /// [`SnnError::NotFinite`], and those of [`Subspace::grow`].
    pub fn append(&mut self, rows: Tensor<2>) -> Result<(), SnnError> {
        self.can_append(&rows)?;
        if rows.dims()[0] > 0 {
            let velocity = rows.zeros_like();
            let bound = largest(&rows);
            self.learning = Some(Learning { rows, velocity, bound });
        }
        Ok(())
    }

    /// Whether [`Subspace::append`] would take them.
    pub(crate) fn can_append(&self, rows: &Tensor<2>) -> Result<(), SnnError> {
        self.check_width("rows", rows)?;
        SnnError::finite(|| "`rows`".into(), rows)?;
        self.can_grow(rows.dims()[0])
    }

    /// Whether `more` rows can be appended: more rows than inputs cannot be orthonormal.
    pub(crate) fn can_grow(&self, more: usize) -> Result<(), SnnError> {
        if self.learning.is_some() {
            return Err(SnnError::Unfinished);
        }
        let rows = self.rows().saturating_add(more);
        if rows > self.inputs {
            return Err(SnnError::setting("rows", rows, format!("at most {}, the layer's inputs", self.inputs)));
        }
        Ok(())
    }

    /// The rows of finished tasks alone.
    pub(crate) fn without_new_rows(&self) -> Self {
        Self { learning: None, ..self.clone() }
    }

    /// Whether the rows of a task learn.
    pub fn is_learning(&self) -> bool {
        self.learning.is_some()
    }

    fn check_width(&self, field: &'static str, x: &Tensor<2>) -> Result<(), SnnError> {
        SnnError::shape(field, &x.dims(), &[x.dims()[0], self.inputs])?;
        SnnError::is_f32(field, x.dtype())
    }

    /// Whether the rows of finished tasks are orthonormal, as [`Consolidate::Qr`] leaves them.
    pub(crate) fn is_orthonormal(&self) -> bool {
        self.fixed.clone().is_none_or(|h| orthonormal::is_orthonormal(&values(h), self.inputs))
    }

    /// Whether the rows of a task have been taught: a velocity is zero until then.
    pub(crate) fn has_learned(&self) -> bool {
        self.learning.as_ref().is_some_and(|learning| largest(&learning.velocity) > 0.0)
    }

    /// `x - (x H_old^T) H_old` for rows `x` `[batch, n]`: for orthonormal rows ([`Consolidate::Qr`]) what the finished
    /// tasks leave of them; others may reverse a part of it ([`Subspace::least_eigenvalue`]).
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width, [`SnnError::Setting`] when it is not of F32,
    /// [`SnnError::NotFinite`] when the result, and so `x` or a sum of it, is not finite.
    pub fn project(&self, x: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        let left = self.left(x)?;
        SnnError::finite(|| "the projected `x`".into(), &left)?;
        Ok(left)
    }

    /// [`Subspace::project`] for a step that looks at what becomes of it.
    pub(crate) fn left(&self, x: Tensor<2>) -> Result<Tensor<2>, SnnError> {
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
    /// [`SnnError::Shape`] when the gradient is one of another number of inputs, [`SnnError::Setting`] when it is not
    /// of F32, [`SnnError::NotFinite`] when the result, and so the gradient or a sum of it, is not finite.
    pub fn project_gradient(&self, gradient: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        let left = self.left_of_gradient(gradient)?;
        SnnError::finite(|| "the projected gradient".into(), &left)?;
        Ok(left)
    }

    /// The same among the gradients of a model that Burn differentiates: [`Subspace::project_gradient`] takes the place
    /// of the one of `weight` `[n, out]`, which is how Burn's `Linear` holds it. A weight without a gradient stays
    /// without.
    ///
    /// # Errors
    /// As [`Subspace::project_gradient`]. The gradients are then as they were.
    pub fn project_in(&self, gradients: &mut GradientsParams, weight: &Param<Tensor<2>>) -> Result<(), SnnError> {
        let Some(gradient) = gradients.get::<2>(weight.id) else { return Ok(()) };
        let projected = self.project_gradient(gradient)?;
        gradients.remove::<2>(weight.id);
        gradients.register(weight.id, projected);
        Ok(())
    }

    /// [`Subspace::project_gradient`] for a step that looks at what becomes of it.
    pub(crate) fn left_of_gradient(&self, gradient: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        let [n, out] = gradient.dims();
        SnnError::shape("gradient", &[n, out], &[self.inputs, out])?;
        SnnError::is_f32("gradient", gradient.dtype())?;
        Ok(match &self.fixed {
            None => gradient,
            Some(h) => {
                let inside = h.clone().matmul(gradient.clone());
                gradient - h.clone().transpose().matmul(inside)
            }
        })
    }

    /// The weights `[n, out]` after a step of any optimiser, whatever it adds to the gradients: of its change from
    /// `before` to `after` only what the finished tasks leave free is kept. That protects them where the rows are
    /// orthonormal ([`Consolidate::Qr`]); under [`Consolidate::None`] as far as [`Subspace::project`] does.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when one of them has another shape, [`SnnError::Setting`] when it is not of F32,
    /// [`SnnError::NotFinite`] when the new weights, and so `before`, `after` or a sum of them, are not finite.
    pub fn project_step(&self, before: Tensor<2>, after: Tensor<2>) -> Result<Tensor<2>, SnnError> {
        SnnError::shape("after", &after.dims(), &before.dims())?;
        SnnError::is_f32("after", after.dtype())?;
        SnnError::is_f32("before", before.dtype())?;
        let new = before.clone() + self.left_of_gradient(after - before)?;
        SnnError::finite(|| "the projected weights".into(), &new)?;
        Ok(new)
    }

    /// One batch of presynaptic rows `x` `[batch, n]` teaches the new rows (section 6.2).
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width, [`SnnError::Setting`] when it is not of F32,
    /// [`SnnError::NotFinite`] when `x` or what it makes of the rows is not finite. The rows are then as they were.
    pub fn update(&mut self, x: Tensor<2>) -> Result<(), SnnError> {
        let projected = if self.learning.is_some() { self.left(x.clone())? } else { x.clone() };
        self.update_projected(x, projected)
    }

    /// The same when [`Subspace::project`] of `x` is at hand. Fixed rows do not move, so their
    /// feedback is removed once instead of in every iteration. An empty batch teaches nothing.
    ///
    /// # Errors
    /// As [`Subspace::update`], and [`SnnError::Shape`] when `projected` has another shape than `x`.
    pub fn update_projected(&mut self, x: Tensor<2>, projected: Tensor<2>) -> Result<(), SnnError> {
        if !self.is_safe(&x, &projected)? {
            *self = self.taught(x, projected)?;
        } else {
            self.teach(x, projected);
        }
        Ok(())
    }

    /// Whether [`Subspace::teach`] of this batch leaves finite rows for certain. The bounds are those of its sums; they
    /// cost one look at the batch, where a look at the rows would cost a hundredth of a training step, and keeping the
    /// old ones until then, more.
    pub(crate) fn is_safe(&self, x: &Tensor<2>, projected: &Tensor<2>) -> Result<bool, SnnError> {
        self.check_width("x", x)?;
        SnnError::shape("projected", &projected.dims(), &x.dims())?;
        SnnError::is_f32("projected", projected.dtype())?;
        let Some(learning) = &self.learning else { return Ok(true) };
        if !takes_kernels(&learning.rows) {
            return Ok(false);
        }
        let ([batch, n], [k, _]) = (x.dims().map(|n| n as f64), learning.rows.dims().map(|n| n as f64));
        let h = learning.bound + self.reach();
        let y = n * f64::from(fused::largest(x)) * h;
        let unexplained = f64::from(fused::largest(projected)) + k * y * h;
        // Not of NaN either.
        Ok([h, y, unexplained, batch * y * unexplained].iter().all(|sum| *sum < f64::from(f32::MAX) / 4.0))
    }

    /// How far one batch moves an entry at most.
    fn reach(&self) -> f64 {
        self.rule.iterations as f64 * self.rule.lr * f64::from(CLAMP)
    }

    /// The rows after a batch that is known to be [safe](Subspace::is_safe).
    pub(crate) fn teach(&mut self, x: Tensor<2>, projected: Tensor<2>) {
        let reach = self.reach();
        if let Some(Learning { rows, velocity, bound }) = self.learning.take_if(|_| x.dims()[0] > 0) {
            let (rows, velocity) = fused::lateral_update(rows, velocity, x, projected, &self.rule);
            self.learning = Some(Learning { rows, velocity, bound: bound + reach });
        }
    }

    /// The subspace after a batch that need not be, and whose new rows are looked at.
    pub(crate) fn taught(&self, x: Tensor<2>, projected: Tensor<2>) -> Result<Self, SnnError> {
        // The clamp of a step hides what is infinite.
        SnnError::finite(|| "`x`".into(), &x)?;
        SnnError::finite(|| "the projected inputs".into(), &projected)?;
        let mut taught = self.clone();
        if let Some(Learning { rows, velocity, .. }) = taught.learning.take_if(|_| x.dims()[0] > 0) {
            let update = if takes_kernels(&rows) { fused::lateral_update } else { composed::lateral_update };
            let (rows, velocity) = update(rows, velocity, x, projected, &self.rule);
            SnnError::finite(|| "the new rows".into(), &rows)?;
            let bound = largest(&rows);
            taught.learning = Some(Learning { rows, velocity, bound });
        }
        Ok(taught)
    }

    /// Ends a task: all rows are fixed, and under [`Consolidate::Qr`] made orthonormal. Returns how many rows that
    /// dropped: those that added less than 1e-6, or of a row longer than 1 less than that share of its length, to the
    /// span of the rows before them.
    pub fn finish_task(&mut self, how: Consolidate) -> usize {
        self.fixed = self.h();
        self.learning = None;
        if how == Consolidate::None {
            return 0;
        }
        let Some(h) = self.fixed.take() else { return 0 };
        let before = h.dims()[0];
        let rows = orthonormal::basis(&values(h), self.inputs);
        let k = rows.len() / self.inputs;
        if k > 0 {
            let data = TensorData::new(rows, [k, self.inputs]);
            self.fixed = Some(Tensor::from_data(data, &self.device));
        }
        before - k
    }

    /// The least eigenvalue of `I - H^T H`, over all rows: 1 without rows, 0 for orthonormal ones. Below 0, what a
    /// gradient has along some direction comes back reversed instead of removed (section 6.5).
    pub fn least_eigenvalue(&self) -> f64 {
        let largest = self.h().map_or(0.0, |h| orthonormal::largest_gram_eigenvalue(&values(h), self.inputs));
        1.0 - largest
    }

    /// The share of the energy of the rows `x` `[batch, n]` that lies in the span of all rows of
    /// the subspace, orthonormal or not: what a task leaves unprotected is the rest.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when `x` has another width, [`SnnError::Setting`] when it is not of F32,
    /// [`SnnError::NotFinite`].
    pub fn captured_energy(&self, x: Tensor<2>) -> Result<f64, SnnError> {
        self.check_width("x", &x)?;
        SnnError::finite(|| "`x`".into(), &x)?;
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
    /// [`SnnError::Shape`] for a tensor of another width, [`SnnError::Setting`] for one that is not of F32 or when
    /// there are more rows than inputs, [`SnnError::NotFinite`], [`SnnError::Saved`] when rows and
    /// velocity do not belong together. The subspace is then as it was.
    pub fn load_tensors(&mut self, mut take: impl FnMut(&str) -> Option<TensorData>) -> Result<(), SnnError> {
        let mut tensor = |name: &'static str| -> Result<Option<Tensor<2>>, SnnError> {
            let Some(data) = take(name) else {
                return Ok(None);
            };
            let shape = data.shape().to_vec();
            let rows = shape.first().copied().unwrap_or(1).max(1);
            SnnError::shape(name, &shape, &[rows, self.inputs])?;
            SnnError::is_f32(name, data.dtype())?;
            let tensor = Tensor::from_data(data, &self.device);
            SnnError::finite(|| format!("`{name}`"), &tensor)?;
            Ok(Some(tensor))
        };
        let (fixed, rows, velocity) = (tensor("fixed")?, tensor("rows")?, tensor("velocity")?);
        let learning = match (rows, velocity) {
            (Some(rows), Some(velocity)) if rows.dims() == velocity.dims() => {
                if largest(&velocity) > f64::from(CLAMP) {
                    return Err(SnnError::Saved(format!("`velocity` is larger than {CLAMP}, which no step is")));
                }
                let bound = largest(&rows);
                Some(Learning { rows, velocity, bound })
            }
            (None, None) => None,
            _ => return Err(SnnError::Saved("`rows` and `velocity` do not belong together".into())),
        };
        let loaded = Self { fixed, learning, ..self.clone() };
        if loaded.rows() > self.inputs {
            return Err(SnnError::setting(
                "rows",
                loaded.rows(),
                format!("at most {}, the layer's inputs", self.inputs),
            ));
        }
        *self = loaded;
        Ok(())
    }
}

/// The largest absolute value of a tensor that is finite.
fn largest(x: &Tensor<2>) -> f64 {
    if takes_kernels(x) { f64::from(fused::largest(x)) } else { x.clone().abs().max().into_scalar() }
}

/// The tensor's values, row-major.
fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}
