//! The passes on a CPU backend: a module of `on_flex.rs` and of `on_ndarray.rs`, which say whose tensors `cpu` means.

use super::cpu::{Backend, Tensor, dense, make, values};
use crate::nn::conv::fused::{ConvolutionOps, Shape2d};
use crate::nn::conv::passes;
use crate::nn::vector::Isa;

impl ConvolutionOps for Backend {
    fn conv2d_plain(x: Tensor, weight: Tensor, s: Shape2d) -> Tensor {
        let (x, weight) = (dense(x), dense(weight));
        make(passes::forward(Isa::widest(), values(&x), values(&weight), None, &s), s.output())
    }

    fn conv2d_biased(x: Tensor, weight: Tensor, bias: Tensor, s: Shape2d) -> Tensor {
        let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
        make(passes::forward(Isa::widest(), values(&x), values(&weight), Some(values(&bias)), &s), s.output())
    }

    fn conv2d_input_gradient(gradient: Tensor, weight: Tensor, s: Shape2d) -> Tensor {
        let (gradient, weight) = (dense(gradient), dense(weight));
        make(passes::input_gradient(Isa::widest(), values(&gradient), values(&weight), &s), s.input())
    }

    fn conv2d_weight_gradient(x: Tensor, gradient: Tensor, s: Shape2d) -> Tensor {
        let (x, gradient) = (dense(x), dense(gradient));
        make(passes::weight_gradient(Isa::widest(), values(&x), values(&gradient), &s), s.weight())
    }

    fn conv2d_bias_gradient(gradient: Tensor, s: Shape2d) -> Tensor {
        make(passes::bias_gradient(values(&dense(gradient)), &s), [s.weight()[0]])
    }
}
