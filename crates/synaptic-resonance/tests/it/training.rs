//! One training step, its optimiser and its checkpoints; learning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::prelude::*;
use plasticity_core::nn::LearningRate;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu, values};
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::{Gates, MemoryConfig, ModelConfig};
use synaptic_resonance::tasks::text::{Alphabet, TextBatch, evaluate, segments, windows};
use synaptic_resonance::tasks::{Batch, Mqar, recall};
use synaptic_resonance::tokens::Tokens;
use synaptic_resonance::train::{StepOptions, Targets, Training};

const OPTIONS: StepOptions = StepOptions { lr: 3e-3, clip: Some(1.0) };

fn small() -> ModelConfig {
    ModelConfig { vocabulary: 20, width: 16, window: Some(4), ..ModelConfig::default() }
}

fn training(config: &ModelConfig, weight_decay: f64) -> Training {
    let device = cpu().autodiff();
    Training::new(Model::new(config, &mut Stream::new(1, "training", 0), &device).unwrap(), weight_decay)
}

fn batch(step: u64) -> Batch {
    let task = Mqar { vocabulary: 20, pairs: 3, time: 30, ..Mqar::default() };
    task.batch(4, &mut Stream::new(1, "batch", step)).unwrap()
}

fn step(training: &mut Training, number: u64) -> f64 {
    let batch = batch(number);
    training.step(&batch.tokens, None, &batch.targets(), &OPTIONS).unwrap().loss
}

fn steps(training: &mut Training, numbers: std::ops::Range<u64>) {
    for number in numbers {
        step(training, number);
    }
}

/// Every parameter by its path.
fn parameters(model: &Model) -> BTreeMap<String, Vec<f64>> {
    #[derive(Default)]
    struct All {
        path: Vec<String>,
        found: BTreeMap<String, Vec<f64>>,
    }
    impl ModuleVisitor for All {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.join("."), values(param.val()));
        }
    }
    let mut all = All::default();
    model.visit(&mut all);
    all.found
}

/// The paths of the parameters that differ.
fn changed(before: &BTreeMap<String, Vec<f64>>, after: &BTreeMap<String, Vec<f64>>) -> BTreeSet<String> {
    before.iter().filter(|(path, values)| after[*path] != **values).map(|(path, _)| path.clone()).collect()
}

/// The variants of section 7 that have other parameters.
fn variants() -> Vec<ModelConfig> {
    let memory = |memory| ModelConfig { memory: Some(memory), ..small() };
    vec![
        small(),
        ModelConfig { memory: None, ..small() },
        ModelConfig { memory: None, window: None, ..small() },
        ModelConfig { memory: None, attention_blend: true, ..small() },
        ModelConfig { attention_blend: true, ..small() },
        ModelConfig { heads: 4, groups: Some(2), ..small() },
        memory(MemoryConfig { decay: false, ..MemoryConfig::default() }),
        memory(MemoryConfig { blend: false, ..MemoryConfig::default() }),
        memory(MemoryConfig { read_norm: false, ..MemoryConfig::default() }),
        memory(MemoryConfig { own_projections: true, ..MemoryConfig::default() }),
        memory(MemoryConfig { gates: Gates::Decay, ..MemoryConfig::default() }),
        memory(MemoryConfig { gates: Gates::Channels, ..MemoryConfig::default() }),
    ]
}

/// Every parameter that a variant has is reached at the first step (a step that misses one is an error), and every one
/// has moved after the second: of the memory's the first moves gamma alone.
#[test]
fn every_parameter_has_a_gradient() {
    for config in variants() {
        let mut training = training(&config, 0.0);
        let start = parameters(&training.model);
        step(&mut training, 0);
        let first = parameters(&training.model);
        let moved = changed(&start, &first);
        let of_memory = |path: &&String| path.contains(".memory.");
        assert!(moved.iter().filter(of_memory).all(|path| path.ends_with(".gamma")), "{moved:?}");
        assert!(start.keys().filter(|path| !of_memory(path) || path.ends_with(".gamma")).all(|p| moved.contains(p)));
        step(&mut training, 1);
        assert_eq!(changed(&first, &parameters(&training.model)).len(), start.len(), "{config:?}");
    }
}

