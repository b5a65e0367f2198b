//! Convolution against plain loops in f64, against Burn's own operation, and for any number of
//! threads.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::device::cpus;
use plasticity_core::nn::{conv2d, conv2d_reference};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{self, assert_close, assert_gradient, cpu, on_threads, values};
use proptest::prelude::*;

/// Sizes of a convolution of square kernels.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    inputs: usize,
    outputs: usize,
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Sizes {
    fn out(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn x(&self) -> [usize; 4] {
        [self.batch, self.inputs, self.height, self.width]
    }

    fn weight(&self) -> [usize; 4] {
        [self.outputs, self.inputs, self.kernel, self.kernel]
    }

    fn y(&self) -> [usize; 4] {
        [self.batch, self.outputs, self.out(self.height), self.out(self.width)]
    }

    /// Calls `f` with the indices in output, input and weight of every product.
    fn each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (rows, columns) = (self.out(self.height), self.out(self.width));
        for (b, o, y, x) in indices([self.batch, self.outputs, rows, columns]) {
            let at = ((b * self.outputs + o) * rows + y) * columns + x;
            for (c, i, j) in indices([1, self.inputs, self.kernel, self.kernel]).map(|(_, c, i, j)| (c, i, j)) {
                let (row, column) = (y * self.stride + i, x * self.stride + j);
                let inside = |at: usize, size: usize| at >= self.padding && at < size + self.padding;
                if inside(row, self.height) && inside(column, self.width) {
                    let (row, column) = (row - self.padding, column - self.padding);
                    let from = ((b * self.inputs + c) * self.height + row) * self.width + column;
                    f(at, from, ((o * self.inputs + c) * self.kernel + i) * self.kernel + j);
                }
            }
        }
    }
}

fn indices([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

fn draw(label: &str, shape: impl Into<Shape>) -> Vec<f64> {
    let shape: Shape = shape.into();
    Stream::new(3, label, 0).normal_vec(shape.num_elements()).into_iter().map(f64::from).collect()
}

fn tensor<const D: usize>(data: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    testing::tensor(data, shape, device, DType::F32)
}

/// Operands, output and gradients for `loss = sum(y * cotangent)`.
struct Case {
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    cotangent: Vec<f64>,
}

impl Case {
    fn new(s: Sizes) -> Self {
        let (x, weight) = (draw("x", s.x()), draw("weight", s.weight()));
        Self { x, weight, bias: draw("bias", [s.outputs]), cotangent: draw("cotangent", s.y()) }
    }

    /// Output, input gradient, weight gradient, bias gradient by plain loops.
    fn by_loops(&self, s: Sizes) -> [Vec<f64>; 4] {
        let [_, outputs, rows, columns] = s.y();
        let channel = |at: usize| at / (rows * columns) % outputs;
        let mut y: Vec<f64> = (0..self.cotangent.len()).map(|at| self.bias[channel(at)]).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; self.x.len()], vec![0.0; self.weight.len()], vec![0.0; outputs]);
        s.each_product(|at, from, by| {
            y[at] += self.x[from] * self.weight[by];
            dx[from] += self.cotangent[at] * self.weight[by];
            dw[by] += self.cotangent[at] * self.x[from];
        });
        self.cotangent.iter().enumerate().for_each(|(at, g)| db[channel(at)] += g);
        [y, dx, dw, db]
    }

    /// The same by an operation on tensors.
    fn by(&self, s: Sizes, device: &Device, operation: Operation) -> [Vec<f64>; 4] {
        let device = device.clone().autodiff();
        let x = tensor(&self.x, s.x(), &device).require_grad();
        let weight = tensor(&self.weight, s.weight(), &device).require_grad();
        let bias = tensor(&self.bias, [s.outputs], &device).require_grad();
        let y = operation(x.clone(), weight.clone(), Some(bias.clone()), s.stride, s.padding);
        assert_eq!(y.dims(), s.y());
        let g = (y.clone() * tensor(&self.cotangent, s.y(), &device)).sum().backward();
        let (dx, dw, db) = (x.grad(&g).unwrap(), weight.grad(&g).unwrap(), bias.grad(&g).unwrap());
        [values(y), values(dx), values(dw), values(db)]
    }
}

