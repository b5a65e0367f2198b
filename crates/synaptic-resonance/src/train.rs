//! Training (section 8.1): what a step learns, the optimiser, one step.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use plasticity_core::error::RunError;
use plasticity_core::nn;

use crate::error::MemoryError;
use crate::model::{Model, Pass};
use crate::state::State;
use crate::tokens::Tokens;

/// The tokens that a batch asks for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// `row * time + position` of each; none: every position, in order.
    places: Option<Vec<usize>>,
    answers: Vec<u32>,
}

impl Targets {
    /// The token that follows each position, row-major.
    pub fn all(answers: Vec<u32>) -> Self {
        Self { places: None, answers }
    }

    /// The token that follows `places` (`row * time + position`), one answer each.
    pub fn at(places: Vec<usize>, answers: Vec<u32>) -> Self {
        Self { places: Some(places), answers }
    }

    /// Number of tokens asked for.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Of hidden states `[batch, time, d]` the rows at which something is asked, `[targets, d]`.
    ///
    /// # Errors
    /// When nothing is asked, a place is outside the batch, or there is not one answer for each.
    pub fn select(&self, hidden: Tensor<3>) -> Result<Tensor<2>, MemoryError> {
        let [batch, time, d] = hidden.dims();
        let rows = batch * time;
        let asked = self.places.as_ref().map_or(rows, Vec::len);
        MemoryError::shape("targets", &[self.len()], &[asked])?;
        if self.is_empty() {
            return Err(MemoryError::setting("targets", 0, "a batch must ask for at least one token"));
        }
        let hidden = hidden.reshape([rows, d]);
        let Some(places) = &self.places else { return Ok(hidden) };
        if let Some(place) = places.iter().find(|place| **place >= rows) {
            return Err(MemoryError::setting("targets", place, format!("must be below the {rows} positions")));
        }
        let places: Vec<i32> = places.iter().map(|place| *place as i32).collect();
        let places = Tensor::from_data(TensorData::new(places, [asked]), &hidden.device());
        Ok(hidden.select(0, places))
    }

    /// Mean cross entropy in nats at the targets, `[1]`, from hidden states `[batch, time, d]` of `model`.
    ///
    /// # Errors
    /// As [`Targets::select`], and when the model does not know an answer.
    pub fn cross_entropy(&self, model: &Model, hidden: Tensor<3>) -> Result<Tensor<1>, MemoryError> {
        let vocabulary = model.config.vocabulary;
        let time = hidden.dims()[1];
        let hidden = self.select(hidden)?;
        if let Some(i) = self.answers.iter().position(|answer| *answer as usize >= vocabulary) {
            let place = self.places.as_ref().map_or(i, |places| places[i]);
            let (row, position) = (place / time, place % time);
            return Err(MemoryError::Token { token: self.answers[i], row, position, vocabulary });
        }
        let answers: Vec<i32> = self.answers.iter().map(|answer| *answer as i32).collect();
        let answers = Tensor::<2, Int>::from_data(TensorData::new(answers, [self.len(), 1]), &hidden.device());
        Ok(log_softmax(model.logits(hidden), 1).gather(1, answers).mean().neg())
    }
}

/// How one step learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Learning rate.
    pub lr: f64,
    /// Limit of the gradient's norm over all parameters; none: no clipping.
    pub clip: Option<f64>,
}

/// What one step tells.
#[derive(Debug, Clone)]
pub struct Step {
    /// Mean cross entropy before the step, in nats.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// The state after the batch, cut from its graph: what a next segment goes on from.
    pub state: State,
}

/// A training run between two steps.
#[derive(Clone)]
pub struct Training {
    /// The model in training.
    pub model: Model,
    /// AdamW with its state.
    pub optimiser: ModuleOptimizer,
    /// Steps taken.
    pub steps: u64,
    weight_decay: f64,
}

impl Training {
    /// A run that starts from `model`, with the optimiser of [`adamw`]. A step refuses a decay that is no number of at
    /// least 0.
    pub fn new(model: Model, weight_decay: f64) -> Self {
        Self { optimiser: adamw(&model, weight_decay), model, steps: 0, weight_decay }
    }