#[test]
fn a_parameter_that_no_target_depends_on_is_an_error() {
    let mut training = training(&small(), 0.0);
    // The memory is there and the model passes it by.
    training.model.config.memory = None;
    let before = parameters(&training.model);
    let batch = batch(0);
    let error = training.step(&batch.tokens, None, &batch.targets(), &OPTIONS).unwrap_err().to_string();
    assert!(error.starts_with("`parameter` is blocks.0.memory.write: has no gradient"), "{error}");
    assert_eq!(parameters(&training.model), before);
}

#[test]
fn frozen_parameters_stay_and_the_others_learn() {
    let mut training = training(&small(), 0.1);
    let host = training.model.clone().set_require_grad(false);
    training.model = host.set_require_grad_group(ParamGroup::from_predicate("memory"), true);
    let before = parameters(&training.model);
    step(&mut training, 0);
    step(&mut training, 1);
    let moved = changed(&before, &parameters(&training.model));
    let memory: BTreeSet<String> = before.keys().filter(|path| path.contains("memory")).cloned().collect();
    assert_eq!(moved, memory);

    let batch = batch(2);
    for model in [training.model.valid(), training.model.clone().set_require_grad(false)] {
        training.model = model;
        let error = training.step(&batch.tokens, None, &batch.targets(), &OPTIONS).unwrap_err();
        assert!(matches!(error, MemoryError::Setting { field: "model", .. }), "{error}");
    }
}

/// With the same gradients a decaying parameter differs by `lr decay` of itself from one that does not decay.
#[test]
fn weight_decay_is_on_matrices_only() {
    for config in [small(), ModelConfig { memory: None, attention_blend: true, ..small() }] {
        // After some steps none of them is zero.
        let mut before = training(&config, 0.0);
        steps(&mut before, 0..3);
        let [mut plain, mut decayed] = [0.0, 0.1].map(|decay| Training::new(before.model.clone(), decay));
        let start = parameters(&before.model);
        step(&mut plain, 0);
        step(&mut decayed, 0);
        let (plain, decayed) = (parameters(&plain.model), parameters(&decayed.model));
        let kept = ["norm", "norm1", "norm2", "gamma", "mu", "c", "write_bias", "forget_bias", "gate_bias"];
        for (path, start) in &start {
            let name = path.rsplit('.').next().unwrap();
            let rate = if kept.contains(&name) { 0.0 } else { OPTIONS.lr * 0.1 };
            let expected: Vec<f64> = plain[path].iter().zip(start).map(|(p, s)| p - rate * s).collect();
            assert_close(&decayed[path], &expected, 1e-7);
            if rate == 0.0 {
                assert_eq!(decayed[path], plain[path], "{path}");
            } else {
                assert_ne!(decayed[path], plain[path], "{path}");
            }
        }
    }
}

#[test]
fn gradients_are_clipped_by_their_norm_over_all_parameters() {
    let moved = |clip| {
        let mut training = training(&small(), 0.0);
        let start = parameters(&training.model);
        let batch = batch(0);
        let options = StepOptions { clip, ..OPTIONS };
        let norm = training.step(&batch.tokens, None, &batch.targets(), &options).unwrap().norm;
        let after = parameters(&training.model);
        let largest = start.iter().flat_map(|(path, s)| s.iter().zip(&after[path])).map(|(s, a)| (s - a).abs());
        (norm, largest.fold(0.0, f64::max))
    };
    let (norm, free) = moved(None);
    assert!(norm > 0.1 && (free / OPTIONS.lr - 1.0).abs() < 0.01, "{norm} {free}");
    // No entry is above 1e-10 then, so that Adam's first step is below 1e-10 / 1e-8 of the rate.
    let (same, clipped) = moved(Some(1e-10));
    assert_eq!(same, norm, "the norm is that before clipping");
    assert!(clipped > 0.0 && clipped < 0.011 * OPTIONS.lr, "{clipped}");
    assert_eq!(moved(Some(1e9)), (norm, free));
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut training = training(&small(), 0.0);
    step(&mut training, 0);
    let model = training.model.clone();
    training.model.norm = training.model.norm.clone().map(|norm| (norm * f32::NAN).detach().require_grad());
    let files = training.save().unwrap();
    let batch = batch(1);
    let error = training.step(&batch.tokens, None, &batch.targets(), &OPTIONS).unwrap_err();
    assert!(matches!(error, MemoryError::NotFinite { field: "loss", step: 1 }), "{error}");
    assert_eq!(training.steps, 1);
    assert_eq!(training.save().unwrap()["model.safetensors"], files["model.safetensors"]);
    // And goes on as if nothing had been.
    let mut other = self::training(&small(), 0.0);
    step(&mut other, 0);
    training.model = model;
    step(&mut training, 1);
    step(&mut other, 1);
    assert_eq!(parameters(&training.model), parameters(&other.model));
}