type Operation = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>;

/// Within rounding of sums of some hundreds of products of standard normal numbers: such a sum passes through values
/// of several units, and is rounded there, also where it ends near 0.
#[track_caller]
fn close(found: &[Vec<f64>; 4], expected: &[Vec<f64>; 4]) {
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.iter().fold(4.0, |max: f64, x| max.max(x.abs()));
        assert_close(found, expected, 2e-6 * scale);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pass_is_the_plain_loop(
        (batch, inputs, outputs) in (1usize..4, 1usize..=20, 1usize..=20),
        (height, width) in (1usize..13, 1usize..20),
        (kernel, stride, padding) in (1usize..=5, 1usize..=3, 0usize..=2),
    ) {
        let s = Sizes { batch, inputs, outputs, height, width, kernel, stride, padding };
        prop_assume!(height + 2 * padding >= kernel && width + 2 * padding >= kernel);
        let case = Case::new(s);
        let expected = case.by_loops(s);
        for device in cpus() {
            close(&case.by(s, &device, conv2d), &expected);
        }
    }
}

/// Channels over every division into lanes, sizes over every division into tiles.
#[test]
fn the_sizes_of_networks() {
    let device = cpu();
    let mut sizes = Vec::new();
    for (inputs, outputs) in [(1, 16), (16, 1), (8, 8), (16, 16), (24, 8), (33, 40), (64, 48), (12, 31)] {
        for (side, kernel) in [(14, 3), (7, 3), (28, 3), (14, 1), (9, 5), (11, 2), (13, 4)] {
            let s =
                Sizes { batch: 2, inputs, outputs, height: side, width: side, kernel, stride: 1, padding: kernel / 2 };
            sizes.push(s);
        }
    }
    for s in sizes {
        let case = Case::new(s);
        close(&case.by(s, &device, conv2d), &case.by_loops(s));
    }
}

const SMALL: Sizes = Sizes { batch: 3, inputs: 5, outputs: 18, height: 9, width: 10, kernel: 3, stride: 1, padding: 1 };

on_each_device!(agrees_with_burn, |device: Device| {
    for s in [SMALL, Sizes { stride: 2, ..SMALL }, Sizes { kernel: 1, padding: 0, ..SMALL }] {
        let case = Case::new(s);
        close(&case.by(s, &device, conv2d), &case.by(s, &device, conv2d_reference));
    }
});

// The loss is linear in each operand, so wide differences are exact but for rounding.
on_each_device!(gradients_are_differences, |device: Device| {
    let s = Sizes { batch: 1, inputs: 2, outputs: 3, height: 4, width: 3, kernel: 3, stride: 1, padding: 1 };
    let case = Case::new(s);
    let [_, dx, dw, db] = case.by(s, &device, conv2d);
    let loss = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
        let with = Case { x: x.into(), weight: weight.into(), bias: bias.into(), cotangent: case.cotangent.clone() };
        with.by_loops(s)[0].iter().zip(&case.cotangent).map(|(y, c)| y * c).sum()
    };
    assert_gradient(|x| loss(x, &case.weight, &case.bias), &case.x, &dx, 1e-5);
    assert_gradient(|w| loss(&case.x, w, &case.bias), &case.weight, &dw, 1e-5);
    assert_gradient(|b| loss(&case.x, &case.weight, b), &case.bias, &db, 1e-5);
});

on_each_device!(views_are_read_in_their_order, |device: Device| {
    let s = SMALL;
    let case = Case::new(s);
    let (x, weight) = (tensor(&case.x, s.x(), &device), tensor(&case.weight, s.weight(), &device));
    let expected = values(conv2d(x.clone(), weight.clone(), None, 1, 1));
    // Stored with other strides, and as a slice that begins inside its buffer.
    let turned = Tensor::from_data(x.clone().swap_dims(1, 3).into_data(), &device).swap_dims(1, 3);
    let twice = Tensor::cat(vec![weight.clone(), weight.clone() * 2.0], 0).narrow(0, 0, s.outputs);
    assert_eq!(values(conv2d(turned, twice, None, 1, 1)), expected);
    let flipped = conv2d(x.clone().flip([3]), weight.clone(), None, 1, 1);
    close_to(&values(flipped), &values(conv2d_reference(x.flip([3]), weight, None, 1, 1)));
});

