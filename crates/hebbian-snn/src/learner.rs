//! A network that learns task after task. A task is a value: while it lives it owns the network, and its end fixes its
//! rows.
//!
//! ```text
//! Learner -- begin_task --> Task -- step, step, ... --> finish --> Learner
//! ```
//!
//! What protects earlier tasks needs an order: new rows, a fresh optimiser, steps, rows fixed. No other can be
//! written: there is no step outside a task, no second task within one, and momentum does not outlive its task.
//! Whatever fails leaves network, lateral connections and optimiser as they were.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use burn::prelude::*;
//! use hebbian_snn::hlop::{Hlop, Projection};
//! use hebbian_snn::learner::Learner;
//! use hebbian_snn::network::MlpConfig;
//! use hebbian_snn::neuron::DsrLif;
//! use hebbian_snn::subspace::{Consolidate, LateralRule};
//! use hebbian_snn::train::Optimiser;
//! use plasticity_core::{device::by_name, rng::Stream};
//!
//! let device = by_name("auto")?;
//! let config = MlpConfig { inputs: 20, hidden: vec![16], classes: 4, lif: DsrLif::default() };
//! let mlp = config.init(&mut Stream::new(0, "weights", 0), &device)?;
//! let rules = [LateralRule::default(); 2];
//! let hlop = Hlop::new(&mlp.layer_inputs(), &rules, Projection::Input, Consolidate::Qr, &device)?;
//! let mut learner = Learner::new(mlp, Some(hlop), Optimiser::Sgd, 0.1)?;
//! for index in 0..2 {
//!     let mut task = learner.begin_task(&[5, 3], &mut Stream::new(0, "rows", index))?;
//!     let mut images = Stream::new(0, "images", index);
//!     for _ in 0..10 {
//!         let x = Tensor::from_data(TensorData::new(images.normal_vec(8 * 20), [8, 20]), &device);
//!         let labels = Tensor::from_data([0, 1, 2, 3, 0, 1, 2, 3], &device);
//!         task.step(x, labels)?;
//!     }
//!     (learner, _) = task.finish();
//! }
//! assert_eq!(learner.hlop().map(|hlop| hlop.subspaces()[0].fixed_rows()), Some(10));
//! # Ok(())
//! # }
//! ```
//!
//! A second task within the first is no program:
//!
//! ```compile_fail,E0382
//! # use hebbian_snn::learner::{Learner, Refused};
//! # use plasticity_core::rng::Stream;
//! fn both(learner: Learner, stream: &mut Stream) -> Result<(), Refused> {
//!     let first = learner.begin_task(&[5, 3], stream)?;
//!     let second = learner.begin_task(&[5, 3], stream)?;
//!     Ok(())
//! }
//! ```
//!
//! What is protected are the answers of each weight layer to what it saw, as far as the rows hold that
//! ([`Subspace::captured_energy`]). Thresholds, which no projection protects, learn in the first task only; biases
//! there are none.

use std::collections::BTreeMap;

use burn::prelude::*;
use plasticity_core::error::RunError;
use plasticity_core::nn::{load_model, save_model};
use plasticity_core::rng::Stream;

use crate::dsr;
use crate::error::SnnError;
use crate::hlop::Hlop;
use crate::network::Mlp;
use crate::subspace::Subspace;
use crate::train::{Descent, Optimiser, StepReport};

/// A network between two tasks. A clone shares the tensors and costs nothing.
#[derive(Debug, Clone)]
pub struct Learner {
    mlp: Mlp,
    hlop: Option<Hlop>,
    optimiser: Optimiser,
    lr: f64,
    /// Tasks that have ended.
    tasks: usize,
}

/// A network within a task.
#[must_use = "the network learns by `step`, and comes back with `finish`"]
#[derive(Debug, Clone)]
pub struct Task {
    learner: Learner,
    descent: Descent,
    steps: u64,
    /// The learner without this task's rows, until the first step is done.
    before: Option<Box<Learner>>,
}

/// A task that could not begin, with the learner as it was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why.
    pub error: SnnError,
    /// What would have learned.
    pub learner: Box<Learner>,
}

impl From<Refused> for SnnError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// What the end of a task did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    /// Steps of the task.
    pub steps: u64,
    /// Rows of each layer, old or new, that the others had spanned already, so that
    /// [`Consolidate::Qr`](crate::subspace::Consolidate::Qr) dropped them. None without lateral connections.
    pub dropped: Vec<usize>,
}

