//! The passes in every instruction set of this machine against plain loops: the operation itself
//! runs in the widest only.

use super::passes;
use super::shape::Shape2d;
use crate::nn::vector::Isa;
use crate::rng::Stream;

/// Calls `f` with the indices in output, input and weight of every product.
fn each_product(s: &Shape2d, mut f: impl FnMut(usize, usize, usize)) {
    for at in 0..s.output().iter().product() {
        let (x, y) = (at % s.out_width, at / s.out_width % s.out_height);
        let (o, b) = (at / (s.out_width * s.out_height) % s.outputs, at / (s.out_width * s.out_height * s.outputs));
        for tap in 0..s.inputs * s.kernel * s.kernel {
            let (j, i, c) = (tap % s.kernel, tap / s.kernel % s.kernel, tap / (s.kernel * s.kernel));
            let (row, column) = (y * s.stride + i, x * s.stride + j);
            let (row, column) = (row.wrapping_sub(s.padding), column.wrapping_sub(s.padding));
            if row < s.height && column < s.width {
                let from = ((b * s.inputs + c) * s.height + row) * s.width + column;
                f(at, from, o * s.inputs * s.kernel * s.kernel + tap);
            }
        }
    }
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 2e-6 * scale, "{what}: value {i} is {found}, not {expected}");
    }
}

fn check(s: Shape2d) {
    let draw = |label, shape: &[usize]| Stream::new(1, label, 0).normal_vec(shape.iter().product());
    let (x, weight, bias) = (draw("x", &s.input()), draw("weight", &s.weight()), draw("bias", &[s.outputs]));
    let g = draw("gradient", &s.output());
    let pixels = s.out_height * s.out_width;
    let mut y: Vec<f64> = (0..g.len()).map(|at| f64::from(bias[at / pixels % s.outputs])).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    each_product(&s, |at, from, by| {
        let [x, weight, g] = [x[from], weight[by], g[at]].map(f64::from);
        y[at] += x * weight;
        dx[from] += g * weight;
        dw[by] += g * x;
    });
    for isa in Isa::all() {
        assert_close(&passes::forward(isa, &x, &weight, Some(&bias), &s), &y, &format!("forward, {isa:?}, {s:?}"));
        assert_close(&passes::input_gradient(isa, &g, &weight, &s), &dx, &format!("input, {isa:?}, {s:?}"));
        assert_close(&passes::weight_gradient(isa, &x, &g, &s), &dw, &format!("weight, {isa:?}, {s:?}"));
    }
}

#[test]
fn every_instruction_set_gives_the_plain_loop() {
    for (inputs, outputs) in [(1, 16), (16, 1), (7, 8), (20, 27), (13, 41), (33, 5)] {
        for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (2, 1, 0), (3, 1, 1), (3, 2, 1), (4, 3, 2), (5, 1, 2)] {
            for [height, width] in [[7, 9], [5, 28], [14, 14], [6, 37]] {
                let (x, weight) = ([2, inputs, height, width], [outputs, inputs, kernel, kernel]);
                check(Shape2d::new(x, weight, stride, padding).expect("a size that the kernels have"));
            }
        }
    }
}

#[test]
fn every_width_of_an_image() {
    for width in 1..=40 {
        for outputs in [12, 32] {
            check(Shape2d::new([1, 8, 3, width], [outputs, 8, 3, 3], 1, 1).expect("a size that the kernels have"));
        }
    }
}

#[test]
fn what_the_kernels_have_no_form_of() {
    let shape = |x, weight, stride, padding| Shape2d::new(x, weight, stride, padding).is_some();
    assert!(shape([1, 2, 3, 3], [4, 2, 3, 3], 1, 0));
    assert!(!shape([1, 2, 3, 3], [4, 2, 5, 5], 1, 0), "a kernel beyond the image");
    assert!(!shape([1, 2, 9, 9], [4, 2, 3, 5], 1, 0), "not square");
    assert!(!shape([1, 2, 9, 9], [4, 2, 7, 7], 1, 0));
    assert!(!shape([1, 2, 9, 9], [4, 2, 3, 3], 4, 0));
    assert!(!shape([1, 2, 9, 9], [4, 3, 3, 3], 1, 0), "other channels");
    assert!(!shape([0, 2, 9, 9], [4, 2, 3, 3], 1, 0), "no images");
}
