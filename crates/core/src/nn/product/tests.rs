use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use proptest::prelude::*;

use super::*;
use crate::device::{by_name, cpus};
use crate::rng::Stream;

fn numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    (0..count).map(|_| stream.normal() as f32).collect()
}

fn bits(x: Tensor<2>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

proptest! {
    /// Every view of both sides against sums in f64.
    #[test]
    fn products_of_views(m in 0usize..20, k in 0usize..20, n in 0usize..20, seed in 0u64..1000, turned: [bool; 2]) {
        let mut stream = Stream::new(seed, "product", 0);
        let (a, b) = (numbers(&mut stream, m * k), numbers(&mut stream, k * n));
        let view = |x, rows, columns, turned| match turned {
            true => Matrix::new(x, columns, rows).transpose(),
            false => Matrix::new(x, rows, columns),
        };
        let (x, y) = (view(&a, m, k, turned[0]), view(&b, k, n, turned[1]));
        let at = |x: &Matrix, row, column| f64::from(x.data[row * x.row_stride + column * x.column_stride]);
        let mut added = vec![1.0; m * n];
        add_product(&mut added, x, y, -2.0, Threads::Late);
        for (i, (out, added)) in product(x, y, Threads::Soon).into_iter().zip(added).enumerate() {
            let terms = || (0..k).map(|j| at(&x, i / n, j) * at(&y, j, i % n));
            let bound = 1e-6 * (1.0 + terms().map(f64::abs).sum::<f64>());
            prop_assert!((f64::from(out) - terms().sum::<f64>()).abs() < bound);
            prop_assert!((f64::from(added) - 1.0 + 2.0 * terms().sum::<f64>()).abs() < 3.0 * bound);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = [0.0; 6];
    assert_eq!(Matrix::strided(&x, [2, 2], [3, 2]).columns, 2);
    assert_eq!(Matrix::strided(&[], [0, 4], [4, 1]).rows, 0);
    for (shape, strides) in [([2, 3], [4, 1]), ([3, 2], [usize::MAX, 1]), ([2, 2], [usize::MAX, usize::MAX])] {
        assert!(std::panic::catch_unwind(|| Matrix::strided(&x, shape, strides)).is_err(), "{shape:?} {strides:?}");
    }
    // Sizes whose product does not fit into a number are not taken for those of a small slice.
    let many = 1usize << (usize::BITS / 2);
    assert!(std::panic::catch_unwind(|| Matrix::new(&[], many, many)).is_err());
    let (tall, wide) = (Matrix::strided(&x, [many, 1], [0, 0]), Matrix::strided(&x, [1, many], [0, 0]));
    assert!(std::panic::catch_unwind(|| product(tall, wide, Threads::Soon)).is_err());
    assert!(std::panic::catch_unwind(|| product_into(&mut [], tall, wide, Threads::Soon)).is_err());
    let (a, b) = (Matrix::new(&x, 2, 3), Matrix::new(&x, 2, 3));
    assert!(std::panic::catch_unwind(|| product(a, b, Threads::Soon)).is_err());
    assert!(std::panic::catch_unwind(|| product_into(&mut [0.0; 3], a, b.transpose(), Threads::Soon)).is_err());
}

/// Operands out of leaves.
type View = fn(Tensor<2>, Tensor<2>, Tensor<2>, Tensor<2>) -> (Tensor<2>, Tensor<2>);

/// Values and both gradients, of dense operands, transposed ones and slices, are those of Burn's own product to the bit.
#[test]
fn the_bytes_are_those_of_burns_own() {
    for (rows, inner, columns) in
        [(1, 64, 192), (512, 64, 256), (37, 129, 5), (8, 1, 3), (300, 200, 400), (3, 0, 2), (0, 4, 2)]
    {
        let device = by_name("flex").unwrap().autodiff();
        let mut stream = Stream::new(1, "product", 0);
        let mut tensor = |rows: usize, columns: usize| {
            let data = TensorData::new(numbers(&mut stream, rows * columns), [rows, columns]);
            Tensor::<2>::from_data(data, (&device, DType::F32)).require_grad()
        };
        let (x, w, turned, wide) =
            (tensor(rows, inner), tensor(inner, columns), tensor(columns, inner), tensor(rows + 1, inner + 2));
        let probe = tensor(rows, columns);
        let views: [View; 3] = [
            |x, w, _, _| (x, w),
            |x, _, turned, _| (x, turned.transpose()),
            |x, w, _, wide| (wide.slice([1..x.dims()[0] + 1, 2..x.dims()[1] + 2]), w),
        ];
        for view in views {
            let run = |of: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let (a, b) = view(x.clone(), w.clone(), turned.clone(), wide.clone());
                let y = of(a, b);
                let gradients = (y.clone() * probe.clone()).sum().backward();
                let leaves = [&x, &w, &turned, &wide].map(|x| x.grad(&gradients).map(bits));
                (bits(y), leaves)
            };
            assert_eq!(run(matmul), run(Tensor::matmul), "{rows} {inner} {columns}");
        }
    }
}

/// Other devices and types of numbers go Burn's way.
#[test]
fn every_device_and_type_has_a_product() {
    for device in cpus() {
        // Burn's ndarray has no narrow numbers.
        let narrow = (device == by_name("flex").unwrap()).then_some(DType::BF16);
        for dtype in [DType::F32, DType::F64].into_iter().chain(narrow) {
            let x = Tensor::<2>::random([3, 4], Distribution::Default, &device).cast(dtype);
            let y = matmul(x.clone(), x.clone().transpose());
            assert_eq!((y.dtype(), y.dims()), (dtype, [3, 3]));
            assert_eq!(y.into_data(), x.clone().matmul(x.transpose()).into_data());
        }
    }
}
