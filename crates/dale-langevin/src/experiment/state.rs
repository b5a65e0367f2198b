//! Everything that a run carries from step to step: [`Work`], and for a network [`State`], which adds what learns.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::DType;
use nalgebra::DMatrix;
use plasticity_core::bytes::{from_f32s, from_f64s, to_f32s, to_f64s};
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::run::Curve;
use serde::{Deserialize, Serialize};

use crate::frechet::Scatter;
use crate::net::Training;
use crate::sampler::Sampled;
use crate::state::State as Diffusion;

/// What is done, and what is under way, in every study.
pub(super) struct Work {
    /// Numbers that have been measured, all finite, by name.
    pub measured: BTreeMap<String, Vec<f64>>,
    /// Images that are done, by sampler: `[images, pixels]` row-major, in `[0, 1]`.
    pub drawn: BTreeMap<String, Vec<f32>>,
    /// The sampling that is under way.
    pub drawing: Option<Sampled>,
    /// The covariance that is under way, or done and still needed.
    pub scatter: Option<Scatter>,
    device: Device,
}

/// The part of [`Work`] that is numbers.
#[derive(Serialize, Deserialize)]
struct Numbers {
    measured: BTreeMap<String, Vec<f64>>,
    drawn: Vec<String>,
    drawing: Option<Drawing>,
    /// Rows taken up.
    scatter: Option<usize>,
}

/// A [`Sampled`] without its tensors.
#[derive(Serialize, Deserialize)]
struct Drawing {
    step: usize,
    calls: usize,
    flips: u64,
    clamped: u64,
    images: usize,
    double: bool,
    sign: bool,
    previous: bool,
}

impl Work {
    pub fn new(device: &Device) -> Self {
        Self { measured: BTreeMap::new(), drawn: BTreeMap::new(), drawing: None, scatter: None, device: device.clone() }
    }

    /// Notes a number that becomes a metric.
    pub fn note(&mut self, metric: impl Into<String>, value: f64, step: u64) -> Result<(), RunError> {
        let metric = metric.into();
        if !value.is_finite() {
            return Err(RunError::Diverged { metric, value, step });
        }
        self.measured.insert(metric, vec![value]);
        Ok(())
    }

    /// Adds numbers of `metric` to those that are kept under `name`, all of them or none.
    pub fn extend(&mut self, name: &str, metric: &str, values: &[f64], step: u64) -> Result<(), RunError> {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(RunError::Diverged { metric: metric.into(), value: *value, step });
        }
        self.measured.entry(name.into()).or_default().extend(values);
        Ok(())
    }

    /// The images of a sampler.
    pub fn images(&self, id: &str) -> &[f32] {
        self.drawn.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}

fn fault(file: impl Into<String>, what: impl Into<String>) -> RunError {
    RunError::Checkpoint { file: file.into().into(), what: what.into() }
}

fn floats(files: &Files, name: &str) -> Result<Vec<f32>, RunError> {
    to_f32s(file(files, name)?).ok_or_else(|| fault(name, "its length is no multiple of 4"))
}

/// The values of a tensor in their own precision.
fn values(tensor: &Tensor<2>) -> Vec<u8> {
    let data = tensor.to_data();
    match tensor.dtype() {
        DType::F64 => from_f64s(&data.iter::<f64>().collect::<Vec<_>>()),
        _ => from_f32s(&data.iter::<f32>().collect::<Vec<_>>()),
    }
}

const Y: &str = "drawing-y.floats";
const SIGN: &str = "drawing-sign.floats";
const PREVIOUS: &str = "drawing-previous.floats";
const SCATTER: &str = "scatter.f64";
const WORK: &str = "work.json";