/// The state of a [`Learner`] or a [`Task`], for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// What decides how the state goes on, by name: a state is for a learner of the same.
    pub settings: Vec<(String, String)>,
    /// Tasks that had ended.
    pub tasks: usize,
    /// Steps of the task that had begun, if one had.
    pub steps: Option<u64>,
    /// The network, as safetensors.
    pub model: Vec<u8>,
    /// Lateral connections and momentum, all of F32.
    pub tensors: Vec<(String, TensorData)>,
}

impl Learner {
    /// Before the first task. With `hlop` what a task has learned is protected from those after it, without it is not.
    /// Rows that `hlop` holds are fixed from here on: they are of earlier tasks, so that thresholds learn no more. They
    /// become what the end of a task would make of them: under [`Consolidate::Qr`](crate::subspace::Consolidate::Qr)
    /// orthonormal, without those that the others span.
    ///
    /// # Errors
    /// [`SnnError::Setting`] when the rate is not above 0 in F32, [`SnnError::Shape`] when the lateral connections
    /// are those of other layers, and what [`Mlp::check`] refuses.
    pub fn new(mlp: Mlp, hlop: Option<Hlop>, optimiser: Optimiser, lr: f64) -> Result<Self, SnnError> {
        mlp.check()?;
        if !((lr as f32).is_finite() && (lr as f32) > 0.0) {
            return Err(SnnError::setting("lr", lr, "a number above 0, of F32"));
        }
        let mut hlop = hlop;
        if let Some(hlop) = &mut hlop {
            let found: Vec<usize> = hlop.subspaces().iter().map(Subspace::inputs).collect();
            SnnError::shape("hlop", &found, &mlp.layer_inputs())?;
            hlop.finish_task();
        }
        let rows = hlop.iter().flat_map(Hlop::subspaces).any(|subspace| subspace.rows() > 0);
        Ok(Self { mlp, hlop, optimiser, lr, tasks: usize::from(rows) })
    }

    /// The network.
    pub fn mlp(&self) -> &Mlp {
        &self.mlp
    }

    /// The network, without what protects it.
    pub fn into_mlp(self) -> Mlp {
        self.mlp
    }

    /// The lateral connections.
    pub fn hlop(&self) -> Option<&Hlop> {
        self.hlop.as_ref()
    }

    /// Tasks that have ended; rows that were there from the start count as one.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Begins a task: a fresh optimiser, and `rows[l]` new rows in layer `l`, drawn from the stream (section 6.3).
    /// Without lateral connections there are none, `&[]`.
    ///
    /// # Errors
    /// [`SnnError::Shape`] for another number of layers, [`SnnError::Setting`] when a layer would have more rows than
    /// inputs; with the learner as it was.
    pub fn begin_task(self, rows: &[usize], stream: &mut Stream) -> Result<Task, Refused> {
        let grown = match &self.hlop {
            None => SnnError::shape("rows", &[rows.len()], &[0]).map(|()| None),
            Some(hlop) => hlop.grown(rows, stream).map(Some),
        };
        self.begin(grown)
    }

    /// The same with rows that are given, one tensor `[k, in]` per layer.
    ///
    /// # Errors
    /// As [`Learner::begin_task`], and what [`Subspace::append`] refuses.
    pub fn begin_task_with(self, rows: Vec<Tensor<2>>) -> Result<Task, Refused> {
        let grown = match &self.hlop {
            None => SnnError::shape("rows", &[rows.len()], &[0]).map(|()| None),
            Some(hlop) => hlop.appended(rows).map(Some),
        };
        self.begin(grown)
    }

    fn begin(self, grown: Result<Option<Hlop>, SnnError>) -> Result<Task, Refused> {
        match grown {
            Err(error) => Err(Refused { error, learner: Box::new(self) }),
            Ok(hlop) => Ok(Task {
                descent: Descent::new(self.optimiser, self.lr),
                steps: 0,
                before: Some(Box::new(self.clone())),
                learner: Self { hlop, ..self },
            }),
        }
    }

