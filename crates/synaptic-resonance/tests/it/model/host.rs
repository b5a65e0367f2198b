//! The host's settings: what they are by default, and models of parameters that are given.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, values};
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass, Tensors};
use synaptic_resonance::session::model_hash;
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};

use super::{llama, logits, model, small, tokens, variants};

/// Models that were made before there were settings of the host keep their config and their hash: sessions and runs that
/// were saved of them stay theirs.
#[test]
fn settings_that_came_later_change_neither_config_nor_hash() {
    let sr = ModelConfig::default();
    let memory = MemoryConfig { own_projections: true, ..MemoryConfig::default() };
    let grouped =
        ModelConfig { heads: 4, groups: Some(2), mlp: Some(24), window: None, memory: Some(memory), ..sr.clone() };
    let cases = [
        (
            sr.clone(),
            r#"{"vocabulary":64,"width":64,"layers":2,"heads":2,"groups":null,"mlp":null,"window":8,"attention_blend":false,"memory":{"rule":"delta","decay":true,"blend":true,"read_norm":true,"own_projections":false,"half_lives":{"bias":-4.0},"lambda_min":0.0,"chunk":32}}"#,
            "ad978baab5d33ee53a4a1301065dcd47f77fb031cc80bfce0119f3f99dc832af",
        ),
        (
            ModelConfig { memory: None, attention_blend: true, ..sr },
            r#"{"vocabulary":64,"width":64,"layers":2,"heads":2,"groups":null,"mlp":null,"window":8,"attention_blend":true,"memory":null}"#,
            "1296c20862ac689c2660ed8dcd67dba11f893d7015e7aa145590ceb120b36378",
        ),
        (
            grouped,
            r#"{"vocabulary":64,"width":64,"layers":2,"heads":4,"groups":2,"mlp":24,"window":null,"attention_blend":false,"memory":{"rule":"delta","decay":true,"blend":true,"read_norm":true,"own_projections":true,"half_lives":{"bias":-4.0},"lambda_min":0.0,"chunk":32}}"#,
            "d132c80d8c7c605fd401e97d08f6644a817a93790ca3a2a587e086819b61ed2a",
        ),
    ];
    for (config, json, hash) in cases {
        assert_eq!(serde_json::to_string(&config).unwrap(), json);
        assert_eq!(serde_json::from_str::<ModelConfig>(json).unwrap(), config);
        let model = Model::new(&config, &mut Stream::new(7, "today", 0), &cpu()).unwrap();
        assert_eq!(model_hash(&model), hash, "{json}");
        // A width of the heads that is what would be worked out makes no other model.
        let said = ModelConfig { head_width: Some(config.head_width()), ..config };
        let model = Model::new(&said, &mut Stream::new(7, "today", 0), &cpu()).unwrap();
        assert_eq!(model_hash(&model), hash, "{json}");
    }
}

#[test]
fn every_setting_of_the_host_makes_another_hash_and_comes_back_from_its_config() {
    let plain = small(None);
    let every = llama(None);
    let one = [
        ModelConfig { activation: every.activation, ..plain.clone() },
        ModelConfig { rope_base: every.rope_base, ..plain.clone() },
        ModelConfig { rope_pairs: every.rope_pairs, ..plain.clone() },
        ModelConfig { norm_epsilon: every.norm_epsilon, ..plain.clone() },
        ModelConfig { head_width: every.head_width, ..plain.clone() },
        ModelConfig { biases: true, ..plain.clone() },
        ModelConfig { own_head: true, ..plain.clone() },
        ModelConfig { sinks: 2, ..plain.clone() },
    ];
    let mut hashes = vec![model_hash(&model(&plain))];
    let input = tokens(1, 9, 1);
    let usual = logits(&model(&plain), &input, &Pass::default());
    for config in one {
        let back: ModelConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(back, config);
        let hash = model_hash(&model(&config));
        assert!(!hashes.contains(&hash), "{config:?}");
        hashes.push(hash);
        assert_ne!(logits(&model(&config), &input, &Pass::default()), usual, "{config:?}");
    }
}