impl Snapshot for Work {
    fn save(&self) -> Result<Files, RunError> {
        let mut files = Files::new();
        for (id, images) in &self.drawn {
            files.insert(format!("drawn-{id}.f32"), from_f32s(images));
        }
        let drawing = self.drawing.as_ref().map(|run| {
            let Diffusion { y, sign } = &run.state;
            for (name, tensor) in [(Y, Some(y)), (SIGN, sign.as_ref()), (PREVIOUS, run.previous.as_ref())] {
                if let Some(tensor) = tensor {
                    files.insert(name.into(), values(tensor));
                }
            }
            Drawing {
                step: run.step,
                calls: run.calls,
                flips: run.flips,
                clamped: run.clamped,
                images: y.dims()[0],
                double: y.dtype() == DType::F64,
                sign: sign.is_some(),
                previous: run.previous.is_some(),
            }
        });
        if let Some(scatter) = &self.scatter {
            files.insert(SCATTER.into(), from_f64s(scatter.sum.as_slice()));
        }
        let numbers = Numbers {
            measured: self.measured.clone(),
            drawn: self.drawn.keys().cloned().collect(),
            drawing,
            scatter: self.scatter.as_ref().map(|scatter| scatter.rows),
        };
        files.insert(WORK.into(), to_json(&numbers)?);
        Ok(files)
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let numbers: Numbers = from_json(WORK.as_ref(), file(files, WORK)?)?;
        let mut loaded = Self { measured: numbers.measured, ..Self::new(&self.device) };
        for id in numbers.drawn {
            let images = floats(files, &format!("drawn-{id}.f32"))?;
            loaded.drawn.insert(id, images);
        }
        if let Some(rows) = numbers.scatter {
            let sum = to_f64s(file(files, SCATTER)?).ok_or_else(|| fault(SCATTER, "its length is no multiple of 8"))?;
            let width = sum.len().isqrt();
            if width * width != sum.len() {
                return Err(fault(SCATTER, "not a square matrix"));
            }
            loaded.scatter = Some(Scatter { rows, sum: DMatrix::from_vec(width, width, sum) });
        }
        if let Some(drawing) = numbers.drawing {
            let tensor = |name: &str| -> Result<Tensor<2>, RunError> {
                let bytes = file(files, name)?;
                let size = if drawing.double { 8 } else { 4 };
                if drawing.images == 0 || bytes.is_empty() || !bytes.len().is_multiple_of(size * drawing.images) {
                    return Err(fault(name, format!("not {} images", drawing.images)));
                }
                let shape = [drawing.images, bytes.len() / size / drawing.images];
                let (data, dtype) = match drawing.double {
                    true => (to_f64s(bytes).map(|values| TensorData::new(values, shape)), DType::F64),
                    false => (to_f32s(bytes).map(|values| TensorData::new(values, shape)), DType::F32),
                };
                let data = data.ok_or_else(|| fault(name, "not whole numbers of bytes"))?;
                Ok(Tensor::from_data(data, (&self.device, dtype)))
            };
            let sign = drawing.sign.then(|| tensor(SIGN)).transpose()?;
            let previous = drawing.previous.then(|| tensor(PREVIOUS)).transpose()?;
            loaded.drawing = Some(Sampled {
                state: Diffusion { y: tensor(Y)?, sign },
                step: drawing.step,
                previous,
                calls: drawing.calls,
                flips: drawing.flips,
                clamped: drawing.clamped,
            });
        }
        *self = loaded;
        Ok(())
    }
}

/// The state of a run with a network.
pub(super) struct State {
    pub training: Training,
    /// The loss since the last point of the training curve.
    pub curve: Curve,
    pub work: Work,
}

const CURVE: &str = "curve.json";

impl State {
    pub fn new(training: Training, device: &Device) -> Self {
        Self { training, curve: Curve::default(), work: Work::new(device) }
    }
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut files: Files = self.training.save()?;
        files.insert(CURVE.into(), to_json(&self.curve)?);
        files.extend(self.work.save()?);
        Ok(files)
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.curve = from_json(CURVE.as_ref(), file(files, CURVE)?)?;
        self.training.load(files)?;
        self.work.load(files)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use plasticity_core::rng::Stream;

    use super::*;
    use crate::net::{Edm, NetDenoiser, UNetConfig};
    use crate::noise::Noise;
    use crate::prior::Prior;
    use crate::sampler::{Sampler, Solver, sample, unobserved};
    use crate::schedule::Grid;

    fn state(seed: u64) -> State {
        let device = Device::flex();
        let mut stream = Stream::new(seed, "weights", 0);
        let unet = UNetConfig::new(4, &[1]).init(&mut stream, &device.clone().autodiff()).unwrap();
        State::new(Training::new(Edm::new(unet, [1, 4, 4], 0.2).unwrap(), 0.9), &device)
    }

