//! What a model is made of. The variants of section 7 are settings of these, not types of their own.
//!
//! | variant | settings |
//! | --- | --- |
//! | SR | `memory: Some(MemoryConfig::default())` |
//! | A0 window-only | `memory: None` |
//! | A1 Hebbian | `rule: Hebbian, decay: false` |
//! | A2 Hebbian with decay | `rule: Hebbian` |
//! | A3 delta without decay | `decay: false` |
//! | A4 no key blend | `blend: false` |
//! | A5 own projections | `own_projections: true` |
//! | A6 frozen | [`Pass::frozen`](crate::model::Pass) at inference |
//! | A9 full attention | `window: None, memory: None` |
//! | A10 full attention with key blend | A9 and `attention_blend: true` |
//! | A11 window-only with key blend | A0 and `attention_blend: true` |

use serde::{Deserialize, Serialize};

use crate::error::MemoryError;

/// What a write adds to the memory (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The error of the memory's prediction: `S' + beta (v - S' k) k^T` (section 4.3).
    Delta,
    /// The value itself: `S' + beta v k^T`.
    Hebbian,
}

/// Initial biases of forgetting (section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfLives {
    /// `b_l` of every head; -4 is a half-life of 38 tokens.
    Bias(f64),
    /// Half-lives in tokens, log-spaced over the groups of a layer, from 1e-30 to 1e30.
    LogSpaced {
        /// Of the first group.
        from: f64,
        /// Of the last one.
        to: f64,
    },
}

/// The memory of every layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// What a write adds.
    pub rule: Rule,
    /// The memory forgets: `a < 1`. Without, there is no parameter for it.
    pub decay: bool,
    /// Memory keys are a learned blend of the current and the previous key.
    pub blend: bool,
    /// The read-out is normalised and scaled (section 4.4).
    pub read_norm: bool,
    /// The memory has queries, keys and values of its own (A5).
    pub own_projections: bool,
    /// Initial forgetting.
    pub half_lives: HalfLives,
    /// Added to the softplus: a hard bound `a <= exp(-lambda_min)` (section 4.5).
    pub lambda_min: f64,
    /// C, tokens of a chunk of the parallel form; a power of two.
    pub chunk: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            rule: Rule::Delta,
            decay: true,
            blend: true,
            read_norm: true,
            own_projections: false,
            half_lives: HalfLives::Bias(-4.0),
            lambda_min: 0.0,
            chunk: 32,
        }
    }
}

/// The host (section 3) with or without memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// V, number of tokens that the model knows.
    pub vocabulary: usize,
    /// d, the model's width.
    pub width: usize,
    /// L.
    pub layers: usize,
    /// H, query heads.
    pub heads: usize,
    /// G, key and value heads; the heads when not given.
    pub groups: Option<usize>,
    /// Hidden units of the MLP; `4 width` when not given.
    pub mlp: Option<usize>,
    /// w: a position sees itself and the `w - 1` before it; full attention when not given.
    pub window: Option<usize>,
    /// The keys of attention are a learned blend of the current and the previous key (A10, A11).
    pub attention_blend: bool,
    /// The memory; none for the baselines.
    pub memory: Option<MemoryConfig>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            vocabulary: 64,
            width: 64,
            layers: 2,
            heads: 2,
            groups: None,
            mlp: None,
            window: Some(8),
            attention_blend: false,
            memory: Some(MemoryConfig::default()),
        }
    }
}

/// Half-lives in tokens of which every bias is a number in f32, and so is what lies between two of them.
const SHORTEST: f64 = 1e-30;
const LONGEST: f64 = 1e30;

/// No size of a model is larger, nor has it more parameters: far above what fits into a machine, and far below what
/// products of sizes overflow at.
const MOST_SIZE: usize = 1 << 24;
const MOST_PARAMETERS: usize = 1 << 40;