#[track_caller]
fn close_to(found: &[f64], expected: &[f64]) {
    assert_close(found, expected, 1e-4);
}

on_each_device!(any_operand_may_be_a_constant, |device: Device| {
    let (s, case) = (SMALL, Case::new(SMALL));
    let expected = case.by_loops(s);
    let ad = device.clone().autodiff();
    for tracked in 1..8 {
        let is = |bit: usize| tracked >> bit & 1 == 1;
        let x = tensor(&case.x, s.x(), &ad).set_require_grad(is(0));
        let weight = tensor(&case.weight, s.weight(), &ad).set_require_grad(is(1));
        let bias = tensor(&case.bias, [s.outputs], &ad).set_require_grad(is(2));
        let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), 1, 1);
        let g = (y * tensor(&case.cotangent, s.y(), &ad)).sum().backward();
        let found = [x.grad(&g).map(values), weight.grad(&g).map(values), bias.grad(&g).map(values)];
        for (i, (found, expected)) in found.into_iter().zip(&expected[1..]).enumerate() {
            assert_eq!(found.is_some(), is(i), "operand {i} of {tracked:b}");
            if let Some(found) = found {
                close_to(&found, expected);
            }
        }
    }
    // Without a bias, and with an input that comes from elsewhere in the graph.
    let x = tensor(&case.x, s.x(), &ad).require_grad();
    let weight = tensor(&case.weight, s.weight(), &ad);
    let y = conv2d(x.clone() * 2.0, weight.clone(), None, 1, 1);
    let g = (y * tensor(&case.cotangent, s.y(), &ad)).sum().backward();
    let twice: Vec<f64> = expected[1].iter().map(|d| 2.0 * d).collect();
    close_to(&values(x.grad(&g).unwrap()), &twice);
    // Nothing is tracked, and tensors outside any graph.
    let y = conv2d(x.clone().detach(), weight, None, 1, 1);
    assert!(!y.is_require_grad());
    let inner = conv2d(x.inner(), tensor(&case.weight, s.weight(), &device), None, 1, 1);
    assert_eq!(values(y.inner()), values(inner));
});

on_each_device!(the_bytes_do_not_depend_on_threads, |device: Device| {
    for (batch, inputs, outputs) in [(19, 16, 32), (64, 8, 8), (5, 3, 17), (16, 20, 1)] {
        let s = Sizes { batch, inputs, outputs, height: 14, width: 14, ..SMALL };
        let case = Case::new(s);
        let on = |threads| on_threads(threads, || case.by(s, &device, conv2d));
        let one = on(1);
        for threads in [2, 3] {
            // Equal as numbers, none of which is NaN: equal bytes but for the sign of zero.
            assert_eq!(on(threads), one, "{threads} threads, {s:?}");
        }
    }
});

on_each_device!(other_types_and_shapes_fall_back, |device: Device| {
    let s = SMALL;
    let case = Case::new(s);
    let double = |data: &[f64], shape: [usize; 4]| {
        Tensor::<4>::from_data(TensorData::new(data.to_vec(), shape), (&device, DType::F64))
    };
    let y = conv2d(double(&case.x, s.x()), double(&case.weight, s.weight()), None, 1, 1);
    assert_eq!(y.dtype(), DType::F64);
    let plain = Case { bias: vec![0.0; s.outputs], ..Case::new(s) };
    assert_close(&values(y), &plain.by_loops(s)[0], 1e-12);
    let s = Sizes { kernel: 7, padding: 3, inputs: 2, outputs: 2, ..SMALL };
    let case = Case::new(s);
    close(&case.by(s, &device, conv2d), &case.by_loops(s));
    // A kernel that is not square.
    let x = tensor(&draw("x", [2, 3, 6, 6]), [2, 3, 6, 6], &device);
    let weight = tensor(&draw("w", [4, 3, 3, 1]), [4, 3, 3, 1], &device);
    assert_eq!(conv2d(x, weight, None, 1, 0).dims(), [2, 4, 4, 6]);
});
