//! The self-test of a device: a paper computes something on it and on the CPU, and tells how far apart the two are
//! and how long each took.
//!
//! ```text
//! let mut test = Selftest::new(device)?;
//! test.compare("A matrix product", 1e-5, |device| {
//!     let a = ...;                               // not timed
//!     Ok(move || Ok(values(a.clone().matmul(a.clone()))))   // timed
//! });
//! Ok(test.finish())
//! ```
//!
//! A failure of the work, a panic of a GPU's driver included, becomes a failed [`Check`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use burn::prelude::*;

use crate::device::{self, DeviceError};

/// Timed runs of one piece of work, after a first one that is not timed.
const REPEATS: usize = 5;
/// No further run of it begins after this time.
const ENOUGH: Duration = Duration::from_millis(400);

/// Why a piece of work could not be done.
pub type Failure = Box<dyn std::error::Error>;

/// The self-test of a paper.
pub type Run = fn(&Device) -> Result<Vec<Check>, DeviceError>;

/// A comparison of a device with the CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was computed.
    pub name: String,
    /// The largest difference of any two values.
    pub found: f64,
    /// The largest one that is allowed.
    pub tolerance: f64,
    /// Median time on the CPU, in milliseconds.
    pub cpu_ms: f64,
    /// Median time on the device, in milliseconds.
    pub device_ms: f64,
    /// Why there is nothing to compare; the numbers above then mean nothing.
    pub failure: Option<String>,
}

impl Check {
    /// Whether both sides computed something, and the difference is allowed.
    pub fn passed(&self) -> bool {
        self.failure.is_none() && self.found <= self.tolerance
    }
}

/// The CPU device that another one is compared with: flex, and ndarray for flex itself.
///
/// # Errors
/// When that one is not compiled in.
pub fn reference(device: &Device) -> Result<Device, DeviceError> {
    match device::by_name("flex") {
        Ok(flex) if flex != device.clone().without_autodiff() => Ok(flex),
        _ => device::by_name("ndarray"),
    }
}

/// The values of a tensor, row-major.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// A committed JSON file of known values, read by paths such as `steps.0.loss`.
#[derive(Debug, Clone)]
pub struct Known(serde_json::Value);

impl Known {
    /// Reads the text.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(json: &str) -> Result<Self, Failure> {
        Ok(Self(serde_json::from_str(json)?))
    }

    /// All numbers of the value at a path of keys and indices joined by dots, nested lists in order.
    ///
    /// # Errors
    /// When there is no such value, or it holds something else.
    pub fn numbers(&self, path: &str) -> Result<Vec<f64>, Failure> {
        fn flatten(value: &serde_json::Value, out: &mut Vec<f64>) -> Option<()> {
            match value {
                serde_json::Value::Array(list) => list.iter().try_for_each(|value| flatten(value, out)),
                other => other.as_f64().map(|number| out.push(number)),
            }
        }
        let found = path.split('.').try_fold(&self.0, |value, key| match value {
            serde_json::Value::Array(list) => key.parse().ok().and_then(|i: usize| list.get(i)),
            other => other.get(key),
        });
        let mut out = Vec::new();
        match found.and_then(|value| flatten(value, &mut out)) {
            Some(()) => Ok(out),
            None => Err(format!("no numbers at `{path}` of the known values").into()),
        }
    }
}

/// Checks of one device, in the order in which they were made.
#[derive(Debug)]
pub struct Selftest {
    device: Device,
    cpu: Device,
    checks: Vec<Check>,
}

impl Selftest {
    /// No checks yet.
    ///
    /// # Errors
    /// As [`reference`].
    pub fn new(device: &Device) -> Result<Self, DeviceError> {
        let device = device.clone().without_autodiff();
        Ok(Self { cpu: reference(&device)?, device, checks: Vec::new() })
    }

    /// `exact`, but `rounded` where matrix products may round their factors ([`device::may_round_products`]).
    pub fn tolerance(&self, exact: f64, rounded: f64) -> f64 {
        if device::may_round_products(&self.device) { rounded } else { exact }
    }

    /// The same work on both. `prepare` makes it ready on a device; what it returns is run once to warm up and then
    /// timed, and must give the same values each time.
    pub fn compare<W>(&mut self, name: &str, tolerance: f64, prepare: impl Fn(&Device) -> Result<W, Failure>)
    where
        W: FnMut() -> Result<Vec<f64>, Failure>,
    {
        self.against(name, tolerance, &prepare, &prepare);
    }

    /// Two ways to the same values: `cpu` on the CPU, `device` on the device.
    pub fn against<V, W>(
        &mut self,
        name: &str,
        tolerance: f64,
        cpu: impl Fn(&Device) -> Result<V, Failure>,
        device: impl Fn(&Device) -> Result<W, Failure>,
    ) where
        V: FnMut() -> Result<Vec<f64>, Failure>,
        W: FnMut() -> Result<Vec<f64>, Failure>,
    {
        let (cpu, device) = (measure(&self.cpu, cpu), measure(&self.device, device));
        let known = cpu.clone().map(|(values, _)| values);
        self.add(name, tolerance, known, cpu, device);
    }

