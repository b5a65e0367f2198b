//! Architectures of the Llama family: settings and names of their tensors.

use std::path::Path;

use burn::prelude::*;

use super::gguf::{Gguf, Value};
use super::weights::Weight;
use super::{Described, LoadError, Loaded, Options, matrix};
use crate::error::MemoryError;
use crate::model::{Model, Tensors};
use crate::settings::{Activation, ModelConfig, Pairs};

/// A parameter: its name in the model, in GGUF, in the transformers library; a matrix of these is outputs first, and is
/// turned.
struct Name {
    ours: &'static str,
    gguf: &'static str,
    pretrained: &'static str,
    turned: bool,
}

const fn name(ours: &'static str, gguf: &'static str, pretrained: &'static str, turned: bool) -> Name {
    Name { ours, gguf, pretrained, turned }
}

/// Of the whole model.
const ENDS: [Name; 3] = [
    name("embedding", "token_embd.weight", "model.embed_tokens.weight", false),
    name("norm", "output_norm.weight", "model.norm.weight", false),
    name("head", "output.weight", "lm_head.weight", false),
];
/// Before the number of a layer.
const LAYERS: Name = name("blocks", "blk", "model.layers", false);
/// Of a layer, after it.
const LAYER: [Name; 12] = [
    name("norm1", "attn_norm.weight", "input_layernorm.weight", false),
    name("attention.q", "attn_q.weight", "self_attn.q_proj.weight", true),
    name("attention.k", "attn_k.weight", "self_attn.k_proj.weight", true),
    name("attention.v", "attn_v.weight", "self_attn.v_proj.weight", true),
    name("attention.o", "attn_output.weight", "self_attn.o_proj.weight", true),
    name("attention.biases.q", "attn_q.bias", "self_attn.q_proj.bias", false),
    name("attention.biases.k", "attn_k.bias", "self_attn.k_proj.bias", false),
    name("attention.biases.v", "attn_v.bias", "self_attn.v_proj.bias", false),
    name("norm2", "ffn_norm.weight", "post_attention_layernorm.weight", false),
    name("gate", "ffn_gate.weight", "mlp.gate_proj.weight", true),
    name("up", "ffn_up.weight", "mlp.up_proj.weight", true),
    name("down", "ffn_down.weight", "mlp.down_proj.weight", true),
];

/// How a file names its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Gguf,
    Pretrained,
}

impl Name {
    fn theirs(&self, naming: Naming) -> &'static str {
        match naming {
            Naming::Gguf => self.gguf,
            Naming::Pretrained => self.pretrained,
        }
    }
}

/// Where a tensor of a file goes in the model, and whether it is turned; none for one that is of no known name.
pub(super) fn path_of(file: &str, naming: Naming) -> Option<(String, bool)> {
    if let Some(end) = ENDS.iter().find(|end| end.theirs(naming) == file) {
        return Some((end.ours.into(), end.turned));
    }
    let rest = file.strip_prefix(LAYERS.theirs(naming))?.strip_prefix('.')?;
    let (layer, rest) = rest.split_once('.')?;
    let part = LAYER.iter().find(|part| part.theirs(naming) == rest)?;
    // Digits alone: `+1` and `01` are other names.
    let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    Some((format!("{}.{number}.{}", LAYERS.ours, part.ours), part.turned))
}

/// The name in a file of the parameter at a path, and whether it is turned.
pub(super) fn name_of(path: &str, naming: Naming) -> Option<(String, bool)> {
    if let Some(end) = ENDS.iter().find(|end| end.ours == path) {
        return Some((end.theirs(naming).into(), end.turned));
    }
    let (layer, rest) = path.strip_prefix(LAYERS.ours)?.strip_prefix('.')?.split_once('.')?;
    let part = LAYER.iter().find(|part| part.ours == rest)?;
    Some((format!("{}.{layer}.{}", LAYERS.theirs(naming), part.theirs(naming)), part.turned))
}

/// An error about a parameter, in the words of the file.
fn in_words_of(naming: Naming, cause: MemoryError) -> MemoryError {
    match cause {
        MemoryError::MissingTensor { path } => {
            MemoryError::MissingTensor { path: name_of(&path, naming).map_or(path, |(name, _)| name) }
        }
        MemoryError::TensorShape { path, mut found, mut expected } => match name_of(&path, naming) {
            None => MemoryError::TensorShape { path, found, expected },
            Some((path, turned)) => {
                if turned {
                    found.reverse();
                    expected.reverse();
                }
                MemoryError::TensorShape { path, found, expected }
            }
        },
        MemoryError::LeftOver { path, count } => {
            MemoryError::LeftOver { path: name_of(&path, naming).map_or(path, |(name, _)| name), count }
        }
        other => other,
    }
}