    /// The state, for a checkpoint between two tasks.
    ///
    /// # Errors
    /// [`SnnError::Saved`] when the network cannot be written.
    pub fn save(&self) -> Result<Saved, SnnError> {
        let lateral = self.hlop.iter().flat_map(Hlop::to_tensors);
        Ok(Saved {
            settings: self.settings(),
            tasks: self.tasks,
            steps: None,
            model: save_model(&self.mlp).map_err(saved)?,
            tensors: lateral.map(|(name, data)| (format!("lateral.{name}"), data)).collect(),
        })
    }

    /// The learner of a state that was saved between two tasks; `self` is one of the same settings.
    ///
    /// # Errors
    /// [`SnnError::Saved`] for a state of other settings, of a task that had begun, with rows of finished tasks where
    /// none had ended, or with a tensor that nobody reads, and what [`Mlp::check`] and [`Hlop::load_tensors`] refuse.
    pub fn load(self, state: &Saved) -> Result<Self, SnnError> {
        if state.steps.is_some() {
            return Err(SnnError::Saved("a task had begun: `resume` it".into()));
        }
        let (learner, momentum) = self.restore(state)?;
        let learns = learner.hlop.iter().flat_map(Hlop::subspaces).any(Subspace::is_learning);
        match momentum.keys().next() {
            None if learns => Err(SnnError::Saved("rows learn, but no task had begun".into())),
            None => Ok(learner),
            Some(name) => Err(nobody_reads(name)),
        }
    }

    /// The task of a state that was saved within one; `self` is a learner of the same settings.
    ///
    /// # Errors
    /// [`SnnError::Saved`] when no task had begun, the momentum is not that of the network after as many steps, or rows
    /// have learned before the first; and as [`Learner::load`].
    pub fn resume(self, state: &Saved) -> Result<Task, SnnError> {
        let Some(steps) = state.steps else {
            return Err(SnnError::Saved("no task had begun: `load` it".into()));
        };
        let (learner, mut momentum) = self.restore(state)?;
        let mut descent = Descent::new(learner.optimiser, learner.lr);
        descent.load_tensors(&learner.mlp, steps > 0, learner.tasks == 0, |name| momentum.remove(name))?;
        match momentum.keys().next() {
            None => {}
            Some(name) => return Err(nobody_reads(name)),
        }
        // Its end would give the learner back without them.
        if steps == 0 && learner.hlop.iter().flat_map(Hlop::subspaces).any(Subspace::has_learned) {
            return Err(SnnError::Saved("rows have learned, but no step is done".into()));
        }
        let before = (steps == 0).then(|| {
            let hlop = learner.hlop.as_ref().map(Hlop::without_new_rows);
            Box::new(Self { hlop, ..learner.clone() })
        });
        Ok(Task { learner, descent, steps, before })
    }

    /// Everything but the momentum, which is returned.
    fn restore(mut self, state: &Saved) -> Result<(Self, BTreeMap<String, TensorData>), SnnError> {
        let (was, is) = (named(&state.settings), named(&self.settings()));
        for name in was.keys().chain(is.keys()) {
            let value = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or("not there".into());
            if was.get(name) != is.get(name) {
                return Err(SnnError::Saved(format!("{name} was {}, here it is {}", value(&was), value(&is))));
            }
        }
        load_model(&mut self.mlp, &state.model).map_err(saved)?;
        self.mlp.check()?;
        let (mut lateral, mut momentum) = (Vec::new(), BTreeMap::new());
        for (name, data) in state.tensors.iter().cloned() {
            match name.strip_prefix("lateral.") {
                Some(own) => lateral.push((own.to_owned(), data)),
                None => drop(momentum.insert(name, data)),
            }
        }
        match &mut self.hlop {
            Some(hlop) => hlop.load_tensors(lateral)?,
            None => match lateral.first() {
                None => {}
                Some((name, _)) => return Err(nobody_reads(&format!("lateral.{name}"))),
            },
        }
        // The thresholds would learn once more.
        if state.tasks == 0 && self.hlop.iter().flat_map(Hlop::subspaces).any(|subspace| subspace.fixed_rows() > 0) {
            return Err(SnnError::Saved("rows are fixed, but no task had ended".into()));
        }
        self.tasks = state.tasks;
        Ok((self, momentum))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let widths: Vec<[usize; 2]> = self.mlp.weights.iter().map(|w| w.val().dims()).collect();
        let mut all = vec![
            ("layers".into(), format!("{widths:?}")),
            ("neuron".into(), format!("{:?}", self.mlp.lif)),
            ("optimiser".into(), format!("{:?}", self.optimiser)),
            ("learning rate".into(), self.lr.to_string()),
        ];
        all.extend(self.hlop.iter().flat_map(Hlop::settings));
        all
    }
}

