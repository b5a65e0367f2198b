//! Everything that a run carries from step to step.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::prelude::*;
use plasticity_core::bytes::{from_f32s, to_f32s};
use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use plasticity_core::run::Curve;
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::state::{LayerState, Ring};
use crate::tasks::text::ByPosition;
use crate::tasks::{Count, Recall};
use crate::train::Training;

/// The state of a run.
pub(super) struct State {
    pub training: Training,
    /// The loss since the last point of the training curve.
    pub curve: Curve,
    pub found: Found,
    pub partial: Partial,
}

/// What the look or the test that is being made has found so far.
#[derive(Default)]
pub(super) struct Partial {
    pub answers: Answers,
    pub losses: ByPosition,
    /// What goes from a part of a text to the next, where it does.
    pub carried: Option<crate::state::State>,
}

/// What the tests after training have found so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Answers, by length of the test sequences.
    pub recall: BTreeMap<usize, Answers>,
    /// Losses, by name of the test.
    pub losses: BTreeMap<String, Loss>,
    /// Looks at the model in training: steps of training, and accuracy or loss.
    pub looks: Vec<(u64, f64)>,
}

/// Right answers and questions, as [`Recall`] has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    by_distance: Vec<(usize, [u64; 2])>,
    updated: [u64; 2],
    kept: [u64; 2],
}

impl From<&Recall> for Answers {
    fn from(recall: &Recall) -> Self {
        let pair = |count: &Count| [count.right, count.asked];
        Self {
            by_distance: recall.by_distance.iter().map(|(distance, count)| (*distance, pair(count))).collect(),
            updated: pair(&recall.updated),
            kept: pair(&recall.kept),
        }
    }
}

impl Answers {
    pub fn recall(&self) -> Recall {
        let count = |[right, asked]: [u64; 2]| Count { right, asked };
        Recall {
            by_distance: self.by_distance.iter().map(|(distance, pair)| (*distance, count(*pair))).collect(),
            updated: count(self.updated),
            kept: count(self.kept),
        }
    }
}

/// Loss on a text in nats per character.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Loss {
    pub mean: f64,
    /// Characters.
    pub n: u64,
    /// First position, first position after it, mean loss.
    pub buckets: Vec<(usize, usize, f64)>,
}

impl Loss {
    /// Of all positions, and of those between neighbouring `edges`.
    pub fn of(losses: &ByPosition, edges: &[usize]) -> Self {
        let buckets = losses.buckets(edges).iter().map(|b| (b.from, b.to, b.nats)).collect();
        Self { mean: losses.mean().unwrap_or(0.0), n: losses.n(), buckets }
    }
}

/// The part of the state that is numbers.
#[derive(Serialize, Deserialize)]
struct Numbers {
    curve: Curve,
    found: Found,
    answers: Answers,
    losses: ByPosition,
    /// Of the carried state, whose values are in a file of their own.
    carried: Option<Carried>,
}

/// The file of the carried state's values, one layer after the other.
const CARRIED: &str = "carried.f32";

/// A state of a model but for its values.
#[derive(Serialize, Deserialize)]
struct Carried {
    position: Vec<u64>,
    /// Columns of every layer's ring, and how many of them are filled per row; none before the first token.
    ring: Option<(usize, Vec<usize>)>,
}

impl Carried {
    /// Of a state, with its values.
    fn of(state: &crate::state::State) -> (Self, Vec<f32>) {
        fn add<const D: usize>(values: &mut Vec<f32>, x: Option<&Tensor<D>>) {
            values.extend(x.into_iter().flat_map(|x| x.to_data().iter::<f32>().collect::<Vec<_>>()));
        }
        let mut values = Vec::new();
        for layer in &state.layers {
            add(&mut values, layer.s.as_ref());
            add(&mut values, layer.prev_key.as_ref());
            add(&mut values, layer.ring.as_ref().map(|ring| &ring.keys));
            add(&mut values, layer.ring.as_ref().map(|ring| &ring.values));
        }
        let ring = state.layers.first().and_then(|layer| layer.ring.as_ref());
        let ring = ring.map(|ring| (ring.keys.dims()[2], ring.filled.clone()));
        (Self { position: state.position.clone(), ring }, values)
    }

