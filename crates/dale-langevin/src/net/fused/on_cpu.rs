//! The operations on a CPU backend: a module of `on_flex.rs` and of `on_ndarray.rs`, which say whose tensors `cpu` means.

use super::cpu::{Backend, Tensor, dense, make, shape, values};
use crate::net::fused::NetOps;
use crate::net::fused::join::Join;
use crate::net::fused::norm::{self, Sizes};

impl NetOps for Backend {
    fn norm_silu(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor {
        let (of_x, sizes) = (shape(&x), Sizes::new(&shape(&x), &shape(&scale)));
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        make(norm::forward(sizes, values(&x), values(&scale), values(&shift)), of_x)
    }

    fn norm_silu_grad(x: Tensor, scale: Tensor, shift: Tensor, grad: Tensor) -> (Tensor, Tensor, Tensor) {
        let (of_x, of_scale) = (shape(&x), shape(&scale));
        let sizes = Sizes::new(&of_x, &of_scale);
        let (x, scale, shift, grad) = (dense(x), dense(scale), dense(shift), dense(grad));
        let (dx, dscale, dshift) = norm::backward(sizes, values(&x), values(&scale), values(&shift), values(&grad));
        (make(dx, of_x), make(dscale, of_scale.clone()), make(dshift, of_scale))
    }

    fn join(x: Tensor, skip: Tensor, sizes: Join) -> Tensor {
        let batch = shape(&x)[0];
        let (x, skip) = (dense(x), dense(skip));
        make(sizes.forward(values(&x), values(&skip)), sizes.of_result(batch))
    }

    fn join_grad(grad: Tensor, sizes: Join) -> (Tensor, Tensor) {
        let batch = shape(&grad)[0];
        let (dx, dskip) = sizes.backward(values(&dense(grad)));
        (make(dx, sizes.of_x(batch)), make(dskip, sizes.of_skip(batch)))
    }
}