    /// Known values: the device's are compared with these, and the CPU is only timed.
    pub fn expect<W>(
        &mut self,
        name: &str,
        tolerance: f64,
        known: Result<Vec<f64>, Failure>,
        prepare: impl Fn(&Device) -> Result<W, Failure>,
    ) where
        W: FnMut() -> Result<Vec<f64>, Failure>,
    {
        let (cpu, device) = (measure(&self.cpu, &prepare), measure(&self.device, &prepare));
        self.add(name, tolerance, known.map_err(|failure| failure.to_string()), cpu, device);
    }

    fn add(&mut self, name: &str, tolerance: f64, known: Result<Vec<f64>, String>, cpu: Measured, device: Measured) {
        let mut check = Check {
            name: name.to_owned(),
            found: f64::INFINITY,
            tolerance,
            cpu_ms: f64::NAN,
            device_ms: f64::NAN,
            failure: None,
        };
        match (cpu, device, known) {
            (_, Err(failure), _) => check.failure = Some(failure),
            (Err(failure), ..) => check.failure = Some(format!("on the CPU: {failure}")),
            (_, _, Err(failure)) => check.failure = Some(failure),
            (Ok((_, cpu_ms)), Ok((values, device_ms)), Ok(known)) => {
                (check.cpu_ms, check.device_ms) = (cpu_ms, device_ms);
                check.found = difference(&values, &known);
            }
        }
        self.checks.push(check);
    }

    /// The checks.
    pub fn finish(self) -> Vec<Check> {
        self.checks
    }
}

/// Values and milliseconds, or what went wrong.
type Measured = Result<(Vec<f64>, f64), String>;

fn measure<W>(device: &Device, prepare: impl Fn(&Device) -> Result<W, Failure>) -> Measured
where
    W: FnMut() -> Result<Vec<f64>, Failure>,
{
    let work = || {
        let mut work = prepare(device)?;
        let values = work()?;
        let (begin, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || (times.len() < REPEATS && begin.elapsed() < ENOUGH) {
            let start = Instant::now();
            work()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok::<_, Failure>((values, times[times.len() / 2]))
    };
    // A GPU without a working driver panics at its first operation (and again at each that follows).
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            Err(format!("panicked: {text}"))
        }
    }
}

/// The largest difference; infinite when the numbers of values differ or one is not a number.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { f64::max(worst, d) })
}

#[cfg(all(test, feature = "flex", feature = "ndarray"))]
mod tests {
    use super::*;

    fn on(device: &str) -> Selftest {
        Selftest::new(&device::by_name(device).unwrap()).unwrap()
    }

    #[test]
    fn each_cpu_backend_is_compared_with_the_other() {
        for (device, other) in [("flex", "ndarray"), ("ndarray", "flex")] {
            let reference = reference(&device::by_name(device).unwrap().autodiff()).unwrap();
            assert_eq!(reference, device::by_name(other).unwrap());
            let mut test = on(device);
            test.compare("a product", 1e-6, |device| {
                let a = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], device);
                Ok(move || Ok(values(a.clone().matmul(a.clone()))))
            });
            let checks = test.finish();
            assert!(checks.len() == 1 && checks[0].passed() && checks[0].found < 1e-6, "{checks:?}");
            assert!(checks[0].cpu_ms >= 0.0 && checks[0].device_ms >= 0.0);
        }
    }

    #[test]
    fn values_apart_errors_and_panics_are_failed_checks() {
        let mut test = on("ndarray");
        test.expect("apart", 0.1, Ok(vec![1.0, 2.0]), |_| Ok(|| Ok(vec![1.0, 2.2])));
        test.expect("fewer", 0.1, Ok(vec![1.0, 2.0]), |_| Ok(|| Ok(vec![1.0])));
        test.expect("not a number", 0.1, Ok(vec![1.0]), |_| Ok(|| Ok(vec![f64::NAN])));
        test.compare("error", 0.1, |_| Ok(|| Err("no such thing".into())));
        let broken = |device: &Device| {
            let broken = *device == device::by_name("ndarray").unwrap();
            Ok(move || if broken { panic!("the driver is {}", "gone") } else { Ok(vec![1.0]) })
        };
        test.compare("panic", 0.1, broken);
        let checks = test.finish();
        assert!(checks.iter().all(|check| !check.passed()), "{checks:?}");
        assert!((checks[0].found - 0.2).abs() < 1e-12 && checks[1].found.is_infinite());
        assert_eq!(checks[3].failure.as_deref(), Some("no such thing"));
        assert_eq!(checks[4].failure.as_deref(), Some("panicked: the driver is gone"));
    }

    #[test]
    fn known_values_by_path() {
        let known = Known::parse(r#"{ "a": [{ "b": [[1, 2], [3, 4.5]] }], "c": "x" }"#).unwrap();
        assert_eq!(known.numbers("a.0.b").unwrap(), [1.0, 2.0, 3.0, 4.5]);
        assert_eq!(known.numbers("a.0.b.1.1").unwrap(), [4.5]);
        for path in ["a.1", "c", "d"] {
            assert!(known.numbers(path).unwrap_err().to_string().contains(path));
        }
    }

    #[test]
    fn two_ways_to_one_value() {
        let mut test = on("flex");
        test.against("sum", 1e-12, |_| Ok(|| Ok(vec![3.0])), |_| Ok(|| Ok(vec![1.0 + 2.0])));
        assert!(test.finish()[0].passed());
        assert_eq!((on("flex").tolerance(1.0, 2.0), on("ndarray").tolerance(1.0, 2.0)), (1.0, 1.0));
    }
}
