//! Everything that a run carries from step to step.

use burn::optim::ModuleOptimizer;
use burn::prelude::*;
use plasticity_core::bytes::{from_f32s, to_f32s};
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::nn::{load_model, load_optimiser, save_model, save_optimiser};
use plasticity_core::run::{Curve, RunContext};
use serde::{Deserialize, Serialize};

use super::config::{Config, Strategy};
use crate::continual::AccuracyMatrix;
use crate::hlop::Hlop;
use crate::network::Mlp;
use crate::train::Optimiser;

/// The state of a run.
pub(super) struct State {
    pub mlp: Mlp,
    pub optimiser: ModuleOptimizer,
    pub hlop: Option<Hlop>,
    pub matrix: AccuracyMatrix,
    /// Since the last point of the training curve.
    pub loss: Curve,
    pub accuracy: Curve,
    /// The least over layers and tasks so far.
    pub least_eigenvalue: f64,
    kind: Optimiser,
}

/// The part of the state that is numbers.
#[derive(Serialize, Deserialize)]
struct Numbers {
    rows: Vec<Vec<Option<f64>>>,
    baseline: Vec<Option<f64>>,
    loss: Curve,
    accuracy: Curve,
    /// `None` before the first task has ended: infinity is not JSON.
    least_eigenvalue: Option<f64>,
    /// Names and shapes of the lateral tensors, in the order of their bytes.
    lateral: Vec<(String, Vec<usize>)>,
}

impl State {
    /// The state before the first step.
    pub fn new(config: &Config, inputs: usize, classes: usize, ctx: &RunContext) -> Result<Self, RunError> {
        let mlp = config.network(inputs, classes).init(&mut ctx.stream("hebbian-snn/weights", 0), ctx.device())?;
        let projected = config.strategy == Strategy::Hlop;
        let hlop = match config.strategy {
            Strategy::Naive => None,
            Strategy::Hlop => Some(Hlop::new(
                &mlp.layer_inputs(),
                &config.lateral_rules(),
                config.projection,
                config.consolidate,
                ctx.device(),
            )?),
        };
        Ok(Self {
            mlp,
            optimiser: config.optimiser.init(projected)?,
            hlop,
            matrix: AccuracyMatrix::new(config.tasks),
            loss: Curve::default(),
            accuracy: Curve::default(),
            least_eigenvalue: f64::INFINITY,
            kind: config.optimiser,
        })
    }
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut lateral = Vec::new();
        let mut bytes = Vec::new();
        for (name, data) in self.hlop.iter().flat_map(Hlop::to_tensors) {
            let values: Vec<f32> = data.try_to_vec().map_err(|e| RunError::Failed(format!("lateral {name}: {e:?}")))?;
            lateral.push((name, data.shape().to_vec()));
            bytes.extend(from_f32s(&values));
        }
        let numbers = Numbers {
            rows: self.matrix.rows().to_vec(),
            baseline: self.matrix.baseline().to_vec(),
            loss: self.loss.clone(),
            accuracy: self.accuracy.clone(),
            least_eigenvalue: Some(self.least_eigenvalue).filter(|value| value.is_finite()),
            lateral,
        };
        Ok(Files::from([
            ("model.safetensors".into(), save_model(&self.mlp)?),
            ("optimiser.bpk".into(), save_optimiser(&self.optimiser)?),
            ("lateral.f32".into(), bytes),
            ("state.json".into(), to_json(&numbers)?),
        ]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let numbers: Numbers = from_json("state.json".as_ref(), file(files, "state.json")?)?;
        load_model(&mut self.mlp, file(files, "model.safetensors")?)?;
        let fresh = self.kind.init(self.hlop.is_some())?;
        self.optimiser = load_optimiser(fresh, &self.mlp, file(files, "optimiser.bpk")?)?;
        self.matrix = AccuracyMatrix::from_rows(&numbers.rows, &numbers.baseline)
            .map_err(|e| RunError::Failed(format!("state.json: {e}")))?;
        self.loss = numbers.loss;
        self.accuracy = numbers.accuracy;
        self.least_eigenvalue = numbers.least_eigenvalue.unwrap_or(f64::INFINITY);
        if let Some(hlop) = &mut self.hlop {
            let values = to_f32s(file(files, "lateral.f32")?)
                .ok_or_else(|| RunError::Failed("lateral.f32 is no list of floats".into()))?;
            let mut rest = values.as_slice();
            let mut tensors = Vec::new();
            for (name, shape) in numbers.lateral {
                let n = shape.iter().product();
                let Some((part, after)) = rest.split_at_checked(n) else {
                    return Err(RunError::Failed(format!("lateral.f32 ends inside `{name}`")));
                };
                rest = after;
                tensors.push((name, TensorData::new(part.to_vec(), shape)));
            }
            if !rest.is_empty() {
                return Err(RunError::Failed("lateral.f32 is longer than state.json says".into()));
            }
            hlop.load_tensors(tensors)?;
        }
        Ok(())
    }
}
