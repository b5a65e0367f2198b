//! The layers of the network, and the two changes of resolution.

use burn::module::Param;
use burn::prelude::*;
use plasticity_core::nn::conv2d;
use plasticity_core::nn::product::matmul;

use super::norm::norm_silu;

/// Convolution of odd kernel with bias; zero padding takes a side n to ceil(n / stride).
#[derive(Module, Debug)]
pub(super) struct Conv2d {
    /// `[out, in, kernel, kernel]`
    pub(super) weight: Param<Tensor<4>>,
    /// `[out]`
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl Conv2d {
    pub(super) fn zeros(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([outputs, inputs, kernel, kernel], device));
        Self { weight, bias: Param::from_tensor(Tensor::zeros([outputs], device)), stride, padding: kernel / 2 }
    }

    /// `[batch, in, h, w]` to `[batch, out, ceil(h / stride), ceil(w / stride)]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), Some(self.bias.val()), self.stride, self.padding)
    }
}

/// An affine map of rows.
#[derive(Module, Debug)]
pub(super) struct Linear {
    /// `[in, out]`
    weight: Param<Tensor<2>>,
    /// `[out]`
    bias: Param<Tensor<1>>,
}

impl Linear {
    pub(super) fn zeros(inputs: usize, outputs: usize, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([inputs, outputs], device));
        Self { weight, bias: Param::from_tensor(Tensor::zeros([outputs], device)) }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        matmul(x, self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// Group normalisation with a learnt scale and shift per channel, then SiLU.
#[derive(Module, Debug)]
pub(super) struct NormSilu {
    /// `[channels]`
    gain: Param<Tensor<1>>,
    /// `[channels]`
    bias: Param<Tensor<1>>,
}

impl NormSilu {
    pub(super) fn zeros(channels: usize, device: &Device) -> Self {
        let zeros = || Param::from_tensor(Tensor::zeros([channels], device));
        Self { gain: zeros(), bias: zeros() }
    }

    /// `[batch, channels, h, w]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        norm_silu(x, self.gain.val().unsqueeze(), self.bias.val().unsqueeze())
    }
}

/// Nearest neighbours of `x` at twice the size, cut to the size of `skip`, and beside them the
/// channels of `skip`: `[batch, c, h, w]` and `[batch, c', h', w']` to `[batch, c + c', h', w']`.
/// Only the channels are joined where the sizes agree.
pub(super) fn join(x: Tensor<4>, skip: Tensor<4>) -> Tensor<4> {
    if x.dims()[2..] == skip.dims()[2..] {
        return Tensor::cat(vec![x, skip], 1);
    }
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    if plasticity_core::device::takes_kernels(&x) {
        return super::fused::join(x, skip);
    }
    composed_join(x, skip)
}

/// [`join`] from tensor operations.
pub(super) fn composed_join(x: Tensor<4>, skip: Tensor<4>) -> Tensor<4> {
    let ([n, c, h, w], [_, _, height, width]) = (x.dims(), skip.dims());
    let doubled = x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, 2, w, 2]).reshape([n, c, 2 * h, 2 * w]);
    Tensor::cat(vec![doubled.slice(s![.., .., 0..height, 0..width]), skip], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plasticity_core::on_each_device;
    use plasticity_core::rng::Stream;
    use plasticity_core::testing::values;

    on_each_device!(the_fused_join_is_the_composition, |device: Device| {
        let device = device.autodiff();
        for (small, large) in [([3, 2], [6, 4]), ([2, 4], [3, 7]), ([1, 1], [2, 1])] {
            let mut stream = Stream::new(19, "join", 0);
            let mut draw = |[c, h, w]: [usize; 3]| {
                let data = TensorData::new(stream.normal_vec(2 * c * h * w), [2, c, h, w]);
                Tensor::<4>::from_data(data, &device)
            };
            let x = draw([3, small[0], small[1]]).require_grad();
            let skip = draw([2, large[0], large[1]]).require_grad();
            let grad = draw([5, large[0], large[1]]);
            let evaluate = |f: fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
                let out = f(x.clone(), skip.clone());
                let grads = (out.clone() * grad.clone()).sum().backward();
                let of = |t: &Tensor<4>| values(t.grad(&grads).expect("reached"));
                [values(out), of(&x), of(&skip)]
            };
            let (fused, plain) = (evaluate(join), evaluate(composed_join));
            for (fused, plain) in fused.iter().zip(&plain) {
                plasticity_core::testing::assert_close(fused, plain, 1e-6);
            }
        }
    });
}
