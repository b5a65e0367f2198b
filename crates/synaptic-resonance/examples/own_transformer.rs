//! The memory beside Burn's own attention: no bit changes while its gates are shut; then it recalls beyond the window.
//!
//! `cargo run --release -p synaptic-resonance --example own_transformer`

use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::{prelude::*, tensor::activation::log_softmax};
use plasticity_core::{device::by_name, rng::Stream};
use synaptic_resonance::memory::{Memory, Read};
use synaptic_resonance::settings::{MemoryConfig, ModelConfig};
use synaptic_resonance::{MemoryError, tasks};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Module, Debug)]
struct Transformer {
    embedding: Embedding,
    norm: LayerNorm,
    attention: MultiHeadAttention,
    memory: Memory,
    head: Linear,
}

impl Transformer {
    /// Log-probabilities of the tokens that may follow each question of a batch, `[questions, vocabulary]`.
    fn forward(&self, batch: &tasks::Batch, remember: bool) -> Result<Tensor<2>, MemoryError> {
        let device = self.head.weight.val().device();
        let x = self.embedding.forward(batch.tokens.upload(32, &device)?);
        let ([b, t, width], heads, d) = (x.dims(), self.attention.n_heads, self.attention.d_k);
        let n = self.norm.forward(x.clone());
        let mask = |offset| Tensor::<2, Bool>::tril_mask([t, t], offset, &device);
        let unseen = mask(0).bool_or(mask(-4).bool_not()).expand([b, t, t]);
        let mut y = self.attention.forward(MhaInput::self_attn(n.clone()).mask_attn(unseen)).context;
        if remember {
            // The attention's own queries, keys and values, an empty state, and the attention's way out.
            let split = |layer: &Linear| layer.forward(n.clone()).reshape([b, t, heads, d]);
            let [q, k, v] = [&self.attention.query, &self.attention.key, &self.attention.value].map(split);
            let (recalled, _) = self.memory.forward(Read::new(n.clone(), q, k, v), self.memory.start(b, d))?;
            y = y + recalled.reshape([b, t, width]).matmul(self.attention.output.weight.val().unsqueeze());
        }
        Ok(log_softmax(batch.targets().select(self.head.forward(x + y))?, 1))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = by_name("auto")?.autodiff();
    device.seed(0);
    let host = ModelConfig { width: 64, heads: 2, ..ModelConfig::default() };
    let model = Transformer {
        embedding: EmbeddingConfig::new(32, 64).init(&device),
        norm: LayerNormConfig::new(64).init(&device),
        attention: MultiHeadAttentionConfig::new(64, 2).with_dropout(0.0).init(&device),
        memory: Memory::new(&MemoryConfig::default(), &host, "memory", &mut |n| vec![0.0; n], &device)?,
        head: LinearConfig::new(64, 32).init(&device),
    };
    let task = tasks::Mqar { vocabulary: 32, pairs: 4, time: 40, ..tasks::Mqar::default() };
    let batch = |index| task.batch(32, &mut Stream::new(0, "batch", index));
    let [a, b] = [false, true].map(|remember| model.forward(&batch(0)?, remember).map(Tensor::into_data));
    println!("gates shut: with and without memory equal bit for bit: {}\n", a?.as_bytes() == b?.as_bytes());
    println!("{:>5} {:>18} {:>18}   gates, one per head", "step", "loss, window only", "loss, with memory");
    let mut arms = [false, true].map(|on| (on, model.clone(), AdamWConfig::new().with_weight_decay(0.0).init()));
    for step in 0..=150 {
        let (batch, mut losses) = (batch(step)?, Vec::new());
        let answers: Vec<i32> = batch.questions.iter().map(|q| q.answer as i32).collect();
        let answers = Tensor::<1, Int>::from_data(answers.as_slice(), &device).unsqueeze_dim(1);
        for (remember, model, optimiser) in &mut arms {
            let loss = model.forward(&batch, *remember)?.gather(1, answers.clone()).mean().neg();
            losses.push(loss.clone().into_scalar::<f64>());
            *model = optimiser.step(3e-3, model.clone(), GradientsParams::from_grads(loss.backward(), model));
        }
        if step % 25 == 0 {
            let gates: Vec<f32> = arms[1].1.memory.gamma.val().tanh().into_data().iter().collect();
            println!("{step:>5} {:>18.3} {:>18.3}   {gates:.2?}", losses[0], losses[1]);
        }
    }
    Ok(())
}