/// Each way in which a step can end in numbers that are none, the model and the optimiser untouched.
#[test]
fn a_step_looks_at_everything_before_it_says_ok() {
    let mut training = training(&small(), 0.1);
    steps(&mut training, 0..3);
    let before = training.clone();
    let batch = batch(3);
    let targets = batch.targets();
    let mut fails = |state, options: &StepOptions| {
        let error = training.step(&batch.tokens, state, &targets, options).expect_err("it is refused");
        assert_eq!(parameters(&training.model), parameters(&before.model), "{error}");
        error
    };
    // Weights above what f32 holds.
    for clip in [None, Some(1.0)] {
        let error = fails(None, &StepOptions { lr: 1e300, clip });
        assert!(matches!(error, MemoryError::NotFinite { field: "weights", step: 3 }), "{error}");
    }
    // A state that is not finite, of a memory that the loss would hardly see.
    let mut state = before.model.valid().start(4);
    state.layers[1].s = state.layers[1].s.take().map(|s| s.slice_fill([3..4, 0..1, 0..1, 0..1], f32::NAN));
    let error = fails(Some(state), &OPTIONS);
    assert!(matches!(error, MemoryError::Poisoned { .. }), "{error}");
    // And goes on, optimiser and all, as if nothing had been.
    let mut other = before.clone();
    steps(&mut other, 3..6);
    steps(&mut training, 3..6);
    assert_eq!(parameters(&training.model), parameters(&other.model));
}

#[test]
fn weights_and_decays_that_are_no_numbers_are_refused() {
    let mut training = training(&small(), 0.0);
    step(&mut training, 0);
    let mut broken = training.clone();
    broken.model.norm = broken.model.norm.clone().map(|norm| (norm * f32::INFINITY).detach().require_grad());
    let before = parameters(&training.model);
    let error = training.load(&broken.save().unwrap()).unwrap_err().to_string();
    assert!(error.contains("`norm` holds inf, which is not a finite number"), "{error}");
    assert_eq!(parameters(&training.model), before);
    let batch = batch(1);
    for decay in [f64::NAN, f64::INFINITY, -0.1] {
        let mut training = Training::new(training.model.clone(), decay);
        let error = training.step(&batch.tokens, None, &batch.targets(), &OPTIONS).unwrap_err();
        assert!(matches!(error, MemoryError::Setting { field: "weight_decay", .. }), "{error}");
    }
}

#[test]
fn wrong_batches_and_settings_are_refused() {
    let mut training = training(&small(), 0.0);
    let before = parameters(&training.model);
    let tokens = Tokens::new(vec![1; 6], 2, 3).unwrap();
    let mut fails =
        |targets: &Targets, options: &StepOptions| training.step(&tokens, None, targets, options).unwrap_err();
    let all = Targets::all(vec![2; 6]);
    assert!(matches!(fails(&Targets::all(vec![2; 5]), &OPTIONS), MemoryError::Shape { field: "targets", .. }));
    assert!(matches!(fails(&Targets::at(vec![0, 1], vec![2]), &OPTIONS), MemoryError::Shape { .. }));
    assert!(matches!(fails(&Targets::at(vec![], vec![]), &OPTIONS), MemoryError::Setting { field: "targets", .. }));
    assert!(matches!(fails(&Targets::at(vec![6], vec![2]), &OPTIONS), MemoryError::Setting { field: "targets", .. }));
    let unknown = Targets::at(vec![0, 5], vec![2, 20]);
    assert!(matches!(fails(&unknown, &OPTIONS), MemoryError::Token { token: 20, row: 1, position: 2, vocabulary: 20 }));
    for lr in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(fails(&all, &StepOptions { lr, ..OPTIONS }), MemoryError::Setting { field: "lr", .. }));
    }
    for clip in [0.0, f64::NAN] {
        let options = StepOptions { clip: Some(clip), ..OPTIONS };
        assert!(matches!(fails(&all, &options), MemoryError::Setting { field: "clip", .. }));
    }
    assert_eq!(parameters(&training.model), before);
    assert_eq!(training.steps, 0);
}

