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
//! | A12 decay per channel | `gates: Decay` |
//! | A13 gates per channel | `gates: Channels` |

use serde::{Deserialize, Serialize};

use crate::error::MemoryError;
use crate::rope::Rope;

/// What a write adds to the memory (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The error of the memory's prediction: `S' + beta (v - S' k) k^T` (section 4.3).
    Delta,
    /// The value itself: `S' + beta v k^T`.
    Hebbian,
}

/// What has a gate of its own (section 4.3; A12, A13). At the start all of these are the same model but for rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gates {
    /// Every key and value head has a write rate and a decay: Gated DeltaNet's.
    #[default]
    Heads,
    /// A head's write rate, and a decay for every key channel: Kimi Delta Attention's.
    Decay,
    /// For every key channel a decay and a share with which it reads, and so erases, the old value; for every value
    /// channel a share that is written: Gated DeltaNet-2's. What a variant without decay or correction does not read, it
    /// does not have.
    Channels,
}

impl Gates {
    fn of_heads(&self) -> bool {
        *self == Self::Heads
    }
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
    /// What has a gate of its own. Not written where it is the default: a model without keeps its hash.
    #[serde(skip_serializing_if = "Gates::of_heads")]
    pub gates: Gates,
    /// Numbers of a token from which gates of channels are computed, `d` of them where none is given. Only with such gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_rank: Option<usize>,
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
            gates: Gates::Heads,
            gate_rank: None,
        }
    }
}

/// Which numbers of a head are turned together by rotary positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// Neighbours, `(2i, 2i + 1)`.
    #[default]
    Interleaved,
    /// One of either half of a head's D numbers, `(i, i + D / 2)`.
    Halves,
}

/// What stands between the matrices of the MLP, for the normalised input `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `gelu(n W_up) W_down`, the exact form.
    #[default]
    Gelu,
    /// `(silu(n W_gate) * (n W_up)) W_down` with `silu(x) = x sigmoid(x)`: a third matrix.
    SwiGlu,
}

/// The host (section 3) with or without memory. Settings that came later are written only where they are not the default:
/// a model without them keeps its config, and its hash.
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
    /// First tokens of a document that stay visible when the window has passed them (arXiv 2309.17453), with a window of
    /// at least 2. They keep their positions, so that a query is as far from them as it is in the text.
    #[serde(skip_serializing_if = "is_default")]
    pub sinks: usize,
    /// D, the width of a head, an even number; `width / heads` when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_width: Option<usize>,
    /// What the MLP is made of.
    #[serde(skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// Base of the rotary positions: pair i of a head turns by `base^(-2i / D)` from token to token.
    #[serde(skip_serializing_if = "is_rope_base")]
    pub rope_base: f64,
    /// Which numbers of a head these turn together.
    #[serde(skip_serializing_if = "is_default")]
    pub rope_pairs: Pairs,
    /// Added to the mean square in the norms.
    #[serde(skip_serializing_if = "is_norm_epsilon")]
    pub norm_epsilon: f64,
    /// Queries, keys and values have a bias each.
    #[serde(skip_serializing_if = "is_default")]
    pub biases: bool,
    /// The output layer has a matrix of its own; else it is the embedding.
    #[serde(skip_serializing_if = "is_default")]
    pub own_head: bool,
}

/// Base of the rotary positions (section 3).
const ROPE_BASE: f64 = 10_000.0;
/// Added to the mean square in the norms (section 3).
const NORM_EPSILON: f64 = 1e-6;

fn is_default<T: Default + PartialEq>(x: &T) -> bool {
    *x == T::default()
}

fn is_rope_base(x: &f64) -> bool {
    *x == ROPE_BASE
}