fn named(settings: &[(String, String)]) -> BTreeMap<String, String> {
    settings.iter().cloned().collect()
}

fn saved(error: RunError) -> SnnError {
    SnnError::Saved(error.to_string())
}

fn nobody_reads(name: &str) -> SnnError {
    SnnError::Saved(format!("`{name}` belongs to nothing of this learner"))
}

impl Task {
    /// The network as it is now.
    pub fn mlp(&self) -> &Mlp {
        &self.learner.mlp
    }

    /// The lateral connections as they are now.
    pub fn hlop(&self) -> Option<&Hlop> {
        self.learner.hlop.as_ref()
    }

    /// Steps that are done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step of DSR on a batch: `x` is `[batch, inputs]`, `labels` is `[batch]`. The order is that of section 8,
    /// but that the lateral connections, whose new rows take no part in this step's projection, come last: forward,
    /// projected gradient, descent, lateral update.
    ///
    /// # Errors
    /// [`SnnError::Shape`] when batch or labels do not fit the network, [`SnnError::Setting`] when the batch is empty,
    /// not of F32, or a label is no class; [`SnnError::NotFinite`] when the input, a current, the loss, a new weight
    /// (and so a gradient) or a new row is not finite. The task is then as it was before the step.
    pub fn step(&mut self, x: Tensor<2>, labels: Tensor<1, Int>) -> Result<StepReport, SnnError> {
        let Learner { mlp, hlop, tasks, .. } = &self.learner;
        let first = *tasks == 0;
        let mlp = if first { mlp.clone().clamp_thresholds() } else { mlp.clone() };
        let (logits, records) = dsr::forward(&mlp, x)?;
        let correct = dsr::correct(logits.clone(), labels.clone())?;
        let (loss, error) = dsr::cross_entropy(logits, labels)?;
        let projected = hlop.as_ref().map(|hlop| hlop.project(&records)).transpose()?;
        let factors = projected.as_ref().map_or_else(|| records.factors(), |projected| projected.factors.clone());
        let mut gradients = dsr::backward(&mlp, &records, factors, error)?;
        if let Some(hlop) = hlop {
            hlop.project_gradients(&mut gradients)?;
        }
        let loss = f64::from(loss.into_scalar::<f32>());
        if !loss.is_finite() {
            return Err(SnnError::NotFinite { what: "the loss".into(), value: loss });
        }
        let (mlp, velocity) = self.descent.next(mlp, gradients, first)?;
        // The last that can fail, and it changes all rows or none.
        if let (Some(hlop), Some(projected)) = (&mut self.learner.hlop, &projected) {
            hlop.teach(&records, projected)?;
        }
        self.descent.keep(velocity);
        self.learner.mlp = mlp;
        self.steps += 1;
        self.before = None;
        Ok(StepReport { loss, correct, firing: records.firing })
    }

    /// Ends the task: its rows are fixed and, under [`Consolidate::Qr`](crate::subspace::Consolidate::Qr), made
    /// orthonormal with the others; the momentum ends with it. A task without a step has nothing to protect: it
    /// gives the learner back as it was.
    pub fn finish(self) -> (Learner, TaskEnd) {
        let mut learner = match self.before {
            Some(before) => {
                let layers = before.hlop.iter().flat_map(Hlop::subspaces).count();
                return (*before, TaskEnd { steps: 0, dropped: vec![0; layers] });
            }
            None => self.learner,
        };
        let dropped = learner.hlop.as_mut().map(Hlop::finish_task).unwrap_or_default();
        learner.tasks += 1;
        (learner, TaskEnd { steps: self.steps, dropped })
    }

    /// The state, for a checkpoint within the task.
    ///
    /// # Errors
    /// [`SnnError::Saved`] when the network cannot be written.
    pub fn save(&self) -> Result<Saved, SnnError> {
        let mut state = self.learner.save()?;
        state.steps = Some(self.steps);
        state.tensors.extend(self.descent.to_tensors());
        Ok(state)
    }
}