impl MemoryConfig {
    /// # Errors
    /// When a setting is outside its domain.
    pub fn check(&self) -> Result<(), MemoryError> {
        if !self.chunk.is_power_of_two() {
            return Err(MemoryError::setting("memory.chunk", self.chunk, "must be a power of two, such as 32"));
        }
        // As the model has them: in f32.
        let number = |x: f64| (x as f32).is_finite();
        if !(self.lambda_min >= 0.0 && number(self.lambda_min)) {
            let expected = "must be a number of at least 0, finite in f32";
            return Err(MemoryError::setting("memory.lambda_min", self.lambda_min, expected));
        }
        match self.half_lives {
            HalfLives::Bias(b) if !number(b) => {
                Err(MemoryError::setting("memory.half_lives", b, "the bias must be a number, finite in f32"))
            }
            HalfLives::LogSpaced { from, to } if !(from >= SHORTEST && to >= from && to <= LONGEST) => {
                let found = format!("from {from} to {to}");
                let expected = format!("must be tokens with {SHORTEST:e} <= from <= to <= {LONGEST:e}");
                Err(MemoryError::setting("memory.half_lives", found, expected))
            }
            _ => Ok(()),
        }
    }
}

impl ModelConfig {
    /// G.
    pub fn groups(&self) -> usize {
        self.groups.unwrap_or(self.heads)
    }

    /// Hidden units of the MLP.
    pub fn mlp(&self) -> usize {
        self.mlp.unwrap_or(self.width.saturating_mul(4))
    }

    /// D, the width of a head; 0 without heads.
    pub fn head_width(&self) -> usize {
        self.width.checked_div(self.heads).unwrap_or(0)
    }

    /// Parameters of the matrices: nearly all there are.
    pub(crate) fn parameters(&self) -> usize {
        let keys = self.groups().saturating_mul(self.head_width());
        let matrices = [self.width, self.width, keys, keys, self.mlp(), self.mlp()];
        let own = self.memory.as_ref().is_some_and(|memory| memory.own_projections);
        let rows = matrices
            .iter()
            .chain(if own { &matrices[1..4] } else { &[] })
            .fold(0, |sum: usize, n| sum.saturating_add(*n));
        self.layers.saturating_mul(rows).saturating_add(self.vocabulary).saturating_mul(self.width)
    }

    /// # Errors
    /// When a setting is outside its domain, or two do not fit each other.
    pub fn check(&self) -> Result<(), MemoryError> {
        let at_least_one = [
            ("vocabulary", self.vocabulary),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("groups", self.groups()),
            ("mlp", self.mlp()),
            ("window", self.window.unwrap_or(1)),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(MemoryError::setting(field, 0, "must be at least 1"));
        }
        if let Some((field, value)) = at_least_one.iter().find(|(name, n)| *name != "window" && *n > MOST_SIZE) {
            return Err(MemoryError::setting(field, value, format!("must be at most {MOST_SIZE}")));
        }
        if self.parameters() > MOST_PARAMETERS {
            let expected = format!("the sizes make {} parameters; a model has at most 2^40", self.parameters());
            return Err(MemoryError::setting("width", self.width, expected));
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(MemoryError::setting(
                "width",
                self.width,
                format!("must be a multiple of `heads` {}", self.heads),
            ));
        }
        if !self.head_width().is_multiple_of(2) {
            let expected = format!("`width` must be twice a multiple of `heads` {}: rotation takes pairs", self.heads);
            return Err(MemoryError::setting("width", self.width, expected));
        }
        if !self.heads.is_multiple_of(self.groups()) {
            let expected = format!("must be a multiple of `groups` {}", self.groups());
            return Err(MemoryError::setting("heads", self.heads, expected));
        }
        if let Some(memory) = &self.memory {
            memory.check()?;
            if memory.own_projections && memory.blend && self.attention_blend {
                let expected = "a memory with projections of its own blends its keys or attention does, not both";
                return Err(MemoryError::setting("attention_blend", true, expected));
            }
        }
        Ok(())
    }
}
