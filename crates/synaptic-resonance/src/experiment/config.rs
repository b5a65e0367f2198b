//! The experiment's config. Its default is recall at the CPU size of section 8.2, with the memory.

use plasticity_core::config::{Invalid, Validate, above_zero, at_least_one};
use plasticity_core::nn::LearningRate;
use serde::{Deserialize, Serialize};

use super::limits::invalid;
use crate::settings::{Gates, HalfLives, MemoryConfig, ModelConfig, Rule};
use crate::tasks::{Mqar, Retention};

/// Probabilities with which an input character is replaced (section 8.8).
pub(super) const NOISE: [f64; 5] = [0.0, 0.02, 0.05, 0.1, 0.2];

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Study {
    /// Learns to recall pairs, and is asked at the length of training (sections 8.2 and 8.3).
    Recall,
    /// The same, asked at longer lengths too (section 8.4 a).
    Retention,
    /// Learns to predict the next character of a text (sections 8.6 and 8.8).
    Characters,
}

/// What an arm is made of (section 7): one word for what TOML cannot say, a setting that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Windowed attention with the memory of section 4.
    Sr,
    /// Windowed attention alone (A0).
    Window,
    /// Windowed attention whose keys are blended with the one before, as the memory's are (A11).
    WindowBlend,
    /// Full attention (A9): `model.window` does not limit it.
    Full,
    /// Full attention with blended keys (A10).
    FullBlend,
    /// The memory as a plain sum: no correction, no forgetting (A1).
    Hebbian,
    /// A sum that forgets, without correction (A2).
    HebbianDecay,
    /// Correction without forgetting (A3).
    DeltaNoDecay,
    /// The memory without the blend of keys (A4).
    NoBlend,
    /// The memory with projections of its own (A5).
    OwnProjections,
    /// The memory with a decay for every key channel (A12).
    ChannelDecay,
    /// The memory with gates for every channel: decay, erasing, writing (A13).
    ChannelGates,
}

impl Variant {
    /// Whether it has a memory.
    pub fn remembers(self) -> bool {
        !matches!(self, Self::Window | Self::WindowBlend | Self::Full | Self::FullBlend)
    }

    /// Whether its attention has a window.
    pub fn windowed(self) -> bool {
        !matches!(self, Self::Full | Self::FullBlend)
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the run does.
    pub study: Study,
    /// What the arm is made of.
    pub variant: Variant,
    /// The sequences of training. For `recall` and `retention`.
    pub task: Mqar,
    /// For `characters`.
    pub text: TextConfig,
    /// Sizes of the model.
    pub model: HostConfig,
    /// How it learns.
    pub training: TrainingConfig,
    /// How it is asked.
    pub evaluation: EvaluationConfig,
}

/// Sizes of the model, the same in all arms of a comparison; [`Variant`] says which parts there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// d, the model's width.
    pub width: usize,
    /// L.
    pub layers: usize,
    /// H, query heads.
    pub heads: usize,
    /// G, key and value heads; `heads` when not given.
    pub groups: Option<usize>,
    /// Hidden units of the MLP; `4 width` when not given.
    pub mlp: Option<usize>,
    /// w, tokens that windowed attention sees, the current one included.
    pub window: usize,
    /// Initial forgetting of the memory.
    pub half_lives: HalfLives,
    /// The memory's read-out is normalised (section 4.4).
    pub read_norm: bool,
    /// C, tokens of a chunk of the memory's parallel form.
    pub chunk: usize,
}

/// How the model learns (section 8.1): AdamW with betas 0.9 and 0.98, linear warm-up, then a cosine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences of a step.
    pub batch: usize,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warm_up: usize,
    /// Share of the learning rate that is left at the end.
    pub floor: f64,
    /// Limit of the gradient's norm over all parameters.
    pub clip: f64,
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Probability that an input character is replaced in training. Only for `characters`.
    pub noise: f64,
}

/// How the model is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Test sequences of each length. For `recall` and `retention`.
    pub sequences: usize,
    /// Lengths of the test sequences in tokens. Only for `retention`.
    pub lengths: Vec<usize>,
    /// Steps of training between two looks at the test sequences, or at part of the validation text.
    pub every: usize,
}

/// How a text is cut. Only for `characters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// T, characters of a segment.
    pub segment: usize,
    /// Readers that go through the validation text side by side, each through a part of its own.
    pub readers: usize,
    /// Segments of each reader, its first ones, on which noise is measured and the validation curve is drawn.
    pub part: usize,
}

impl Default for HostConfig {
    fn default() -> Self {
        let memory = MemoryConfig::default();
        Self {
            width: 64,
            layers: 2,
            heads: 2,
            groups: None,
            mlp: None,
            window: 8,
            half_lives: memory.half_lives,
            read_norm: memory.read_norm,
            chunk: memory.chunk,
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 200,
            batch: 64,
            learning_rate: 3e-3,
            warm_up: 50,
            floor: 0.05,
            clip: 1.0,
            weight_decay: 0.0,
            noise: 0.0,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { sequences: 512, lengths: vec![256, 512, 1024, 2048], every: 50 }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { segment: 192, readers: 20, part: 5 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            study: Study::Recall,
            variant: Variant::Sr,
            task: Mqar::default(),
            text: TextConfig::default(),
            model: HostConfig::default(),
            training: TrainingConfig::default(),
            evaluation: EvaluationConfig::default(),
        }
    }
}

impl Config {
    /// The model of this arm.
    pub fn model(&self, vocabulary: usize) -> ModelConfig {
        let (host, variant) = (&self.model, self.variant);
        let memory = MemoryConfig {
            rule: match variant {
                Variant::Hebbian | Variant::HebbianDecay => Rule::Hebbian,
                _ => Rule::Delta,
            },
            decay: !matches!(variant, Variant::Hebbian | Variant::DeltaNoDecay),
            blend: variant != Variant::NoBlend,
            own_projections: variant == Variant::OwnProjections,
            gates: match variant {
                Variant::ChannelDecay => Gates::Decay,
                Variant::ChannelGates => Gates::Channels,
                _ => Gates::Heads,
            },
            read_norm: host.read_norm,
            half_lives: host.half_lives,
            chunk: host.chunk,
            ..MemoryConfig::default()
        };
        ModelConfig {
            vocabulary,
            width: host.width,
            layers: host.layers,
            heads: host.heads,
            groups: host.groups,
            mlp: host.mlp,
            window: variant.windowed().then_some(host.window),
            attention_blend: matches!(variant, Variant::WindowBlend | Variant::FullBlend),
            memory: variant.remembers().then_some(memory),
            ..ModelConfig::default()
        }
    }

