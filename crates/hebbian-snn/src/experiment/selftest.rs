//! The self-test of a device: training with projection against the CPU, and against the reference code.

use burn::prelude::*;
use plasticity_core::device::DeviceError;
use plasticity_core::rng::Stream;
use plasticity_core::run::selftest::{Check, Failure, Known, Selftest, values};

use crate::hlop::{Hlop, Projection};
use crate::learner::{Learner, Task};
use crate::network::{Mlp, MlpConfig};
use crate::neuron::DsrLif;
use crate::subspace::{Consolidate, LateralRule, Subspace};
use crate::train::Optimiser;

/// Four batches with everything that follows from them, computed by the reference code.
const PIPELINE: &str = include_str!("../../tests/fixtures/pipeline_dsr.json");
/// How near all tensors must come (oracle 20).
const TOLERANCE: f64 = 2e-5;

/// Compares `device` with the CPU.
///
/// # Errors
/// When there is no CPU device to compare it with.
pub fn selftest(device: &Device) -> Result<Vec<Check>, DeviceError> {
    let mut test = Selftest::new(device)?;
    let tolerance = test.tolerance(TOLERANCE, 5e-3);
    test.compare("Weights and lateral rows after one training step with HLOP, 784-64-64-10", tolerance, one_step);
    let known = Known::parse(PIPELINE).and_then(|known| all_tensors(&known));
    test.expect("Four training steps of two tasks, against the reference code's values", tolerance, known, pipeline);
    Ok(test.finish())
}

fn matrix(values: Vec<f32>, columns: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / columns;
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Weights, thresholds and the rows of the lateral connections.
fn everything(task: &Task) -> Vec<f64> {
    let mlp = task.mlp();
    let weights = (0..mlp.weights.len()).flat_map(|layer| values(mlp.weight(layer).transpose()));
    let thresholds = (0..mlp.thresholds.len()).flat_map(|layer| values(mlp.threshold(layer)));
    let rows = task.hlop().into_iter().flat_map(Hlop::subspaces).filter_map(|subspace| subspace.h()).flat_map(values);
    weights.chain(thresholds).chain(rows).collect()
}

/// A step of the second task: 32 images, 20 time steps.
fn one_step(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    const BATCH: usize = 32;
    let config = MlpConfig { inputs: 784, hidden: vec![64, 64], classes: 10, lif: DsrLif::default() };
    let mlp = config.init(&mut Stream::new(0, "hebbian-snn/selftest/weights", 0), device)?;
    let mut stream = Stream::new(0, "hebbian-snn/selftest/rows", 0);
    // The rows that a first task has left.
    let mut subspaces = Vec::new();
    for ((inputs, lr), rows) in mlp.layer_inputs().into_iter().zip([0.001, 0.01, 0.01]).zip([80, 20, 20]) {
        let mut subspace = Subspace::new(inputs, LateralRule { lr, ..LateralRule::default() }, device)?;
        subspace.grow(rows, &mut stream)?;
        subspaces.push(subspace);
    }
    let hlop = Hlop::from_subspaces(subspaces, Projection::Input, Consolidate::None);
    let learner = Learner::new(mlp, Some(hlop), Optimiser::Sgd, 0.1)?;
    let task = learner.begin_task(&[70, 10, 10], &mut stream)?;
    // As sparse and as strong as normalised digits.
    let mut stream = Stream::new(0, "hebbian-snn/selftest/images", 0);
    let mut pixel = || if stream.bernoulli(0.19) { stream.uniform_in(0.3, 2.8) as f32 } else { -0.4242 };
    let x = matrix((0..BATCH * 784).map(|_| pixel()).collect(), 784, device);
    let labels: Vec<i64> = (0..BATCH as i64).map(|image| image % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [BATCH]), device);
    Ok(move || {
        let mut task = task.clone();
        task.step(x.clone(), labels.clone())?;
        Ok(everything(&task))
    })
}

/// What [`pipeline`] ends with, by the reference code.
fn all_tensors(known: &Known) -> Result<Vec<f64>, Failure> {
    let mut all = Vec::new();
    for name in ["weights", "vth", "H"] {
        all.extend(known.numbers(&format!("steps.3.{name}"))?);
    }
    Ok(all)
}

/// Two batches of a task without fixed rows and two of one with, 8-6-6-3.
fn pipeline(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    const INPUTS: [usize; 3] = [8, 6, 6];
    let known = Known::parse(PIPELINE)?;
    let number = |path: &str| Ok::<_, Failure>(known.numbers(path)?.first().copied().unwrap_or(f64::NAN));
    let tensor = |path: String, columns: usize| {
        let numbers = known.numbers(&path)?.into_iter().map(|x| x as f32).collect();
        Ok::<_, Failure>(matrix(numbers, columns, device))
    };
    let weights = INPUTS.into_iter().enumerate().map(|(l, n)| Ok(tensor(format!("W_init.{l}"), n)?.transpose()));
    let lif = DsrLif { steps: number("T")? as usize, ..DsrLif::default() };
    let mlp = Mlp::from_weights(weights.collect::<Result<_, Failure>>()?, lif)?;
    let lr = number("lr")?;
    let lateral = known.numbers("hlop_lr")?;
    let rules: Vec<LateralRule> = lateral.into_iter().map(|lr| LateralRule { lr, ..LateralRule::default() }).collect();
    let hlop = Hlop::new(&mlp.layer_inputs(), &rules, Projection::Input, Consolidate::None, device)?;
    let learner = Learner::new(mlp, Some(hlop), Optimiser::Sgd, lr)?;
    let rows = |name: &str| {
        let layers = INPUTS.into_iter().enumerate().map(|(layer, n)| tensor(format!("{name}.{layer}"), n));
        layers.collect::<Result<Vec<Tensor<2>>, Failure>>()
    };
    let (first_rows, new_rows) = (rows("H_init")?, rows("H_new_rows")?);
    let mut batches = Vec::new();
    for i in 0..4 {
        let labels: Vec<i64> = known.numbers(&format!("y.{i}"))?.into_iter().map(|label| label as i64).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [4]), device);
        batches.push((tensor(format!("x.{i}"), INPUTS[0])?, labels));
    }
    Ok(move || {
        let mut task = learner.clone().begin_task_with(first_rows.clone())?;
        for (i, (x, labels)) in batches.iter().enumerate() {
            if i == 2 {
                task = task.finish().0.begin_task_with(new_rows.clone())?;
            }
            task.step(x.clone(), labels.clone())?;
        }
        Ok(everything(&task))
    })
}