/// All parameters of a model.
struct Collect<'a> {
    path: Vec<String>,
    found: Tensors<'a>,
    /// One that is changed on the way, and how.
    at: &'a str,
    change: Change,
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    Drop,
    Longer,
    Short,
    Twice,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (path, mut shape) = (self.path.join("."), param.dims().to_vec());
        let mut numbers: Vec<f32> = values(param.val()).into_iter().map(|x| x as f32).collect();
        match if path == self.at { self.change } else { Change::Nothing } {
            Change::Nothing => {}
            Change::Drop => return,
            Change::Longer => shape[0] += 1,
            Change::Short => numbers.truncate(1),
            Change::Twice => self.found.insert_values(format!("{path}.again"), shape.clone(), numbers.clone()),
        }
        self.found.insert_values(path, shape, numbers);
    }
}

fn parameters(model: &Model, at: &'static str, change: Change) -> Tensors<'static> {
    let mut collect = Collect { path: Vec::new(), found: Tensors::new(), at, change };
    model.visit(&mut collect);
    collect.found
}

#[test]
fn a_model_of_given_parameters_is_the_model_that_they_are_of() {
    for (name, config) in variants() {
        let model = model(&config);
        let given = parameters(&model, "", Change::Nothing);
        let again = Model::from_tensors(&config, given, &cpu(), DType::F32).unwrap();
        assert_eq!(model_hash(&again), model_hash(&model), "{name}");
        let input = tokens(2, 9, 4);
        let [a, b] = [&model, &again].map(|model| logits(model, &input, &Pass::default()));
        assert_eq!(a, b, "{name}");
    }
    let config = llama(None);
    for dtype in [DType::BF16, DType::F16, DType::F64] {
        let given = parameters(&model(&config), "", Change::Nothing);
        let narrow = Model::from_tensors(&config, given, &cpu(), dtype).unwrap();
        let (logits, _) = narrow.forward(&tokens(1, 5, 1), narrow.start(1), &Pass::default()).unwrap();
        assert_eq!(logits.dtype(), dtype);
    }
}

#[test]
fn parameters_that_make_no_model_are_named() {
    let config = llama(Some(MemoryConfig::default()));
    let made = |at: &'static str, change: Change| {
        Model::from_tensors(&config, parameters(&model(&config), at, change), &cpu(), DType::F32)
    };
    for at in ["blocks.1.attention.biases.k", "blocks.0.gate", "head", "blocks.1.memory.forget", "norm"] {
        let error = made(at, Change::Drop).unwrap_err();
        assert!(matches!(&error, MemoryError::MissingTensor { path } if path == at), "{error}");
        let error = made(at, Change::Longer).unwrap_err();
        let right = |found: &[usize], expected: &[usize]| found[0] == expected[0] + 1;
        assert!(
            matches!(&error, MemoryError::TensorShape { path, found, expected } if path == at && right(found, expected)),
            "{error}"
        );
        let error = made(at, Change::Short).unwrap_err();
        assert!(matches!(&error, MemoryError::TensorShape { path, .. } if path == at), "{error}");
        let error = made(at, Change::Twice).unwrap_err();
        assert!(error.to_string().contains(&format!("the first is `{at}.again`")), "{error}");
    }
    // Nothing is read of a model that cannot be: its config is looked at first.
    let mut unread = Tensors::new();
    unread.insert("embedding", [13, 16], || panic!("read"));
    let wrong = ModelConfig { heads: 3, ..small(None) };
    assert!(matches!(
        Model::from_tensors(&wrong, unread, &cpu(), DType::F32),
        Err(MemoryError::Setting { field: "width", .. })
    ));
    let given = parameters(&model(&config), "", Change::Nothing);
    let error = Model::from_tensors(&config, given, &cpu(), DType::I32).unwrap_err();
    assert!(matches!(error, MemoryError::Setting { field: "dtype", .. }), "{error}");
}