    /// Tokens that information can pass through windowed attention alone, its keys blended with the ones before or not:
    /// the same for all arms.
    pub(super) fn reach(&self) -> usize {
        self.model.layers.saturating_mul(self.model.window)
    }

    /// There are questions out of the reach of windowed attention.
    pub(super) fn far(&self) -> bool {
        self.reach() < self.task.time / 2
    }

    /// Lengths at which recall is asked.
    pub(super) fn lengths(&self) -> Vec<usize> {
        match self.study {
            Study::Recall => vec![self.task.time],
            Study::Retention => self.evaluation.lengths.clone(),
            Study::Characters => Vec::new(),
        }
    }

    /// The task at each length.
    pub(super) fn retention(&self) -> Retention {
        Retention { train: self.task.clone(), lengths: self.lengths() }
    }

    pub(super) fn learning_rate(&self) -> LearningRate {
        LearningRate {
            peak: self.training.learning_rate,
            warm_up: self.training.warm_up as u64,
            steps: self.training.steps as u64,
            floor: self.training.floor,
        }
    }

    /// Seconds as `Plan::seconds` means them, and bytes on disk: two checkpoints of weights and moments, and the
    /// records.
    pub(super) fn cost(&self) -> (f64, u64) {
        let looks = self.training.steps as f64 / self.evaluation.every as f64;
        let product = |sizes: &[usize]| sizes.iter().map(|n| *n as f64).product::<f64>();
        let (sequence, tests) = match self.study {
            Study::Characters => {
                // The whole text twice, part of it for every probability of noise and every look.
                let part = product(&[self.text.part, self.text.readers, self.text.segment]);
                (self.text.segment, 230_000.0 + part * (NOISE.len() as f64 + looks))
            }
            _ => {
                let lengths: f64 = self.lengths().iter().map(|n| *n as f64).sum();
                let tokens = looks * self.task.time as f64 + lengths;
                (self.task.time, self.evaluation.sequences as f64 * tokens)
            }
        };
        let trained = product(&[self.training.steps, self.training.batch, sequence]);
        // At width 64 and two layers a trained token takes 10 us, 16 with a memory, 25 where its channels have gates, more
        // with full attention in long sequences; a third of it when tested.
        let size = (self.model.layers as f64 / 2.0) * (self.model.width as f64 / 64.0).powi(2);
        let token = match (self.variant.remembers(), self.variant.windowed()) {
            (true, _) if self.variant == Variant::ChannelGates => 25.0e-6,
            (true, _) if self.variant == Variant::ChannelDecay => 18.5e-6,
            (true, _) => 15.8e-6,
            (false, true) => 10.3e-6,
            (false, false) => 10.3e-6 * (1.0 + sequence as f64 / 400.0),
        } * size;
        let checkpoint = self.model(self.task.vocabulary).parameters().saturating_mul(12) as u64;
        (0.5 + token * (trained + tests / 3.0), checkpoint.saturating_mul(2).saturating_add(300_000))
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        let (training, evaluation) = (&self.training, &self.evaluation);
        at_least_one(&[
            ("training.steps", training.steps),
            ("training.batch", training.batch),
            ("evaluation.sequences", evaluation.sequences),
            ("evaluation.every", evaluation.every),
            ("text.segment", self.text.segment),
            ("text.readers", self.text.readers),
            ("text.part", self.text.part),
            ("model.window", self.model.window),
        ])?;
        above_zero(&[("training.learning_rate", training.learning_rate), ("training.clip", training.clip)])?;
        if !(training.weight_decay.is_finite() && training.weight_decay >= 0.0) {
            return Err(Invalid::new("training.weight_decay", "must be at least 0"));
        }
        for (field, value) in [("training.floor", training.floor), ("training.noise", training.noise)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Invalid::new(field, "must lie between 0 and 1"));
            }
        }
        self.model(self.task.vocabulary).check().map_err(|e| invalid(e, "model", None))?;
        self.check_passes()?;
        if self.study == Study::Characters {
            return Ok(());
        }
        if training.noise > 0.0 {
            return Err(Invalid::new("training.noise", "is for `study = \"characters\"` only"));
        }
        self.task.check().map_err(|e| invalid(e, "task", None))?;
        let lengths = &evaluation.lengths;
        if self.study == Study::Retention && (lengths.is_empty() || !lengths.is_sorted_by(|a, b| a < b)) {
            return Err(Invalid::new("evaluation.lengths", "must name at least one length, each longer than the last"));
        }
        self.retention().check().map_err(|e| invalid(e, "evaluation", Some("evaluation.lengths")))
    }
}

#[cfg(test)]
mod tests;
