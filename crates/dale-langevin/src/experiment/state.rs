//! Everything that a run carries from step to step: [`Measured`] of the closed forms, [`Drawn`] of the prior,
//! [`State`] of a network.

use std::collections::BTreeMap;

use burn::prelude::*;
use plasticity_core::bytes::{from_f32s, to_f32s};
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::run::Curve;
use serde::{Deserialize, Serialize};

use crate::net::Training;
use crate::sampler::Sampled;
use crate::state::State as Diffusion;

/// What the closed forms have measured so far, by metric.
#[derive(Default)]
pub(super) struct Measured(pub BTreeMap<String, f64>);

impl Snapshot for Measured {
    fn save(&self) -> Result<Files, RunError> {
        Ok(Files::from([("measured.json".into(), to_json(&self.0)?)]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.0 = from_json("measured.json".as_ref(), file(files, "measured.json")?)?;
        Ok(())
    }
}

/// The images that the study of the prior has drawn so far, `[images, pixels]` row-major, in `[0, 1]`.
#[derive(Default)]
pub(super) struct Drawn(pub Vec<f32>);

impl Snapshot for Drawn {
    fn save(&self) -> Result<Files, RunError> {
        Ok(Files::from([("drawn.f32".into(), from_f32s(&self.0))]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.0 = floats(files, "drawn.f32")?;
        Ok(())
    }
}

/// The state of a run with a network.
pub(super) struct State {
    pub training: Training,
    /// The loss since the last point of the training curve.
    pub curve: Curve,
    /// Held-out error of the network and of the Wiener filter, by level: filled after training.
    pub held_out: Vec<[f64; 2]>,
    /// Images that are done, by sampler: `[images, pixels]` row-major, in `[0, 1]`.
    pub drawn: BTreeMap<String, Vec<f32>>,
    /// The chunk that is being drawn.
    pub drawing: Option<Sampled>,
    device: Device,
}

/// The part of the state that is numbers.
#[derive(Serialize, Deserialize)]
struct Numbers {
    curve: Curve,
    held_out: Vec<[f64; 2]>,
    drawn: Vec<String>,
    drawing: Option<Drawing>,
}

/// A [`Sampled`] without its tensors.
#[derive(Serialize, Deserialize)]
struct Drawing {
    step: usize,
    calls: usize,
    images: usize,
    previous: bool,
}

impl State {
    pub fn new(training: Training, device: &Device) -> Self {
        Self {
            training,
            curve: Curve::default(),
            held_out: Vec::new(),
            drawn: BTreeMap::new(),
            drawing: None,
            device: device.clone(),
        }
    }
}

/// The floats of a file.
fn floats(files: &Files, name: &str) -> Result<Vec<f32>, RunError> {
    let fault = || RunError::Checkpoint { file: name.into(), what: "its length is no multiple of 4".into() };
    to_f32s(file(files, name)?).ok_or_else(fault)
}

fn values(tensor: &Tensor<2>) -> Vec<u8> {
    from_f32s(&tensor.to_data().iter::<f32>().collect::<Vec<_>>())
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut files: Files = self.training.save()?;
        for (id, images) in &self.drawn {
            files.insert(format!("drawn-{id}.f32"), from_f32s(images));
        }
        let drawing = self.drawing.as_ref().map(|run| {
            files.insert("drawing-y.f32".into(), values(&run.state.y));
            if let Some(previous) = &run.previous {
                files.insert("drawing-previous.f32".into(), values(previous));
            }
            let images = run.state.y.dims()[0];
            Drawing { step: run.step, calls: run.calls, images, previous: run.previous.is_some() }
        });
        let numbers = Numbers {
            curve: self.curve.clone(),
            held_out: self.held_out.clone(),
            drawn: self.drawn.keys().cloned().collect(),
            drawing,
        };
        files.insert("state.json".into(), to_json(&numbers)?);
        Ok(files)
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let numbers: Numbers = from_json("state.json".as_ref(), file(files, "state.json")?)?;
        self.training.load(files)?;
        self.curve = numbers.curve;
        self.held_out = numbers.held_out;
        self.drawn.clear();
        for id in numbers.drawn {
            let name = format!("drawn-{id}.f32");
            let images = floats(files, &name)?;
            self.drawn.insert(id, images);
        }
        let tensor = |name: &str, images: usize| -> Result<Tensor<2>, RunError> {
            let values = floats(files, name)?;
            if images == 0 || !values.len().is_multiple_of(images) {
                return Err(RunError::Checkpoint { file: name.into(), what: format!("not {images} images") });
            }
            let shape = [images, values.len() / images];
            Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
        };
        self.drawing = match numbers.drawing {
            None => None,
            Some(drawing) => {
                let state = Diffusion::positive(tensor("drawing-y.f32", drawing.images)?);
                let previous = drawing.previous.then(|| tensor("drawing-previous.f32", drawing.images)).transpose()?;
                let run = Sampled { step: drawing.step, calls: drawing.calls, previous, ..Sampled::from(state) };
                Some(run)
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use burn::tensor::DType;
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
            first.drawing = Some(sample(&denoiser, start, &grid, &sampler, &mut noise(), &mut { cut }).unwrap());
            first.drawn.insert("done".into(), vec![0.25; 32]);
            first.held_out = vec![[1.5, 2.5]];

            let files = first.save().unwrap();
            let mut second = state(2);
            second.load(&files).unwrap();
            assert_eq!(second.drawn, first.drawn);
            assert_eq!(second.held_out, first.held_out);
            let denoiser = NetDenoiser::new(&second.training.average, 8).unwrap();
            let from = second.drawing.take().unwrap();
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
}
