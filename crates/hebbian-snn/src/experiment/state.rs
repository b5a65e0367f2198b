//! Everything that a run carries from step to step.

use burn::prelude::*;
use plasticity_core::bytes::{from_f32s, to_f32s};
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::run::{Curve, RunContext};
use serde::{Deserialize, Serialize};

use super::config::{Config, Strategy};
use crate::continual::AccuracyMatrix;
use crate::hlop::Hlop;
use crate::learner::{Learner, Saved, Task, TaskEnd};
use crate::network::Mlp;

/// The state of a run.
pub(super) struct State {
    stage: Stage,
    pub matrix: AccuracyMatrix,
    /// Since the last point of the training curve.
    pub loss: Curve,
    pub accuracy: Curve,
    /// The least over layers and tasks so far.
    pub least_eigenvalue: f64,
}

/// Where the network is.
#[allow(clippy::large_enum_variant)] // there is one
enum Stage {
    Between(Learner),
    Within(Task),
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
    /// Of the learner, with the steps of a task that had begun.
    settings: Vec<(String, String)>,
    tasks: usize,
    steps: Option<u64>,
    /// Names and shapes of the learner's tensors, in the order of their bytes.
    tensors: Vec<(String, Vec<usize>)>,
}

const TENSORS: &str = "tensors.f32";

impl State {
    /// The state before the first step.
    pub fn new(config: &Config, inputs: usize, classes: usize, ctx: &RunContext) -> Result<Self, RunError> {
        let mlp = config.network(inputs, classes).init(&mut ctx.stream("hebbian-snn/weights", 0), ctx.device())?;
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
            stage: Stage::Between(Learner::new(mlp, hlop, config.optimiser, config.learning_rate)?),
            matrix: AccuracyMatrix::new(config.tasks),
            loss: Curve::default(),
            accuracy: Curve::default(),
            least_eigenvalue: f64::INFINITY,
        })
    }

    /// The network as it is now.
    pub fn mlp(&self) -> &Mlp {
        match &self.stage {
            Stage::Between(learner) => learner.mlp(),
            Stage::Within(task) => task.mlp(),
        }
    }

    /// The lateral connections as they are now.
    pub fn hlop(&self) -> Option<&Hlop> {
        match &self.stage {
            Stage::Between(learner) => learner.hlop(),
            Stage::Within(task) => task.hlop(),
        }
    }

    /// The task of the config that is being learned, which begins with its first step.
    pub fn task(&mut self, config: &Config, index: usize, ctx: &RunContext) -> Result<&mut Task, RunError> {
        if let Stage::Between(learner) = &self.stage {
            let rows = match config.strategy {
                Strategy::Naive => &[][..],
                Strategy::Hlop => &config.rows[index],
            };
            let task = learner.clone().begin_task(rows, &mut ctx.stream("hebbian-snn/rows", index as u64));
            self.stage = Stage::Within(task.map_err(|refused| refused.error)?);
        }
        match &mut self.stage {
            Stage::Within(task) => Ok(task),
            Stage::Between(_) => unreachable!("a task has begun"),
        }
    }

    /// Ends the task.
    pub fn finish_task(&mut self) -> Result<TaskEnd, RunError> {
        let Stage::Within(task) = &self.stage else {
            return Err(RunError::Failed("no task has begun that could end".into()));
        };
        let (learner, end) = task.clone().finish();
        self.stage = Stage::Between(learner);
        Ok(end)
    }
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let saved = match &self.stage {
            Stage::Between(learner) => learner.save()?,
            Stage::Within(task) => task.save()?,
        };
        let (mut tensors, mut bytes) = (Vec::new(), Vec::new());
        for (name, data) in saved.tensors {
            let values: Vec<f32> = data.try_to_vec().map_err(|e| RunError::Failed(format!("{name}: {e:?}")))?;
            tensors.push((name, data.shape().to_vec()));
            bytes.extend(from_f32s(&values));
        }
        let numbers = Numbers {
            rows: self.matrix.rows().to_vec(),
            baseline: self.matrix.baseline().to_vec(),
            loss: self.loss.clone(),
            accuracy: self.accuracy.clone(),
            least_eigenvalue: Some(self.least_eigenvalue).filter(|value| value.is_finite()),
            settings: saved.settings,
            tasks: saved.tasks,
            steps: saved.steps,
            tensors,
        };
        Ok(Files::from([
            ("model.safetensors".into(), saved.model),
            (TENSORS.into(), bytes),
            ("state.json".into(), to_json(&numbers)?),
        ]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let numbers: Numbers = from_json("state.json".as_ref(), file(files, "state.json")?)?;
        let fault = |what: String| RunError::Checkpoint { file: TENSORS.into(), what };
        let values =
            to_f32s(file(files, TENSORS)?).ok_or_else(|| fault("its bytes are no list of floats".to_owned()))?;
        let mut rest = values.as_slice();
        let mut tensors = Vec::new();
        for (name, shape) in numbers.tensors {
            let n = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
            let Some((part, after)) = n.and_then(|n| rest.split_at_checked(n)) else {
                return Err(fault(format!("it ends inside `{name}`")));
            };
            rest = after;
            tensors.push((name, TensorData::new(part.to_vec(), shape)));
        }
        if !rest.is_empty() {
            return Err(fault("it is longer than state.json says".into()));
        }
        let model = file(files, "model.safetensors")?.to_vec();
        let saved = Saved { settings: numbers.settings, tasks: numbers.tasks, steps: numbers.steps, model, tensors };
        let Stage::Between(fresh) = &self.stage else {
            return Err(RunError::Failed("a state is loaded before the first step".into()));
        };
        let matrix = AccuracyMatrix::from_rows(&numbers.rows, &numbers.baseline)
            .map_err(|e| RunError::Failed(format!("state.json: {e}")))?;
        if matrix.tasks() != self.matrix.tasks() {
            let (found, expected) = (matrix.tasks(), self.matrix.tasks());
            return Err(RunError::Failed(format!("state.json: a matrix of {found} tasks, not of {expected}")));
        }
        self.stage = match saved.steps {
            None => Stage::Between(fresh.clone().load(&saved)?),
            Some(_) => Stage::Within(fresh.clone().resume(&saved)?),
        };
        self.matrix = matrix;
        self.loss = numbers.loss;
        self.accuracy = numbers.accuracy;
        self.least_eigenvalue = numbers.least_eigenvalue.unwrap_or(f64::INFINITY);
        Ok(())
    }
}