/// The model of the weights of a file.
pub(super) fn model<'a>(
    described: Described,
    weights: (Naming, Vec<Weight<'a>>),
    file: &Path,
    options: &Options,
    device: &Device,
) -> Result<Loaded, LoadError> {
    let (naming, weights) = weights;
    let Described { config, architecture, length } = described;
    let config = ModelConfig { window: options.window, sinks: options.sinks, ..config };
    let mut tensors = Tensors::new();
    for Weight { name, place, source } in weights {
        let (path, turned) = path_of(name, naming).unwrap_or_else(|| (name.into(), false));
        // A tied head that is there all the same is the embedding once more.
        if path == "head" && !config.own_head {
            continue;
        }
        let mut shape = place.shape.clone();
        if turned {
            shape.reverse();
        }
        tensors.insert(path, shape, move || {
            let bytes = source.read(place).map_err(|e| MemoryError::io(&source.path, e))?;
            let values = match (turned, place.shape.as_slice()) {
                (true, [rows, columns]) => matrix::turned(place.kind, &bytes, [*rows, *columns]),
                _ => matrix::values(place.kind, &bytes, place.values()),
            };
            values.map_err(MemoryError::from)
        });
    }
    let model = Model::from_tensors(&config, tensors, device, options.dtype);
    let model = model.map_err(|cause| match cause {
        MemoryError::Io { file, cause } => LoadError::Io { file, cause },
        cause => LoadError::Model { file: file.into(), cause: in_words_of(naming, cause) },
    })?;
    Ok(Loaded { model, architecture, length })
}

/// What to do about a model of another kind.
pub(super) const OTHERS: &str = "models of the architectures llama and qwen2 can be read: take one of these";
const SCALED: &str = "only models whose rotary positions are not scaled can be read: take another, or an older version";

/// Whether the architecture has biases of queries, keys and values, and its pairs in GGUF; none for one that is not
/// known.
fn architecture(name: &str) -> Option<(bool, Pairs)> {
    match name {
        // The converter has turned the rows of q and k from halves to neighbours.
        "llama" => Some((false, Pairs::Interleaved)),
        "qwen2" => Some((true, Pairs::Halves)),
        _ => None,
    }
}

/// What a GGUF file says of its model.
pub(super) fn of_gguf(file: &Gguf) -> Result<Described, LoadError> {
    let path = file.path();
    let arch = file.text("general.architecture")?.ok_or_else(|| file.missing("general.architecture"))?;
    let Some((biases, pairs)) = architecture(arch) else {
        return Err(LoadError::unsupported(path, format!("a model of the architecture `{arch}`"), OTHERS));
    };
    let key = |name: &str| format!("{arch}.{name}");
    let count = |name: &str| file.count(&key(name));
    let needed = |name: &str| count(name)?.ok_or_else(|| file.missing(&key(name)));
    let embedding = file.tensors().get(ENDS[0].gguf).ok_or_else(|| LoadError::Model {
        file: path.into(),
        cause: MemoryError::MissingTensor { path: ENDS[0].gguf.into() },
    })?;
    let config = ModelConfig {
        vocabulary: embedding.shape[0],
        width: needed("embedding_length")?,
        layers: needed("block_count")?,
        heads: needed("attention.head_count")?,
        groups: count("attention.head_count_kv")?,
        mlp: Some(needed("feed_forward_length")?),
        window: None,
        attention_blend: false,
        memory: None,
        sinks: 0,
        head_width: count("attention.key_length")?,
        activation: Activation::SwiGlu,
        rope_base: file.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
        rope_pairs: pairs,
        norm_epsilon: file
            .number(&key("attention.layer_norm_rms_epsilon"))?
            .ok_or_else(|| file.missing(&key("attention.layer_norm_rms_epsilon")))?,
        // An older converter writes a llama with biases as a llama.
        biases: biases || file.tensors().contains_key("blk.0.attn_q.bias"),
        own_head: file.tensors().contains_key(ENDS[2].gguf),
    };
    let config = ModelConfig { head_width: config.canonical().head_width, ..config };
    for (name, whole) in
        [("attention.value_length", config.head_width()), ("rope.dimension_count", config.head_width())]
    {
        if let Some(found) = count(name)?.filter(|found| *found != whole) {
            let expected = format!("must be the width of a head, {whole}: other models are not read here");
            return Err(LoadError::field(path, &key(name), found, expected));
        }
    }
    let scaling = file.get(&key("rope.scaling.type"));
    if scaling.is_some_and(|scaling| *scaling != Value::Text("none".into()))
        || file.tensors().contains_key("rope_freqs.weight")
    {
        let kind = scaling.map_or("by `rope_freqs.weight`".into(), Value::to_string);
        return Err(LoadError::unsupported(path, format!("rotary positions that are scaled, {kind}"), SCALED));
    }
    // Older converters write the factor alone, which means a linear scaling.
    for name in ["rope.scaling.factor", "rope.scale_linear"] {
        if let Some(found) = file.number(&key(name))?.filter(|found| ![0.0, 1.0].contains(found)) {
            let what = format!("rotary positions that are scaled, `{}` is {found}", key(name));
            return Err(LoadError::unsupported(path, what, SCALED));
        }
    }
    for name in ["expert_count", "attention.sliding_window"] {
        if let Some(found) = count(name)?.filter(|found| *found > 0) {
            return Err(LoadError::unsupported(path, format!("`{}` is {found}", key(name)), OTHERS));
        }
    }
    Ok(Described { config, architecture: arch.into(), length: count("context_length")? })
}