    /// One step on a batch that begins with `state` (the empty state when not given; gradients do not pass into it).
    ///
    /// # Errors
    /// When the batch does not fit the model, a setting is wrong, a trained parameter has no gradient, or the state,
    /// the loss, the gradient or a weight after the step is not finite: model and optimiser are then as before.
    pub fn step(
        &mut self,
        tokens: &Tokens,
        state: Option<State>,
        targets: &Targets,
        options: &StepOptions,
    ) -> Result<Step, MemoryError> {
        if !(options.lr >= 0.0 && options.lr.is_finite()) {
            return Err(MemoryError::setting("lr", options.lr, "must be a number of at least 0"));
        }
        if let Some(clip) = options.clip.filter(|clip| clip.is_nan() || *clip <= 0.0) {
            return Err(MemoryError::setting("clip", clip, "must be above 0"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(MemoryError::setting("weight_decay", self.weight_decay, "must be a number of at least 0"));
        }
        if !parameters(&self.model, None).iter().any(|p| p.trained) {
            let expected = "must have parameters to train: give the one in training, not its `valid()`";
            return Err(MemoryError::setting("model", "frozen", expected));
        }
        let not_finite = |field| Err(MemoryError::NotFinite { field, step: self.steps });
        let state = state.map_or_else(|| self.model.start(tokens.batch()), State::detach);
        let (hidden, state) = self.model.hidden(tokens, state, &Pass::default())?;
        let loss = targets.cross_entropy(&self.model, hidden)?;
        let value: f64 = loss.clone().into_scalar();
        if !value.is_finite() {
            return not_finite("loss");
        }
        // It may be where nothing is asked.
        let state = state.detach();
        if self.model.check_values(&state).is_err() {
            return not_finite("state");
        }
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        if let Some(lost) = parameters(&self.model, Some(&grads)).iter().find(|p| p.trained && !p.reached) {
            let expected = "has no gradient: no target depends on it; freeze it, or make the model without it";
            return Err(MemoryError::setting("parameter", &lost.path, expected));
        }
        let (grads, norm) = nn::clip_grad_norm(grads, &self.model, options.clip.unwrap_or(f64::INFINITY));
        if !norm.is_finite() {
            return not_finite("gradient");
        }
        let mut optimiser = self.optimiser.clone();
        let model = optimiser.step(options.lr, self.model.clone(), grads);
        if !nn::is_finite_model(&model) {
            return not_finite("weights");
        }
        (self.model, self.optimiser) = (model, optimiser);
        self.steps += 1;
        Ok(Step { loss: value, norm, state })
    }

    /// Model and optimiser as files of a checkpoint.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn save(&self) -> Result<BTreeMap<String, Vec<u8>>, RunError> {
        let config = serde_json::to_vec_pretty(&self.model.config).map_err(|e| fault("model.json", &e.to_string()))?;
        Ok(BTreeMap::from([
            ("model.json".into(), config),
            ("model.safetensors".into(), nn::save_model(&self.model)?),
            ("optimiser.bpk".into(), nn::save_optimiser(&self.optimiser)?),
            ("steps.txt".into(), self.steps.to_string().into_bytes()),
        ]))
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When a file is missing or is of another model; the message names the setting or the parameter. The state is
    /// then unchanged.
    pub fn load(&mut self, files: &BTreeMap<String, Vec<u8>>) -> Result<(), RunError> {
        let file = |name: &str| files.get(name).ok_or_else(|| fault(name, "missing in the checkpoint"));
        self.check_config(file("model.json")?)?;
        let mut model = self.model.clone();
        nn::load_model(&mut model, file("model.safetensors")?)?;
        let optimiser = nn::load_optimiser(adamw(&model, self.weight_decay), &model, file("optimiser.bpk")?)?;
        let steps = std::str::from_utf8(file("steps.txt")?).ok().and_then(|text| text.parse().ok());
        let steps = steps.ok_or_else(|| fault("steps.txt", "not a number of steps"))?;
        (self.model, self.optimiser, self.steps) = (model, optimiser, steps);
        Ok(())
    }

    /// Two models may have the same parameters and differ in what they do with them.
    fn check_config(&self, saved: &[u8]) -> Result<(), RunError> {
        let wrong = |e: serde_json::Error| fault("model.json", &e.to_string());
        let saved: serde_json::Value = serde_json::from_slice(saved).map_err(wrong)?;
        let ours = serde_json::to_value(&self.model.config).map_err(wrong)?;
        match difference("", &saved, &ours) {
            None => Ok(()),
            Some(what) => Err(fault("model.json", &format!("of another model: {what}"))),
        }
    }
}

/// AdamW with betas 0.9 and 0.98, epsilon 1e-8; matrices and the embedding lose `lr weight_decay` of themselves at
/// every step, vectors and what the memory has per head (`gamma`, `mu`, `c`, biases) do not: a gate that decays stays
/// shut.
pub fn adamw(model: &Model, weight_decay: f64) -> ModuleOptimizer {
    let config = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.98).with_epsilon(1e-8).with_weight_decay(0.0);
    let matrices = parameters(model, None).into_iter().filter(Parameter::decays).map(|p| p.id).collect();
    let decaying = config.clone().with_weight_decay(weight_decay as f32).build();
    config.init().with_group(ParamGroup::from_ids(matrices), decaying, None)
}

/// A parameter of a model.
struct Parameter {
    path: String,
    id: ParamId,
    rank: usize,
    /// It is to be trained.
    trained: bool,
    /// It has a gradient.
    reached: bool,
}

impl Parameter {
    /// `mu` and `c` have a row per head: not a matrix that maps one vector to another.
    fn decays(&self) -> bool {
        let name = self.path.rsplit('.').next().unwrap_or_default();
        self.rank >= 2 && !["gamma", "mu", "c"].contains(&name)
    }
}

fn parameters(model: &Model, grads: Option<&GradientsParams>) -> Vec<Parameter> {
    struct List<'a> {
        grads: Option<&'a GradientsParams>,
        path: Vec<String>,
        found: Vec<Parameter>,
    }
    impl ModuleVisitor for List<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(Parameter {
                path: self.path.join("."),
                id: param.id,
                rank: D,
                trained: param.is_require_grad(),
                reached: self.grads.is_some_and(|grads| grads.get::<D>(param.id).is_some()),
            });
        }
    }
    let mut list = List { grads, path: Vec::new(), found: Vec::new() };
    model.visit(&mut list);
    list.found
}

fn fault(file: &str, what: &str) -> RunError {
    RunError::Checkpoint { file: file.into(), what: what.into() }
}

/// The first setting in which two configs differ.
fn difference(path: &str, saved: &serde_json::Value, ours: &serde_json::Value) -> Option<String> {
    if let (Some(a), Some(b)) = (saved.as_object(), ours.as_object()) {
        let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
        let null = serde_json::Value::Null;
        return keys.into_iter().find_map(|key| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            difference(&path, a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))
        });
    }
    (saved != ours).then(|| format!("`{path}` is {saved} there and {ours} here"))
}