/// The loss, in f64 from the logits of all positions.
#[test]
fn the_loss_is_the_mean_cross_entropy_at_the_targets() {
    let mut training = training(&small(), 0.0);
    let batch = batch(3);
    let start = training.model.valid();
    let (logits, _) = start.forward(&batch.tokens, start.start(4), &Pass::default()).unwrap();
    let logits = values(logits);
    let nats = |place: usize, answer: u32| {
        let row = &logits[place * 20..][..20];
        row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[answer as usize]
    };
    let asked: f64 = batch.questions.iter().map(|q| nats(q.row * 30 + q.position, q.answer)).sum();
    assert_close(&[step(&mut training, 3)], &[asked / batch.questions.len() as f64], 1e-5);

    let mut training = self::training(&small(), 0.0);
    let answers: Vec<u32> = batch.tokens.ids().iter().map(|id| (id * 7 + 3) % 20).collect();
    let all: f64 = answers.iter().enumerate().map(|(place, answer)| nats(place, *answer)).sum();
    let found = training.step(&batch.tokens, None, &Targets::all(answers), &OPTIONS).unwrap();
    assert_close(&[found.loss], &[all / 120.0], 1e-5);
}

#[test]
fn a_segment_goes_on_from_the_state_before_it() {
    let mut training = training(&ModelConfig { memory: Some(MemoryConfig::default()), ..small() }, 0.0);
    // Opens the gate.
    steps(&mut training, 0..3);
    let mut stream = Stream::new(1, "text", 0);
    let ids: Vec<u32> = (0..200).map(|_| stream.below(20) as u32).collect();
    let first = windows(&ids, 2, 12, &mut stream).unwrap();
    let next = windows(&ids, 2, 12, &mut stream).unwrap();
    let options = StepOptions { lr: 0.0, clip: None };
    let mut learn = |batch: &TextBatch, state| training.step(&batch.inputs, state, &batch.targets(), &options).unwrap();
    let state = learn(&first, None).state;
    assert_eq!(state.position, [12, 12]);
    let carried = learn(&next, Some(state));
    assert_eq!(carried.state.position, [24, 24]);
    let fresh = learn(&next, None);
    assert!((carried.loss - fresh.loss).abs() > 1e-5, "{} {}", carried.loss, fresh.loss);
    let wrong = training.model.start(3);
    assert!(training.step(&next.inputs, Some(wrong), &next.targets(), &options).is_err());
}

#[test]
fn a_restored_run_goes_on_exactly() {
    let mut whole = training(&small(), 0.1);
    let mut half = training(&small(), 0.1);
    steps(&mut half, 0..3);
    let files = half.save().unwrap();
    let mut restored = training(&small(), 0.1);
    restored.load(&files).unwrap();
    assert_eq!(restored.steps, 3);
    let end = restored.clone().save().unwrap();
    assert_eq!(end["model.safetensors"], files["model.safetensors"]);
    steps(&mut whole, 0..6);
    steps(&mut restored, 3..6);
    assert_eq!(restored.save().unwrap()["model.safetensors"], whole.save().unwrap()["model.safetensors"]);
}

