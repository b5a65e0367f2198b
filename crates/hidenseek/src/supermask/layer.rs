//! Layers with a supermask over frozen weights: only the scores of the survivors are parameters.

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::nn::{conv2d, is_finite, parameter};

use super::{MaskKind, Surrogate, effective, spread};
use crate::error::FederationError;

/// A pruned weight tensor under a supermask. Its only parameter are the scores: no optimiser sees the frozen weights,
/// and none is saved.
#[derive(Module, Debug)]
pub struct SignWeight {
    /// Scores of the survivors, `[n]`.
    pub scores: Param<Tensor<1>>,
    /// W0 of the survivors, `[n]`.
    #[module(skip)]
    frozen: Tensor<1>,
    /// Where they stand in the flat weight, `[n]`.
    #[module(skip)]
    positions: Tensor<1, Int>,
    /// Number of weights, pruned ones included.
    #[module(skip)]
    size: usize,
    /// What a score becomes.
    #[module(skip)]
    kind: MaskKind,
    /// What stands for the mask's derivative.
    #[module(skip)]
    surrogate: Surrogate,
}

impl SignWeight {
    /// Freezes `weight` (any rank) where `keep`, row-major, holds; `scores` are those of the survivors, `[n]`, of the
    /// weight's type and device. The mask is that of signs with the identity as surrogate.
    ///
    /// # Errors
    /// `keep` or `scores` of another length, scores of another type or device, a weight or score that is not finite, or
    /// nothing kept.
    pub fn new<const D: usize>(weight: Tensor<D>, keep: &[bool], scores: Tensor<1>) -> Result<Self, FederationError> {
        let size = weight.shape().num_elements();
        if keep.len() != size {
            return Err(FederationError::Length { field: "keep", expected: size, found: keep.len() });
        }
        let positions: Vec<i64> = (0i64..).zip(keep).filter(|(_, keep)| **keep).map(|(i, _)| i).collect();
        let n = positions.len();
        if n == 0 {
            return Err(FederationError::setting("keep", "all false", "at least one weight kept"));
        }
        if scores.dims() != [n] {
            return Err(FederationError::Length { field: "scores", expected: n, found: scores.dims()[0] });
        }
        let weight: Tensor<1> = weight.inner().reshape([-1]);
        let scores = scores.inner();
        if scores.dtype() != weight.dtype() {
            let expected = format!("{:?}, as the weight", weight.dtype());
            return Err(FederationError::setting("scores", format!("{:?}", scores.dtype()), expected));
        }
        if scores.device() != weight.device() {
            let expected = format!("on {:?}, as the weight", weight.device());
            return Err(FederationError::setting("scores", format!("on {:?}", scores.device()), expected));
        }
        for (field, values) in [("weight", &weight), ("scores", &scores)] {
            if !is_finite(values) {
                return Err(FederationError::setting(field, "not finite", "numbers that are"));
            }
        }
        let positions = Tensor::from_data(TensorData::new(positions, [n]), &weight.device());
        Ok(Self {
            scores: Param::from_tensor(scores.autodiff()),
            frozen: weight.select(0, positions.clone()),
            positions,
            size,
            kind: MaskKind::Sign,
            surrogate: Surrogate::Identity,
        })
    }

    /// The weight that acts, flat: P m(s) W0 (section 2).
    ///
    /// # Panics
    /// Where [`SignWeight::scores`] has been replaced by a parameter of another length or type.
    pub fn value(&self) -> Tensor<1> {
        let scores = self.scores.val();
        let device = scores.device();
        let (frozen, positions) = (self.frozen.clone().to_device(&device), self.positions.clone().to_device(&device));
        spread(effective(scores, frozen, self.kind, self.surrogate), positions, self.size)
    }

    /// W0 of the survivors, `[n]`.
    pub fn frozen(&self) -> Tensor<1> {
        self.frozen.clone()
    }

    /// What a score becomes, and what stands for the mask's derivative.
    pub fn mask(&self) -> (MaskKind, Surrogate) {
        (self.kind, self.surrogate)
    }