    /// Cut off after the third of seven steps, written, read into another state and gone on with.
    #[test]
    fn a_sampling_goes_on_from_its_files_with_the_same_bytes() {
        for solver in [Solver::DpmSolver2M, Solver::DaleLog] {
            let mut first = state(1);
            let denoiser = NetDenoiser::new(&first.training.average, 8).unwrap();
            let grid = Grid::edm(0.01, 10.0, 7.0, 7).unwrap();
            let noise = || Noise::new(5, "samples", 0, 3);
            let start = Prior::independent(16, 0.0, 10.0).unwrap().draw(&mut noise(), &Device::flex(), DType::F32);
            let sampler = Sampler::new(solver);
            let whole = sample(&denoiser, start.clone(), &grid, &sampler, &mut noise(), &mut unobserved).unwrap();
            let cut = |run: &Sampled| if run.step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            first.work.drawing = Some(sample(&denoiser, start, &grid, &sampler, &mut noise(), &mut { cut }).unwrap());
            first.work.drawn.insert("done".into(), vec![0.25; 32]);
            first.work.note("error", 0.1 + 0.2, 3).unwrap();
            first.work.scatter =
                Some(Scatter { rows: 7, sum: DMatrix::from_fn(3, 3, |i, j| 0.1 * (i + 4 * j) as f64) });

            let files = first.save().unwrap();
            let mut second = state(2);
            second.load(&files).unwrap();
            assert_eq!(second.work.drawn, first.work.drawn);
            assert_eq!(second.work.measured, first.work.measured);
            assert_eq!(second.work.scatter, first.work.scatter);
            let denoiser = NetDenoiser::new(&second.training.average, 8).unwrap();
            let from = second.work.drawing.take().unwrap();
            assert_eq!(from.step, 3);
            let resumed = sample(&denoiser, from, &grid, &sampler, &mut noise(), &mut unobserved).unwrap();
            assert_eq!(values(&whole.state.y), values(&resumed.state.y), "{solver:?}");
            assert_eq!(whole.calls, resumed.calls);
        }
    }

    #[test]
    fn a_checkpoint_of_another_size_is_refused_by_name() {
        let device = Device::flex();
        let unet =
            UNetConfig::new(8, &[1]).init(&mut Stream::new(1, "weights", 0), &device.clone().autodiff()).unwrap();
        let mut other = State::new(Training::new(Edm::new(unet, [1, 4, 4], 0.2).unwrap(), 0.9), &device);
        let error = other.load(&state(1).save().unwrap()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }

    /// Signs, double precision and counts are not lost on the way.
    #[test]
    fn a_signed_sampling_in_f64_goes_on_with_the_same_bits() {
        let data = crate::mixture::LogNormalMixture::single(0.2, 0.5);
        let grid = Grid::uniform_time(&crate::schedule::Schedule::PAPER, 4).unwrap();
        let noise = || Noise::new(5, "flips", 0, 1);
        let start = Prior::independent(4000, 0.2, 0.9).unwrap().draw(&mut noise(), &Device::flex(), DType::F64);
        let sampler = Sampler { last_noise: true, ..Sampler::new(Solver::SignAgnostic) };
        let whole = sample(&data, start.clone(), &grid, &sampler, &mut noise(), &mut unobserved).unwrap();
        let cut = |run: &Sampled| if run.step == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let mut work = Work::new(&Device::flex());
        work.drawing = Some(sample(&data, start, &grid, &sampler, &mut noise(), &mut { cut }).unwrap());
        let mut other = Work::new(&Device::flex());
        other.load(&work.save().unwrap()).unwrap();
        let from = other.drawing.take().unwrap();
        assert!(from.flips > 0 && from.state.sign.is_some());
        let resumed = sample(&data, from, &grid, &sampler, &mut noise(), &mut unobserved).unwrap();
        assert_eq!(values(&whole.state.y), values(&resumed.state.y));
        assert_eq!((whole.flips, whole.negative()), (resumed.flips, resumed.negative()));
    }

    #[test]
    fn tensors_of_another_length_are_refused_by_name() {
        let mut work = Work::new(&Device::flex());
        let noise = &mut Noise::new(5, "start", 0, 2);
        let start = Prior::independent(3, 0.0, 1.0).unwrap().draw(noise, &Device::flex(), DType::F32);
        work.drawing = Some(start.into());
        work.scatter = Some(Scatter::new(2));
        let files = work.save().unwrap();
        for (name, length) in [(Y, 20), (Y, 0), (Y, 22), (SCATTER, 24), (SCATTER, 31)] {
            let mut cut = files.clone();
            cut.insert(name.into(), vec![0; length]);
            let error = Work::new(&Device::flex()).load(&cut).unwrap_err().to_string();
            assert!(error.contains(name), "{length}: {error}");
        }
    }

    #[test]
    fn a_number_that_is_not_finite_ends_the_run_where_it_is_found() {
        let error = Work::new(&Device::flex()).note("w1", f64::NAN, 7).unwrap_err();
        assert!(matches!(error, RunError::Diverged { step: 7, .. }), "{error}");
        // Also where it is one of many that are kept for later: JSON has no word for it.
        let mut work = Work::new(&Device::flex());
        work.extend("errors", "held-out error", &[1.0, 2.0], 3).unwrap();
        let error = work.extend("errors", "held-out error", &[3.0, f64::INFINITY], 4).unwrap_err();
        assert!(matches!(error, RunError::Diverged { step: 4, .. }), "{error}");
        assert_eq!(work.measured["errors"], [1.0, 2.0]);
    }
}