#[test]
fn a_checkpoint_of_another_model_is_refused_by_name() {
    let saved = |config: &ModelConfig| {
        let mut training = training(config, 0.0);
        step(&mut training, 0);
        training.save().unwrap()
    };
    let mut training = training(&small(), 0.0);
    step(&mut training, 0);
    let files = saved(&small());
    let before = parameters(&training.model);
    // The parameters alone do not tell these from ours.
    let window = saved(&ModelConfig { window: Some(5), ..small() });
    let error = training.load(&window).unwrap_err().to_string();
    assert_eq!(error, "model.json: of another model: `window` is 5 there and 4 here");
    let memory = MemoryConfig { lambda_min: 0.5, ..MemoryConfig::default() };
    let error = training.load(&saved(&ModelConfig { memory: Some(memory), ..small() })).unwrap_err().to_string();
    assert!(error.ends_with("`memory.lambda_min` is 0.5 there and 0.0 here"), "{error}");

    let with = |name: &str, content: &[u8]| {
        let mut files = files.clone();
        files.insert(name.into(), content.to_vec());
        files
    };
    let bare = saved(&ModelConfig { memory: None, ..small() });
    let error = training.load(&with("model.safetensors", &bare["model.safetensors"])).unwrap_err().to_string();
    assert!(error.contains("memory.write"), "{error}");
    let error = training.load(&with("steps.txt", b"many")).unwrap_err().to_string();
    assert!(error.contains("steps.txt"), "{error}");
    for name in files.keys() {
        let mut files = files.clone();
        files.remove(name);
        let error = training.load(&files).unwrap_err().to_string();
        assert!(error.starts_with(name.as_str()) && error.contains("missing"), "{error}");
    }
    assert_eq!(parameters(&training.model), before);
    training.load(&files).unwrap();
}

/// CPU-tiny of section 8.2: the accuracy on 512 sequences, and the steps until it reached 0.99 or the budget ended.
fn learn_recall(config: &ModelConfig, steps: u64) -> (f64, u64) {
    let task = Mqar::default();
    let rate = LearningRate { peak: 3e-3, warm_up: 50, steps, floor: 0.05 };
    let test = task.batch(512, &mut Stream::new(0, "o23/test", 0)).unwrap();
    let mut training = training(config, 0.0);
    let start = Instant::now();
    let mut accuracy = 0.0;
    for number in 0..steps {
        let batch = task.batch(64, &mut Stream::new(0, "o23/train", number)).unwrap();
        let options = StepOptions { lr: rate.at(number), clip: Some(1.0) };
        training.step(&batch.tokens, None, &batch.targets(), &options).unwrap();
        if training.steps.is_multiple_of(25) || training.steps == steps {
            accuracy = recall(&training.model.valid(), &test).unwrap().total().accuracy().unwrap();
            if accuracy >= 0.99 {
                break;
            }
        }
    }
    eprintln!("{accuracy:.4} after {} steps, {:.1} s", training.steps, start.elapsed().as_secs_f64());
    (accuracy, training.steps)
}

/// Every character of this text follows from the three before it.
#[test]
fn a_text_is_learnt() {
    let text = "to be or not to be, that is the question. ".repeat(30);
    let alphabet = Alphabet::of(&text).unwrap();
    let ids = alphabet.encode(&text).unwrap();
    let mut training = training(&ModelConfig { vocabulary: alphabet.size(), ..small() }, 0.1);
    let held_out = segments(&ids, 8, 60).unwrap();
    let nats = |training: &Training| evaluate(&training.model.valid(), &held_out).unwrap().mean().unwrap();
    let before = nats(&training);
    assert!((before - (alphabet.size() as f64).ln()).abs() < 0.3, "{before}");
    for number in 0..80 {
        let batch = windows(&ids, 8, 24, &mut Stream::new(1, "text", number)).unwrap();
        training.step(&batch.inputs, None, &batch.targets(), &StepOptions { lr: 1e-2, clip: Some(1.0) }).unwrap();
    }
    let after = nats(&training);
    assert!(after < 0.2, "{after}");
}

#[test]
fn o23_learning() {
    let (accuracy, steps) = learn_recall(&ModelConfig::default(), 300);
    assert!(accuracy >= 0.99, "with memory: {accuracy} after {steps} steps");
    let (accuracy, steps) = learn_recall(&ModelConfig { memory: None, ..ModelConfig::default() }, steps);
    assert!(accuracy < 0.15, "window only: {accuracy} after {steps} steps");
}
