//! Helpers for tests: tensors of f64 values, closeness of slices, golden values from JSON, central
//! differences, and a test body on every CPU device or number of threads. Everything here panics on failure, as a test does.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use serde_json::Value;

/// Makes one test per CPU backend that is compiled in, in a module of the given name:
/// `on_each_device!(o07_conservation, |device: Device| { ... });`. The features `flex` and
/// `ndarray` are those of the crate that holds the test.
#[macro_export]
macro_rules! on_each_device {
    ($name:ident, $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[cfg(feature = "flex")]
            #[test]
            fn flex() {
                ($body)($crate::device::by_name("flex").expect("compiled in"))
            }

            #[cfg(feature = "ndarray")]
            #[test]
            fn ndarray() {
                ($body)($crate::device::by_name("ndarray").expect("compiled in"))
            }
        }
    };
}

/// The CPU device of tests that need only one.
#[track_caller]
pub fn cpu() -> Device {
    crate::device::by_name("auto").expect("a CPU backend is compiled in")
}

/// A tensor of the values, row-major.
pub fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

/// What `work` gives on a pool of as many threads.
#[track_caller]
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
}

/// The tensor's values, row-major, as f64.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// The largest absolute difference of two slices of one length; infinite when one of them holds
/// a value that is not a number.
#[track_caller]
pub fn max_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "numbers of values differ");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(
        0.0,
        |max, d| {
            if d.is_nan() { f64::INFINITY } else { f64::max(max, d) }
        },
    )
}

/// Panics where two slices differ by more than `tolerance`, naming the worst place.
#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "numbers of values differ");
    let distance = |i: &usize| {
        let d = (found[*i] - expected[*i]).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    if let Some(i) = (0..found.len()).max_by(|a, b| distance(a).total_cmp(&distance(b))) {
        assert!(
            distance(&i) <= tolerance,
            "value {i} of {} is {}, expected {} within {tolerance}",
            found.len(),
            found[i],
            expected[i]
        );
    }
}

/// A JSON file of golden values, read by paths such as `"steps.0.dW"`.
#[derive(Debug, Clone)]
pub struct Golden(Value);

impl Golden {
    /// Reads the file.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
        Self(value)
    }

    /// The value at a path of keys and indices joined by dots.
    #[track_caller]
    pub fn at(&self, path: &str) -> Golden {
        let found = path.split('.').try_fold(&self.0, |value, key| match value {
            Value::Array(list) => key.parse().ok().and_then(|i: usize| list.get(i)),
            other => other.get(key),
        });
        Golden(found.unwrap_or_else(|| panic!("no golden value `{path}`")).clone())
    }

    /// A number.
    #[track_caller]
    pub fn number(&self, path: &str) -> f64 {
        self.at(path).0.as_f64().unwrap_or_else(|| panic!("`{path}` is no number"))
    }

    /// The number of entries of a list.
    #[track_caller]
    pub fn len(&self, path: &str) -> usize {
        self.at(path).0.as_array().unwrap_or_else(|| panic!("`{path}` is no list")).len()
    }

    /// All numbers of a nested list, in order.
    #[track_caller]
    pub fn numbers(&self, path: &str) -> Vec<f64> {
        fn flatten(value: &Value, out: &mut Vec<f64>) {
            match value {
                Value::Array(list) => list.iter().for_each(|v| flatten(v, out)),
                other => out.push(other.as_f64().expect("a golden list holds numbers only")),
            }
        }
        let mut out = Vec::new();
        flatten(&self.at(path).0, &mut out);
        out
    }

    /// A nested list as a tensor of rank D, in f32.
    #[track_caller]
    pub fn tensor<const D: usize>(&self, path: &str, device: &Device) -> Tensor<D> {
        let mut shape = [0; D];
        let mut value = &self.at(path).0;
        for size in &mut shape {
            let list = value.as_array().unwrap_or_else(|| panic!("`{path}` has not rank {D}"));
            *size = list.len();
            value = list.first().unwrap_or(&Value::Null);
        }
        assert!(!value.is_array(), "`{path}` has a higher rank than {D}");
        let numbers: Vec<f32> = self.numbers(path).into_iter().map(|x| x as f32).collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }
}

/// The gradient of `f` at `x` by central differences of width `2 h`.
pub fn central_difference(f: impl Fn(&[f64]) -> f64, x: &[f64], h: f64) -> Vec<f64> {
    let mut at = x.to_vec();
    (0..x.len())
        .map(|i| {
            at[i] = x[i] + h;
            let above = f(&at);
            at[i] = x[i] - h;
            let below = f(&at);
            at[i] = x[i];
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// Panics where the gradient `found` of `f` at `x` is not that of central differences, by more
/// than `tolerance` relative to the larger of 1 and the entry.
#[track_caller]
pub fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], found: &[f64], tolerance: f64) {
    let expected = central_difference(f, x, 1e-5);
    assert_eq!(found.len(), expected.len(), "numbers of entries differ");
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "entry {i} of the gradient is {a}, differences give {b}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_refuses_distance_and_nan() {
        assert_close(&[1.0, 2.0], &[1.0, 2.1], 0.11);
        for (found, expected) in [([1.0, 2.0], [1.0, 2.2]), ([1.0, f64::NAN], [1.0, 2.0])] {
            assert!(std::panic::catch_unwind(|| assert_close(&found, &expected, 0.11)).is_err());
        }
    }

    #[test]
    fn central_differences_of_a_polynomial() {
        let f = |x: &[f64]| x[0] * x[0] * x[1];
        assert_gradient(f, &[3.0, 2.0], &[12.0, 9.0], 1e-8);
        let wrong = || assert_gradient(f, &[3.0, 2.0], &[12.0, 8.9], 1e-8);
        assert!(std::panic::catch_unwind(wrong).is_err());
    }

    #[test]
    fn golden_values_by_path() {
        let golden = Golden(serde_json::json!({ "a": [{ "b": [[1, 2], [3, 4.5]] }], "c": 7 }));
        assert_eq!(golden.numbers("a.0.b"), [1.0, 2.0, 3.0, 4.5]);
        assert_eq!(golden.numbers("a.0.b.1"), [3.0, 4.5]);
        assert_eq!((golden.number("c"), golden.len("a")), (7.0, 1));
    }
}
