//! The four passes of a convolution on slices.

use super::correlate::correlate;
use super::plan::Correlation;
use super::shape::{Layout, Shape2d};
use super::weight::{WeightGradient, weight_gradient as of_weights};
use crate::nn::share;
use crate::nn::vector::Isa;

/// `x` `[batch, inputs, height, width]` convolved with `weight`
/// `[outputs, inputs, kernel, kernel]`.
pub(super) fn forward(isa: Isa, x: &[f32], weight: &[f32], bias: Option<&[f32]>, s: &Shape2d) -> Vec<f32> {
    let s = &s.with_long_rows();
    correlate(
        isa,
        &Correlation {
            layout: input_layout(s),
            images: x,
            image_len: s.inputs * s.height * s.width,
            weights: weight,
            bias,
            channels: s.outputs,
            out_height: s.out_height,
            out_width: s.out_width,
        },
    )
}

/// d loss / d x of the gradient of the output.
pub(super) fn input_gradient(isa: Isa, gradient: &[f32], weight: &[f32], s: &Shape2d) -> Vec<f32> {
    let s = &s.with_long_rows();
    let taps = s.kernel * s.kernel;
    let mut turned = vec![0.0; weight.len()];
    for (o, from) in weight.chunks_exact(s.inputs * taps).enumerate() {
        for (i, from) in from.chunks_exact(taps).enumerate() {
            let to = &mut turned[(i * s.outputs + o) * taps..][..taps];
            for (to, from) in to.iter_mut().zip(from.iter().rev()) {
                *to = *from;
            }
        }
    }
    correlate(
        isa,
        &Correlation {
            layout: gradient_layout(s),
            images: gradient,
            image_len: s.outputs * s.out_height * s.out_width,
            weights: &turned,
            bias: None,
            channels: s.inputs,
            out_height: s.height,
            out_width: s.width,
        },
    )
}

/// d loss / d weight.
pub(super) fn weight_gradient(isa: Isa, x: &[f32], gradient: &[f32], s: &Shape2d) -> Vec<f32> {
    let s = &s.with_long_rows();
    if s.stride == 1 && s.outputs <= 8 && s.inputs > s.outputs {
        return by_inputs(isa, x, gradient, s);
    }
    of_weights(
        isa,
        &WeightGradient {
            layout: input_layout(s),
            images: x,
            image_len: s.inputs * s.height * s.width,
            gradient,
            channels: s.outputs,
            out_height: s.out_height,
            out_width: s.out_width,
        },
    )
}

/// The same with input channels as lanes: the input's pixels times the gradient around them.
fn by_inputs(isa: Isa, x: &[f32], gradient: &[f32], s: &Shape2d) -> Vec<f32> {
    let turned = of_weights(
        isa,
        &WeightGradient {
            layout: gradient_layout(s),
            images: gradient,
            image_len: s.outputs * s.out_height * s.out_width,
            gradient: x,
            channels: s.inputs,
            out_height: s.height,
            out_width: s.width,
        },
    );
    let taps = s.kernel * s.kernel;
    let mut out = vec![0.0; turned.len()];
    for (o, to) in out.chunks_exact_mut(s.inputs * taps).enumerate() {
        for (i, to) in to.chunks_exact_mut(taps).enumerate() {
            let from = &turned[(i * s.outputs + o) * taps..][..taps];
            for (to, from) in to.iter_mut().zip(from.iter().rev()) {
                *to = *from;
            }
        }
    }
    out
}

/// d loss / d bias: the sum over pixels, then over images in their order.
pub(super) fn bias_gradient(gradient: &[f32], s: &Shape2d) -> Vec<f32> {
    let (pixels, len) = (s.out_height * s.out_width, s.batch * s.outputs);
    let mut totals = vec![0.0; len];
    let each = if gradient.len() < super::plan::SMALL { len } else { len.div_ceil(8) };
    share::chunks(&mut totals, each, |i, totals| {
        for (total, plane) in totals.iter_mut().zip(gradient[i * each * pixels..].chunks_exact(pixels)) {
            *total = sum(plane);
        }
    });
    let mut sums = vec![0.0; s.outputs];
    for image in totals.chunks_exact(s.outputs) {
        for (sum, total) in sums.iter_mut().zip(image) {
            *sum += total;
        }
    }
    sums
}

/// In 32 partial sums: a fixed order that the compiler makes vectors of.
fn sum(plane: &[f32]) -> f32 {
    let mut sums = [0.0f32; 32];
    let (chunks, rest) = plane.as_chunks::<32>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

fn input_layout(s: &Shape2d) -> Layout {
    let out = [s.out_height, s.out_width];
    Layout::new([s.inputs, s.height, s.width], s.padding as isize, 1, s.kernel, s.stride, out)
}

/// The gradient of the output as the image that the input's gradient is convolved from.
fn gradient_layout(s: &Shape2d) -> Layout {
    let border = s.kernel as isize - 1 - s.padding as isize;
    Layout::new([s.outputs, s.out_height, s.out_width], border, s.stride, s.kernel, 1, [s.height, s.width])
}
