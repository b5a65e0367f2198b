//! Everything that a run with a network carries from step to step.

use std::collections::BTreeMap;

use burn::prelude::*;
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use serde::{Deserialize, Serialize};

use super::bytes::{from_bytes, to_bytes};
use crate::net::Training;
use crate::sampler::Sampled;
use crate::state::State as Diffusion;

/// The state of a run.
pub(super) struct State {
    pub training: Training,
    pub curve: Curve,
    /// Held-out error of the network and of the Wiener filter, by level: filled after training.
    pub held_out: Vec<[f64; 2]>,
    /// Images that are done, by sampler: `[images, pixels]` row-major, in `[0, 1]`.
    pub drawn: BTreeMap<String, Vec<f32>>,
    /// The chunk that is being drawn.
    pub drawing: Option<Sampled>,
    device: Device,
}

/// Mean loss since the last point of the training curve.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Curve {
    sum: f64,
    steps: u64,
}

impl Curve {
    pub fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.steps += 1;
    }

    /// The mean, and how many steps it is of; starts anew.
    pub fn take(&mut self) -> (f64, u64) {
        let point = (self.sum / self.steps as f64, self.steps);
        *self = Self::default();
        point
    }
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

fn values(tensor: &Tensor<2>) -> Vec<u8> {
    to_bytes(&tensor.to_data().iter::<f32>().collect::<Vec<_>>())
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut files: Files = self.training.save()?;
        for (id, images) in &self.drawn {
            files.insert(format!("drawn-{id}.f32"), to_bytes(images));
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
            let images = from_bytes(&name, file(files, &name)?)?;
            self.drawn.insert(id, images);
        }
        let tensor = |name: &str, images: usize| -> Result<Tensor<2>, RunError> {
            let values = from_bytes(name, file(files, name)?)?;
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