fn is_norm_epsilon(x: &f64) -> bool {
    *x == NORM_EPSILON
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
            sinks: 0,
            head_width: None,
            activation: Activation::default(),
            rope_base: ROPE_BASE,
            rope_pairs: Pairs::default(),
            norm_epsilon: NORM_EPSILON,
            biases: false,
            own_head: false,
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
    /// Which gates of channels there are: decay, erasing, writing.
    pub(crate) fn gated(&self) -> [bool; 3] {
        let all = self.gates == Gates::Channels;
        [self.decay && self.gates != Gates::Heads, all && self.rule == Rule::Delta, all]
    }

    /// Parameters of the gates of all `channels` of a layer, as columns of `width` numbers: about so many.
    fn gate_columns(&self, width: usize, channels: usize) -> usize {
        let gates = self.gated().iter().filter(|there| **there).count().saturating_mul(channels);
        match self.gate_rank {
            Some(rank) => rank.saturating_add(rank.saturating_mul(gates).div_ceil(width.max(1))),
            None => gates,
        }
    }

    /// # Errors
    /// When a setting is outside its domain.
    pub fn check(&self) -> Result<(), MemoryError> {
        if !self.chunk.is_power_of_two() {
            return Err(MemoryError::setting("memory.chunk", self.chunk, "must be a power of two, such as 32"));
        }
        if self.gates == Gates::Decay && !self.decay {
            let expected = "a decay for every channel needs `decay = true`; gates for all that is left are `channels`";
            return Err(MemoryError::setting("memory.gates", "decay", expected));
        }
        match self.gate_rank {
            Some(0) => return Err(MemoryError::setting("memory.gate_rank", 0, "must be at least 1")),
            Some(rank) if rank > MOST_SIZE => {
                return Err(MemoryError::setting("memory.gate_rank", rank, format!("must be at most {MOST_SIZE}")));
            }
            Some(rank) if self.gates == Gates::Heads => {
                let expected = "is for gates of channels: set `gates` to `decay` or `channels`, or leave it out";
                return Err(MemoryError::setting("memory.gate_rank", rank, expected));
            }
            _ => {}
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
        self.head_width.unwrap_or_else(|| self.width.checked_div(self.heads).unwrap_or(0))
    }

    /// The rotary positions.
    pub fn rope(&self) -> Rope {
        Rope { base: self.rope_base, pairs: self.rope_pairs }
    }

    /// With every setting that is worked out from others written out, or left out where it is what would be worked out and
    /// was not there from the beginning: equal for models that are equal.
    pub(crate) fn canonical(&self) -> Self {
        let head_width = self.head_width.filter(|width| width.checked_mul(self.heads) != Some(self.width));
        Self { groups: Some(self.groups()), mlp: Some(self.mlp()), head_width, ..self.clone() }
    }

    /// Parameters of the matrices: nearly all there are.
    pub(crate) fn parameters(&self) -> usize {
        let [queries, keys] = [self.heads, self.groups()].map(|count| count.saturating_mul(self.head_width()));
        let gate = if self.activation == Activation::SwiGlu { self.mlp() } else { 0 };
        let matrices = [queries, queries, keys, keys, self.mlp(), self.mlp(), gate];
        let own = self.memory.as_ref().is_some_and(|memory| memory.own_projections);
        let gates = self.memory.as_ref().map_or(0, |memory| memory.gate_columns(self.width, keys));
        let rows = matrices
            .iter()
            .chain(if own { &matrices[1..4] } else { &[] })
            .fold(gates, |sum: usize, n| sum.saturating_add(*n));
        let ends = self.vocabulary.saturating_mul(1 + usize::from(self.own_head));
        self.layers.saturating_mul(rows).saturating_add(ends).saturating_mul(self.width)
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
            ("head_width", self.head_width.unwrap_or(1)),
            ("window", self.window.unwrap_or(1)),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(MemoryError::setting(field, 0, "must be at least 1"));
        }
        if let Some((field, value)) = at_least_one.iter().find(|(name, n)| *name != "window" && *n > MOST_SIZE) {
            return Err(MemoryError::setting(field, value, format!("must be at most {MOST_SIZE}")));
        }
        self.memory.as_ref().map_or(Ok(()), MemoryConfig::check)?;
        if self.parameters() > MOST_PARAMETERS {
            let expected = format!("the sizes make {} parameters; a model has at most 2^40", self.parameters());
            return Err(MemoryError::setting("width", self.width, expected));
        }
        if let Some(width) = self.head_width.filter(|width| !width.is_multiple_of(2)) {
            return Err(MemoryError::setting("head_width", width, "must be even: rotation takes pairs"));
        }
        if self.head_width.is_none() && !self.width.is_multiple_of(self.heads) {
            return Err(MemoryError::setting(
                "width",
                self.width,
                format!("must be a multiple of `heads` {}, or `head_width` given", self.heads),
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
        if self.sinks > 0 && self.window.is_none_or(|window| window < 2) {
            let expected = "first tokens are kept beside a `window` of at least 2: full attention sees them anyway";
            return Err(MemoryError::setting("sinks", self.sinks, expected));
        }
        if self.sinks > MOST_SIZE {
            return Err(MemoryError::setting("sinks", self.sinks, format!("must be at most {MOST_SIZE}")));
        }
        if !(self.rope_base >= 1.0 && self.rope_base.is_finite()) {
            return Err(MemoryError::setting("rope_base", self.rope_base, "must be a number of at least 1"));
        }
        // As the model has it: in f32.
        if !(self.norm_epsilon as f32 > 0.0 && (self.norm_epsilon as f32).is_finite()) {
            let expected = "must be a number above 0 and finite in f32, such as 1e-5";
            return Err(MemoryError::setting("norm_epsilon", self.norm_epsilon, expected));
        }
        if let Some(memory) = &self.memory
            && memory.own_projections
            && memory.blend
            && self.attention_blend
        {
            let expected = "a memory with projections of its own blends its keys or attention does, not both";
            return Err(MemoryError::setting("attention_blend", true, expected));
        }
        Ok(())
    }
}