/// `config.json` of the transformers library, of which nothing that changes the model may be left aside.
#[derive(Debug, serde::Deserialize)]
pub(super) struct PretrainedConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    #[serde(default = "silu")]
    hidden_act: String,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    /// Since version 5 of the library, in place of the two above.
    rope_parameters: Option<serde_json::Map<String, serde_json::Value>>,
    partial_rotary_factor: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    max_position_embeddings: Option<usize>,
}

fn silu() -> String {
    "silu".into()
}

impl PretrainedConfig {
    /// What it says of its model.
    pub(super) fn describe(&self, path: &Path) -> Result<Described, LoadError> {
        let Some((biases, _)) = architecture(&self.model_type) else {
            let what = format!("a model of the type `{}`", self.model_type);
            return Err(LoadError::unsupported(path, what, OTHERS));
        };
        let rope = self.rope_parameters.as_ref();
        let scaled = |kind: &&serde_json::Value| kind.as_str() != Some("default");
        let scaling = rope.and_then(|rope| rope.get("rope_type")).filter(scaled);
        // Older versions have another object for it, and another name of the kind in that.
        let older = self.rope_scaling.as_ref().filter(|scaling| !scaling.is_null());
        let older = older.filter(|of| of.get("rope_type").or(of.get("type")).is_none_or(|kind| scaled(&kind)));
        if let Some(scaling) = scaling.or(older) {
            return Err(LoadError::unsupported(path, format!("rotary positions that are scaled, {scaling}"), SCALED));
        }
        let base = match rope.and_then(|rope| rope.get("rope_theta")) {
            None => self.rope_theta.unwrap_or(10_000.0),
            Some(base) => base.as_f64().ok_or_else(|| {
                LoadError::field(path, "rope_parameters.rope_theta", base, "must be a number: get the file again")
            })?,
        };
        let refused = [
            (self.hidden_act != "silu", "hidden_act", self.hidden_act.clone(), "silu"),
            (self.attention_bias, "attention_bias", "true".into(), "false"),
            (self.mlp_bias, "mlp_bias", "true".into(), "false"),
            (self.use_sliding_window, "use_sliding_window", "true".into(), "false"),
            (
                self.partial_rotary_factor.is_some_and(|share| share != 1.0),
                "partial_rotary_factor",
                self.partial_rotary_factor.unwrap_or(1.0).to_string(),
                "1",
            ),
        ];
        if let Some((_, field, found, expected)) = refused.into_iter().find(|(wrong, ..)| *wrong) {
            let expected = format!("must be {expected}: models with other settings are not read here");
            return Err(LoadError::field(path, field, found, expected));
        }
        let config = ModelConfig {
            vocabulary: self.vocab_size,
            width: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            groups: self.num_key_value_heads,
            mlp: Some(self.intermediate_size),
            window: None,
            attention_blend: false,
            memory: None,
            sinks: 0,
            head_width: self.head_dim,
            activation: Activation::SwiGlu,
            rope_base: base,
            rope_pairs: Pairs::Halves,
            norm_epsilon: self.rms_norm_eps.unwrap_or(1e-6),
            biases,
            own_head: !self.tie_word_embeddings,
        };
        let config = ModelConfig { head_width: config.canonical().head_width, ..config };
        Ok(Described { config, architecture: self.model_type.clone(), length: self.max_position_embeddings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_there_and_back() {
        for naming in [Naming::Gguf, Naming::Pretrained] {
            for path in ["embedding", "head", "norm", "blocks.0.attention.q", "blocks.11.gate", "blocks.7.norm2"] {
                let (name, turned) = name_of(path, naming).unwrap();
                assert_eq!(path_of(&name, naming).unwrap(), (path.into(), turned));
            }
            for other in ["blk.01.attn_q.weight", "blk.+1.attn_q.weight", "blk.x.attn_q.weight", "blk.1", "rope", ""] {
                assert_eq!(path_of(other, naming), None);
            }
        }
        assert_eq!(path_of("blk.3.ffn_up.weight", Naming::Gguf), Some(("blocks.3.up".into(), true)));
        let hf = "model.layers.29.self_attn.q_proj.weight";
        assert_eq!(path_of(hf, Naming::Pretrained), Some(("blocks.29.attention.q".into(), true)));
    }
}