    /// Another mask or surrogate.
    ///
    /// # Errors
    /// As [`MaskKind::check`].
    pub fn with_mask(mut self, kind: MaskKind, surrogate: Surrogate) -> Result<Self, FederationError> {
        kind.check()?;
        (self.kind, self.surrogate) = (kind, surrogate);
        Ok(self)
    }

    /// Sets the scores' id to a hash of `{path}.weight.scores`, so that an optimiser's saved state finds them.
    pub fn at_path(mut self, path: &str) -> Self {
        self.scores = parameter(&format!("{path}.weight.scores"), self.scores.val());
        self
    }
}

/// A linear layer without bias under a supermask.
#[derive(Module, Debug)]
pub struct SignLinear {
    /// The masked weight, canonical: `[out, in]`.
    pub weight: SignWeight,
    #[module(skip)]
    shape: [usize; 2],
}

impl SignLinear {
    /// A layer of frozen weights `[out, in]`: see [`SignWeight::new`].
    ///
    /// # Errors
    /// As [`SignWeight::new`].
    pub fn new(weight: Tensor<2>, keep: &[bool], scores: Tensor<1>) -> Result<Self, FederationError> {
        let shape = weight.dims();
        Ok(Self { weight: SignWeight::new(weight, keep, scores)?, shape })
    }

    /// [`SignWeight::with_mask`] of its weight.
    ///
    /// # Errors
    /// As [`MaskKind::check`].
    pub fn with_mask(self, kind: MaskKind, surrogate: Surrogate) -> Result<Self, FederationError> {
        Ok(Self { weight: self.weight.with_mask(kind, surrogate)?, ..self })
    }

    /// [`SignWeight::at_path`] of its weight.
    pub fn at_path(self, path: &str) -> Self {
        Self { weight: self.weight.at_path(path), ..self }
    }

    /// `[batch, in]` to `[batch, out]`.
    ///
    /// # Panics
    /// Where `x` has another width, type or device than the weight.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.value().reshape(self.shape).transpose())
    }
}

/// A convolution without bias under a supermask.
#[derive(Module, Debug)]
pub struct SignConv2d {
    /// The masked weight, `[out, in, kernel, kernel]`.
    pub weight: SignWeight,
    #[module(skip)]
    shape: [usize; 4],
    /// Pixels from one window to the next.
    #[module(skip)]
    stride: usize,
    /// Zeros around the image.
    #[module(skip)]
    padding: usize,
}

impl SignConv2d {
    /// A layer of frozen weights `[out, in, kernel, kernel]`: see [`SignWeight::new`]. A window comes every `stride`
    /// pixels, and there are `padding` zeros around the image.
    ///
    /// # Errors
    /// As [`SignWeight::new`]; a stride of 0.
    pub fn new(
        weight: Tensor<4>,
        keep: &[bool],
        scores: Tensor<1>,
        stride: usize,
        padding: usize,
    ) -> Result<Self, FederationError> {
        if stride == 0 {
            return Err(FederationError::setting("stride", 0, "at least 1"));
        }
        let shape = weight.dims();
        Ok(Self { weight: SignWeight::new(weight, keep, scores)?, shape, stride, padding })
    }

    /// [`SignWeight::with_mask`] of its weight.
    ///
    /// # Errors
    /// As [`MaskKind::check`].
    pub fn with_mask(self, kind: MaskKind, surrogate: Surrogate) -> Result<Self, FederationError> {
        Ok(Self { weight: self.weight.with_mask(kind, surrogate)?, ..self })
    }

    /// [`SignWeight::at_path`] of its weight.
    pub fn at_path(self, path: &str) -> Self {
        Self { weight: self.weight.at_path(path), ..self }
    }

    /// `[batch, in, height, width]` to `[batch, out, height', width']`.
    ///
    /// # Panics
    /// Where `x` has other channels, another type or device than the weight, or is smaller than the kernel with its
    /// padding.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.value().reshape(self.shape), None, self.stride, self.padding)
    }
}
