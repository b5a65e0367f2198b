//! A convolution with its parameters.

use burn::module::{Param, ParamId};
use burn::prelude::*;

use super::conv2d;
use crate::nn::parameter;

/// A convolution as a module: see [`conv2d`].
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Pixels from one window to the next.
    #[module(skip)]
    pub stride: usize,
    /// Zeros around the image.
    #[module(skip)]
    pub padding: usize,
}

impl Conv2d {
    /// A layer of given parameters, which are tracked. Their ids are random: see
    /// [`Conv2d::at_path`].
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Self {
        Self { weight: tracked(weight), bias: bias.map(tracked), stride, padding }
    }

    /// Sets the parameters' ids to hashes of `{path}.weight` and `{path}.bias`, so that an
    /// optimiser's saved state finds them.
    pub fn at_path(mut self, path: &str) -> Self {
        self.weight = parameter(&format!("{path}.weight"), self.weight.val());
        self.bias = self.bias.map(|bias| parameter(&format!("{path}.bias"), bias.val()));
        self
    }

    /// `[batch, in, height, width]` to `[batch, out, height', width']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), self.bias.as_ref().map(|bias| bias.val()), self.stride, self.padding)
    }
}

fn tracked<const D: usize>(x: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), x.inner().autodiff().require_grad())
}