    /// The state with these values; none where they are too few or too many.
    fn state(self, values: &[f32], model: &Model) -> Option<crate::state::State> {
        let device = model.embedding.val().device().without_autodiff();
        let mut rest = values;
        fn take<const D: usize>(rest: &mut &[f32], shape: [usize; D], device: &Device) -> Option<Tensor<D>> {
            let (values, after) = rest.split_at_checked(shape.iter().product())?;
            *rest = after;
            Some(Tensor::from_data(TensorData::new(values.to_vec(), shape), device))
        }
        let mut state = model.valid().start(self.position.len());
        let (batch, groups, width) = (state.batch(), model.config.groups(), model.config.head_width());
        for layer in &mut state.layers {
            let LayerState { s, prev_key, ring } = layer;
            if let Some(s) = s {
                *s = take(&mut rest, s.dims(), &device)?;
            }
            if let Some(key) = prev_key {
                *key = take(&mut rest, key.dims(), &device)?;
            }
            if let Some((columns, filled)) = &self.ring {
                let shape = [batch, groups, *columns, width];
                let (keys, values) = (take(&mut rest, shape, &device)?, take(&mut rest, shape, &device)?);
                // No arm keeps first tokens.
                *ring = Some(Ring { keys, values, filled: filled.clone(), sinks: None });
            }
        }
        state.position = self.position;
        rest.is_empty().then_some(state)
    }
}

impl State {
    /// The state before the first step.
    pub fn new(training: Training) -> Self {
        Self { training, curve: Curve::default(), found: Found::default(), partial: Partial::default() }
    }
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut files: Files = self.training.save()?;
        let Partial { answers, losses, carried } = &self.partial;
        let carried = carried.as_ref().map(Carried::of);
        if let Some((_, values)) = &carried {
            files.insert(CARRIED.into(), from_f32s(values));
        }
        let numbers = Numbers {
            curve: self.curve.clone(),
            found: self.found.clone(),
            answers: answers.clone(),
            losses: losses.clone(),
            carried: carried.map(|(carried, _)| carried),
        };
        files.insert("state.json".into(), to_json(&numbers)?);
        Ok(files)
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let numbers: Numbers = from_json("state.json".as_ref(), file(files, "state.json")?)?;
        let Numbers { curve, found, answers, losses, carried } = numbers;
        let carried = match carried {
            None => None,
            Some(carried) => {
                let wrong =
                    || RunError::Checkpoint { file: CARRIED.into(), what: "not the carried state's values".into() };
                let values = to_f32s(file(files, CARRIED)?).ok_or_else(wrong)?;
                Some(carried.state(&values, &self.training.model).ok_or_else(wrong)?)
            }
        };
        self.training.load(files)?;
        (self.curve, self.found) = (curve, found);
        self.partial = Partial { answers, losses, carried };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use plasticity_core::rng::Stream;

    use super::*;
    use crate::model::Model;
    use crate::settings::ModelConfig;
    use crate::tasks::Mqar;
    use crate::train::StepOptions;

    fn state(seed: u64) -> State {
        let config = ModelConfig { width: 8, layers: 1, vocabulary: 16, ..ModelConfig::default() };
        let device = Device::flex().autodiff();
        let model = Model::new(&config, &mut Stream::new(seed, "weights", 0), &device).unwrap();
        State::new(Training::new(model, 0.1))
    }

    fn step(state: &mut State, at: u64) -> f64 {
        let task = Mqar { vocabulary: 16, pairs: 2, time: 12, ..Mqar::default() };
        let batch = task.batch(4, &mut Stream::new(1, "batch", at)).unwrap();
        let options = StepOptions { lr: 1e-2, clip: Some(1.0) };
        let loss = state.training.step(&batch.tokens, None, &batch.targets(), &options).unwrap().loss;
        state.curve.add(loss, 1);
        loss
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bytes() {
        let mut first = state(1);
        for at in 0..3 {
            step(&mut first, at);
        }
        let mut recall = Recall::default();
        recall.by_distance.insert(6, Count { right: 3, asked: 7 });
        recall.updated = Count { right: 1, asked: 3 };
        recall.kept = Count { right: 2, asked: 4 };
        first.found.recall.insert(64, Answers::from(&recall));
        assert_eq!(first.found.recall[&64].recall(), recall);
        let loss = Loss { mean: 0.1 + 0.2, n: 5, buckets: vec![(0, 24, 1.0 / 3.0)] };
        first.found.losses.insert("loss".into(), loss);

        let mut second = state(2);
        second.load(&first.save().unwrap()).unwrap();
        assert_eq!(second.found, first.found);
        for at in 3..6 {
            assert_eq!(step(&mut first, at), step(&mut second, at));
        }
        assert_eq!(first.curve.take(), second.curve.take());
        let bytes = |state: &State| state.save().unwrap().remove("model.safetensors").unwrap();
        assert!(bytes(&first) == bytes(&second));
    }
}
